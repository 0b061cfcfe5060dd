#!/usr/bin/env python3
"""Exact rewriting beside other tools: nodes, bytes, seconds, memory, and whether the result still is the model.

    python tools/benchmark_rewrite.py FOLDER... [--tools onnxzip,onnxslim] [--json OUT] [--markdown OUT]
                                      [--stored-weights] [--latency] [--timeout 300]

Every *.onnx below the folders (or named itself) runs through every tool, each pair in a process of its own:

- nodes: bodies of If, Loop and Scan counted; bytes: the model as one file with its weights inside.
- seconds: from the path to the optimized model in memory, wall clock; imports and checks excluded. The proof of
  onnxzip (it runs the model and compares) is part of it, which the others do not do; `passes` are its rewrites alone.
- MB: peak memory over what the process held after the imports; the model's own size stands beside it.
- verdict: `ok`, `crash`, `timeout`, `unloadable`, `interface`, `mismatch` or `bigger` (see `benchmark_checks.py`); models
  that onnxruntime does not run to begin with are skipped.
- latency (with --latency, for onnxzip): original / result, both with all of onnxruntime's optimizations, in pairs.

--stored-weights: weights that the model generates (ConstantOfShape) are stored first, as seeded numbers on which
outputs are finite. The other tools are the optional extra `bench`; who is not installed is left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import benchmark_checks as checks
import benchmark_child as child
import onnx

Row = dict[str, Any]


def by_onnxzip(path: str) -> onnx.ModelProto:
    import onnxzip

    return onnxzip.optimize(path).to_proto()


def by_passes(path: str) -> onnx.ModelProto:
    """What the other tools do: rewriting without the proof."""
    from onnxzip.model.load import load
    from onnxzip.model.save import to_proto
    from onnxzip.passes.runner import run

    return to_proto(run(load(path).model)[0])


def by_onnxslim(path: str) -> onnx.ModelProto:
    import onnxslim

    return onnxslim.slim(onnx.load(path))


def by_onnxsim(path: str) -> onnx.ModelProto:
    import onnxsim

    return onnxsim.simplify(onnx.load(path))[0]


def by_onnxscript(path: str) -> onnx.ModelProto:
    import onnx_ir
    import onnxscript.optimizer

    return onnx_ir.to_proto(onnxscript.optimizer.optimize(onnx_ir.from_proto(onnx.load(path))))


def by_onnxruntime(path: str) -> onnx.ModelProto:
    import onnxruntime  # noqa: TID251 - as a tool beside the others

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


TOOLS: dict[str, Callable[[str], onnx.ModelProto]] = {
    "onnxzip": by_onnxzip,
    "passes": by_passes,
    "onnxslim": by_onnxslim,
    "onnxsim": by_onnxsim,
    "onnxscript": by_onnxscript,
    "onnxruntime": by_onnxruntime,
}
WARM_UP = '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,4] y) { t = Identity(x) y = Relu(t) }'
MODULES = {
    "onnxzip": ("onnxzip.pipeline", "onnxzip.result"),
    "passes": ("onnxzip.passes.runner",),
    "onnxscript": ("onnx_ir", "onnxscript.optimizer"),
}


def measure(tool: str, path: Path, warm_up: str, latency: bool) -> Row:  # noqa: FBT001 - sent to another process
    """One model and one tool, in a process of its own."""
    child.silence()
    for module in MODULES.get(tool, (tool,)):
        importlib.import_module(module)
    TOOLS[tool](warm_up)  # what is set up once in a process counts as import
    held, start = child.forget_peak(), time.perf_counter()
    result = TOOLS[tool](str(path))
    row: Row = {"seconds": time.perf_counter() - start, "megabytes": child.peak() - held}
    row |= {"nodes": checks.count_nodes(result.graph), "bytes": result.ByteSize()}
    verdict, why = checks.verdict(path, result)
    row |= {"verdict": verdict, "why": why}
    if latency and tool == "onnxzip" and verdict == "ok":
        row["latency"] = checks.latency(path, result)
    return row


def run(tool: str, path: Path, warm_up: Path, timeout: float, *, latency: bool) -> Row:
    """`measure` in a fresh process, which may crash or hang."""
    try:
        row: Row = child.run(measure, tool, path, str(warm_up), latency, timeout=timeout)
        return row
    except child.Hung:
        return {"verdict": "timeout"}
    except child.Lost as error:
        return {"verdict": "crash", "why": str(error)}


def original(path: Path) -> Row:
    model = onnx.load(str(path))
    return {"nodes": checks.count_nodes(model.graph), "bytes": model.ByteSize(), "verdict": checks.why_not(path)}


def table(results: dict[str, dict[str, Row]], tools: Sequence[str]) -> str:
    """Everything as one Markdown table, totals and medians at the end."""
    lines = ["| model | " + " | ".join(("original", *tools)) + " |", "|---" * (len(tools) + 2) + "|"]
    for name, rows in results.items():
        cells = [_cell(rows[t], rows["original"]) for t in ("original", *tools)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", *_summary(results, tools), ""]
    lines.append(
        "A cell: nodes, bytes against the original's, seconds, MB of peak memory; and the verdict where it is not ok."
    )
    lines.append("Seconds are of the optimization only, imports excluded.")
    return "\n".join(lines)


def _cell(row: Row, before: Row) -> str:
    if row is before:
        return f"{row['nodes']} nodes, {row['bytes'] / 1e6:.2f} MB" + (
            f", **{row['verdict']}**" if row["verdict"] else ""
        )
    found = []
    if "nodes" in row:
        found = [str(row["nodes"]), f"{100 * (row['bytes'] / before['bytes'] - 1):+.2f} %"]
        found += [f"{row['seconds']:.2f} s", f"{row['megabytes']:.0f} MB"]
    if "latency" in row:
        found.append(f"×{row['latency'][0]:.2f} [{row['latency'][1]:.2f}, {row['latency'][2]:.2f}]")
    return ", ".join(found + ([f"**{row['verdict']}**"] if row["verdict"] != "ok" else []))


def _summary(results: dict[str, dict[str, Row]], tools: Sequence[str]) -> list[str]:
    """One line a tool: how many are ok, and totals and medians over those models that are ok with it and with the first tool."""
    first, lines = tools[0], []
    judged = sum(not rows["original"]["verdict"] for rows in results.values())
    for tool in tools:
        both = [r for r in results.values() if r[tool]["verdict"] == r[first]["verdict"] == "ok"]
        good = sum(r[tool]["verdict"] == "ok" and not r["original"]["verdict"] for r in results.values())
        figures = []
        for column in dict.fromkeys(("original", first, tool)):
            rows = [r[column] for r in both]
            text = f"{column} {sum(r['nodes'] for r in rows)} nodes, {sum(r['bytes'] for r in rows) / 1e6:.3f} MB"
            if column != "original" and rows:
                seconds, memory = (statistics.median(r[k] for r in rows) for k in ("seconds", "megabytes"))
                text += f", median {seconds:.2f} s and {memory:.0f} MB"
            figures.append(text)
        lines.append(
            f"- {tool}: ok with {good} of {judged}; of the {len(both)} that are ok with {first} too: {'; '.join(figures)}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of *.onnx, or models")
    parser.add_argument(
        "--tools",
        default=",".join(TOOLS),
        help=f"some of {', '.join(TOOLS)}; the first is what the others are held against",
    )
    parser.add_argument("--json", type=Path, help="write every row as JSON")
    parser.add_argument("--markdown", type=Path, help="write the table to this file as well")
    parser.add_argument("--stored-weights", action="store_true", help="store weights that are generated, first")
    parser.add_argument("--latency", action="store_true", help="measure the paired latency of the result of onnxzip")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one model and one tool (default: 300)")
    args = parser.parse_args()
    asked = args.tools.split(",")
    if unknown := sorted(set(asked) - set(TOOLS)):
        parser.error(f"--tools: {', '.join(unknown)} is not known: choose some of {', '.join(TOOLS)}")
    models = [p for f in args.folders for p in ([f] if f.is_file() else sorted(f.rglob("*.onnx")))]
    if not models:
        parser.error(f"there is no model (*.onnx) in {', '.join(map(str, args.folders))}")
    tools = [t for t in asked if t == "passes" or importlib.util.find_spec(t)]
    for absent in (t for t in asked if t not in tools):
        print(f"{absent} is not installed and left out (pip install 'onnxzip[bench]')")
    results: dict[str, dict[str, Row]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        warm_up = Path(temporary) / "warm_up.onnx"
        warm_up.write_bytes(onnx.parser.parse_model(WARM_UP).SerializeToString())
        for path in models:
            given = checks.with_stored_weights(path, Path(temporary)) if args.stored_weights else path
            rows = results[str(path)] = {"original": original(given)}
            for tool in tools:
                skipped = rows["original"]["verdict"] == "does not run"
                row = (
                    {"verdict": "skipped"} if skipped else run(tool, given, warm_up, args.timeout, latency=args.latency)
                )
                rows[tool] = row
                print(f"{path.name:45s} {tool:12s} {_cell(row, rows['original'])} {row.get('why', '')}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    shortened = {Path(name).stem: rows for name, rows in results.items()}
    text = table(shortened if len(shortened) == len(results) else results, tools)
    if args.markdown:
        args.markdown.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
