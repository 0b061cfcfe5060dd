"""What moving a region of nodes to views of their tensors takes and wins: pure analysis (see `move_views`)."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import is_own
from onnxzip.passes.regions import Region
from onnxzip.passes.size import constant_bytes, node_bytes, tensor_bytes
from onnxzip.passes.views import (
    NEVER,
    VIEW_OPS,
    Shape,
    View,
    inverse,
    is_identity,
    moved_elements,
    nodes_for,
    then,
    view_of,
    viewed,
)

_NEW_NODE = 48
"""Bytes of a new view node and its axes, besides two names."""

_CHAIN = 4
"""View nodes in a row that are looked at."""

_FAN = 16
"""Readers of one value that are looked at."""

Need = tuple[ir.Value, View]
"""A view of a value, as it is once the region is moved."""


@dataclass
class Plan:
    """All that has to be done, and its price.

    Attributes:
        region: the nodes that are computed on views.
        feeds: where each input of the region takes its view from: a value, and which view of that.
        exits: outputs of view nodes after the region, and what takes their place.
        kept: outputs of the region that others read as they were, and how they are got back.
        removed: view nodes that nobody needs then.
        present: views that need not be made, because a view node that stays gives them.
    """

    region: Region
    feeds: dict[Need, Need] = field(default_factory=dict)
    exits: dict[ir.Value, Need] = field(default_factory=dict)
    kept: dict[ir.Value, Need] = field(default_factory=dict)
    removed: dict[ir.Node, None] = field(default_factory=dict)
    present: dict[Need, ir.Value] = field(default_factory=dict)
    nodes: int = 0
    elements: int = 0
    bytes: int = 0

    @property
    def cost(self) -> tuple[int, int]:
        """To be compared: nodes first, then what is moved."""
        return self.nodes, self.elements

    @property
    def pays(self) -> bool:
        """Whether it is worth it."""
        return bool(self.region.moved) and self.nodes < 0 and self.elements <= 0 and self.bytes <= 0


def plan(region: Region, context: Context) -> Plan | None:
    """The price of moving this region; None when it cannot be done."""
    found = Plan(region)
    if not _plan_inputs(found, context):
        return None
    _plan_removal(found)
    if not _plan_outputs(found, context):
        return None
    for node in found.removed:
        shape, view = context.shapes.of(node.inputs[0]), view_of(node, context)
        found.nodes -= 1
        found.elements -= 0 if shape is None or view is None else moved_elements(view, shape)
        found.bytes -= node_bytes(node) + sum(constant_bytes(v) for v in node.inputs[1:] if v is not None and is_own(v))
    for value, view in _made(found):
        shape = shape_in(value, region, context)
        if shape is None or (count := nodes_for(view, shape)) >= NEVER:
            return None
        given = _given(value, view, shape, found, context) if count else None
        if given is not None:
            found.present[(value, view)] = given
            continue
        found.nodes += count
        found.elements += moved_elements(view, shape) if count else 0
        found.bytes += count * (_NEW_NODE + 2 * len(value.name or ""))
    found.bytes = 0 if context.allowed.prefer == "nodes" else found.bytes + _growth(region, context)
    return found


def shape_in(value: ir.Value, region: Region, context: Context) -> Shape | None:
    """The shape of a value once the region is moved."""
    shape, view = context.shapes.of(value), region.views.get(value)
    return shape if shape is None or view is None else viewed(view, shape)


def _made(found: Plan) -> dict[Need, None]:
    """The views that have to be made, each once."""
    return dict.fromkeys([*found.feeds.values(), *found.exits.values(), *found.kept.values()])


def _given(value: ir.Value, view: View, shape: Shape, found: Plan, context: Context) -> ir.Value | None:
    """What a view node gives that stays and that makes this very view."""
    if value in found.region.views:
        return None
    for use in tuple(value.uses())[:_FAN]:
        node = use.node
        there = view_of(node, context) if use.idx == 0 and node.graph is value.graph else None
        if there is None or node in found.removed or node in found.region.moved:
            continue
        if viewed(there, shape) == viewed(view, shape) and _named(there, shape) == _named(view, shape):
            return node.outputs[0]
    return None


def _named(view: View, shape: Shape) -> list[int]:
    """The axes larger than 1, in order."""
    return [axis for axis in view if axis is not None and shape[axis] != 1]


def _plan_inputs(found: Plan, context: Context) -> bool:
    region = found.region
    for node, moved in region.moved.items():
        for value, view in zip(node.inputs, moved.inputs, strict=True):
            if value is None or (view is None and value not in region.views):
                continue
            if value in region.views:
                if view != region.views[value]:
                    return False
            elif (tensor := constant(value)) is not None:
                if tensor.dtype == ir.DataType.STRING:
                    return False
            elif view is not None and (value, view) not in found.feeds:
                source = _source(value, view, region, context)
                if source is None or (source[0] is value and _is_quantized(value, node, source, region, context)):
                    return False
                found.feeds[(value, view)] = source
    return True


def _is_quantized(value: ir.Value, node: ir.Node, need: Need, region: Region, context: Context) -> bool:
    """Whether a view node would come between a node and the QuantizeLinear or DequantizeLinear beside it."""
    shape = shape_in(need[0], region, context)
    made = shape is not None and not is_identity(need[1], shape)
    return made and (is_op(node, "QuantizeLinear") or is_op(value.producer(), "DequantizeLinear"))


def _source(value: ir.Value, view: View, region: Region, context: Context) -> Need | None:
    """Where a view of `value` is best taken from: a value before view nodes that lead to it, the farthest among equals."""
    best: Need | None = None
    price, passed = 2 * NEVER, 0
    while True:
        shape = context.shapes.of(value)
        if shape is None:
            return best
        inner = region.views.get(value)
        need = (value, view if inner is None else then(inverse(inner, len(shape)), view))
        now = nodes_for(need[1], shape if inner is None else viewed(inner, shape)) - passed
        if now <= price and now < NEVER - _CHAIN:
            best, price = need, now
        node = value.producer()
        before = None if node is None or inner is not None or passed >= _CHAIN else view_of(node, context)
        if node is None or before is None or node.inputs[0] is None or node.graph is None:
            return best
        passed += sole_consumer(value) is not None or passed == 0
        value, view = node.inputs[0], then(before, view)


def _plan_removal(found: Plan) -> None:
    """View nodes before the region that are read by nobody else any more."""
    region, sources = found.region, {source for source, _ in found.feeds.values()}
    pending = [value for value, _ in found.feeds]
    while pending:
        value = pending.pop()
        node = value.producer()
        if node is None or node in found.removed or value in sources or value.is_graph_output():
            continue
        if not is_op(node, *VIEW_OPS) or node in region.moved or node.graph is not next(iter(region.moved)).graph:
            continue
        if all(_is_fed(use.node, value, region) or use.node in found.removed for use in value.uses()):
            found.removed[node] = None
            pending.extend(v for v in node.inputs[:1] if v is not None)


def _is_fed(node: ir.Node, value: ir.Value, region: Region) -> bool:
    """Whether a node of the region will read a view in the place of `value`, wherever it reads it."""
    moved = region.moved.get(node)
    return moved is not None and all(
        view is not None for read, view in zip(node.inputs, moved.inputs, strict=True) if read is value
    )


def _plan_outputs(found: Plan, context: Context) -> bool:
    region = found.region
    for value, view in region.views.items():
        shape = context.shapes.of(value)
        if shape is None:
            return False
        if is_identity(view, shape):
            continue
        back = inverse(view, len(shape))
        keeps = value.is_graph_output()
        for node in dict.fromkeys(use.node for use in value.uses()):
            if node in region.moved or node in found.removed:
                continue
            keeps = not _plan_exit(found, value, node, back, viewed(view, shape), context) or keeps
        if keeps:
            if is_op(value.producer(), "DequantizeLinear"):
                return False
            found.kept[value] = (value, back)
    return True


def _plan_exit(found: Plan, value: ir.Value, node: ir.Node, back: View, shape: Shape, context: Context) -> bool:
    """Let view nodes after the region be replaced by one view of what the region gives, where that is not more."""
    best: tuple[int, list[ir.Node], View] | None = None
    chain: list[ir.Node] = []
    first, current = back, node if node.graph is value.graph else None
    while current is not None and len(chain) < _CHAIN:
        view = view_of(current, context)
        if view is None or current in found.removed or any(v is value for v in current.inputs[1:]):
            break
        back, chain = then(back, view), [*chain, current]
        price = nodes_for(back, shape) - len(chain)
        if price <= 0 and (best is None or price < best[0]):
            best = price, chain, back
        after = sole_consumer(current.outputs[0])
        current = after if after is not None and after.graph is value.graph else None
    if best is None:
        return False
    result, need = best[1][-1].outputs[0], (value, best[2])
    same = [r for r, n in found.exits.items() if n == need or (n[0] is value and is_identity(n[1], shape))]
    named = [r for r in same if r.is_graph_output()]
    if result.is_graph_output() and (named or (value.is_graph_output() and need[1] == first)):
        return False  # one value cannot have two names
    found.exits[result] = need
    found.removed.update(dict.fromkeys(best[1]))
    return True


def _growth(region: Region, context: Context) -> int:
    """Bytes of longer names and of constants that have to be stored anew."""
    total = 0
    for node, moved in region.moved.items():
        total += 3 * sum(1 + len(o.uses()) for o in node.outputs)
        total += 10 * len(moved.attributes.keys() - node.attributes.keys())
        for value, view in zip(node.inputs, moved.inputs, strict=True):
            tensor = constant(value)
            if value is not None and tensor is not None and view is not None:
                sizes = tensor.shape.numpy()
                whole = tensor_bytes(tensor.dtype, sizes, value.name or "")
                added = 2 * (len(view) - len(sizes)) + 3 if is_own(value) else whole
                total += 0 if is_identity(view, tuple(sizes)) else added
        for index, content in moved.constants.items():
            old = node.inputs[index] if index < len(node.inputs) else None
            whole = 2 * content.size + 16
            total += whole - (constant_bytes(old) if old is not None and is_own(old) else 0)
    return total
