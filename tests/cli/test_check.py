"""`onnxzip check` and the settings file of `optimize`, as a user and a CI system meet them."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from onnxzip.cli.main import app

EXAMPLE = Path(__file__).parents[2] / "examples" / "ci" / "onnxzip.toml"


def onnxzip(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with three models; the tests themselves may run as a step of GitHub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for name, nodes in (("relu", "t = Identity(x) y = Relu(t)"), ("same", "y = Relu(x)"), ("abs", "y = Abs(x)")):
        text = f'<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) {{ {nodes} }}'
        onnx.save(onnx.parser.parse_model(text), str(tmp_path / f"{name}.onnx"))
    return tmp_path


GOOD = '[models.relu]\npath = "relu.onnx"\n[models.same]\npath = "relu.onnx"\ncandidate = "same.onnx"\n'
BAD = '[models.swap]\npath = "relu.onnx"\ncandidate = "abs.onnx"\n'
BROKEN = '[models.broken]\npath = "broken.onnx"\n'


def settings(text: str) -> None:
    Path("onnxzip.toml").write_text(text)
    Path("broken.onnx").write_bytes(b"no model")


def test_a_repository_of_three_models_is_one_command_and_one_screen(tmp_path, monkeypatch):
    monkeypatch.chdir(EXAMPLE.parents[2])
    monkeypatch.setenv("COLUMNS", "80")
    args = ("--json", tmp_path / "r.json", "--junit", tmp_path / "r.xml", "--markdown", tmp_path / "r.md")
    result = onnxzip("check", "--config", EXAMPLE, "--out", tmp_path / "out", *args)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines[:7])) <= 80
    assert "check: 3 of 3 models passed" in result.stdout
    assert [m["outcome"] for m in json.loads((tmp_path / "r.json").read_text())["models"]] == ["passed"] * 3
    assert len(list(ET.parse(tmp_path / "r.xml").iter("testcase"))) == 3
    assert (tmp_path / "r.md").read_text().count("\n| ") == 5  # head, rule, three rows
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["digits.onnx", "sparse.onnx"]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (GOOD, 0, "check: 2 of 2 models passed"),
        (GOOD + BAD, 1, "missed: swap: output 'y' agrees in"),
        (GOOD + BROKEN, 2, "error: broken: broken.onnx: this is not a readable ONNX model"),
        (BROKEN + BAD + GOOD, 2, "2 of 4 models passed, 1 could not be judged"),
        (f'{BAD}expected = "missed"', 0, "missed, as expected"),
        (f'{GOOD}expected = "missed"', 1, "passed, not expected"),
        (f"{GOOD}strct = true", 2, None),
    ],
)
def test_exit_codes(text, code, words):
    settings(text)
    result = onnxzip("check")
    assert result.exit_code == code, result.output
    if words is None:
        assert result.stdout == ""
        assert "Did you mean strict?" in result.stderr
    else:
        assert words in result.stdout
    assert ("did not pass" in result.stderr) == (code != 0 and words is not None)


def test_reports_are_written_when_models_miss_and_break():
    settings(BAD + BROKEN)
    assert onnxzip("check", "-q", "--json", "r.json", "--junit", "r.xml", "--markdown", "r.md").exit_code == 2
    found = json.loads(Path("r.json").read_text())
    assert [m["outcome"] for m in found["models"]] == ["missed", "error"]
    suite = ET.parse("r.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
    assert "could not be judged" in Path("r.md").read_text()


def test_quiet_says_nothing_but_what_failed():
    settings(GOOD)
    assert onnxzip("check", "-q").output == ""
    settings(BAD)
    result = onnxzip("check", "-q")
    assert result.stdout == ""
    assert "swap (output 'y' agrees in" in result.stderr


def test_the_summary_of_a_step_is_appended_to(monkeypatch):
    settings(GOOD)
    summary = Path("summary.md")
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert onnxzip("check").exit_code == 0
    assert onnxzip("check", "--markdown", summary).exit_code == 0  # no --force: it is not overwritten
    assert onnxzip("compare", "relu.onnx", "same.onnx", "--markdown", summary).exit_code == 0
    text = summary.read_text()
    assert text.startswith("before\n## ")
    assert text.count("\n## ✅ onnxzip check") == 2
    assert onnxzip("check", "--markdown", "own.md").exit_code == 0
    assert summary.read_text() == text
    assert "onnxzip check" in Path("own.md").read_text()


def test_an_unwritable_summary_is_said(monkeypatch):
    settings(GOOD)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/such/folder.md")
    result = onnxzip("check", "-q")
    assert result.exit_code == 2
    assert "$GITHUB_STEP_SUMMARY" in result.stderr


def test_only_the_models_that_are_named_are_checked():
    settings(GOOD + BAD)
    result = onnxzip("check", "same")
    assert result.exit_code == 0
    assert "1 of 1" in result.stdout
    assert onnxzip("check", "abs.onnx").exit_code == 2


def test_results_are_written_where_they_pass_and_only_by_force_twice():
    settings('[models.a]\npath = "relu.onnx"\nout = "new/a.onnx"\n')
    assert onnxzip("check", "-q").exit_code == 0
    assert len(onnx.load("new/a.onnx").graph.node) == 1
    result = onnxzip("check", "-q")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert onnxzip("check", "-q", "--force").exit_code == 0
    assert onnxzip("check", "-q", "--out", "other").exit_code == 0
    assert Path("other/a.onnx").exists()


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ('[models.a]\npath = "relu.onnx"\nout = "relu.onnx"', ()),
        ('[models.a]\npath = "relu.onnx"\nout = "x.onnx"\n[models.b]\npath = "abs.onnx"\nout = "x.onnx"', ()),
        (GOOD, ("--json", "relu.onnx")),
        (GOOD, ("--json", "onnxzip.toml")),
        (GOOD, ("--json", "r", "--junit", "r")),
    ],
)
def test_nothing_lands_on_what_is_read_or_written(text, args):
    settings(text)
    before = {p: p.read_bytes() for p in Path().iterdir()}
    assert onnxzip("check", "--force", *args).exit_code == 2
    assert {p: p.read_bytes() for p in Path().iterdir()} == before


def test_the_file_of_a_folder_above_holds_too(monkeypatch, folder):
    settings(GOOD)
    deep = folder / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    assert onnxzip("check").exit_code == 0


def test_brackets_are_shown_as_they_are():
    """In help texts and names alike: a console may take them for markup."""
    assert onnxzip("check", "--help").stdout.count("tool.onnxzip") == 2
    settings('[models."a[bold]"]\npath = "relu.onnx"\nout = "x[red].onnx"\n')
    result = onnxzip("check")
    assert "a[bold]" in result.stdout
    assert "wrote x[red].onnx" in result.stdout
    assert "wrote y[red].toml" in onnxzip("init", "relu.onnx", "-o", "y[red].toml").stdout


def test_without_a_file_it_says_how_to_get_one():
    result = onnxzip("check")
    assert result.exit_code == 2
    assert "onnxzip init MODEL" in result.stderr


def test_optimize_takes_the_settings_of_its_model():
    settings('[models.a]\npath = "relu.onnx"\nout = "a.onnx"\n[models.a.budget]\nmax-size = 0.01\n')
    assert onnxzip("optimize", "relu.onnx", "-q").exit_code == 0  # without --config the file has no say
    result = onnxzip("optimize", "relu.onnx", "--config", "onnxzip.toml")
    assert result.exit_code == 1
    assert "above the limit 0.01" in result.stderr
    assert not Path("a.onnx").exists()
    assert onnxzip("optimize", "relu.onnx", "--config", "onnxzip.toml", "--max-size", "2", "-q").exit_code == 0
    assert Path("a.onnx").exists()


def test_options_go_before_the_file_and_the_rest_of_it_holds(monkeypatch):
    np.savez("data.npz", x=np.ones((20, 3), np.float32))
    settings(
        '[models.a]\npath = "relu.onnx"\ncalibration = "data.npz"\npreset = "exact"\nseed = 3\nprune-by = "parameters"\n[models.a.budget]\nmin-sqnr = 33\n'
    )
    report = Path("r.json")
    args = ("optimize", "relu.onnx", "--config", "onnxzip.toml", "--json", report, "--force", "-q")
    assert onnxzip(*args, "--min-agreement", "0.5", "--prune-by", "multiply-adds").exit_code == 0
    found = json.loads(report.read_text())
    config = found["config"]
    assert (config["preset"], config["seed"], config["prune_by"]) == ("exact", 3, "multiply-adds")
    assert (config["budget"]["min_sqnr_db"], config["budget"]["min_agreement"]) == (33, 0.5)
    assert found["verdict"]["data"] == "given"
    assert onnxzip(*args, "--min-sqnr", "20").exit_code == 0
    assert json.loads(report.read_text())["config"]["budget"]["min_sqnr_db"] == 20


def test_optimize_refuses_a_model_that_the_file_does_not_know():
    settings(GOOD)
    result = onnxzip("optimize", "abs.onnx", "--config", "onnxzip.toml")
    assert result.exit_code == 2
    assert "no table that says how to optimize" in result.stderr


def test_optimize_and_compare_write_the_same_kinds_of_report():
    reports = ("--json", "r.json", "--junit", "r.xml", "--markdown", "r.md")
    assert onnxzip("optimize", "relu.onnx", *reports).exit_code == 0
    assert ET.parse("r.xml").getroot().get("failures") == "0"
    assert onnxzip("compare", "relu.onnx", "abs.onnx", *reports).exit_code == 2  # they exist
    assert onnxzip("compare", "relu.onnx", "abs.onnx", *reports, "--force").exit_code == 1
    assert ET.parse("r.xml").getroot().get("failures") == "1"
    assert json.loads(Path("r.json").read_text())["kind"] == "compare"
    assert "❌ **verdict: FAILED**" in Path("r.md").read_text()


def test_a_pattern_gives_each_result_its_place():
    shutil.copy("relu.onnx", Path("zoo.onnx"))
    settings('[models.all]\npath = "[rz]*.onnx"\n')
    result = onnxzip("check", "--out", "new")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in Path("new/all").iterdir()) == ["relu.onnx", "zoo.onnx"]


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out", ""])
def test_no_result_leaves_the_folder_of_results(tmp_path, name):
    settings(f'[models."{name}"]\npath = "relu.onnx"\n')
    result = onnxzip("check", "--out", tmp_path / "results")
    assert result.exit_code == 2
    assert "would not lie in" in result.stderr
    assert not (tmp_path / "results").exists()
    settings('[models."a/..b"]\npath = "relu.onnx"\n')
    assert onnxzip("check", "--out", tmp_path / "results").exit_code == 0
    assert (tmp_path / "results" / "a" / "..b.onnx").is_file()


def test_a_result_that_is_a_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "results").mkdir()
    settings('[models.relu]\npath = "relu.onnx"\nout = "results"\n')
    for force in ((), ("--force",)):
        result = onnxzip("check", *force)
        assert result.exit_code == 2
        assert "results: this is a folder" in result.stderr
        assert len(result.stderr.splitlines()) == 1
