"""What elimination did, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from onnxzip.records import Width


@dataclass(frozen=True, kw_only=True)
class Elimination:
    """What was removed and what was left alone.

    Attributes:
        widths: the layers that lost channels, empty when nothing was removed.
        notes: channels that are constant and stay all the same, each naming the node that holds them.
        frozen: every place that ties channels down, one sentence each.
        whole: the layers that lost none, and why.
    """

    widths: tuple[Width, ...] = ()
    notes: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    whole: tuple[Width, ...] = ()

    @property
    def removed(self) -> int:
        """Number of channels removed, over all layers."""
        return sum(w.before - w.after for w in self.widths)
