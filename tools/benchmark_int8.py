#!/usr/bin/env python3
"""int8 beside other tools, on models with data: agreement, SQNR, size, speed, and what it cost.

    python tools/benchmark_int8.py EVALKIT [--tasks resnet8,magika] [--tools onnxzip,ort-best] [--rounds 5]
    python tools/benchmark_int8.py --model M.onnx --calibration FOLDER --evaluation FOLDER      # .npz feeds, one a batch

EVALKIT is a folder with `tasks.py`; `benchmark_data.py` says what is in it. The tools and their settings: `benchmark_peers.py`.
A row, Markdown, is one model and one tool:

- agree, SQNR, size, latency: against the original (`benchmark_judge.py`). vs exact: latency against onnxzip's exact float
  result, which is what int8 has to beat.
- passes: wall clock from the path of the model to the file written, in float passes. A pass runs the original over the
  calibration data once, in the same process, before and after (the median of all). One thread each: sessions, BLAS, OpenMP.
  Imports and what a tool sets up once (a tiny model goes through it first) are left out; onnxzip's proof is in it.
- MB: peak memory of the same, over what the process held before (the calibration data among it).

Every tool runs in a process of its own, and so does the judge: what crashes, hangs, writes a model that does not load, or
quantizes nothing, is a row that says so, and so is a tool that is not installed. Peers are the optional extra `bench`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import benchmark_child as child
import benchmark_data as data
from benchmark_judge import judge, open_deployed, seconds
from benchmark_peers import DEFAULT, PEERS, Peer

Row = dict[str, Any]
COLUMNS = {"agree": ".3f", "sqnr": ".1f", "size": ".3f", "latency": ".2f", "against_exact": ".2f"} | {
    "passes": ".1f",
    "megabytes": ".0f",
}
HEAD = """| task | tool | agree | SQNR dB | size | latency | vs exact | passes | MB | remark |
|---|---|---|---|---|---|---|---|---|---|"""
PASSES = 3
"""Float passes before, and as many after."""
YARDSTICK = "onnxzip-exact"


def quantize(given: data.Given, tool: str, out: str) -> Row:
    """One model through one tool, in a process of its own: passes and megabytes, or why there are none."""
    child.silence()
    child.one_thread()
    peer = PEERS[tool]
    try:
        for module in peer.modules:
            importlib.import_module(module)
    except ImportError as error:
        return {"remark": f"not installed ({error}): pip install 'onnxzip[bench]'"}
    case = given.open()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # some tools write beside themselves
        with contextlib.suppress(Exception):  # what fails here fails below, too
            peer.quantize(*data.tiny(Path(folder)), f"{folder}/out.onnx")
        return _measured(peer, case, out)


def _measured(peer: Peer, case: data.Case, out: str) -> Row:
    passes = _passes(case)
    held, start = child.forget_peak(), time.perf_counter()
    try:
        remark = peer.quantize(case.model, case.calibration, out)
    except BaseException as error:  # noqa: BLE001 - whatever a tool raises
        return {"remark": f"fails: {child.why(error)}"}
    taken, megabytes = time.perf_counter() - start, child.peak() - held
    one = statistics.median(passes + _passes(case))
    return {"passes": taken / one, "seconds": taken, "pass": one, "megabytes": megabytes, "remark": remark}


def _passes(case: data.Case) -> list[float]:
    """Seconds of a few float passes over the calibration data, after one that does not count."""
    session = open_deployed(case.model)
    return [seconds(session, case.calibration) for _ in range(1 + PASSES)][1:]


def row_of(given: data.Given, tool: str, out: Path, exact: Path | None, args: argparse.Namespace) -> Row:
    """Both processes of one row."""
    out.unlink(missing_ok=True)  # of an earlier benchmark
    try:
        row: Row = child.run(quantize, given, tool, str(out), timeout=args.timeout, threads=1)
    except child.Lost as error:
        return {"remark": str(error)}
    if "passes" not in row:
        return row
    try:
        asked = given, str(out), None if exact is None else str(exact), args.rounds
        row |= child.run(judge, *asked, timeout=args.timeout, threads=1)
    except child.Lost as error:
        return row | {"remark": f"what it writes does not run: {error}"}
    if not row["quantized"] and not PEERS[tool].floats and not row["remark"]:
        row["remark"] = "quantizes nothing"
    return row


def table_row(name: str, tool: str, row: Row) -> str:
    """One line of the table."""
    cells = [f"{row[c]:{how}}" if c in row else "–" for c, how in COLUMNS.items()]
    return f"| {name} | {tool} | {' | '.join(cells)} | {row['remark'].replace('|', '/')} |"


def benchmark(cases: Sequence[data.Given], folder: Path, args: argparse.Namespace) -> dict[str, dict[str, Row]]:
    """Every case through every tool, printed row by row."""
    found: dict[str, dict[str, Row]] = {}
    print(HEAD)
    for given in cases:
        rows = found[given.name] = {}
        exact = folder / f"{given.name}.{YARDSTICK}.onnx"
        rows[YARDSTICK] = row_of(given, YARDSTICK, exact, None, args)
        print(table_row(given.name, YARDSTICK, rows[YARDSTICK]), flush=True)
        for tool in (t for t in args.tools if t != YARDSTICK):
            out = folder / f"{given.name}.{tool}.onnx"
            yardstick = exact if "latency" in rows[YARDSTICK] else None
            rows[tool] = row_of(given, tool, out, yardstick, args)
            print(table_row(given.name, tool, rows[tool]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_arguments(parser)
    parser.add_argument(
        "--tools",
        type=lambda t: t.split(","),
        default=list(DEFAULT),
        help=f"some of {', '.join(PEERS)} (default: {', '.join(DEFAULT)})",
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the latency measurement (default: 5)")
    parser.add_argument(
        "--timeout", type=float, default=1800, help="seconds for one model and one tool (default: 1800)"
    )
    parser.add_argument("--out", type=Path, help="keep the models here")
    parser.add_argument("--json", type=Path, help="write every row as JSON")
    args = parser.parse_args()
    if unknown := sorted(set(args.tools) - set(PEERS)):
        parser.error(f"--tools: {', '.join(unknown)} is not known: choose some of {', '.join(PEERS)}")
    cases = data.given(parser, args, judged=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.out or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = benchmark(cases, folder, args)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
