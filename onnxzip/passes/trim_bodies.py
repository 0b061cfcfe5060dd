"""What If, Loop and Scan compute and nobody reads goes, inside of their bodies too.

Exact. Legal cases:
1. An output of an If that nobody reads: both branches give one output less.
2. What a Loop or Scan carries from turn to turn, if the carried value serves nothing but its own next turn: it goes.
3. What is carried unchanged: the body reads the value that the Loop or Scan was given, and so do the readers of the output.
4. A scan output that nobody reads. An input of a Scan that its body does not need (one input stays: it says how many turns).
What the body computed for them alone is left to `remove_dead`. Left alone: nodes none of whose outputs is read.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, is_read, remove, replace
from onnxzip.model.walk import PURE_DOMAINS, bodies_of, is_op
from onnxzip.passes.bodies import keep, let_go, needed, rebuild
from onnxzip.passes.context import Context
from onnxzip.passes.local import local


@local("If")
def trim_ifs(node: ir.Node, context: Context) -> bool:
    """Case 1."""
    kept = [index for index, output in enumerate(node.outputs) if is_read(output)]
    if not kept or len(kept) == len(node.outputs):
        return False
    for key in ("then_branch", "else_branch"):
        keep(node.attributes[key].as_graph().outputs, kept)
    rebuild(node, node.inputs, kept, {})
    return True


@local("Loop", "Scan", since=9)
def trim_loops(node: ir.Node, context: Context) -> bool:
    """Cases 2 to 4."""
    if not any(is_read(o) for o in node.outputs):
        return False
    loop = _Turns(node)
    return loop.read_unchanged() or loop.trim()


class _Turns:
    """The body of a Loop or Scan: which of its inputs and outputs are carried, and which are scanned."""

    def __init__(self, node: ir.Node) -> None:
        self.node = node
        self.body = node.attributes["body"].as_graph()
        self.given = 2 if is_op(node, "Loop") else 0
        """Inputs of the node and of the body before the carried ones: the trip count or number of the turn, the condition."""
        self.leading = 1 if is_op(node, "Loop") else 0
        """Outputs of the body before the carried ones: the condition."""
        self.scanned = node.attributes.get_int("num_scan_inputs", 0)
        self.carried = len(self.body.inputs) - self.given - self.scanned

    def read_unchanged(self) -> bool:
        """Case 3."""
        changed = False
        for index in range(self.carried):
            inner, result = self.body.inputs[self.given + index], self.body.outputs[self.leading + index]
            outer, output = self.node.inputs[self.given + index], self.node.outputs[index]
            copy = result.producer()
            if copy is not None and is_op(copy, "Identity") and result is copy.outputs[0]:
                result = copy.inputs[0] or result
            if outer is None or result is not inner:
                continue
            for reader, position in tuple(inner.uses()):
                if reader is not copy:
                    reader.replace_input_with(position, outer)
                    changed = True
            if is_read(output) and can_replace(output, outer):
                replace(output, outer)
                changed = True
        return changed

    def trim(self) -> bool:
        """Cases 2 and 4."""
        if any(node.domain not in PURE_DOMAINS for node in self.body):
            return False  # it may have an effect of its own
        outputs, depends = self._live()
        carried = [self.given + i for i in range(self.carried) if i in outputs]
        scans = list(range(self.given + self.carried, len(self.body.inputs)))
        scanned = [i for i in scans if self.body.inputs[i] in depends] or scans[:1]
        inputs = [*range(self.given), *carried, *scanned]
        if len(outputs) == len(self.node.outputs) and len(inputs) == len(self.body.inputs):
            return False
        keep(self.body.outputs, [*range(self.leading), *(self.leading + i for i in outputs)])
        self._remove_unread()
        keep(self.body.inputs, inputs)
        attributes: dict[str, list[int]] = {}
        if self.scanned:
            attributes = self._of_scans(
                [i - scans[0] for i in scanned], [i - self.carried for i in outputs if i >= self.carried]
            )
            self.node.attributes["num_scan_inputs"] = ir.AttrInt64("num_scan_inputs", len(scanned))
        rebuild(self.node, [self.node.inputs[i] for i in inputs], outputs, attributes)
        return True

    def _live(self) -> tuple[list[int], set[ir.Value]]:
        """The outputs that something depends on, and all that they depend on in the body."""
        live = {i for i, output in enumerate(self.node.outputs) if is_read(output)}
        while True:
            read = [self.body.outputs[self.leading + i] for i in live]
            depends = needed([*self.body.outputs[: self.leading], *read])
            more = {i for i in range(self.carried) if self.body.inputs[self.given + i] in depends} - live
            if not more:
                return sorted(live), depends
            live |= more

    def _remove_unread(self) -> None:
        """Remove what now gives no output, so that no node reads an input that goes."""
        for node in reversed(self.body):
            if not any(is_read(o) for o in node.outputs):
                for inner in bodies_of(node):
                    let_go(inner)
                remove(node)

    def _of_scans(self, inputs: list[int], outputs: list[int]) -> dict[str, list[int]]:
        """The attributes of a Scan that say something of each scan input or output, for those that stay."""
        found = {}
        for name in ("scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions"):
            given = self.node.attributes.get_ints(name)
            if given is not None:
                found[name] = [given[i] for i in (inputs if "_input_" in name else outputs)]
        return found
