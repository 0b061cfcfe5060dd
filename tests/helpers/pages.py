"""Pages of docs/ as a reader follows them: what stands in fenced blocks is written and run, in order, in one folder.

A block with a title is a file, and is written. Without one, `bash` and `python` are run; a `text` block behind them is what they print: the same words, any
figures, `...` for whatever else. Comments above a block may say

    <!-- not run: WHY -->                       it is only for the reader
    <!-- needs: MODULE ...; makes: FILE ... -->  where a module is missing, stand-ins of these files take its place

    <!-- reader has: FILE ... -->               the reader brings these files, of which there are stand-ins
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from typer.testing import CliRunner

from onnxzip.cli.main import app

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"

NO_SUMMARY = {"GITHUB_STEP_SUMMARY": None}
"""Tests that run in a workflow write nothing there."""

_COMMAND = re.compile(r"onnxzip [^|&;<>$`*]*")
_FENCE = re.compile(r"^( *)```+ *(\w*)(.*)$")
_NOTE = re.compile(r"^<!-- (.*) -->$")
_FRAMES = re.compile("[\u2500-\u257f]+")
_NUMBER = re.compile(r"\.[0-9a-f]{12}\.|[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Block:
    """One fenced block, and what the comment above it says."""

    line: int
    language: str
    title: str | None
    text: str
    not_run: bool = False
    needs: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    brought: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        return self.title is None and not self.not_run and self.language in ("bash", "python")

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.needs if not is_there(name))


def is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it should be in
        return False


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, those inside of notes (indented) left out."""
    found: list[Block] = []
    lines = iter(enumerate(text.splitlines(), 1))
    notes: list[str] = []
    for number, line in lines:
        if comment := _NOTE.match(line):
            notes.append(comment[1])
        elif head := _FENCE.match(line):
            inside = list(_until_closed(lines))
            if not head[1]:
                found.append(_block(number, head[2], head[3], "\n".join(inside) + "\n", "; ".join(notes)))
            notes = []
    return found


def _until_closed(lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "```":
            return
        yield line
    raise AssertionError("a fence is not closed")


def _block(line: int, language: str, rest: str, text: str, note: str) -> Block:
    title = re.search(r'title="([^"]+)"', rest)
    said = {key: re.search(rf"{key}: ([^;]+)", note) for key in ("needs", "makes", "reader has")}
    names = {key: tuple(found[1].split()) if found else () for key, found in said.items()}
    return Block(
        line=line,
        language=language,
        title=title[1] if title else None,
        text=text,
        not_run="not run: " in note,
        needs=names["needs"],
        makes=names["makes"],
        brought=names["reader has"],
    )


def follow(text: str, folder: Path) -> None:
    """Do what a page says, and hold what is printed to what it shows."""
    replaced = False
    page = blocks(text)
    for block, after in zip(page, [*page[1:], None], strict=True):
        if block.language == "python":
            compile(block.text, f"line {block.line}", "exec")
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text)
        for name in block.brought:
            stand_in(folder / name)
        if not block.runs:
            continue
        if block.missing:
            replaced = True
            for name in block.makes:
                stand_in(folder / name)
            continue
        printed = run(block, folder)
        absent = [name for name in block.makes if not (folder / name).exists()]
        assert not absent, f"line {block.line} does not make {absent}"
        if after is not None and after.language == "text" and not replaced:
            assert_shows(after, printed)


def run(block: Block, folder: Path) -> str:
    """What a block prints, errors included; it must end well.

    Lines that are nothing but a command of onnxzip are run in this process, for importing takes longer than what they do.
    """
    lines = block.text.splitlines()
    plain_commands = block.language == "bash" and all(_COMMAND.fullmatch(line) for line in lines)
    printed = [here(line, folder) for line in lines] if plain_commands else [elsewhere(block, folder)]
    for code, text in printed:
        assert code == 0, f"line {block.line} ends with {code}:\n{text}"
    return "".join(text for _, text in printed)


def here(line: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of one command, in this process."""
    own = set(sys.modules)
    with contextlib.chdir(folder):
        done = CliRunner().invoke(app, shlex.split(line)[1:], prog_name="onnxzip", env={"COLUMNS": "100", **NO_SUMMARY})
    for name in set(sys.modules) - own:  # the reader's modules, of which the next page may have others
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    return done.exit_code, done.output


def elsewhere(block: Block, folder: Path) -> tuple[int, str]:
    """Exit code and output of a block, in a process of its own."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PATH": path, "PYTHONPATH": python_path, "COLUMNS": "100", "PYTHONWARNINGS": "default"}
    env = {name: value for name, value in env.items() if name not in NO_SUMMARY}
    shell = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", block.text]
    args = shell if block.language == "bash" else [sys.executable, "-c", block.text]
    done = subprocess.run(
        args, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def assert_shows(shown: Block, printed: str) -> None:
    """The words are those that were printed, in their order."""
    pattern = ".*".join(re.escape(plain(part)) for part in shown.text.split("..."))
    assert re.fullmatch(pattern.replace(r"\ .*", ".*").replace(r".*\ ", ".*"), plain(printed), re.DOTALL), (
        f"line {shown.line} shows\n{shown.text}\nbut printed was\n{printed}"
    )


def plain(text: str) -> str:
    """Words without frames, every number a `#`, white space as single blanks."""
    words = _FRAMES.sub(" ", text)
    return " ".join(_NUMBER.sub("#", words).split())


def stand_in(path: Path) -> None:
    """A file that the reader would have: of the shipped data, or a small network on it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".onnx" and path.stem.endswith("large"):
        location = f"{path.name}.data"
        onnx.save(_with(small_network(), {}), path, save_as_external_data=True, location=location, size_threshold=0)
    elif path.suffix == ".onnx":
        onnx.save(small_network(), path)
    elif path.suffix == ".npz":
        kind = "evaluation" if path.stem.endswith("evaluation") else "calibration"
        shutil.copy(MODELS / f"digits_{kind}.npz", path)
    else:
        raise AssertionError(f"there is no stand-in for {path.name}")


@functools.cache
def small_network() -> onnx.ModelProto:
    """A network of two random Convs whose last layer is fitted to the digits: it decides well, and takes a second to quantize."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.normal(size=(16, 1, 3, 3)) / 3,
        "w2": random.normal(size=(32, 16, 3, 3)) / 12,
        "w3": np.zeros((512, 10)),
        "b3": np.zeros(10),
    }
    model = onnx.parser.parse_model(NETWORK)
    with np.load(MODELS / "digits_evaluation.npz") as data:
        features = ReferenceEvaluator(_with(model, weights)).run(["f"], {"image": data["image"]})[0].astype(np.float64)
        target = np.eye(10)[data["label"]]
    gram = features.T @ features
    weights["w3"] = np.linalg.solve(gram + np.eye(512) * np.trace(gram) / 5e4, features.T @ (target - 0.1)) * 8
    return _with(model, weights)


NETWORK = """
<ir_version: 8, opset_import: ["" : 18]>
g (float[batch, 1, 8, 8] image) => (float[batch, 10] scores) {
    a = Conv<pads = [1, 1, 1, 1]>(image, w1)
    b = Relu(a)
    c = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(b, w2)
    d = Relu(c)
    f = Flatten(d)
    scores = Gemm(f, w3, b3)
}
"""


def _with(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A copy with these weights; `onnx.save` changes the model that it is given."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.initializer.extend(onnx.numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items())
    return made
