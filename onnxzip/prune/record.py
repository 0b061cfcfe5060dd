"""What elimination did, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Width:
    """The channels of one layer.

    Attributes:
        name: the layer that makes them, as `Conv 'name'`.
        before, after: how many there were and are.
        tied: other layers whose channels go and stay with these (residual Add and the like).
        stayed: why the rest stayed, one phrase a reason, most frequent first, each with its count.
    """

    name: str
    before: int
    after: int
    tied: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()

    def __str__(self) -> str:
        reasons = f" ({'; '.join(self.stayed)})" if self.stayed else ""
        return f"{self.name}: {self.before} channels become {self.after}{reasons}"


@dataclass(frozen=True, kw_only=True)
class Elimination:
    """What was removed and what was left alone.

    Attributes:
        widths: the layers that lost channels, empty when nothing was removed.
        notes: channels that are constant and stay all the same, each naming the node that holds them.
        frozen: every place that ties channels down, one sentence each.
    """

    widths: tuple[Width, ...] = ()
    notes: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    @property
    def removed(self) -> int:
        """Number of channels removed, over all layers."""
        return sum(w.before - w.after for w in self.widths)
