"""What a pass is given, and what it gives back.

A pass is a function `name(model, context) -> Outcome`, or a local rule (`onnxzip.passes.local`), in a file of its own.
It edits the model in place and says what it did; the runner verifies, times, counts and takes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import onnx_ir as ir

from onnxzip.config import Prefer
from onnxzip.model.edit import Names
from onnxzip.model.opset import opset_of
from onnxzip.model.save import model_bytes
from onnxzip.model.shapes import Shapes
from onnxzip.model.symbols import Symbols


@dataclass(frozen=True)
class Share:
    """What one of several local passes did in a sweep."""

    changes: int
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What one run of a pass did.

    Attributes:
        changes: how many places it changed; 0 means that the model is as it was.
        notes: what it refused or left where a user would wonder, each naming its node.
        shares: for a sweep of local passes, the part of each by name.
    """

    changes: int = 0
    notes: tuple[str, ...] = ()
    shares: Mapping[str, Share] = field(default_factory=dict)


@dataclass(frozen=True)
class Allowed:
    """What the user lets passes do.

    Attributes:
        prefer: "bytes": nothing may make the file larger; "nodes": folding may.
        contrib: operators of onnxruntime's own domain may be used.
    """

    prefer: Prefer = "bytes"
    contrib: bool = False


ALLOWED = Allowed()


class Fuel:
    """A count of rewriting steps, and where to stop. Passes are deterministic, so the first k steps of two runs are the same.

    With it a failed check is traced to the very step that made it fail (see `onnxzip.validate.blame`).
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self.steps: list[tuple[str, str]] = []

    @property
    def left(self) -> bool:
        """Whether one more step may be taken."""
        return self._limit is None or len(self.steps) < self._limit

    def spend(self, name: str, where: str) -> None:
        """Note a step of the pass `name`, at the node called `where`."""
        self.steps.append((name, where))


class Context:
    """What is known about a model before a pass: each thing is found out when it is first asked for.

    Names that a pass frees are not given again while it runs, so what was known about a value by name stays true until
    the pass is done. Shapes of values that a pass adds are found out as well.
    """

    def __init__(
        self, model: ir.Model, allowed: Allowed = ALLOWED, fuel: Fuel | None = None, limit: int | None = None
    ) -> None:
        self._model = model
        self._limit = limit
        self.allowed = allowed
        self.fuel = fuel or Fuel()
        self.names = Names(model)
        self.opset = opset_of(model)
        self.notes: list[str] = []

    @cached_property
    def shapes(self) -> Shapes:
        """Types and shapes of all values."""
        return self._both[0]

    @cached_property
    def symbols(self) -> Symbols:
        """Sizes as expressions, and what is in shapes that are computed."""
        return self._both[1]

    @cached_property
    def _both(self) -> tuple[Shapes, Symbols]:
        """Each asks the other one for what it does not know itself."""
        shapes = Shapes(self._model)
        symbols = Symbols(shapes, self.opset)
        shapes.refine = symbols.dims
        return shapes, symbols

    def affords(self, added: int) -> bool:
        """Whether a rewrite may be done that makes the file larger by so many bytes (negative: smaller)."""
        return added <= 0 or self.allowed.prefer == "nodes"

    def may_add(self, added: int) -> bool:
        """Whether a rewrite may make the file `added` bytes larger: out of what others have saved so far, and never all told.

        A rewrite that asks must be done when the answer is yes: the bytes count as spent.
        """
        if added <= 0 or self.allowed.prefer == "nodes":
            return True
        if self._limit is None or added > self._room:
            return False
        self._room -= added
        return True

    @cached_property
    def _room(self) -> int:
        """Bytes that the file is smaller than it may be."""
        return (self._limit or 0) - model_bytes(self._model)

    def refuse(self, note: str) -> bool:
        """Note why a rewrite that a user would expect was not done, naming the node. Always False, to be returned."""
        self.notes.append(note)
        return False


class Pass(Protocol):
    """What stands in the table of passes."""

    __name__: str

    def __call__(self, model: ir.Model, context: Context) -> Outcome:
        """Edit the model in place."""
        ...
