#!/usr/bin/env python3
"""What calibration and `optimize` cost: time in float passes, memory beside the model and one batch's activations.

    python tools/measure_costs.py EVALKIT [--tasks resnet8,magika] [--rounds 5]
    python tools/measure_costs.py --model M.onnx --calibration FOLDER       # .npz feeds, one a batch

A float pass runs the original over all of the calibration data once, one thread, all of onnxruntime's optimizations. Everything
runs on one thread (sessions, BLAS, OpenMP) in processes of its own, imports left out. Each figure is paired with
passes right before and after it, in the same process, and is the median over rounds. Columns:

- calibration: `collect` on the tensors that `observe` names, in the exactly rewritten model, over all calibration data, from
  opening the session to the statistics. × exact: the same in passes of that rewritten model, which may be faster.
  session: opening a session of it, a part of the former. tensors: how many are looked at.
- optimize: from the path of the model to the verdict, with default settings: calibration, rewriting, proof and verdict;
  the calibration data is split by it, so a pass is over what it tunes on and what it holds out. no stopwatch: without
  measure_speed. Seconds beside it. parts: of the run without stopwatch, in passes: its stages as the report has them, the
  rest (loading, first session, verdict) after a `+`.
- runs: how often that run sends the data through any model, in passes: the samples of all batches that any session ran, float,
  candidate or with its inner values looked at, over the samples of the data. What is left of the time is graphs and weights, and
  does not grow with the data. search: the same with --search-time.
- memory: peak of `optimize` over what the process held before (the calibration data among it), divided by the model's bytes
  plus all activations of its largest batch. Memory that onnxruntime and the allocator keep is in it.

`tools/calibration_memory.py` shows that memory does not grow with the number of batches; that is not repeated here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import benchmark_child as child
import benchmark_data as data
import benchmark_sizes as sizes
import onnx
from benchmark_judge import bytes_of, open_deployed, seconds

Row = dict[str, Any]
HEAD = """| task | calibration | × exact | session | tensors | optimize | no stopwatch | parts | runs | search | memory | peak MB | model + batch MB |
|---|---|---|---|---|---|---|---|---|---|---|---|---|"""
TARGETS = "Targets: calibration 1.6 as the median over tasks and 2.2 on any; optimize 6, with a search 30; memory 3."
MEGABYTE = 1 << 20


def paired(work: Callable[[], Any], passes: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """For each round, the seconds of the work over those of each pass: the mean of one before and one after it."""
    found = []
    for _ in range(rounds):
        before = [one() for one in passes]
        taken = _timed(work)
        found.append([2 * taken / (b + one()) for b, one in zip(before, passes, strict=True)])
    return found


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _pass(model: str, feeds: Sequence[data.Feed]) -> Callable[[], float]:
    """One float pass in seconds, whenever it is called; warm."""
    session = open_deployed(model)
    seconds(session, feeds)
    return lambda: seconds(session, feeds)


def calibration(given: data.Given, exact: str, rounds: int) -> Row:
    """What calibration costs, in a process of its own. The exactly rewritten model is written to `exact`."""
    _begin()
    import onnxzip
    from onnxzip.calibrate import collect, open_data
    from onnxzip.quantize.plan import observe
    from onnxzip.runtime import Session

    case = given.open()
    result = onnxzip.optimize(case.model)
    result.save(exact)
    tensors = observe(result.model, "cpu")
    if not tensors:
        return {"tensors": 0}
    feeds = open_data(case.calibration, Session(result.model, threads=1).inputs)
    passes = [_pass(path, case.calibration) for path in (case.model, exact)]

    def observed() -> None:
        collect(result.model, tensors, feeds, threads=1)

    observed()
    of_original, of_exact = zip(*paired(observed, passes, rounds), strict=True)
    opened = [r[0] for r in paired(lambda: Session(result.model, threads=1), passes[:1], rounds)]
    row = {"calibration": of_original, "of_exact": of_exact, "session": opened}
    return {k: statistics.median(v) for k, v in row.items()} | {"tensors": len(tensors)}


def optimization(given: data.Given, rounds: int, stopwatch: bool) -> Row:  # noqa: FBT001 - sent to another process
    """What `optimize` costs, in a process of its own: passes, seconds, and passes of its stages and of the rest."""
    _begin()
    import onnxzip

    case = given.open()
    config = onnxzip.Config(measure_speed=None if stopwatch else False)
    onnxzip.optimize(case.model, case.calibration, config=config)  # what is imported late is imported then
    one, results = _pass(case.model, case.calibration), []

    def whole() -> None:
        results.append(onnxzip.optimize(case.model, case.calibration, config=config))

    taken = []
    ratios = [r[0] for r in paired(lambda: taken.append(_timed(whole)), [one], rounds)]
    middle = sorted(range(rounds), key=ratios.__getitem__)[rounds // 2]
    stages = {s.name: s.seconds for s in results[middle].report.record.stages}
    parts = stages | {"+": taken[middle] - sum(stages.values())}
    scale = ratios[middle] / taken[middle]
    return {
        "passes": ratios[middle],
        "seconds": taken[middle],
        "parts": {name: scale * part for name, part in parts.items()},
        "passed": results[middle].verdict.passed,
    }


def runs(given: data.Given, search: float) -> Row:
    """How often a run sends the data through a model, in a process of its own; with a search of so many seconds."""
    _begin()
    import onnxzip
    from onnxzip.runtime import Session

    case, config = given.open(), onnxzip.Config(measure_speed=False, search_time=search)
    whole, counted, names = Session.run, [0], set(case.calibration[0])

    def counting(self: Session, feed: Any, outputs: Any = None) -> Any:
        counted[0] += _samples(feed) if names <= set(feed) else 0  # else a constant part of the model, run to fold it
        return whole(self, feed, outputs)

    Session.run = counting  # type: ignore[method-assign]
    onnxzip.optimize(case.model, case.calibration, config=config)
    return {"runs": counted[0] / sum(map(_samples, case.calibration))}


def _samples(feed: data.Feed) -> int:
    return len(next(iter(feed.values())))


def memory(given: data.Given) -> Row:
    """Peak of `optimize` in MB, in a process of its own that ran nothing but a tiny model before."""
    _begin()
    import onnxzip

    case = given.open()
    with tempfile.TemporaryDirectory() as folder:
        onnxzip.optimize(*data.tiny(Path(folder)))
    held = child.forget_peak()
    onnxzip.optimize(case.model, case.calibration)
    return {"peak": child.peak() - held}


def yardstick(given: data.Given) -> Row:
    """Model and activations of the largest batch in MB, in a process of its own."""
    _begin()
    case = given.open()
    model = onnx.load(case.model)
    largest = max(case.calibration, key=lambda feed: sum(a.nbytes for a in feed.values()))
    return {
        "model": bytes_of(case.model) / MEGABYTE,
        "activations": sizes.activation_bytes(model, largest) / MEGABYTE,
    }


def _begin() -> None:
    child.silence()
    child.one_thread()


def costs(given: data.Given, args: argparse.Namespace) -> Row:
    """All figures of one case; what failed is in `remark`."""
    row: Row = {}
    with tempfile.TemporaryDirectory() as folder:
        asked: dict[str, tuple[Any, ...]] = {
            "calibration": (calibration, given, f"{folder}/exact.onnx", args.rounds),
            "optimize": (optimization, given, args.runs, True),
            "quiet": (optimization, given, args.runs, False),
            "runs": (runs, given, 0.0),
            "search": (runs, given, args.search_time),
            "memory": (memory, given),
            "yardstick": (yardstick, given),
        }
        for name, (work, *arguments) in asked.items():
            try:
                row[name] = child.run(work, *arguments, threads=1)
            except child.Lost as error:
                row[name] = {}
                row["remark"] = f"{row.get('remark', '')} {name}: {error}".strip()
    return row


def table_row(name: str, row: Row) -> str:
    """One line of the table."""
    found, quiet, sight = row["calibration"], row["quiet"], row["yardstick"]
    cells = [f"{found[k]:.2f}" if k in found else "–" for k in ("calibration", "of_exact", "session")]
    cells.append(str(found.get("tensors", "–")))
    for run in (row["optimize"], quiet):
        missed = "" if run.get("passed", True) else ", budget missed"
        cells.append(f"{run['passes']:.1f} ({run['seconds']:.1f} s{missed})" if run else "–")
    cells.append(", ".join(f"{k} {v:.1f}" for k, v in quiet["parts"].items()).replace("+ ", "+") if quiet else "–")
    cells += [f"{row[k]['runs']:.1f}" if row[k] else "–" for k in ("runs", "search")]
    whole = sum(sight.values())
    cells.append(f"{row['memory']['peak'] / whole:.2f}" if row["memory"] and whole else "–")
    cells.append(f"{row['memory']['peak']:.0f}" if row["memory"] else "–")
    cells.append(f"{sight['model']:.1f} + {sight['activations']:.1f}" if sight else "–")
    return f"| {name} | {' | '.join(cells)} |" + (f" {row['remark']}" if "remark" in row else "")


def summary(rows: Sequence[Row]) -> str:
    """Medians and maxima over the tasks, beside what is wanted."""
    figures = {
        "calibration": [r["calibration"]["calibration"] for r in rows if "calibration" in r["calibration"]],
        "optimize": [r["optimize"]["passes"] for r in rows if r["optimize"]],
        "no stopwatch": [r["quiet"]["passes"] for r in rows if r["quiet"]],
        "runs": [r["runs"]["runs"] for r in rows if r["runs"]],
        "search": [r["search"]["runs"] for r in rows if r["search"]],
        "memory": [r["memory"]["peak"] / sum(r["yardstick"].values()) for r in rows if r["memory"] and r["yardstick"]],
    }
    parts = [f"{k}: median {statistics.median(v):.2f}, largest {max(v):.2f}" for k, v in figures.items() if v]
    return f"{'; '.join(parts)}. {TARGETS}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of calibration (default: 5)")
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of optimize, with the stopwatch and without (default: 3)"
    )
    parser.add_argument("--search-time", type=float, default=60.0, help="seconds of the search (default: 60)")
    parser.add_argument("--json", type=Path, help="write every row as JSON")
    args = parser.parse_args()
    rows: dict[str, Row] = {}
    cases = data.given(parser, args, judged=False)
    print(HEAD)
    for given in cases:
        rows[given.name] = costs(given, args)
        print(table_row(given.name, rows[given.name]), flush=True)
    print(f"\n{summary(list(rows.values()))}")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
