"""Local passes: a rule that looks at one node and what is next to it, run from a worklist.

A rule is written as a function of the node that it starts from:

    @local("Transpose")
    def merge_transposes(node: ir.Node, context: Context) -> bool: ...

It returns whether it changed the graph; when it returns False it has changed nothing. All local passes that stand next
to each other in the table run in one sweep: every node is looked at once, and again only when something near it was
rewritten. So the time of a sweep grows with the graph and with what there is to rewrite, not with the square of either.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.model.walk import ONNX_DOMAINS, bodies_of, label
from onnxzip.passes.context import Context, Outcome, Share
from onnxzip.passes.scope import scopes

Rule = Callable[[ir.Node, Context], bool]

_REACH = 3
"""How many nodes away from a rewrite others are looked at again."""

_FAN = 16
"""Readers of one value that are looked at again. The others have their turn in the next round of the table."""


class LocalPass:
    """A rule as a pass: which operators it starts from, and since which opset it understands them."""

    def __init__(self, rule: Rule, ops: Iterable[str], since: int) -> None:
        self.__name__ = rule.__name__
        self.__doc__ = rule.__doc__
        self.rule = rule
        self.ops = frozenset(ops)
        self.since = since

    def __call__(self, model: ir.Model, context: Context) -> Outcome:
        """Run it alone, to its own fixed point."""
        return sweep((self,), model, context)


def local(*ops: str, since: int = 7) -> Callable[[Rule], LocalPass]:
    """Make a pass of a rule that starts from nodes of these operators (of the standard domain), from opset `since` on."""
    return lambda rule: LocalPass(rule, ops, since)


def sweep(passes: Sequence[LocalPass], model: ir.Model, context: Context) -> Outcome:
    """Run these rules on every node, in the order of the graph, until none applies any more. Earlier passes go first."""
    rules: dict[str, list[LocalPass]] = {}
    for each in passes:
        if context.opset >= each.since:
            for op in each.ops:
                rules.setdefault(op, []).append(each)
    work = _Worklist(node for graph in scopes(model) for node in graph)
    shares = {each.__name__: _Running() for each in passes}
    steps, bound = 0, 4 * len(work) + 1000  # against rules that undo each other: far more than any real model needs
    while steps < bound and context.fuel.left and (node := work.next()) is not None:
        for each in rules.get(node.op_type, ()) if node.domain in ONNX_DOMAINS else ():
            where, near = label(node), _around(node)
            if shares[each.__name__].run(each, node, context):
                context.fuel.spend(each.__name__, where)
                work.add(near)
                steps += 1
                break
    if steps:
        model.graph.sort()  # bodies too: a rule need not mind where among other nodes its own are put
    found = {name: s.share() for name, s in shares.items()}
    return Outcome(steps, tuple(n for s in found.values() for n in s.notes), found)


@dataclass
class _Running:
    """What one rule has done so far."""

    changes: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def run(self, current: LocalPass, node: ir.Node, context: Context) -> bool:
        start, noted = time.perf_counter(), len(context.notes)
        changed = current.rule(node, context)
        self.seconds += time.perf_counter() - start
        self.changes += changed
        self.notes += context.notes[noted:]
        return changed

    def share(self) -> Share:
        return Share(self.changes, self.seconds, tuple(dict.fromkeys(self.notes)))


class _Worklist:
    """Nodes to look at, each at most once at a time."""

    def __init__(self, nodes: Iterable[ir.Node]) -> None:
        self._queue = deque(nodes)
        self._waiting = set(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    def next(self) -> ir.Node | None:
        while self._queue:
            node = self._queue.popleft()
            self._waiting.discard(node)
            if node.graph is not None:
                return node
        return None

    def add(self, near: Iterable[ir.Node]) -> None:
        """Add what of these nodes is still there, and what is near to them now."""
        reached = {n: None for n in near if n.graph is not None}
        border = list(reached)
        for _ in range(_REACH - 1):
            border = [n for node in border for n in _next_to(node) if n not in reached]
            reached.update(dict.fromkeys(border))
        for node in reached:
            if node not in self._waiting:
                self._waiting.add(node)
                self._queue.append(node)


def _around(node: ir.Node) -> list[ir.Node]:
    return [node, *_next_to(node)]


def _next_to(node: ir.Node) -> list[ir.Node]:
    """Producers, some readers, and what gives the outputs of its bodies."""
    found = [p for v in node.inputs if v is not None and (p := v.producer()) is not None and p.op_type != "Constant"]
    for output in node.outputs:
        for count, use in enumerate(output.uses()):
            if count == _FAN:
                break
            found.append(use.node)
    for body in bodies_of(node):
        found += [n for v in body.outputs if (n := v.producer()) is not None]
    return found
