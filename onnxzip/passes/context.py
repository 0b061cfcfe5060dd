"""What a pass is given, and what it gives back.

A pass is a plain function in a file of its own, `def name(model: ir.Model, context: Context) -> Outcome`. It edits the
model in place and says what it did; the runner verifies, times, counts and takes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from onnxzip.model.edit import Names
from onnxzip.model.opset import opset_of
from onnxzip.model.shapes import Shapes


@dataclass(frozen=True)
class Outcome:
    """What one run of a pass did.

    Attributes:
        changes: how many places it changed; 0 means that the model is as it was.
        notes: what it refused or left where a user would wonder, each naming its node.
    """

    changes: int = 0
    notes: tuple[str, ...] = ()


class Context:
    """What is known about a model before a pass: each thing is found out when it is first asked for.

    Shapes are those of the graph as the pass got it. Names that a pass frees are not given again while it runs, so what
    was known about a value by name stays true until the pass is done.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self.names = Names(model)
        self.opset = opset_of(model)

    @cached_property
    def shapes(self) -> Shapes:
        """Types and shapes of all values."""
        return Shapes(self._model)


Pass = Callable[[ir.Model, Context], Outcome]
