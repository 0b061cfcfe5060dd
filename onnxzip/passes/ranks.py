"""What follows from a value having so and so many axes: a small interpreter of ranks, to find out that a run must fail.

Exporters that turn `squeeze` into an If leave the rank of its output open, although what comes later works with one of
both ranks only. "It must fail" is said only where onnxruntime checks the rank itself, in every kernel of the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.model.constants import array, scalar
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context

_NODES = 200
"""How many nodes behind the value are looked at."""


def must_fail(value: ir.Value, rank: int, after: ir.Node, context: Context) -> bool:
    """Whether every run in which `value`, an output of `after`, has `rank` axes ends with an error."""
    world = _World(context, {value: rank})
    return after.graph is not None and world.fails(_behind(after))


def _behind(node: ir.Node) -> Iterable[ir.Node]:
    graph, found = node.graph, False
    for each in graph or ():
        if found:
            yield each
        found = found or each is node


@dataclass
class _World:
    """Values whose rank, length (of a shape) or content (of a single number) follows from what is assumed."""

    context: Context
    ranks: dict[ir.Value, int]
    lengths: dict[ir.Value, int] = field(default_factory=dict)
    numbers: dict[ir.Value, int | bool] = field(default_factory=dict)
    left: int = _NODES

    def fails(self, nodes: Iterable[ir.Node]) -> bool:
        """Whether one of these nodes, all of which run, must fail."""
        for node in nodes:
            self.left -= 1
            if self.left < 0:
                return False
            if is_op(node, "If"):
                if self._if_fails(node):
                    return True
            elif is_op(node, node.op_type) and any(self._follows(v) for v in node.inputs if v is not None):
                if self._refuses(node):
                    return True
                self._step(node)
        return False

    def _follows(self, value: ir.Value) -> bool:
        return value in self.ranks or value in self.lengths or value in self.numbers

    def rank(self, value: ir.Value | None) -> int | None:
        """The rank that is assumed, or that is known whatever is assumed."""
        found = self.ranks.get(value) if value is not None else None
        return self.context.shapes.rank(value) if found is None else found

    def number(self, value: ir.Value | None) -> int | bool | float | None:
        """The content of a single number."""
        found = self.numbers.get(value) if value is not None else None
        return scalar(value) if found is None else found

    def _if_fails(self, node: ir.Node) -> bool:
        condition = self.numbers.get(node.inputs[0]) if node.inputs[0] is not None else None
        branches = [node.attributes[key].as_graph() for key in ("then_branch", "else_branch")]
        if condition is None:
            return all(self.fails(branch) for branch in branches)
        taken = branches[0] if condition else branches[1]
        if self.fails(taken):
            return True
        for output, value in zip(node.outputs, taken.outputs, strict=True):
            rank = self.rank(value)
            if rank is not None:
                self.ranks[output] = rank
        return False

    def _refuses(self, node: ir.Node) -> bool:
        """Whether the operator throws at the ranks of its inputs."""
        ranks = [self.rank(v) for v in node.inputs]
        if is_op(node, "LSTM", "GRU", "RNN"):
            return any(ranks[i] not in (None, 3) for i in (0, 5) if i < len(ranks))
        if is_op(node, "Conv"):
            return None not in ranks[:2] and ranks[0] != ranks[1]
        if is_op(node, "Gemm"):
            return any(rank not in (None, 1, 2) for rank in ranks[:2])  # onnxruntime takes vectors too
        perm = node.attributes.get_ints("perm") if is_op(node, "Transpose") else None
        return perm is not None and ranks[0] is not None and ranks[0] != len(perm)

    def _step(self, node: ir.Node) -> None:
        """Draw the conclusions that are easy to draw; all others are left open."""
        source, output = node.inputs[0], node.outputs[0]
        rank = self.rank(source)
        rule = _NUMBERS.get(node.op_type)
        if rule is not None:
            given = [self.number(v) for v in node.inputs]
            if None not in given:
                self.numbers[output] = rule(*given)
        elif node.op_type == "Shape" and rank is not None and not node.attributes:
            self.ranks[output], self.lengths[output] = 1, rank
        elif node.op_type == "Size" and source in self.lengths:
            self.ranks[output], self.numbers[output] = 0, self.lengths[source]
        elif node.op_type in ("Squeeze", "Unsqueeze") and rank is not None:
            axes = self._axes(node)
            if axes is not None:
                self.ranks[output] = rank + (axes if node.op_type == "Unsqueeze" else -axes)
        elif node.op_type in _SAME_RANK and rank is not None:
            self.ranks[output] = rank

    def _axes(self, node: ir.Node) -> int | None:
        """How many axes a Squeeze or Unsqueeze names."""
        if self.context.opset < 13:
            given = node.attributes.get_ints("axes")
            return None if given is None else len(given)
        found = array(node.inputs[1]) if len(node.inputs) > 1 else None
        return None if found is None else found.size


_NUMBERS: Mapping[str, Callable[..., int | bool]] = {
    "Not": lambda a: not a,
    "Equal": lambda a, b: bool(a == b),
    "Less": lambda a, b: bool(a < b),
    "Greater": lambda a, b: bool(a > b),
    "And": lambda a, b: bool(a and b),
    "Or": lambda a, b: bool(a or b),
}

_SAME_RANK = frozenset(
    {"Identity", "Relu", "Sigmoid", "Tanh", "Cast", "Neg", "Abs", "Sqrt", "Exp", "Softmax", "Transpose"}
)
