"""The whole verdict on the command line: labels, metric, confidence, worst samples."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from onnxzip.cli.main import app

MODELS = Path(__file__).parents[2] / "models"
DENSE, SPARSE = MODELS / "digits_resnet.onnx", MODELS / "digits_resnet_sparse.onnx"
EVALUATION = MODELS / "digits_evaluation.npz"


def onnxzip(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def compare(*args: object):
    return onnxzip("compare", DENSE, SPARSE, "-c", EVALUATION, "--min-agreement", "0.9", "--min-sqnr", "0", *args)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """The first 20 images."""
    content = np.load(EVALUATION)
    np.savez(tmp_path / "few.npz", image=content["image"][:20], label=content["label"][:20])
    return tmp_path / "few.npz"


def test_accuracy_metric_and_worst_samples_in_one_call(tmp_path, monkeypatch):
    (tmp_path / "metrics_of_mine.py").write_text(
        "def right(outputs, labels, arrays):\n    return (outputs['scores'].argmax(1) == labels).mean()\n"
    )
    monkeypatch.chdir(tmp_path)
    result = compare(
        "--labels", "label", "--max-accuracy-drop", "0.02", "--metric", "metrics_of_mine:right", "--max-metric-drop", "0.02",
        "--confidence", "0.9", "--max-nodes", "1", "--save-worst", "worst", "--json", "verdict.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "scores: accuracy, 450" in result.output
    assert "90 %" in result.output
    found = json.loads(Path("verdict.json").read_text())["verdict"]
    (accuracy,) = found["accuracy"]
    assert (accuracy["original"], accuracy["candidate"]) == (1.0, pytest.approx(449 / 450))  # models/README.md
    assert found["metric"]["candidate"] == accuracy["candidate"]
    assert (accuracy["lost"], accuracy["won"]) == (1, 0)
    worst = found["worst"][0]
    assert worst["lost"]
    again = onnxzip("compare", DENSE, SPARSE, "-c", "worst", "--labels", "label", "--min-agreement", "0")
    assert "scores: accuracy, 10" in again.output
    assert compare("--save-worst", "worst").exit_code == 2  # it is not empty
    assert compare("--save-worst", "worst", "--force").exit_code == 0


def test_limits_that_are_missed_are_told_with_the_worst_samples():
    result = compare("--min-cosine", "0.9999", "--max-rel-error", "0.001", "--class-axis", "1")
    assert result.exit_code == 1
    assert "has cosine" in result.output
    assert "of its largest value" in result.output
    assert "worst samples: " in result.output


def test_too_few_samples_do_not_pass_where_confidence_is_asked_for(few, tmp_path):
    args = ("optimize", DENSE, "--preset", "fp16", "-c", few, "-o", tmp_path / "out.onnx")
    unsure = onnxzip(*args, "--confidence", "0.95", "--json", tmp_path / "r.json")
    assert unsure.exit_code == 1
    assert "UNDECIDED, not enough samples to decide: about 35 are needed, there are 20" in unsure.output
    assert "the budget was not settled by this data, nothing was written" in unsure.stderr
    assert json.loads((tmp_path / "r.json").read_text())["verdict"]["outcome"] == "undecided"
    assert not (tmp_path / "out.onnx").exists()
    plain = onnxzip(*args)
    assert plain.exit_code == 0, plain.output
    assert "about 35 samples would" in plain.output


def test_optimize_tells_accuracy_and_writes_the_worst_samples(few, tmp_path):
    result = onnxzip(
        "optimize", DENSE, "--preset", "fp16", "-c", few, "-o", tmp_path / "o.onnx", "--labels", "label", "--max-accuracy-drop", "0",
        "--save-worst", tmp_path / "worst",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "scores: accuracy, 20" in result.output
    assert len(list((tmp_path / "worst").iterdir())) == 10


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--labels", "lable"), "Beside the inputs there is 'label'"),
        (("--max-accuracy-drop", "0.1"), "needs labels"),
        (("--metric", "math:floor"), "metric math:floor fails"),
        (("--metric", "nonsense"), "module:function"),
        (("--confidence", "95"), "confidence must lie"),
        (("--class-axis", "5"), "no float output has classes along axis 5"),
        (("--save-worst", str(EVALUATION)), "this is a file"),
        (("--save-worst", "no/such/folder"), "does not exist"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(args, words):
    result = compare(*args)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
