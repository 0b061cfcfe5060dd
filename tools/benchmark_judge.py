"""How far a quantized model is from its original, how large, how fast: one yardstick, whoever made it.

- agree: the score of the case. SQNR: 10 log10(Σ r² / Σ (r - o)²) over all evaluation data, of the worst float output, in dB.
- size: bytes of the file and its external data over those of the original.
- latency: time of the model over time of the other, median over pairs in turn, one thread, all of onnxruntime's optimizations.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmark_checks as checks
import benchmark_child as child
import numpy as np
import onnx
import onnxruntime as ort  # noqa: TID251 - this judges onnxzip too, so it must not ask onnxzip
from benchmark_data import Feed, Given, Outputs

TIMED = 12
"""Evaluation feeds that are timed."""
INTEGER = ("quantize", "qlinear", "qgemm", "qattention", "integer", "nbits")
"""What the names of operators have in them (in lower case) that hold or compute something quantized."""
SMALL = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4)
"""Types of weights that are stored as integers, whatever makes float numbers of them."""


def judge(given: Given, path: str, exact: str | None, rounds: int) -> dict[str, Any]:
    """The figures of the model at `path`, for a process of its own.

    Args:
        given: the case.
        path: the model.
        exact: another float model to time it against, if there is one.
        rounds: how often each of the timed feeds is timed.

    Returns:
        agree (where there are decisions), sqnr, size, latency, against_exact (where there is one) and quantized: whether
        any operator or weight is, that was not so in the original.
    """
    child.silence()
    case = given.open()
    original, other = open_deployed(case.model), open_deployed(path)
    reference = [original.run(None, feed) for feed in case.evaluation]
    outputs = [other.run(None, feed) for feed in case.evaluation]
    timed = case.evaluation[:TIMED]
    row = case.score(reference, outputs) | {
        "sqnr": sqnr(reference, outputs),
        "size": bytes_of(path) / bytes_of(case.model),
        "latency": paired(original, other, timed, rounds),
        "quantized": _quantized(path) > _quantized(case.model),
    }
    if exact is not None:
        row["against_exact"] = paired(open_deployed(exact), other, timed, rounds)
    return row


def open_deployed(path: str) -> Any:
    """A model as it is deployed, on one thread."""
    return checks.open_session(path, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)


def sqnr(reference: Outputs, outputs: Outputs) -> float:
    """In dB, of the worst float output; -inf where one is not finite."""
    found = [np.inf]
    for number, first in enumerate(reference[0]):
        if first.dtype.kind != "f":
            continue
        pairs = [(r[number].astype(np.float64), o[number]) for r, o in zip(reference, outputs, strict=True)]
        signal, noise = (sum(float(np.square(x).sum()) for x in xs) for xs in ([r for r, _ in pairs], _errors(pairs)))
        found.append((10 * np.log10(signal / noise) if noise else np.inf) if np.isfinite(noise) else -np.inf)
    return float(min(found))


def _errors(pairs: Sequence[tuple[Any, Any]]) -> list[Any]:
    return [one - other for one, other in pairs]


def paired(before: Any, after: Any, feeds: Sequence[Feed], rounds: int) -> float:
    """Median of time after / time before, feed by feed; who goes first alternates."""
    ratios = []
    for number, feed in enumerate([f for _ in range(rounds) for f in feeds]):
        pair = (before, after) if number % 2 else (after, before)
        times = dict(zip(pair, (seconds(session, [feed]) for session in pair), strict=True))
        ratios.append(times[after] / times[before])
    return float(np.median(ratios))


def seconds(session: Any, feeds: Sequence[Feed]) -> float:
    """One run over the feeds, wall clock."""
    start = time.perf_counter()
    for feed in feeds:
        session.run(None, feed)
    return time.perf_counter() - start


def bytes_of(path: str) -> int:
    """The file and its external data, found by the names that it gives."""
    model, file = onnx.load(path, load_external_data=False), Path(path)
    beside = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    return file.stat().st_size + sum((file.parent / name).stat().st_size for name in beside)


def _quantized(path: str) -> int:
    """Quantized operators and weights, those in bodies included."""
    graphs, found = [onnx.load(path, load_external_data=False).graph], 0
    while graphs:
        graph = graphs.pop()
        found += sum(tensor.data_type in SMALL for tensor in graph.initializer)
        for node in graph.node:
            found += any(word in node.op_type.lower() for word in INTEGER)
            graphs += [b for a in node.attribute for b in ([a.g] if a.HasField("g") else a.graphs)]
    return found
