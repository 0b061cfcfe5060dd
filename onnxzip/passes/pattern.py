"""Reading formulas out of a graph, and putting one operator in their place.

Exporters spell a formula in many orders: x * 0.5 * (1 + erf) has five products and sums to associate and commute, with
Div for Mul and Sub for Add. So a pattern is not compared node by node. `product` and `total` flatten what a value is the
product or the sum of:

    product(y) = scalar * over[0] * over[1] * ... / (under[0] * ...)
    total(y)   = number + plus[0] + plus[1] + ... - minus[0] - ...

They look through values that one node alone reads, so that a factor which is used twice, as the x of a Gelu, stays one
factor. `between` then makes sure that nothing else reads what would go, and `raise_to` or `substitute` does the edit.

Constants of one element become Python numbers; `near` compares them to what float32 can tell apart. All of this is about
floats: integers divide in another way, and whoever uses it checks the type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import constant, scalar
from onnxzip.model.edit import discard, remove, replace, sole_consumer
from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.noops import same_shape
from onnxzip.passes.size import compact, initializer_bytes, node_bytes

_LONGEST = 64
"""Nodes of a formula, at most."""

_FACTORS = 16
"""Factors or terms of one product or sum, at most: what has more is no formula that has a name."""

_NUMBERED = 8
"""Bytes by which a fresh name may be longer than the one it was made from, where it is written down."""


@dataclass(frozen=True)
class Product:
    """scalar * over[0] * ... / (under[0] * ...)."""

    scalar: float
    over: tuple[ir.Value, ...]
    under: tuple[ir.Value, ...]


@dataclass(frozen=True)
class Total:
    """number + plus[0] + ... - minus[0] - ..."""

    number: float
    plus: tuple[ir.Value, ...]
    minus: tuple[ir.Value, ...]


def near(number: float | None, wanted: float, tolerance: float = 1e-6) -> bool:
    """Whether a constant of the graph is this number, as float32 holds it (or better, with a smaller relative tolerance).

    >>> near(0.7978845834732056, math.sqrt(2 / math.pi)), near(1.702, 1.7)
    (True, False)
    """
    return number is not None and math.isclose(number, wanted, rel_tol=tolerance, abs_tol=0.0)


def number_in(value: ir.Value | None) -> float | None:
    """The constant as a float when it is one finite number, else None."""
    found = scalar(value)
    if found is None or isinstance(found, bool) or not math.isfinite(found):
        return None
    return float(found)


def given_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node whose first output this value is, when it is one of these operators."""
    node = value.producer() if value is not None else None
    return node if node is not None and is_op(node, *op_types) and node.outputs[0] is value else None


def product(value: ir.Value) -> Product:
    """What this value is the product of, through Mul, Div, Neg, Reciprocal, and Pow with an exponent of 2 or 3."""
    leaves, inner = _leaves(value, _factors)
    number = -1.0 if sum(given_by(v, "Neg") is not None for v in inner) % 2 else 1.0
    over, under = list[ir.Value](), list[ir.Value]()
    for leaf, up in leaves:
        found = number_in(leaf)
        if found is not None and (up or found != 0.0):
            number = number * found if up else number / found
        else:
            (over if up else under).append(leaf)
    return Product(number, tuple(over), tuple(under))


def total(value: ir.Value) -> Total:
    """What this value is the sum of, through Add, Sub, Neg and Sum."""
    number, plus, minus = 0.0, list[ir.Value](), list[ir.Value]()
    for leaf, up in _leaves(value, _terms)[0]:
        found = number_in(leaf)
        if found is not None:
            number += found if up else -found
        else:
            (plus if up else minus).append(leaf)
    return Total(number, tuple(plus), tuple(minus))


def affine(value: ir.Value) -> tuple[float, float, ir.Value] | None:
    """(scale, shift, x) when this value is scale * x + shift with numbers; (1, 0, value) at the least."""
    terms = total(value)
    if len(terms.plus) + len(terms.minus) != 1:
        return None
    sign, term = (1.0, terms.plus[0]) if terms.plus else (-1.0, terms.minus[0])
    factors = product(term) if term is value or _inner(term) else Product(1.0, (term,), ())
    if len(factors.over) != 1 or factors.under:
        return None
    inner = factors.over[0]
    if inner is not term and _inner(inner) and _terms(inner) is not None:  # scale * (x + shift)
        deeper = affine(inner)
        if deeper is None:
            return None
        scale = sign * factors.scalar
        return scale * deeper[0], terms.number + scale * deeper[1], deeper[2]
    return sign * factors.scalar, terms.number, inner


def other_of(pair: Sequence[ir.Value], one: ir.Value | None) -> ir.Value | None:
    """The other of two values, when the first is among them."""
    if len(pair) != 2 or one is None:
        return None
    return pair[1] if pair[0] is one else pair[0] if pair[1] is one else None


def between(output: ir.Value, sources: Iterable[ir.Value]) -> list[ir.Node] | None:
    """The nodes from `sources` and constants to `output`, the last one first.

    None when it also depends on something else, or when something else reads what is in the middle.
    """
    last, ends = output.producer(), set(sources)
    if last is None:
        return None
    nodes = {last: None}
    pending = [last]
    while pending:
        for read in pending.pop().inputs:
            if read is None or read in ends or constant(read) is not None:
                continue
            node = read.producer()
            if node is None or node.graph is not last.graph or read.is_graph_output() or len(nodes) > _LONGEST:
                return None
            if node not in nodes:
                nodes[node] = None
                pending.append(node)
    closed = all(use.node in nodes for node in nodes if node is not last for o in node.outputs for use in o.uses())
    return list(nodes) if closed else None


