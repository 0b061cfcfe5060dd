"""Latency by operator, as the runtime's own profile has it.

Each run leaves one event a node, with its operator and duration. Durations are summed by operator within a run; reported is the median over the
runs, those that warm up aside. Profiling itself takes time, so that the sums are no measure of speed: that is the paired stopwatch's.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.runtime import Batch, Session

WARM_UP, RUNS = 3, 15


def latency_by_operator(model: ir.Model, feeds: Sequence[Batch], *, level: str = "all") -> dict[str, float]:
    """Microseconds that the nodes of each operator take in one run, one thread, longest first.

    Args:
        model: the model.
        feeds: batches of the same size; they take turns.
        level: graph optimizations of onnxruntime, as of `Session`. Operators are those of the graph that it makes.

    Raises:
        ModelError: onnxruntime does not load the model, or fails on a batch.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = Session(model, level=level, threads=1, timed=True, profile_to=Path(folder) / "profile")
        for feed in itertools.islice(itertools.cycle(feeds), WARM_UP + RUNS):
            session.run(feed)
        events = json.loads(session.end_profile().read_text())
    runs = _by_run(events)[WARM_UP:]
    totals = {op: float(np.median([r.get(op, 0.0) for r in runs])) for op in sorted({o for r in runs for o in r})}
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _by_run(events: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Summed durations by operator, one dictionary a run, in order of time."""
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run")
    totals: list[dict[str, float]] = [defaultdict(float) for _ in runs]
    kernels = [e for e in events if e.get("cat") == "Node" and str(e.get("name", "")).endswith("_kernel_time")]
    starts = [start for start, _ in runs]
    for event in kernels:
        run = int(np.searchsorted(starts, event["ts"], side="right")) - 1
        if run >= 0 and event["ts"] <= runs[run][1]:
            totals[run][event["args"]["op_name"]] += event["dur"]
    return totals
