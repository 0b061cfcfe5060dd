"""Linear operators that read the same value and whose outputs are concatenated become one with all their weights.

    Concat(Conv(x, U), Conv(x, V)) = Conv(x, [U; V])

Exact (each output channel is computed from the same numbers; a runtime may add them in another order). For neighbours in
the list of a Concat, with equal attributes, constant weights and the same activation (or none) behind each of them:
1. Conv (not grouped), concatenated along the channels: weights and biases are stacked.
2. Conv (not grouped), concatenated along a spatial axis that has size 1, as have those before it: weights are
   interleaved, and a Reshape makes the k-fold channels k times that axis.
3. Gemm with plain alpha and beta, and MatMul by a matrix, concatenated along the last axis.
Weights that several such groups share are merged once for all of them, or not at all (the file must not grow). A missing
bias is zeros, and zeros are no bias. Left alone: outputs that others read too; weights that are computed or quantized.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import add_constant, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.linear import Linear, linear_of
from onnxzip.passes.local import local
from onnxzip.passes.size import compact, node_bytes, tensor_bytes

_ACTIVATIONS = ("Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Softplus", "Clip")


@dataclass(frozen=True)
class _Branch:
    """One linear operator and the activation behind it, if there is one."""

    linear: Linear
    activation: ir.Node | None

    @property
    def nodes(self) -> list[ir.Node]:
        return [self.linear.node, self.activation] if self.activation is not None else [self.linear.node]


@dataclass(frozen=True)
class _Group:
    """Siblings that are neighbours in a Concat: its inputs from `start` on."""

    concat: ir.Node
    axis: int
    start: int
    branches: tuple[_Branch, ...]

    @property
    def weights(self) -> tuple[ir.Value | None, ...]:
        return tuple(b.linear.node.inputs[1] for b in self.branches)

    @property
    def nodes(self) -> list[ir.Node]:
        return [n for b in self.branches for n in b.nodes]

    @property
    def interleaved(self) -> bool:
        """Case 2."""
        return is_op(self.branches[0].linear.node, "Conv") and self.axis > 1


@local("Concat")
def merge_siblings(concat: ir.Node, context: Context) -> bool:
    """Merge the first group of siblings among the inputs of a Concat, and those that share weights with it."""
    first = _group(concat, context)
    groups = None if first is None else _sharing(first, context)
    if first is None or groups is None:
        return False
    weight = _merged_weight(first)
    biases = [_merged_bias(g) for g in groups]
    stored = [b for b in biases if b is not None]
    distinct = {b.tobytes(): b for b in stored}
    if not context.affords(_bytes_added(groups, weight, distinct)):
        return False
    graph = _graph(concat)
    tensor = add_constant(graph, weight, context.names.fresh(_name(first, "weight")))
    names = {
        key: add_constant(graph, bias, context.names.fresh(_name(first, "bias"))) for key, bias in distinct.items()
    }
    for group, bias in zip(groups, biases, strict=True):
        _merge(group, tensor, None if bias is None else names[bias.tobytes()], context)
    return True


def _group(concat: ir.Node, context: Context, weight: ir.Value | None = None) -> _Group | None:
    """The first siblings among the inputs; with `weight`, the first that read it."""
    rank, axis = context.shapes.rank(concat.outputs[0]), concat.attributes.get_int("axis", 0)
    if rank is None or not is_op(concat, "Concat"):
        return None
    axis = axis % rank
    branches = [_branch(v, concat, axis, rank, context) for v in concat.inputs]
    start = 0
    while start < len(branches):
        end, head = start + 1, branches[start]
        while end < len(branches) and head is not None and _are_siblings(head, branches[end], axis):
            end += 1
        found = tuple(b for b in branches[start:end] if b is not None)
        group = _Group(concat, axis, start, found)
        whole = not (found and group.interleaved) or len(found) == len(branches)
        if len(found) > 1 and whole and (weight is None or any(w is weight for w in group.weights)):
            return group
        start = end
    return None


def _branch(value: ir.Value | None, concat: ir.Node, axis: int, rank: int, context: Context) -> _Branch | None:
    activation = None
    node = value.producer() if value is not None and sole_consumer(value) is concat else None
    if node is not None and is_op(node, *_ACTIVATIONS) and node.inputs[0] is not None:
        activation, inner = node, node.inputs[0]
        node = inner.producer() if sole_consumer(inner) is activation else None
    if (
        node is None
        or node.graph is not concat.graph
        or (activation is not None and activation.graph is not node.graph)
    ):
        return None
    linear = linear_of(node, context)
    return _Branch(linear, activation) if linear is not None and _is_mergeable(linear, axis, rank, context) else None


def _is_mergeable(linear: Linear, axis: int, rank: int, context: Context) -> bool:
    node, attributes = linear.node, linear.node.attributes
    if is_op(node, "Conv"):
        shape = context.shapes.of(node.outputs[0])
        # what is next to the channels is what they can be split into: axes in between must have size 1 too
        alone = axis > 1 and shape is not None and len(shape) == rank and set(shape[2 : axis + 1]) == {1}
        return attributes.get_int("group", 1) == 1 and rank == linear.weight.ndim and (axis == 1 or alone)
    if axis != rank - 1 or linear.out_layout.rank != rank:
        return False
    plain = attributes.get_float("alpha", 1.0) == 1.0 and attributes.get_float("beta", 1.0) == 1.0
    return is_op(node, "Gemm", "MatMul") and plain


def _are_siblings(first: _Branch, second: _Branch | None, axis: int) -> bool:
    if second is None:
        return False
    one, two = first.linear, second.linear
    if (
        not _alike(one.node, two.node)
        or one.node.inputs[0] is not two.node.inputs[0]
        or one.weight.dtype != two.weight.dtype
    ):
        return False
    if is_op(one.node, "Conv") and one.weight.shape[1:] != two.weight.shape[1:]:
        return False
    if axis > 1 and is_op(one.node, "Conv") and one.out_layout.channels != two.out_layout.channels:
        return False
    if first.activation is None or second.activation is None:
        return first.activation is second.activation
    same_bounds = (
        [constant(v) for v in first.activation.inputs[1:]],
        [constant(v) for v in second.activation.inputs[1:]],
    )
    return _alike(first.activation, second.activation) and _are_equal(*same_bounds)


def _alike(one: ir.Node, two: ir.Node) -> bool:
    def key(node: ir.Node) -> dict[str, object]:
        return {k: a.value for k, a in node.attributes.items()}

    return is_op(two, one.op_type) and key(one) == key(two)


def _are_equal(one: Sequence[ir.TensorProtocol | None], two: Sequence[ir.TensorProtocol | None]) -> bool:
    if len(one) != len(two):
        return False
    return all(
        a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a.numpy(), b.numpy())
        for a, b in zip(one, two, strict=True)
    )


def _sharing(first: _Group, context: Context) -> list[_Group] | None:
    """`first` and all groups with the same weights in the same order; None when a weight has readers outside of them."""
    groups, covered = [first], {b.linear.node for b in first.branches}
    for weight in dict.fromkeys(first.weights):
        for node, index in weight.uses() if weight is not None else ():
            if node in covered:
                continue
            concat = _concat_behind(node) if index == 1 else None
            other = _group(concat, context, weight) if concat is not None else None
            if other is None or node not in other.nodes or not _match(first, other):
                return None if len(groups) > 1 or context.allowed.prefer == "bytes" else [first]
            groups.append(other)
            covered.update(b.linear.node for b in other.branches)
    return groups


def _match(first: _Group, other: _Group) -> bool:
    if first.interleaved != other.interleaved or first.concat.graph is not other.concat.graph:
        return False
    if first.branches[0].linear.node.op_type != other.branches[0].linear.node.op_type:
        return False
    same = len(first.weights) == len(other.weights)
    return same and all(a is b for a, b in zip(first.weights, other.weights, strict=True))


def _concat_behind(node: ir.Node) -> ir.Node | None:
    reader = sole_consumer(node.outputs[0])
    if reader is not None and is_op(reader, *_ACTIVATIONS):
        reader = sole_consumer(reader.outputs[0])
    return reader if is_op(reader, "Concat") else None


def _bytes_added(groups: Sequence[_Group], weight: np.ndarray, biases: Mapping[bytes, np.ndarray]) -> int:
    """How much the file grows, at most."""
    dtype, stem = ir.DataType.from_numpy(weight.dtype), _name(groups[0], "weight")
    added = sum(tensor_bytes(dtype, array.shape, stem) for array in (weight, *biases.values()))
    freed = [n for g in groups for n in g.nodes]
    for group in groups:
        name = len(group.concat.outputs[0].name or "") + 12
        added += sum(node_bytes(n) + name for n in group.branches[0].nodes) + (3 * name + 44) * group.interleaved
        freed += [group.concat] * (len(group.branches) == len(group.concat.inputs))
    return added - bytes_freed(freed)


def _channel_axis(group: _Group) -> int:
    node = group.branches[0].linear.node
    return 0 if is_op(node, "Conv") or node.attributes.get_int("transB", 0) == 1 else 1


def _merged_weight(group: _Group) -> np.ndarray:
    return _joined([b.linear.weight for b in group.branches], _channel_axis(group), interleaved=group.interleaved)


def _merged_bias(group: _Group) -> np.ndarray | None:
    """The biases in the order of the channels; None for zeros."""
    parts = []
    for branch in group.branches:
        channels, bias = branch.linear.out_layout.channels, branch.linear.bias
        flat = np.zeros(1, branch.linear.weight.dtype) if bias is None else bias.reshape(-1)
        parts.append(np.broadcast_to(flat, (channels,)))
    merged = _joined(parts, 0, interleaved=group.interleaved)
    return merged if merged.any() else None


def _joined(parts: Sequence[np.ndarray], axis: int, *, interleaved: bool) -> np.ndarray:
    if not interleaved:
        return np.concatenate(parts, axis=axis)
    return np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])


def _name(group: _Group, what: str) -> str:
    return f"{group.branches[0].linear.node.outputs[0].name}_{what}"


def _merge(group: _Group, weight: ir.Value, bias: ir.Value | None, context: Context) -> None:
    concat, first = group.concat, group.branches[0]
    linear, stem = first.linear.node, concat.outputs[0].name or "concat"
    given = [linear.inputs[0], weight] + [bias] * (bias is not None)
    value = _insert(linear.op_type, given, linear.attributes, concat, context)
    if first.activation is not None:
        act = first.activation
        value = _insert(act.op_type, [value, *act.inputs[1:]], act.attributes, concat, context)
    if group.interleaved:
        target = [0] * first.linear.weight.ndim
        target[1], target[group.axis] = first.linear.out_layout.channels, len(group.branches)
        shape = add_constant(_graph(concat), compact(np.array(target, np.int64)), context.names.fresh(f"{stem}_shape"))
        value = _insert("Reshape", [value, shape], {}, concat, context)
    old = concat.inputs[group.start : group.start + len(group.branches)]
    if len(old) == len(concat.inputs):
        replace(concat.outputs[0], value)
        remove(concat)
    else:
        kept = [*concat.inputs[: group.start], value, *concat.inputs[group.start + len(old) :]]
        for index in range(len(concat.inputs)):
            concat.replace_input_with(index, kept[index] if index < len(kept) else None)
        concat.resize_inputs(len(kept))
    discard(old)


def _insert(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, ir.Attr],
    concat: ir.Node,
    context: Context,
) -> ir.Value:
    name = context.names.fresh(f"{concat.outputs[0].name}_{op_type.lower()}")
    node = new_node(op_type, inputs, name)
    node.attributes.update(attributes)
    _graph(concat).insert_before(concat, [node])
    return node.outputs[0]


def _graph(node: ir.Node) -> ir.Graph:
    if node.graph is None:
        raise ValueError(f"{label(node)} is not in a graph")
    return node.graph
