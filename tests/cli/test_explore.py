"""`onnxzip explore` as a user meets it."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import onnx
import pytest
import typer
from typer.testing import CliRunner

from onnxzip import exploration, ledger
from onnxzip.cli.main import app
from onnxzip.config import Budget
from onnxzip.trials import TRIALS, Trial
from onnxzip.validate.speed import measure_speed

MODELS = Path(__file__).parents[2] / "models"
DIGITS, DATA = MODELS / "digits_resnet.onnx", MODELS / "digits_calibration.npz"


def onnxzip(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    def short(*args, seconds: float, **kwargs):
        return measure_speed(*args, seconds=0.02, **{**kwargs, "max_pairs": 15})

    monkeypatch.setattr(ledger, "measure_speed", short)
    monkeypatch.setattr(exploration, "TRIALS", (Trial("exact"), Trial("weights8")))


def test_table_reports_models_and_plot(tmp_path):
    pytest.importorskip("matplotlib")
    args = ("--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md", "--plot", tmp_path / "r.svg")
    result = onnxzip("explore", DIGITS, "-c", DATA, "--save-all", tmp_path / "all", *args)
    assert result.exit_code == 0, result.output
    assert "★ exact" in result.stdout
    assert (
        f"onnxzip optimize {DIGITS} -c {DATA} --preset weights8 -o {DIGITS.with_name('digits_resnet.weights8.onnx')}\n"
        in result.stdout
    )
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["kind"], found["smallest"]) == ("explore", "weights8")
    assert "| weights8 |" in (tmp_path / "r.md").read_text()
    assert "weights8" in (tmp_path / "r.svg").read_text()
    written = sorted((tmp_path / "all").iterdir())
    assert [p.name for p in written] == ["digits_resnet.exact.onnx", "digits_resnet.weights8.onnx"]
    for path in written:
        onnx.checker.check_model(str(path))


def test_quiet_and_no_time():
    result = onnxzip("explore", DIGITS, "-c", DATA, "-q", "--time-limit", 0)
    assert (result.exit_code, result.output) == (0, "")


def test_when_no_point_holds_the_budget_the_exit_code_is_1(tmp_path):
    result = onnxzip("explore", DIGITS, "-c", DATA, "--max-size", "0.1", "--json", tmp_path / "r.json")
    assert result.exit_code == 1
    assert "none holds the budget" in result.stderr
    assert "above the limit 0.1" in result.stdout
    assert (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "needs calibration data"),
        (["-c", DATA, "--plot", "plot.pdf"], "as .svg or .png"),
        (["-c", DATA, "--json", DATA], "is read or written by this command already"),
        (["-c", DATA, "--time-limit", "-1"], "time_limit"),
        (["-c", DATA, "--save-all", DATA], "the folder cannot be made"),
        (["-c", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_mistakes_are_one_line(args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = onnxzip("explore", DIGITS, *args)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stdout == ""


def test_existing_models_are_not_overwritten(tmp_path):
    mine = tmp_path / f"digits_resnet.{TRIALS[-1].slug}.onnx"
    mine.write_text("mine")
    result = onnxzip("explore", DIGITS, "-c", DATA, "--save-all", tmp_path)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert mine.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [mine]


def test_a_plot_without_matplotlib_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(exploration, "explore", None)
    result = onnxzip("explore", DIGITS, "-c", DATA, "--plot", tmp_path / "plot.svg")
    assert result.exit_code == 2
    assert "pip install 'onnxzip[report]'" in result.stderr


def test_every_limit_of_optimize_is_one_of_explore():
    commands = typer.main.get_command(app).commands
    limits = {f.name for f in dataclasses.fields(Budget)} - {"layers"}  # those are judged where two models are compared
    names = {
        command: {p.name.replace("min_sqnr", "min_sqnr_db") for p in commands[command].params} for command in commands
    }
    assert limits & names["optimize"] == limits & names["explore"] == limits
