#!/usr/bin/env python3
"""Does every model of a folder end in a sound state in int8, on data made up from its input specification?

    python tools/check_corpus.py FOLDER [--skip NAME ...] [--keep-speed] [--seconds 600]

One line a model, in order of size: what became of it, the verdict, the size of the result as a share of the original, seconds, and why.

int8      quantized, kept, judged on other made-up inputs than those that tuned it
exact     int8 was not kept or not possible, with the reason; the exact result holds
refused   the model cannot be handled, with the reason
UNSOUND   the result does not load, has another interface, grew, or was kept without holding its verdict
CRASH     anything but an error that onnxzip explains

Each model runs in a process of its own, so that one that takes all of the memory or the time does not end the others. Exit code 1 where
something is unsound or crashed. Latency is not looked at (a loaded machine would decide what is kept), but with --keep-speed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

BAD = ("UNSOUND", "CRASH")


def look(path: Path, *, keep_speed: bool) -> dict[str, object]:
    """What became of one model."""
    import onnxzip
    from onnxzip.model.load import load
    from onnxzip.model.save import model_bytes
    from onnxzip.model.signature import differences, signature
    from onnxzip.runtime import Session

    config = onnxzip.Config(preset="int8", allow_unverified=True, measure_speed=None if keep_speed else False)
    try:
        result = onnxzip.optimize(path, config=config)
    except (onnxzip.ModelError, onnxzip.DataError, onnxzip.UsageError) as error:
        return {"state": "refused", "why": str(error)}
    before, stage = load(path), result.report.record.stages[-1]
    grown = model_bytes(result.model) > before.bytes
    broken = differences(signature(before.model), signature(load(result.to_proto()).model))
    Session(result.model)
    final = result.report.record.result
    sound = not grown and not broken and final.passed and (stage.kept or bool(stage.summary))
    why = [*broken, *(["it grew"] if grown else []), *final.reasons, *([] if stage.kept else [stage.summary])]
    doubts = [w for w in final.warnings if not w.startswith("the inputs were made up")]
    quantized = "int8" if stage.kept else "exact"
    return {
        "state": quantized if sound else "UNSOUND",
        "verdict": _verdict(final.metrics, passed=result.verdict.passed, verified=final.verified),
        "size": model_bytes(result.model) / before.bytes,
        "why": "; ".join([*why, *doubts, *([stage.summary] if stage.kept else [])]),
    }


def _verdict(metrics: dict[str, float], *, passed: bool, verified: bool) -> str:
    figures = [
        f"{name} {metrics[key]:.4g}" for key, name in (("agreement", "agree"), ("sqnr_db", "dB")) if key in metrics
    ]
    return " ".join(["passed" if passed else "missed", *([] if verified else ["unverified"]), *figures])


def in_a_process(path: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """The same, from a child; a crash of the child is a result too."""
    options = ["--keep-speed"] * arguments.keep_speed
    command = [sys.executable, __file__, str(path), "--one", *options]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=arguments.seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"state": "CRASH", "why": f"not done after {arguments.seconds} s"}
    if child.returncode:
        tail = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return {"state": "CRASH", "why": f"exit code {child.returncode}: {tail}"}
    return dict(json.loads(child.stdout.splitlines()[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--skip", nargs="*", default=[], help="names that are left out")
    parser.add_argument(
        "--keep-speed", action="store_true", help="measure latency, and keep int8 only where it is faster"
    )
    parser.add_argument("--seconds", type=float, default=600, help="for one model")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(look(arguments.folder, keep_speed=arguments.keep_speed)))
        return 0
    bad = 0
    for path in sorted(arguments.folder.glob("*.onnx"), key=lambda p: (p.stat().st_size, p.name)):
        if path.stem in arguments.skip:
            continue
        start = time.perf_counter()
        found = in_a_process(path, arguments)
        size = f"{found['size']:.3f}" if "size" in found else "-"
        row = (path.stem[:40], found["state"], found.get("verdict", "-"), size, f"{time.perf_counter() - start:.0f} s")
        print("{:40} {:8} {:34} {:>6} {:>6}".format(*row), found["why"], flush=True)
        bad += found["state"] in BAD
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
