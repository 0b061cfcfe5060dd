#!/usr/bin/env python3
"""What calibration costs, in plain float passes over the same batches, one thread.

    OPENBLAS_NUM_THREADS=1 python tools/benchmark_calibration.py EVALKIT [TASK ...] [--rounds 5]

EVALKIT is a folder with `tasks.py` (see measure_tasks.py). Each model is first rewritten exactly, as `onnxzip optimize` does. A round runs, one
after the other: all calibration batches through the float model, whose session stands ready, and one `collect` with each effort. Times are those of
the processor (`time.process_time`, one thread), so that other programs on the machine count less; a figure is the median over the rounds of the ratio
within a round. Columns:

    tensors     how many are looked at
    pass        milliseconds of a plain pass over all batches
    full, fast  `collect` in passes, everything counted, its session too
    run         of that, without making the session: what remains when there is more data
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxzip
from onnxzip.calibrate import collect
from onnxzip.model.load import load
from onnxzip.quantize import observe
from onnxzip.runtime import Session

EFFORTS = ("full", "fast")


class Marked:
    """Batches that note when the first one is asked for: that is when the session stands."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self._batches = batches
        self.began = 0.0

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.began = time.process_time()
        return iter(self._batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evalkit", type=Path)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sys.path.insert(0, str(args.evalkit))
    from tasks import TASKS  # type: ignore[import-not-found]

    print(
        f"{'task':18s} {'batches':>7s} {'tensors':>7s} {'pass ms':>8s}  {'full':>5s} {'run':>5s}  {'fast':>5s} {'run':>5s}"
    )
    rows = []
    for name in args.tasks or TASKS:
        task = TASKS[name]()
        rows.append(row := measured(task.model, task.calibration, args.rounds))
        print(f"{name:18s} {len(task.calibration):7d} {row[0]:7.0f} {row[1]:8.1f} {shown(row[2:])}", flush=True)
    columns = list(zip(*rows, strict=True))[2:]
    print(f"{'median':43s} {shown([statistics.median(c) for c in columns])}")
    print(f"{'largest':43s} {shown([max(c) for c in columns])}")


def measured(path: str, batches: list[dict[str, Any]], rounds: int) -> list[float]:
    """Tensors, milliseconds of a pass, and for each effort the ratio with and without making the session."""
    model = load(onnxzip.optimize(path).to_proto()).model
    tensors = observe(model, "cpu")
    plain, data, found = Session(model, threads=1), Marked(batches), []
    for _ in range(rounds + 1):
        began = time.process_time()
        for batch in batches:
            plain.run(batch)
        one_pass = time.process_time() - began
        row = [one_pass * 1e3]
        for effort in EFFORTS:
            began = time.process_time()
            collect(model, tensors, data, threads=1, effort=effort)  # type: ignore[arg-type]
            ended = time.process_time()
            row += [(ended - began) / one_pass, (ended - data.began) / one_pass]
        found.append(row)
    return [float(len(tensors)), *(statistics.median(c) for c in zip(*found[1:], strict=True))]


def shown(ratios: Any) -> str:
    full, run, fast, fast_run = ratios
    return f" {full:5.2f} {run:5.2f}  {fast:5.2f} {fast_run:5.2f}"


if __name__ == "__main__":
    main()
