"""Ctrl-C at any moment: exit code 130, nothing half written, and what was done is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import pytest
import typer

from onnxzip.cli.guard import guarded
from onnxzip.errors import ModelError
from onnxzip.model import save as saving
from onnxzip.model.load import load

MODELS = Path(__file__).parents[2] / "models"

RUNTIME = ".ses"
"""What `import onnxruntime` leaves in the folder of temporary files, whatever is done with it."""

MODULE = '''
import os, signal, sys
import numpy as np

def batches():
    """Digits. In the middle of calibration the user has had enough."""
    digits = np.load(os.environ["DIGITS"])["image"][:96]
    for i in range(0, len(digits), 16):
        if i == 32 and "collect" in _callers():
            os.kill(os.getpid(), signal.SIGINT)
        yield {"image": digits[i : i + 16]}

def _callers():
    frame, names = sys._getframe(), set()
    while frame is not None:
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return names
'''


@pytest.fixture
def run(tmp_path: Path):
    """Runs the command line in a folder of its own, and gives the files that it has left behind."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    for folder in (work, temporary):
        folder.mkdir()
    (work / "mine.py").write_text(MODULE)
    for name in ("digits_resnet.onnx", "digits_resnet_sparse.onnx"):
        (work / name).write_bytes((MODELS / name).read_bytes())
    before = {p.name for p in work.iterdir()}

    def command(*args: str):
        env = {
            **os.environ,
            "DIGITS": str(MODELS / "digits_calibration.npz"),
            "PYTHONPATH": os.pathsep.join([str(MODELS.parent), str(work)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(temporary),
            "OPENBLAS_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "onnxzip", *args], capture_output=True, text=True, cwd=work, env=env, check=False
        )
        left = {p.name for p in work.iterdir()} - before, [p.name for p in temporary.iterdir() if p.name != RUNTIME]
        return done, left

    return command


def test_optimize_leaves_nothing_and_says_what_was_done(run):
    done, left = run("optimize", "digits_resnet_sparse.onnx", "-c", "mine:batches", "--json", "report.json")
    assert done.returncode == 130, done.stderr
    assert left == (set(), [])
    assert (
        "interrupted, no model was written. Done before: rewrite: 33 nodes become 22, exactly; eliminate: 200"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_explore_shows_the_points_so_far(run):
    done, left = run("explore", "digits_resnet.onnx", "-c", "mine:batches", "--json", "report.json")
    assert done.returncode == 130, done.stderr
    assert left == (set(), [])
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["★", "exact"] in rows
    assert not any("int8" in row for row in rows)
    assert "explore: 1 point in" in done.stdout
    assert "interrupted" in done.stdout
    assert done.stderr.splitlines()[-1] == "onnxzip: error: interrupted"


def test_check_shows_the_models_so_far(run, tmp_path):
    (tmp_path / "work" / "onnxzip.toml").write_text(
        '[models.first]\npath = "digits_resnet.onnx"\n[models.second]\npath = "digits_resnet.onnx"\ncalibration = "mine:batches"\n'
    )
    done, left = run("check", "--junit", "report.xml")
    assert done.returncode == 130, done.stderr
    assert left == ({"onnxzip.toml"}, [])
    assert "check: 1 of 1 models passed" in done.stdout
    assert "first" in done.stdout
    assert "second" not in done.stdout


class Slow(ExtensionFileLoader):
    """Loads an extension module during which the user has had enough."""

    def load(self, seconds: float) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(seconds)
        return "whole"


def test_an_extension_module_is_loaded_whole_and_what_comes_after_it_is_interrupted(monkeypatch):
    """Some abort the process when they are interrupted."""
    monkeypatch.setattr(signal, "default_int_handler", signal.getsignal(signal.SIGINT))
    done: list[str] = []

    @guarded
    def command() -> None:
        done.append(Slow("name", "path").load(0.15))
        time.sleep(5)
        done.append("slept")

    with pytest.raises(typer.Exit) as caught:
        command()
    assert caught.value.exit_code == 130
    assert done == ["whole"]


def test_a_command_leaves_the_handler_as_it_was(monkeypatch):
    def own(*_: object) -> None:
        pass

    before = signal.signal(signal.SIGINT, own)
    try:
        guarded(lambda: None)()
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_quiet_says_only_that_it_was_interrupted(run):
    done, _ = run("explore", "digits_resnet.onnx", "-c", "mine:batches", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "onnxzip: error: interrupted\n")


@pytest.mark.parametrize(("external", "when"), [(False, 1), (True, 1), (True, 2)])
def test_a_model_that_is_being_written_vanishes_whole(tmp_path, monkeypatch, external, when):
    """With external data two files are written: the weights, then the model that names them."""
    model, calls, flush = load(MODELS / "digits_resnet.onnx").model, 0, os.fsync

    def interrupted(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            raise KeyboardInterrupt
        flush(handle)

    target = tmp_path / "out.onnx"
    target.write_bytes(b"the old one")
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saving.save(model, target, external=external)
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]
    assert target.read_bytes() == b"the old one"


def test_a_finished_model_keeps_its_data_when_the_next_save_is_interrupted(tmp_path, monkeypatch):
    model, target = load(MODELS / "digits_resnet.onnx").model, tmp_path / "out.onnx"
    first = saving.save(model, target, external=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left"):
        saving.save(model, target, external=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in first)
    assert load(target).bytes > 0
