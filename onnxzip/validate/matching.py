"""Which values of two models stand for the same thing.

Tried in this order; a value is matched once, shapes on the first batch must be equal, and outputs always stand for the output of their name:

1. name      the same name;
2. derived   the name that a quantizer or converter makes of it (`x_DequantizeLinear_Output` and the like);
3. origin    made by a node of the same name and operator, or with the same mark of the exporter in its metadata (its place in the torch module, ...);
4. content   nearly the same numbers on the first batch;
5. reader    read at the same place by the same operator, in nodes that make matched values;
6. place     the same operator and shape, at the same place in the order of the graphs between what is matched already.

A name may be reused for something else: where a pair's numbers differ and the candidate's are nearly those of another value that has no good
partner, content goes before the name. What is still matched wrongly is found out later (`onnxzip.validate.layers`): there the error of a
pair is undone right behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial

import onnx_ir as ir

from onnxzip.validate.taps import Sketch

EQUAL_DB = 60.0
"""Numbers that agree so well are those of the same value."""

OTHER_DB = 20.0
"""Numbers of one name that agree less may be those of another value."""

_SUFFIXES = ("_DequantizeLinear_Output", "_DequantizeLinear", "_dequantized", "_QuantizeLinear_Input", "_output_cast0")
_PREFIXES = ("InsertedPrecisionFreeCast_", "DequantizeLinear_")


@dataclass(frozen=True)
class Pair:
    """A value of the original, the candidate's that stands for it, and how they were found to belong together."""

    name: str
    counterpart: str
    how: str


@dataclass(frozen=True)
class Side:
    """One of the two models, and the sketches of its inner values on the first batch."""

    model: ir.Model
    sketches: Mapping[str, Sketch]


def match(original: Side, candidate: Side) -> list[Pair]:
    """Pairs of float values of the main graphs, in the order of the original; outputs that are no float tensors are not among them."""
    return _Matcher(original, candidate).run()