def keeps_shape(output: ir.Value, source: ir.Value, context: Context) -> bool:
    """Whether an elementwise formula of `source` and numbers has the shape and the type of it: equal ranks are enough."""
    shapes = context.shapes
    rank, dtype = shapes.rank(source), shapes.dtype(source)
    return rank is not None and rank == shapes.rank(output) and dtype is not None and dtype == shapes.dtype(output)


def is_float32(value: ir.Value, context: Context) -> bool:
    """Whether it holds float32: in float16 the numbers of a formula are rounded too far to be recognized."""
    return context.shapes.dtype(value) == ir.DataType.FLOAT


def reduced(shape: tuple[Dim, ...], axes: Iterable[int]) -> tuple[Dim, ...]:
    """The shape after a reduction that keeps the axes."""
    gone = set(axes)
    return tuple(1 if axis in gone else size for axis, size in enumerate(shape))


def is_reduced(value: ir.Value, source: ir.Value, axes: Iterable[int], context: Context) -> bool:
    """Whether `value` provably has the shape of `source` reduced over `axes`, which are kept."""
    shape = context.shapes.of(source)
    return shape is not None and same_shape(context.shapes.of(value), reduced(shape, axes))


def peel(value: ir.Value, *op_types: str) -> ir.Value:
    """What a value is before nodes in a row that one reader alone needs, such as Reshape and Unsqueeze."""
    while (node := given_by(value, *op_types)) is not None and node.inputs[0] is not None and _inner(value):
        value = node.inputs[0]
    return value


def new_constant(content: np.ndarray, hint: str) -> ir.Value:
    """A constant for `substitute`, which gives it its place and a fresh name."""
    tensor = compact(np.asarray(content, order="C"))
    return ir.Value(
        name=hint, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
    )


def substitute(output: ir.Value, nodes: Sequence[ir.Node], new: Sequence[ir.Node], context: Context) -> bool:
    """Put `new`, of which the last gives what `output` was, in the place of `nodes`, of which the first gives `output`.

    False, with nothing changed, when the file would grow by that.
    """
    anchor, graph = nodes[0], nodes[0].graph
    constants = {v: None for n in new for v in n.inputs if v is not None and v.graph is None and v.producer() is None}
    tensors = [(t, v.name or "") for v in constants if (t := v.const_value) is not None]
    added = sum(map(node_bytes, new)) + sum(initializer_bytes(t, name) + _NUMBERED for t, name in tensors)
    if graph is None or not context.affords(added - bytes_freed(nodes)):
        for node in new:
            for index in range(len(node.inputs)):
                node.replace_input_with(index, None)
        return False
    for value in constants:
        value.name = context.names.fresh(value.name or "constant")
        graph.register_initializer(value)
    graph.insert_before(anchor, new)
    replace(output, new[-1].outputs[0])
    read = [v for node in nodes for v in node.inputs]
    remove(anchor)
    discard(read)
    return True


def raise_to(
    op_type: str,
    output: ir.Value,
    nodes: Sequence[ir.Node],
    inputs: Sequence[ir.Value | None],
    context: Context,
    **attributes: ir.Attr | int | float | str | list[int],
) -> bool:
    """Let one operator give `output` in the place of `nodes`; False when the file would grow by that."""
    name = context.names.fresh(output.name or op_type)
    new = ir.node(op_type, list(inputs), attributes=attributes, name=nodes[0].name)
    new.outputs[0].name = name
    return substitute(output, nodes, [new], context)


def _leaves(
    value: ir.Value, parts_of: Callable[[ir.Value], list[tuple[ir.Value, bool]] | None]
) -> tuple[list[tuple[ir.Value, bool]], list[ir.Value]]:
    """What a value is made of, taken apart as far as it goes, each with its direction; and the values on the way."""
    leaves, inner, pending = list[tuple[ir.Value, bool]](), list[ir.Value](), [(value, True)]
    for _ in range(_FACTORS):
        if not pending:
            break
        current, up = pending.pop(0)
        parts = parts_of(current)
        if parts is None or not (current is value or _inner(current)):
            leaves.append((current, up))
        else:
            pending += [(part, up == direction) for part, direction in parts]
            inner.append(current)
    return [*leaves, *pending], inner


def _inner(value: ir.Value) -> bool:
    """Whether one node alone reads this value, in the graph that it comes from."""
    reader, node = sole_consumer(value), value.producer()
    return reader is not None and node is not None and reader.graph is node.graph


def _factors(value: ir.Value) -> list[tuple[ir.Value, bool]] | None:
    """What is multiplied (True) and divided by (False)."""
    node = given_by(value, "Mul", "Div", "Neg", "Reciprocal", "Pow")
    given = [v for v in node.inputs if v is not None] if node is not None else []
    if node is None or not given:
        return None
    if node.op_type == "Pow":
        exponent = number_in(given[1]) if len(given) == 2 else None
        return [(given[0], True)] * int(exponent) if exponent in (2.0, 3.0) else None
    if node.op_type == "Div" and number_in(given[1]) == 0.0:
        return None
    divides = {"Div": (1,), "Reciprocal": (0,)}.get(node.op_type, ())
    return [(v, i not in divides) for i, v in enumerate(given)]


def _terms(value: ir.Value) -> list[tuple[ir.Value, bool]] | None:
    """What is added (True) and subtracted (False)."""
    node = given_by(value, "Add", "Sub", "Neg", "Sum")
    given = [v for v in node.inputs if v is not None] if node is not None else []
    if node is None or not given:
        return None
    subtracts = {"Sub": (1,), "Neg": (0,)}.get(node.op_type, ())
    return [(v, i not in subtracts) for i, v in enumerate(given)]
