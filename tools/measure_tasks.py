#!/usr/bin/env python3
"""Optimize real models with real data, exactly and to int8, and print what came out.

    python tools/measure_tasks.py EVALKIT [TASK ...] [--presets int8 weights8] [--search-time 60] [--out FOLDER] [--rounds 3]

EVALKIT is a folder with `tasks.py` (TASKS: name to a function that gives model, calibration, evaluation, score) and
`measure.py` (measure: score, SQNR, size, latency ratio, paired, one thread). Every row is one model:

    task, what was done, verdict of onnxzip itself, agreement with the original, SQNR, size ratio, latency ratio, seconds
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import onnxzip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evalkit", type=Path)
    parser.add_argument("tasks", nargs="*")
    parser.add_argument("--out", type=Path, help="keep the models here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--presets", nargs="*", default=["int8"], help="beside exact: int8, weights8, weights4, fp16")
    parser.add_argument("--search-time", type=float, default=0.0, help="seconds, for int8")
    args = parser.parse_args()
    sys.path.insert(0, str(args.evalkit))
    from measure import measure  # type: ignore[import-not-found]
    from tasks import TASKS  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(
            f"{'task':18s} {'preset':8s} {'verdict':8s} {'agree':>7s} {'SQNR dB':>8s} {'size':>6s} {'latency':>8s} {'seconds':>8s}"
        )
        for name in args.tasks or TASKS:
            task, reference = TASKS[name](), None
            for preset, calibration in (("exact", None), *((p, task.calibration) for p in args.presets)):
                start = time.perf_counter()
                config = onnxzip.Config(preset=preset, search_time=args.search_time if preset == "int8" else 0)
                result = onnxzip.optimize(task.model, calibration, config=config)
                seconds = time.perf_counter() - start
                path = result.save(folder / f"{name}.{preset}.onnx")[0]
                row, reference = measure(task, str(path), reference, rounds=args.rounds)
                passed = "passed" if result.verdict.passed else "MISSED"
                print(
                    f"{name:18s} {preset:8s} {passed:8s} {row['agree']:7.4f} {row['sqnr_db']:8.1f} {row['size']:6.3f} {row['latency']:8.2f} {seconds:8.1f}",
                    flush=True,
                )
                kept = result.report.record.stages[-1]
                if preset != "exact" and not kept.kept:
                    print(f"    {kept.name} was taken back: {kept.summary}")
                for reason in result.verdict.reasons:
                    print(f"    {reason}")


if __name__ == "__main__":
    main()
