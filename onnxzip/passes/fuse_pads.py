"""A Pad goes into the Conv and the pools that read it.

    Conv(Pad(x, p), W) = Conv(x, W) with pads + p

Exact. Only constant padding of spatial axes with amounts that are not negative; a Pad goes when all its readers take it:
1. Conv: padding with 0, any amounts. `auto_pad` becomes explicit where sizes are known.
2. MaxPool without its Indices: padding with -inf, or with 0 (or less) where x is provably not negative, so that a padded
   element is never above a real one. Every window must hold a real element: no dilations, no ceil_mode, and fewer
   padded elements on a side than the kernel has. Nor may x be empty: its sizes are known, or a Conv gives it.
3. AveragePool: padding with 0, under the same conditions, when the pool counts what it pads or pads nothing yet; from then on it counts.
4. Between Pad and readers stands one Reshape, Squeeze or Unsqueeze that only adds or drops axes of size 1 and whose
   sizes are known: the amounts move with their axes. Done when the new target takes no more bytes than the Pad frees.
Left alone: padding of batch or channels, other modes, amounts that are computed, Pads that a reader cannot take, and
what costs bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, discard, new_node, sole_consumer
from onnxzip.model.operators import KEEP_SHAPE
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.noops import is_not_negative
from onnxzip.passes.padding import Padding, explicit_pads, padding_of, window
from onnxzip.passes.size import compact, initializer_bytes, node_bytes

_READERS = ("Conv", "MaxPool", "AveragePool")
_RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")


@local("Pad")
def fuse_pads(pad: ir.Node, context: Context) -> bool:
    """Let the readers of a Pad do the padding."""
    padding, source = padding_of(pad, context), pad.inputs[0]
    if padding is None or source is None or padding.crops or not padding.axes or pad.outputs[0].is_graph_output():
        return False
    reshape = sole_consumer(pad.outputs[0])
    if reshape is None or not is_op(reshape, *_RESHAPES):
        return _fuse(pad.outputs[0], padding, source, context)
    return _fuse_past(reshape, pad, padding, source, context)


def _fuse(padded: ir.Value, padding: Padding, source: ir.Value, context: Context) -> bool:
    """Cases 1 to 3: all readers of `padded` read `source` and pad themselves."""
    pads, pad = _pads_of_readers(padded, padding, source, context), padded.producer()
    if pads is None or pad is None or not context.affords(_growth(pads) - bytes_freed([pad])):
        return False
    _take(padded, source, pads)
    return True


def _pads_of_readers(
    padded: ir.Value, padding: Padding, source: ir.Value, context: Context
) -> dict[ir.Node, list[int]] | None:
    """What the `pads` of each reader become; None when one of them cannot take the padding."""
    if padded.is_graph_output() or not padded.uses() or min(padding.axes) < 2:
        return None
    found = {}
    for node, index in padded.uses():
        old = explicit_pads(node, context.shapes) if index == 0 and is_op(node, *_READERS) else None
        if old is None or 2 * (len(padding.before) - 2) != len(old) or node in found:
            return None
        pads = [a + b for a, b in zip(old, padding.before[2:] + padding.after[2:], strict=True)]
        if not _may_pad(node, padding.value, old, pads, source, context):
            return None
        if not is_op(node, "Conv") and not _is_never_empty(padded, padding, source, context):
            return None
        found[node] = pads
    return found


def _may_pad(
    node: ir.Node, value: float, old: Sequence[int], pads: Sequence[int], source: ir.Value, context: Context
) -> bool:
    if is_op(node, "Conv"):
        return value == 0
    if node.attributes.get_int("ceil_mode", 0) or any(d != 1 for d in node.attributes.get_ints("dilations", ())):
        return False
    found = window(node, len(pads) // 2)
    if found is None or any(p >= k for p, k in zip(pads, found[0] * 2, strict=True)):
        return False
    if is_op(node, "AveragePool"):
        return value == 0 and (not any(old) or node.attributes.get_int("count_include_pad", 0) == 1)
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return False
    return value == -np.inf or (value <= 0 and is_not_negative(source, context))


def _is_never_empty(padded: ir.Value, padding: Padding, source: ir.Value, context: Context) -> bool:
    """Whether the padded axes hold real elements in every run: no pool takes an image that has none."""
    shape = context.shapes.of(padded) or ()
    if all(isinstance(d := shape[a], int) and d > padding.before[a] + padding.after[a] for a in padding.axes):
        return True
    node = source.producer()
    while node is not None and is_op(node, *KEEP_SHAPE) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return is_op(node, "Conv")  # throws rather than give an empty image


def _growth(pads: Mapping[ir.Node, list[int]]) -> int:
    """By how many bytes the attributes of the readers grow."""
    added = 0
    for node, amounts in pads.items():
        after, before = _attributes(node, amounts).values(), tuple(node.attributes.values())
        added += node_bytes(ir.Node("", node.op_type, [], after)) - node_bytes(ir.Node("", node.op_type, [], before))
    return added


def _take(padded: ir.Value, source: ir.Value, pads: Mapping[ir.Node, list[int]]) -> None:
    for node, amounts in pads.items():
        node.replace_input_with(0, source)
        attributes = _attributes(node, amounts)
        node.attributes.clear()
        node.attributes.update(attributes)
    discard([padded])


def _attributes(node: ir.Node, pads: list[int]) -> dict[str, ir.Attr]:
    """The attributes of a reader that pads so much itself."""
    found = {name: attribute for name, attribute in node.attributes.items() if name != "auto_pad"}
    found["pads"] = ir.AttrInt64s("pads", pads)
    if is_op(node, "AveragePool"):
        found["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
    return found


def _fuse_past(reshape: ir.Node, pad: ir.Node, padding: Padding, source: ir.Value, context: Context) -> bool:
    """Case 4."""
    moved = _moved(reshape, padding, context)
    if moved is None or reshape.graph is None or reshape.graph is not pad.graph:
        return False
    there, target = moved
    tensor, hint = compact(np.asarray(target, np.int64)), f"{reshape.outputs[0].name}_unpadded"
    shape_name = f"{hint}_shape"
    pads = _pads_of_readers(reshape.outputs[0], there, source, context)
    if pads is None:
        return False
    renamed = len(pads) * (len(hint) - len(reshape.outputs[0].name or ""))
    node = node_bytes(new_node("Reshape", [], hint)) + len(source.name or "") + len(shape_name) + 8
    if initializer_bytes(tensor, shape_name) + node + renamed + _growth(pads) > bytes_freed([pad, reshape]):
        return False
    shape = add_constant(reshape.graph, tensor, context.names.fresh(shape_name))
    plain = new_node("Reshape", [source, shape], context.names.fresh(hint))
    reshape.graph.insert_before(reshape, [plain])
    _take(reshape.outputs[0], plain.outputs[0], pads)
    return True


def _moved(reshape: ir.Node, padding: Padding, context: Context) -> tuple[Padding, list[int]] | None:
    """The padding behind a node that adds or drops axes of size 1, and the shape there without it (-1 for one unknown axis)."""
    here, there = (context.shapes.of(v) for v in (reshape.inputs[0], reshape.outputs[0]))
    if here is None or there is None:
        return None
    axes, places = ([i for i, size in enumerate(s) if size != 1] for s in (here, there))
    if len(axes) != len(places) or sum(not isinstance(there[p], int) for p in places) > 1 or 0 in here:
        return None
    if any(isinstance(here[a], int) != isinstance(there[p], int) for a, p in zip(axes, places, strict=True)):
        return None
    known = [(here[a], there[p]) for a, p in zip(axes, places, strict=True) if isinstance(here[a], int)]
    if any(a != b for a, b in known):
        return None
    place = dict(zip(axes, places, strict=True))
    before, after = [0] * len(there), [0] * len(there)
    target = [size if isinstance(size, int) else -1 for size in there]
    for axis in padding.axes:
        if axis not in place or target[place[axis]] == -1:
            return None
        before[place[axis]], after[place[axis]] = padding.before[axis], padding.after[axis]
        target[place[axis]] -= padding.before[axis] + padding.after[axis]
    if any(size == 0 for size in target):
        return None
    return Padding(tuple(before), tuple(after), padding.value), target
