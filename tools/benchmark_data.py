"""Models with data for the benchmarks: from a folder of tasks, or a model with two folders of feeds.

A folder of tasks has `tasks.py` with TASKS: name to a function that gives model (a path), calibration, evaluation (lists of
dicts, input name to array) and score (outputs of the original, outputs of the other -> figures, "agree" among them).
A folder of feeds has one .npz a batch, with an array for each input. What is sent to another process is the name (`Given`); it opens the data there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Feed = dict[str, np.ndarray[Any, Any]]
Outputs = Sequence[Sequence[np.ndarray[Any, Any]]]
TINY = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,8,8] x) => (float[N,4] y)
{ c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v) }"""


@dataclass(frozen=True)
class Case:
    """A model, what it is calibrated on and what it is judged on."""

    model: str
    calibration: Sequence[Feed]
    evaluation: Sequence[Feed]
    score: Callable[[Outputs, Outputs], dict[str, float]]


@dataclass(frozen=True)
class Given:
    """Where a case is: a task of a folder, or a model and the folders of its feeds."""

    name: str
    evalkit: Path | None = None
    model: Path | None = None
    calibration: Path | None = None
    evaluation: Path | None = None

    def open(self) -> Case:
        """The case itself.

        Raises:
            SystemExit: a folder holds no feeds, or a feed lacks an input.
        """
        if self.evalkit is not None:
            task = _tasks(self.evalkit)[self.name]()
            return Case(str(_path(task.model)), task.calibration, task.evaluation, task.score)
        if self.model is None or self.calibration is None:
            raise SystemExit(f"{self.name}: give a model and the folder of its calibration feeds")
        evaluation = [] if self.evaluation is None else _feeds(self.evaluation, self.model)
        return Case(str(self.model), _feeds(self.calibration, self.model), evaluation, agreement)


def agreement(reference: Outputs, outputs: Outputs) -> dict[str, float]:
    """Share of rows whose largest element of the first output stays where it was; nothing where rows have one element."""
    one, other = ([o[0].reshape(len(o[0]) if o[0].ndim else 1, -1) for o in run] for run in (reference, outputs))
    if any(o.shape[1] < 2 for o in one):
        return {}
    pairs = zip(one, other, strict=True)
    return {"agree": float(np.mean(np.concatenate([a.argmax(1) == b.argmax(1) for a, b in pairs])))}


def tiny(folder: Path) -> tuple[str, list[Feed]]:
    """A tiny model and data for it: what a tool sets up once in a process is set up once it has seen them."""
    rng, model = np.random.default_rng(0), onnx.parser.parse_model(TINY)
    for name, shape in {"w": (8, 3, 3, 3), "v": (8, 4)}.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape, np.float32), name))
    onnx.save(model, str(folder / "tiny.onnx"))
    return str(folder / "tiny.onnx"), [{"x": rng.standard_normal((4, 3, 8, 8), np.float32)} for _ in range(4)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name models with data."""
    parser.add_argument("evalkit", type=_path, nargs="?", help="folder with tasks.py")
    parser.add_argument("--tasks", type=lambda text: text.split(","), help="some of its tasks (default: all)")
    parser.add_argument("--model", type=_path, help="a model instead, with its data in .npz feeds")
    parser.add_argument("--calibration", type=_path, help="folder of *.npz, one a batch")
    parser.add_argument("--evaluation", type=_path, help="folder of *.npz, one a batch, not seen in calibration")


def _path(text: str) -> Path:
    return Path(text).resolve()  # tools run in folders of their own


def given(parser: argparse.ArgumentParser, args: argparse.Namespace, *, judged: bool) -> list[Given]:
    """What the arguments name; `judged`: evaluation data is needed."""
    if (args.evalkit is None) == (args.model is None):
        parser.error("give the folder of the tasks, or --model with its data")
    if args.model is not None:
        if args.calibration is None or (judged and args.evaluation is None):
            parser.error(f"--model needs --calibration{' and --evaluation' if judged else ''}")
        one = Given(args.model.stem, model=args.model, calibration=args.calibration, evaluation=args.evaluation)
        one.open()  # what is wrong with the data is said here, once
        return [one]
    known = _tasks(args.evalkit)
    if unknown := sorted(set(args.tasks or ()) - set(known)):
        parser.error(f"--tasks: {', '.join(unknown)} is not known: choose some of {', '.join(known)}")
    return [Given(name, evalkit=args.evalkit) for name in args.tasks or known]


def _tasks(evalkit: Path) -> dict[str, Any]:
    sys.path.insert(0, str(evalkit))
    from tasks import TASKS  # type: ignore[import-not-found]

    found: dict[str, Any] = TASKS
    return found


def _feeds(folder: Path, model: Path) -> list[Feed]:
    graph = onnx.load(str(model), load_external_data=False).graph
    stored = {t.name for t in graph.initializer}
    inputs, feeds = [v.name for v in graph.input if v.name not in stored], []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            if missing := [name for name in inputs if name not in arrays]:
                raise SystemExit(f"{path}: has no array for input {', '.join(map(repr, missing))} of {model}")
            feeds.append({name: arrays[name] for name in inputs})
    if not feeds:
        raise SystemExit(f"{folder}: holds no *.npz")
    return feeds