class _Matcher:
    """The pairs so far."""

    def __init__(self, original: Side, candidate: Side) -> None:
        self._a, self._b = original.sketches, candidate.sketches
        self._models = original.model, candidate.model
        self._nodes = tuple(
            {o.name or "": (n, i) for n in side.model.graph for i, o in enumerate(n.outputs) if o.name in side.sketches}
            for side in (original, candidate)
        )
        self._outputs = {v.name or "" for v in original.model.graph.outputs}
        self._pairs: dict[str, Pair] = {}
        self._taken: set[str] = set()

    def run(self) -> list[Pair]:
        for name in self._outputs:
            self._add(name, name, "output")
        for name in self._a:
            self._add(name, name, "name")
        for name in self._open_b():
            self._add(_plain(name), name, "derived")
        self._by_key(_by_node)
        for mark in sorted({k for nodes in self._nodes for n, _ in nodes.values() for k in n.metadata_props}):
            self._by_key(partial(_by_mark, mark))
        self._drop_reused_names()
        self._by_content()
        self._by_reader()
        self._by_place()
        return [self._pairs[n] for n in self._a if n in self._pairs]

    def _add(self, name: str, counterpart: str, how: str) -> None:
        """Match two values, if both are there, free, and of one shape."""
        if name in self._pairs or counterpart in self._taken or name not in self._a or counterpart not in self._b:
            return
        if how != "output" and (name in self._outputs or counterpart in self._outputs):
            return
        if self._a[name].shape == self._b[counterpart].shape:
            self._pairs[name] = Pair(name, counterpart, how)
            self._taken.add(counterpart)

    def _open_a(self) -> list[str]:
        return [n for n in self._a if n not in self._pairs]

    def _open_b(self) -> list[str]:
        return [n for n in self._b if n not in self._taken]

    def _by_key(self, key: Callable[[ir.Node, int], tuple[object, ...] | None]) -> None:
        """Match values whose key is that of one value only, on both sides."""
        keys = []
        for nodes in self._nodes:
            found = {name: key(*place) for name, place in nodes.items()}
            counts = Counter(found.values())
            keys.append({k: name for name, k in found.items() if k is not None and counts[k] == 1})
        for k, name in keys[0].items():
            if k in keys[1]:
                self._add(name, keys[1][k], "origin")

    def _drop_reused_names(self) -> None:
        """Let go of pairs whose candidate holds nearly the numbers of another value without a good partner."""
        bad = [p for p in self._pairs.values() if p.how != "output" and self._sqnr(p) < OTHER_DB]
        without = [*self._open_a(), *(p.name for p in bad)]
        for pair in bad:
            content = self._b[pair.counterpart]
            if content.tells and any(self._a[n].sqnr(content) >= EQUAL_DB for n in without if n != pair.name):
                del self._pairs[pair.name]
                self._taken.discard(pair.counterpart)

    def _sqnr(self, pair: Pair) -> float:
        return self._a[pair.name].sqnr(self._b[pair.counterpart])

    def _by_content(self) -> None:
        shapes: dict[tuple[int, ...], list[str]] = {}
        for name in self._open_b():
            if self._b[name].tells:
                shapes.setdefault(self._b[name].shape, []).append(name)
        for name in self._open_a():
            mine = self._a[name]
            near = [n for n in shapes.get(mine.shape, ()) if n not in self._taken and mine.sqnr(self._b[n]) >= EQUAL_DB]
            if near and mine.tells:
                self._add(name, near[0], "content")

    def _by_reader(self) -> None:
        pending = list(self._pairs.values())
        while pending:
            pair = pending.pop()
            (left, _), (right, _) = self._nodes[0][pair.name], self._nodes[1][pair.counterpart]
            if left.op_type != right.op_type:
                continue
            for a, b in zip(left.inputs, right.inputs, strict=False):
                name = "" if a is None else a.name or ""
                if b is not None and name not in self._pairs:
                    self._add(name, b.name or "", "reader")
                    pending += [self._pairs[name]] if name in self._pairs else []

    def _by_place(self) -> None:
        """Align the orders of both graphs: matched pairs are landmarks, the rest goes by operator and shape."""
        partner = {p.counterpart: p.name for p in self._pairs.values()}
        left: list[object] = [n if n in self._pairs else self._kind(0, n) for n in self._a]
        right: list[object] = [partner.get(n) or self._kind(1, n) for n in self._b]
        a, b = list(self._a), list(self._b)
        for block in SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks():
            for i in range(block.size):
                self._add(a[block.a + i], b[block.b + i], "place")

    def _kind(self, side: int, name: str) -> tuple[object, ...]:
        node, index = self._nodes[side][name]
        return node.op_type, index, (self._a, self._b)[side][name].shape


def _plain(name: str) -> str:
    """The name without what a quantizer or converter puts around it."""
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _by_node(node: ir.Node, index: int) -> tuple[object, ...] | None:
    return (node.name, node.op_type, index) if node.name else None


def _by_mark(mark: str, node: ir.Node, index: int) -> tuple[object, ...] | None:
    content = node.metadata_props.get(mark)
    return (content, node.op_type, index) if content else None


def regions(model: ir.Model, ends: Sequence[str]) -> Iterator[tuple[str, list[ir.Node], set[str]]]:
    """For each of these values of the main graph: its name, the nodes between it and the nearest others (in order), and these others.

    Constants are not among the nodes, graph inputs not among the others.
    """
    cut, order = set(ends), {node: i for i, node in enumerate(model.graph)}
    values = {o.name: o for node in model.graph for o in node.outputs if o.name in cut}
    for name in ends:
        nodes, sources = set[ir.Node](), set[str]()
        pending = [values[name].producer()]
        while pending:
            node = pending.pop()
            if node is None or node in nodes or node not in order:
                continue
            nodes.add(node)
            for value in _read(node):
                if value.name in cut and value.producer() in order:
                    sources.add(value.name or "")
                else:
                    pending.append(value.producer())
        yield name, sorted((n for n in nodes if n.op_type != "Constant"), key=order.__getitem__), sources


def _read(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, its bodies included."""
    yield from (v for v in node.inputs if v is not None)
    for attribute in node.attributes.values():
        if attribute.is_ref() or attribute.type not in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            continue
        bodies = [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
        for body in bodies:
            for inner in body.all_nodes():
                yield from (v for v in inner.inputs if v is not None)
            yield from body.outputs
