"""`onnxzip init`: what it writes is true, and `check` takes it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from onnxzip.cli.main import app
from onnxzip.config import Budget, Config
from onnxzip.settings import read

MODELS = Path(__file__).parents[2] / "models"


def onnxzip(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    Path("models").mkdir()
    for name in ("digits_resnet.onnx", "digits_resnet_sparse.onnx", "digits_calibration.npz"):
        shutil.copy(MODELS / name, "models")
    return tmp_path


def test_what_it_writes_says_what_is_there_and_is_checked():
    result = onnxzip("init", "models/digits_resnet.onnx")
    assert result.exit_code == 0, result.output
    text = Path("onnxzip.toml").read_text()
    for words in (
        "902 kB, 33 nodes, opset 18",
        "input image: float32[batch,1,8,8]",
        "output scores: float32[batch,10]",
    ):
        assert words in text
    (entry,) = read(Path("onnxzip.toml"))
    assert entry.name == "digits_resnet"
    assert entry.config == Config(preset="exact", budget=Budget())
    assert onnxzip("check").exit_code == 0


def test_data_is_read_and_suggests_int8():
    assert onnxzip("init", "models/digits_resnet.onnx", "-c", "models/digits_calibration.npz").exit_code == 0
    text = Path("onnxzip.toml").read_text()
    assert "256 samples;" in text
    (entry,) = read(Path("onnxzip.toml"))
    assert (entry.config.preset, entry.calibration) == ("int8", "models/digits_calibration.npz")


def test_every_line_that_is_commented_out_is_valid():
    onnxzip("init", "models/digits_resnet.onnx")
    for name in ("data/test", "optimized"):
        Path(name).mkdir(parents=True)
    shutil.copy("models/digits_resnet.onnx", "other.onnx")
    text = Path("onnxzip.toml").read_text()
    shown = re.findall(r"^# [a-z-]+ = .*", text, re.MULTILINE)
    assert len(shown) > 8
    before = read(Path("onnxzip.toml"))
    for line in shown:
        changed = text.replace(line, line.removeprefix("# "))
        if "candidate" in line:  # it stands instead of the others, as its comment says
            changed = re.sub(r"^preset = .*", "", changed, flags=re.MULTILINE)
        Path("onnxzip.toml").write_text(changed)
        same = "target" in line or "objective" in line  # which show the default
        assert (read(Path("onnxzip.toml")) == before) == same, line


def test_paths_are_relative_to_the_file(folder):
    Path("deep").mkdir()
    args = ("-c", "models/digits_calibration.npz", "-o", "deep/gate.toml")
    result = onnxzip("init", folder / "models/digits_resnet.onnx", *args)
    assert "onnxzip check --config deep/gate.toml" in result.stdout
    assert 'path = "../models/digits_resnet.onnx"' in Path("deep/gate.toml").read_text()
    (entry,) = read(Path("deep/gate.toml"))
    assert entry.path.samefile("models/digits_resnet.onnx")


def test_models_are_added_one_by_one():
    onnxzip("init", "models/digits_resnet.onnx")
    before = Path("onnxzip.toml").read_text()
    assert onnxzip("init", "models/digits_resnet_sparse.onnx", "--add").exit_code == 0
    assert Path("onnxzip.toml").read_text().startswith(before)
    assert [e.name for e in read(Path("onnxzip.toml"))] == ["digits_resnet", "digits_resnet_sparse"]
    result = onnxzip("init", "models/digits_resnet.onnx", "--add")
    assert result.exit_code == 2
    assert "has a table [models.digits_resnet] already" in result.stderr


def test_a_file_that_is_there_stays_without_force():
    Path("onnxzip.toml").write_text("mine")
    result = onnxzip("init", "models/digits_resnet.onnx")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert onnxzip("init", "models/digits_resnet.onnx", "--add").exit_code == 2  # it is no settings file
    assert Path("onnxzip.toml").read_text() == "mine"
    assert onnxzip("init", "models/digits_resnet.onnx", "--force").exit_code == 0


def test_strange_names_are_quoted():
    strange = Path('models/a "b" é.v1.onnx')
    shutil.copy("models/digits_resnet.onnx", strange)
    assert onnxzip("init", strange).exit_code == 0
    (entry,) = read(Path("onnxzip.toml"))
    assert (entry.name, entry.path) == ('a "b" é.v1', strange)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("models/none.onnx",), "there is no such file"),
        (("models/digits_resnet.onnx", "-c", "none"), "there is no such file or folder"),
        (("models/digits_resnet.onnx", "-o", "pyproject.toml"), "is not written by onnxzip"),
        (("models/digits_resnet.onnx", "--add"), "cannot be read"),
    ],
)
def test_mistakes_leave_no_file(args, words):
    result = onnxzip("init", *args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not list(Path().glob("*.toml"))
