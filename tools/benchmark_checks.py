"""What `benchmark_rewrite.py` holds an optimized model against: the original in onnxruntime, its optimizations off.

Inputs come from NAME.inputs.npz or test_data_set_0/ beside the model where there are such, else they are seeded.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # noqa: TID251 - this judges onnxzip too, so it must not ask onnxzip
from onnx import helper, numpy_helper

GROWTH = 256
"""Bytes that provenance may add."""


def verdict(path: Path, result: onnx.ModelProto) -> tuple[str, str]:
    """What became of the model at `path`, and the reason where it is not `ok`."""
    before = onnx.load(str(path))
    try:
        session = open_session(before)
        feed = _feed(path, before, session)
        expected = session.run(None, feed)
        if not _same(expected, session.run(None, feed)):
            return "ok", "random, so not compared"
    except Exception as error:  # noqa: BLE001 - the original itself: nothing to hold anybody to
        return "ok", f"not compared, the original does not run: {error}"[:200]
    if why := _interface_problem(before, result):
        return "interface", why
    try:
        found = open_session(result).run([o.name for o in session.get_outputs()], feed)
    except Exception as error:  # noqa: BLE001
        return "unloadable", str(error)[:200]
    if not _same(expected, found):
        return "mismatch", ""
    if result.ByteSize() > before.ByteSize() + GROWTH:
        return "bigger", f"{before.ByteSize()} to {result.ByteSize()} bytes"
    return "ok", ""


def why_not(path: Path) -> str:
    """Why the original cannot be compared with, in a word; empty when it can."""
    try:
        model = onnx.load(str(path))
        session = open_session(model)
        feed = _feed(path, model, session)
        return "" if _same(session.run(None, feed), session.run(None, feed)) else "random"
    except Exception:  # noqa: BLE001
        return "does not run"


def latency(path: Path, result: onnx.ModelProto, seconds: float = 3.0) -> tuple[float, float, float]:
    """Median of original / result over pairs in turn, and its quartiles; one thread, all of onnxruntime's optimizations."""
    before = onnx.load(str(path))
    sessions = [open_session(m, ort.GraphOptimizationLevel.ORT_ENABLE_ALL) for m in (before, result)]
    feed, ratios, end = _feed(path, before, sessions[0]), [], time.perf_counter() + seconds
    while len(ratios) < 15 or time.perf_counter() < end:
        times = [0.0, 0.0]
        for which in (0, 1) if len(ratios) % 2 else (1, 0):
            start = time.perf_counter()
            sessions[which].run(None, feed)
            times[which] = time.perf_counter() - start
        ratios.append(times[0] / times[1])
    low, median, high = statistics.quantiles(ratios[3:], n=4)
    return median, low, high


def count_nodes(graph: onnx.GraphProto) -> int:
    """Nodes, those in bodies included."""
    bodies = (b for n in graph.node for a in n.attribute for b in ([a.g] if a.HasField("g") else a.graphs))
    return len(graph.node) + sum(map(count_nodes, bodies))


def with_stored_weights(path: Path, folder: Path) -> Path:
    """A copy of the model whose generated weights are stored: ConstantOfShape of a constant shape becomes an initializer.

    Numbers are seeded and scaled so that what comes out of a deep network is finite: He initialisation for two and more
    axes, positive scales and variances of BatchNormalization, and small ones else.
    """
    model = onnx.load(str(path))
    graph, rng = model.graph, np.random.default_rng(0)
    constants = {t.name: t for t in graph.initializer}
    ranges = {1: (0.1, 0.5), 4: (0.5, 1.5)}  # of scale and variance; small scales, or sums of many branches grow
    positive = {n.input[i]: r for n in graph.node if n.op_type == "BatchNormalization" for i, r in ranges.items()}
    kept = []
    for node in graph.node:
        shape = constants.get(node.input[0]) if node.op_type == "ConstantOfShape" else None
        if shape is None:
            kept.append(node)
            continue
        sizes = numpy_helper.to_array(shape).tolist()
        if node.output[0] in positive:
            weight = rng.uniform(*positive[node.output[0]], sizes)
        else:
            weight = rng.standard_normal(sizes) * (np.sqrt(2 / np.prod(sizes[1:])) if len(sizes) > 1 else 0.01)
        graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), node.output[0]))
    if len(kept) == len(graph.node):
        return path
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in graph.node for name in node.input}
    unread = [t for t in graph.initializer if t.name not in read]
    for tensor in unread:
        graph.initializer.remove(tensor)
    held = {t.name for t in (*graph.initializer, *unread)}
    inputs = [v for v in graph.input if v.name not in held]
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)  # from then on weights need not be inputs
    target = folder / path.name
    onnx.save(model, str(target))
    return target


def open_session(model: onnx.ModelProto | str, level: Any = ort.GraphOptimizationLevel.ORT_DISABLE_ALL) -> Any:
    """A model or the path of one, on one thread of the CPU."""
    options = ort.SessionOptions()
    options.graph_optimization_level, options.intra_op_num_threads, options.log_severity_level = level, 1, 4
    content = model if isinstance(model, str) else model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _feed(path: Path, model: onnx.ModelProto, session: Any) -> dict[str, Any]:
    stored, rng = path.with_suffix(".inputs.npz"), np.random.default_rng(0)
    feed: dict[str, Any] = dict(np.load(stored)) if stored.exists() else {}
    wanted = {i.name for i in session.get_inputs()}
    for number, value in enumerate(model.graph.input):
        given = path.parent / "test_data_set_0" / f"input_{number}.pb"
        if given.exists():
            feed.setdefault(value.name, _read(given, value.type))
        elif value.name in wanted:
            feed.setdefault(value.name, _made_up(value.type.tensor_type, rng))
    return {name: array for name, array in feed.items() if name in wanted}


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    content = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return numpy_helper.to_array(onnx.TensorProto.FromString(content))


def _made_up(kind: onnx.TypeProto.Tensor, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    shape = [d.dim_value if d.HasField("dim_value") else 2 for d in kind.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.kind not in "iubf":
        raise ValueError(f"no made-up input of type {dtype}")
    made = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return np.asarray(made).astype(dtype)


def _interface_problem(before: onnx.ModelProto, after: onnx.ModelProto) -> str:
    """Which input or output is not what it was. Inputs with a default may go: nobody has to give them."""
    given = {v.name for v in after.graph.input}
    optional = {t.name for t in before.graph.initializer}
    old = [v for v in before.graph.input if v.name in given or v.name not in optional]
    for kind, left, right in (("input", old, after.graph.input), ("output", before.graph.output, after.graph.output)):
        if [v.name for v in left] != [v.name for v in right]:
            return f"the {kind}s are {[v.name for v in right]}, they were {[v.name for v in left]}"[:200]
        for one, other in zip(left, right, strict=True):
            if _type(one) != _type(other):
                return f"{kind} {one.name!r} has another type or shape"
    return ""


def _type(value: onnx.ValueInfoProto) -> object:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type":
        return value.type.SerializeToString()
    return tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.shape != other.shape or one.dtype != other.dtype:
            return False
        if one.dtype.kind != "f":
            return bool((one == other).all())
        return bool(np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True))
    return one is other or one == other or (isinstance(one, float) and bool(np.isclose(one, other, rtol=1e-3)))
