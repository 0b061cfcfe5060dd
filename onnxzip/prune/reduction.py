"""What lossy pruning did, as plain data."""

from __future__ import annotations

from dataclasses import dataclass

from onnxzip.records import Width


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """What was removed, what it saves, and what was left alone.

    Attributes:
        by: what the ratio was asked in, "multiply-adds" or "parameters".
        asked: the ratio asked for.
        multiply_adds, parameters: the parts that went.
        widths: the layers that lost channels.
        notes: families that stayed and layers that were not re-fitted, and why.
        refitted: how many layers were re-fitted.
        sweeps: runs over the data, whole or in part.
        passes: the same in passes over the whole model, by nodes run.
    """

    by: str
    asked: float
    multiply_adds: float = 0.0
    parameters: float = 0.0
    widths: tuple[Width, ...] = ()
    notes: tuple[str, ...] = ()
    refitted: int = 0
    sweeps: int = 0
    passes: float = 0.0

    @property
    def reached(self) -> float:
        """The part that went of what was asked for."""
        return self.multiply_adds if self.by == "multiply-adds" else self.parameters

    @property
    def removed(self) -> int:
        """Number of channels removed, over all layers."""
        return sum(w.before - w.after for w in self.widths)
