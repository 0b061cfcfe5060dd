#!/usr/bin/env python3
"""A third of the channels of real topologies zeroed, then exact elimination: does all go that can, and is the rest as it was?

    python tools/check_zeroed.py [NAME ...] [--seed 0] [--raw]

The light_*.onnx networks in the onnx package (AlexNet, DenseNet-121, Inception v1 and v2, ResNet-50, ShuffleNet, SqueezeNet, VGG-19,
ZFNet), with seeded weights stored. What is coupled is traced here, without onnxzip, over the few operators that they consist of;
`tests/prune/zoo.py` has the same networks, small, coupled by hand. Weights, biases and offsets of a zeroed channel are 0.

Where layers have groups, as many channels are zeroed as can go: equally many from each group of every such layer, and from each cell
(group that makes it, group that reads it) of every shuffle, at most a third of what is alike in all of them (an integer program).

Printed: channels that go and that must go, the largest error as a part of the output's spread, and whether widths that are
multiples of 8 stay such with `multiple=8`. The exact rewriting comes first; --raw: not. VGG-19 needs 4 GB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import benchmark_checks as checks
import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper
from scipy.optimize import Bounds, LinearConstraint, milp

from onnxzip.model.load import load
from onnxzip.model.save import to_proto
from onnxzip.passes.runner import run
from onnxzip.prune import eliminate

Ids = np.ndarray[Any, Any]
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
PASS = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Dropout", "Mul", "Add")
FREEZE = ("LRN", "Softmax")


@dataclass
class Trace:
    """Which channel each position belongs to, in one walk. Channel 0 stands for all that cannot go.

    Attributes:
        rows: (weights, channels) of layers that make channels. depthwise: the same of those that do not.
        vectors: (offsets, channels): biases, offsets and means of BatchNormalization, what Add adds.
        even: lists of sets of channels that must lose equally many.
    """

    graph: onnx.GraphProto
    parent: list[int] = field(default_factory=lambda: [0])
    ids: dict[str, Ids] = field(default_factory=dict)
    rows: list[tuple[str, Ids]] = field(default_factory=list)
    depthwise: list[tuple[str, Ids]] = field(default_factory=list)
    vectors: list[tuple[str, Ids]] = field(default_factory=list)
    even: list[list[Ids]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shapes = {t.name: tuple(t.dims) for t in self.graph.initializer}
        self.raised = {n.output[0]: n.input[0] for n in self.graph.node if n.op_type == "Unsqueeze"}
        for node in self.graph.node:
            flags = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type in ("Conv", "Gemm"):
                self._layer(node, flags.get("group", 1), 1 if node.op_type == "Gemm" and not flags.get("transB") else 0)
            elif node.input[0] in self.ids:
                self.ids[node.output[0]] = self._pass(node, flags)
        self._join(np.concatenate([self.ids[o.name].ravel() for o in self.graph.output]), np.zeros(1, np.int64))

    def root(self, channel: int) -> int:
        """The smallest channel that goes with this one."""
        while self.parent[channel] != channel:
            channel = self.parent[channel]
        return channel

    def _join(self, left: Ids, right: Ids) -> None:
        for a, b in np.broadcast(left, right):
            one, other = sorted((self.root(int(a)), self.root(int(b))))
            self.parent[other] = one

    def _layer(self, node: onnx.NodeProto, groups: int, axis: int) -> None:
        shape = self.shapes.get(node.input[1])
        if shape is None:  # weights behind a Reshape: the classifier of Inception
            self.ids[node.output[0]] = np.zeros(1, np.int64)
            return
        reads = self.ids.get(node.input[0])
        if reads is not None and groups == len(reads) > 1:
            made = reads
            self.depthwise.append((node.input[1], made))
        else:
            made = np.arange(len(self.parent), len(self.parent) + shape[axis])
            self.parent.extend(made.tolist())
            self.rows.append((node.input[1], made))
            if groups > 1:
                self.even += [np.split(made, groups), *([] if reads is None else [np.split(reads, groups)])]
        self.vectors += [(name, made) for name in node.input[2:]]
        self.ids[node.output[0]] = made

    def _pass(self, node: onnx.NodeProto, flags: dict[str, Any]) -> Ids:
        held, kind = self.ids[node.input[0]], node.op_type
        if kind == "Concat":
            return np.concatenate([self.ids[i] for i in node.input])
        if kind == "Sum":
            self._join(held, self.ids[node.input[1]])
        elif kind == "BatchNormalization":
            self.vectors += [(node.input[2], held), (node.input[3], held)]
        elif kind == "Add":
            self.vectors.append((self.raised.get(self.raised[node.input[1]], self.raised[node.input[1]]), held))
        elif kind in FREEZE:
            self._join(held.ravel(), np.zeros(1, np.int64))
        elif kind == "Transpose":
            self._shuffle(held)
            return held.T
        elif kind == "Reshape":
            target = next(numpy_helper.to_array(t) for t in self.graph.initializer if t.name == node.input[1])
            return held.reshape(target[1:3]) if len(target) == 5 else held.ravel()
        elif kind not in PASS:
            raise NotImplementedError(kind)
        return held

    def _shuffle(self, held: Ids) -> None:
        groups, size = held.shape
        reader = np.arange(held.size).reshape(size, groups).T // size
        self.even.append([held[g][reader[g] == r] for g in range(groups) for r in range(groups)])


def choose(trace: Trace, rng: np.random.Generator) -> set[int]:
    """Channels, one of all that go together, that are zeroed and can all go."""
    roots = np.array([trace.root(c) for c in range(len(trace.parent))])
    member: dict[int, list[Any]] = {int(r): [] for r in np.unique(roots) if r}
    alike = {c: c for c in member}
    for _, made in trace.rows:  # channels of one layer are chosen from together
        first = next((int(r) for r in roots[made] if r), 0)
        for channel in roots[made].tolist():
            if channel:
                alike[channel] = min(alike[channel], alike[first])
    for number, sets in enumerate(trace.even):
        for place, one in enumerate(sets):
            for channel in set(roots[one].tolist()) - {0}:
                member[channel].append((number, place))
    cells: dict[Any, list[int]] = {}
    for channel, places in member.items():
        cells.setdefault((alike[channel], tuple(places)), []).append(channel)
    equations = []
    for number, sets in enumerate(trace.even):
        counts = np.array([[key[1].count((number, p)) for key in cells] for p in range(len(sets))])
        equations.append(counts[1:] - counts[:1])
    most = [-(-len(c) // 3) if key[1] else len(c) // 3 for key, c in cells.items()]
    limits = [LinearConstraint(np.concatenate(equations), 0, 0)] if equations else []
    found = milp(-np.ones(len(cells)), integrality=np.ones(len(cells)), bounds=Bounds(0, most), constraints=limits)
    counts = np.round(found.x).astype(int)
    return {int(c) for cell, n in zip(cells.values(), counts, strict=True) for c in rng.permutation(cell)[:n]}


def zero(model: onnx.ModelProto, seed: int) -> int:
    """Zero channels in place; the number of positions that must go, over the layers that make channels."""
    trace = Trace(model.graph)
    dead = choose(trace, np.random.default_rng(seed))
    gone = np.array([trace.root(c) in dead for c in range(len(trace.parent))])
    stored = {t.name: t for t in model.graph.initializer}
    for name, ids in (*trace.rows, *trace.depthwise, *trace.vectors):
        content = numpy_helper.to_array(stored[name]).copy()
        content[gone[ids]] = 0
        stored[name].CopyFrom(numpy_helper.from_array(content, name))
    return int(sum(gone[ids].sum() for _, ids in trace.rows))


def check(path: Path, seed: int, *, rewritten: bool) -> str:
    """One network; a line."""
    with tempfile.TemporaryDirectory() as folder:
        proto = onnx.load(str(checks.with_stored_weights(path, Path(folder))))
    expected = zero(proto, seed)
    model = load(proto).model
    model = run(model)[0] if rewritten else model
    start = time.perf_counter()
    result, record = eliminate(model)
    seconds = time.perf_counter() - start
    eighths, _ = eliminate(model, multiple=8)
    even = all(b % 8 or not a % 8 for b, a in zip(widths(model), widths(eighths), strict=True))
    errors = [error(proto, to_proto(r)) for r in (result, eighths)]
    verdict = "ok" if record.removed == expected and even and max(errors) < 1e-4 else "WRONG"
    eight = "stay" if even else "DO NOT stay"
    return f"{verdict:5s} {record.removed} of {expected} channels, error {max(errors):.1e}, multiples of 8 {eight}, {seconds:.1f} s"


def widths(model: ir.Model) -> list[int]:
    """First axes of the weights of all Convs."""
    weights = [n.inputs[1] for n in model.graph if n.op_type == "Conv"]
    return [int(v.shape.numpy()[0]) for v in weights if v is not None and v.shape is not None]


def error(before: onnx.ModelProto, after: onnx.ModelProto) -> float:
    """The largest difference, as a part of the spread of the output (many a softmax of random weights is nearly even)."""
    value = before.graph.input[0]
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
    feed = {value.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    expected, found = (checks.open_session(m).run(None, feed)[0].astype(np.float64) for m in (before, after))
    return float(np.abs(expected - found).max() / np.ptp(expected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", action="store_true", help="do not rewrite the model before")
    args = parser.parse_args()
    for path in sorted(LIGHT.glob("light_*.onnx")):
        name = path.stem.removeprefix("light_")
        if not args.names or name in args.names:
            print(f"{name:14s} {check(path, args.seed, rewritten=not args.raw)}", flush=True)


if __name__ == "__main__":
    main()
