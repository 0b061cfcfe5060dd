#!/usr/bin/env python3
"""Lossy channel pruning beside other tools: what agreement is left when a part of the model is gone, without training.

    python tools/benchmark_prune.py EVALKIT [TASK ...] [--ratios 0.05,0.1,0.2,0.3,0.5] [--methods "onnxzip,magnitude"]
                                    [--round-to 8] [--out FOLDER] [--rounds 3]
    python tools/benchmark_prune.py --topologies [NAME ...] [--ratios 0.5]

EVALKIT is a folder with `tasks.py` (TASKS: name to a function that gives model, calibration, evaluation, score) and
`measure.py` (measure: score and latency ratio, paired, one thread). Everybody starts from the exactly rewritten model, and
is counted by `benchmark_sizes.py`: multiply-adds of one evaluation batch (parameters for minilm). A cell:

    agreement with the original (part that is gone) ×latency against the original

- onnxzip: with re-fit; no re-fit: the same channels without it; magnitude: without data. All in widths of --round-to.
- onnxsim: by magnitude; calibrated: by weight times activation (it calls this wanda); + finetune: its re-fit, which is of
  MatMul and Gemm. torch-pruning: group magnitude, the model rebuilt as a torch module (`benchmark_torch.py`: CNNs only).
  These are asked for a share of channels, so the least share is searched that removes the part wanted; they
  round to nothing, which leaves them finer steps.

--topologies: the light_*.onnx networks in the onnx package with seeded weights stored. What each tool keeps of the
multiply-adds and of the parameters: onnxzip asked for the ratio in multiply-adds, the others for that share of channels.
`onnxsim alone` is what it makes of the model as it is, and of that simplified by itself, whichever is the smaller.

Peers are the optional extra `bench`; who is not installed is left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import benchmark_checks as checks
import benchmark_sizes as sizes
import numpy as np
import onnx
import onnx_ir as ir

import onnxzip
from onnxzip.model.save import to_proto

STEPS = 7
"""Halvings in the search for the share of channels."""
MOST = 0.95
"""The largest share of channels that is asked for."""


@dataclass(frozen=True)
class Start:
    """What every method is given: the rewritten model, data, what is counted, and to which multiple widths go."""

    model: ir.Model
    proto: onnx.ModelProto
    calibration: Sequence[dict[str, np.ndarray[Any, Any]]]
    feed: dict[str, np.ndarray[Any, Any]]
    by: str
    round_to: int

    def size(self, result: onnx.ModelProto) -> int:
        """How much of it a model has."""
        return sizes.size(result, self.feed, self.by)

    def gone(self, result: onnx.ModelProto, by: str | None = None) -> float:
        """The part that is gone."""
        counts = [sizes.size(m, self.feed, by or self.by) for m in (result, self.proto)]
        return 1 - counts[0] / counts[1]


def by_onnxzip(start: Start, ratio: float, *, refit: bool = True) -> onnx.ModelProto:
    from onnxzip.prune import prune

    options = {"ratio": ratio, "by": start.by, "round_to": start.round_to}
    return to_proto(prune(start.model, start.calibration, refit=refit, **options)[0])


def without_refit(start: Start, ratio: float) -> onnx.ModelProto:
    return by_onnxzip(start, ratio, refit=False)


def by_magnitude(start: Start, ratio: float) -> onnx.ModelProto:
    from onnxzip.prune import prune_by_magnitude

    return to_proto(prune_by_magnitude(start.model, ratio=ratio, by=start.by, round_to=start.round_to)[0])


def by_onnxsim(start: Start, ratio: float) -> onnx.ModelProto:
    share = _least(start, ratio, lambda s: _onnxsim_share(start.proto, s))
    return _onnxsim_share(start.proto, share)


def by_onnxsim_calibrated(start: Start, ratio: float) -> onnx.ModelProto:
    """Widths depend on the share alone, so that the search can do without data."""
    import onnxsim

    share = _least(start, ratio, lambda s: _onnxsim_share(start.proto, s))
    return onnxsim.apply_structured_wanda_pruning(start.proto, start.calibration, sparsity=share)


def by_onnxsim_finetuned(start: Start, ratio: float) -> onnx.ModelProto:
    import onnxsim

    pruned = by_onnxsim_calibrated(start, ratio)
    return onnxsim.apply_pruning_finetune(start.proto, pruned, calibration_data=start.calibration)


def by_torch_pruning(start: Start, ratio: float) -> onnx.ModelProto:
    return _torch_share(start, _least(start, ratio, lambda s: _torch_share(start, s)))


def _onnxsim_share(model: onnx.ModelProto, share: float) -> onnx.ModelProto:
    import onnxsim

    return onnxsim.apply_structured_pruning(model, sparsity=share)


def _torch_share(start: Start, share: float) -> onnx.ModelProto:
    import benchmark_torch

    return benchmark_torch.prune(start.proto, {k: v[:1] for k, v in start.feed.items()}, share, 1)


def _least(start: Start, ratio: float, prune: Callable[[float], onnx.ModelProto]) -> float:
    """The least share of channels that removes at least `ratio`; the largest one when none does."""
    low, high = 0.0, MOST
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if start.gone(prune(middle)) >= ratio else (middle, high)
    return high


Method = Callable[[Start, float], onnx.ModelProto]
METHODS: dict[str, tuple[str, str, Method]] = {
    "onnxzip": ("onnxzip.prune", "prune", by_onnxzip),
    "no re-fit": ("onnxzip.prune", "prune", without_refit),
    "magnitude": ("onnxzip.prune", "prune_by_magnitude", by_magnitude),
    "onnxsim": ("onnxsim", "apply_structured_pruning", by_onnxsim),
    "onnxsim calibrated": ("onnxsim", "apply_structured_wanda_pruning", by_onnxsim_calibrated),
    "onnxsim calibrated + finetune": ("onnxsim", "apply_pruning_finetune", by_onnxsim_finetuned),
    "torch-pruning": ("torch_pruning", "pruner", by_torch_pruning),
}
TOPOLOGY_METHODS = ("magnitude", "onnxsim", "onnxsim alone", "torch-pruning")
"""Those that need no data."""


def present(asked: Sequence[str]) -> list[str]:
    """The methods whose packages are there; a line for each that is not."""
    found = []
    for name in asked:
        module, attribute, _ = METHODS[name.removesuffix(" alone")]
        try:
            getattr(importlib.import_module(module), attribute)
            found.append(name)
        except (ImportError, AttributeError):
            print(f"{name}: {module} has no {attribute} here, or is not installed (pip install 'onnxzip[bench]')")
    return found


def tasks(args: argparse.Namespace, methods: Sequence[str]) -> list[str]:
    """Every task, method and ratio; a Markdown table a task."""
    sys.path.insert(0, str(args.evalkit))
    from measure import measure  # type: ignore[import-not-found]
    from tasks import TASKS  # type: ignore[import-not-found]

    lines: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.names or TASKS:
            task, reference = TASKS[name](), None
            start = begin(task.model, task.calibration, task.evaluation[0], name, args.round_to)
            total = sizes.size(start.proto, start.feed, start.by)
            lines += ["", f"| {name}: {total / 1e6:.1f} M {start.by} | " + _heads(args.ratios)]
            lines.append("|---" * (len(args.ratios) + 1) + "|")
            for method in methods:
                cells = []
                for ratio in args.ratios:
                    path, began = folder / f"{name}.{method.replace(' ', '_')}.{ratio:g}.onnx", time.perf_counter()
                    try:
                        result = METHODS[method][2](start, ratio)
                        seconds = time.perf_counter() - began
                        onnx.save(result, str(path))
                        row, reference = measure(task, str(path), reference, rounds=args.rounds)
                        cells.append(f"{row['agree']:.3f} ({start.gone(result):.3f}) ×{row['latency']:.2f}")
                        print(f"{name:18s} {method:30s} {ratio:5.2f} {cells[-1]} {seconds:6.1f} s", flush=True)
                    except Exception as error:  # noqa: BLE001 - whatever a tool raises
                        cells.append("–")
                        print(f"{name:18s} {method:30s} {ratio:5.2f} {_why(error)}", flush=True)
                lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def begin(
    path: str, calibration: Sequence[dict[str, np.ndarray[Any, Any]]], feed: Any, name: str, round_to: int
) -> Start:
    model = onnxzip.optimize(path).model
    by = "parameters" if name == "minilm" else "multiply-adds"
    return Start(model, to_proto(model), calibration, feed, by, round_to)


def topologies(args: argparse.Namespace, methods: Sequence[str]) -> list[str]:
    """What each tool keeps of every light network; one Markdown table."""
    ratio = args.ratios[-1]
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    names = args.names or [p.stem.removeprefix("light_") for p in sorted(light.glob("light_*.onnx"))]
    lines = [f"| kept at {ratio:.0%}: multiply-adds, parameters | " + " | ".join(methods) + " |"]
    lines.append("|---" * (len(methods) + 1) + "|")
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            path = checks.with_stored_weights(light / f"light_{name}.onnx", Path(temporary))
            proto = onnx.load(str(path))
            value = proto.graph.input[0]
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            feed = {value.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
            start = begin(str(path), [feed], feed, name, args.round_to)
        cells = []
        for method in methods:
            try:
                cells.append(_kept(start, min(_topology(start, proto, method, ratio), key=start.size)))
            except Exception as error:  # noqa: BLE001 - whatever a tool raises
                cells.append("–")
                print(f"{name:18s} {method:20s} {_why(error)}", flush=True)
            print(f"{name:18s} {method:20s} {cells[-1]}", flush=True)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _topology(start: Start, original: onnx.ModelProto, method: str, ratio: float) -> list[onnx.ModelProto]:
    """What a tool makes of a network. Widths are in the ratio asked, whatever becomes of the numbers."""
    if method == "onnxsim":
        return [_onnxsim_share(start.proto, ratio)]
    if method == "onnxsim alone":
        import onnxsim

        return [_onnxsim_share(m, ratio) for m in (original, onnxsim.simplify(original)[0])]
    if method == "torch-pruning":
        return [_torch_share(start, ratio)]
    return [METHODS[method][2](start, ratio)]


def _kept(start: Start, result: onnx.ModelProto) -> str:
    return ", ".join(f"{1 - start.gone(result, by):.2f}" for by in ("multiply-adds", "parameters"))


def _heads(ratios: Sequence[float]) -> str:
    return " | ".join(f"-{r:.0%}" for r in ratios) + " |"


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evalkit", type=Path, nargs="?", help="not with --topologies")
    parser.add_argument("names", nargs="*", help="tasks, or networks (all of them when left out)")
    parser.add_argument("--topologies", action="store_true")
    parser.add_argument("--ratios", type=lambda t: [float(r) for r in t.split(",")], default="0.05,0.1,0.2,0.3,0.5")
    parser.add_argument("--methods", type=lambda t: t.split(","), help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--round-to", type=int, default=8, help="multiple of widths, for onnxzip (default: 8)")
    parser.add_argument("--out", type=Path, help="keep the models here")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the latency measurement (default: 3)")
    args = parser.parse_args()
    asked = args.methods or (TOPOLOGY_METHODS if args.topologies else list(METHODS))
    if unknown := sorted(set(asked) - set(TOPOLOGY_METHODS if args.topologies else METHODS)):
        parser.error(f"--methods: {', '.join(unknown)} is not known here")
    if args.topologies:
        args.names = [*([str(args.evalkit)] if args.evalkit else []), *args.names]
    elif args.evalkit is None:
        parser.error("give the folder of the tasks, or --topologies")
    methods = present(asked)
    print("\n".join((topologies if args.topologies else tasks)(args, methods)))


if __name__ == "__main__":
    main()
