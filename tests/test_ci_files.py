"""The files that CI systems read: they parse, and the very commands that stand in them do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from onnxzip.cli.main import app

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOW = yaml.safe_load((ROOT / "examples" / "ci" / "github-workflow.yml").read_text())
GITLAB = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab-ci.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
DOCS = (ROOT / "docs" / "ci.md").read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, op in (("a b", "Relu"), ("c", "Abs")):
        text = f'<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) {{ y = {op}(x) }}'
        onnx.save(onnx.parser.parse_model(text), str(tmp_path / f"{name}.onnx"))
    (tmp_path / "the gate.toml").write_text('[models.one]\npath = "a b.onnx"\n[models.two]\npath = "c.onnx"\n')
    return tmp_path


def bash(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs `shell: bash`, with this Python as `python`."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    given = {**os.environ, "PATH": path, "PYTHONPATH": python_path, **env}
    args = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", command]
    return subprocess.run(args, cwd=folder, env=given, capture_output=True, text=True, check=False)


def step(name: str) -> dict:
    return next(s for s in ACTION["runs"]["steps"] if s["name"] == name)


def defaults(**changed: str) -> dict[str, str]:
    """The environment of the step, with the defaults of the inputs or with these."""
    inputs = {name: str(i["default"]) for name, i in ACTION["inputs"].items()} | changed
    return {
        k: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: inputs[m[1]], v) for k, v in step("Check")["env"].items()
    }


def test_the_command_of_the_action_checks_all_models(repository):
    summary = repository / "summary.md"
    env = defaults(config="the gate.toml", out="new models")
    result = bash(step("Check")["run"], repository, GITHUB_STEP_SUMMARY=str(summary), **env)
    assert result.returncode == 0, result.stderr
    assert "2 of 2 models passed" in result.stdout
    assert "## ✅ onnxzip check" in summary.read_text()
    assert len(list(ET.parse(repository / "onnxzip.junit.xml").iter("testcase"))) == 2
    assert (repository / "onnxzip.report.json").exists()
    assert sorted(p.name for p in (repository / "new models").iterdir()) == ["one.onnx", "two.onnx"]


def test_the_command_of_the_action_fails_where_a_model_does(repository):
    tables = '[models.swap]\npath = "a b.onnx"\ncandidate = "c.onnx"\n[models.c]\npath = "c.onnx"\n'
    (repository / "onnxzip.toml").write_text(tables)
    (repository / "onnxzip.junit.xml").write_text("of an earlier run")
    result = bash(step("Check")["run"], repository, GITHUB_STEP_SUMMARY="", **defaults(models=" swap  "))
    assert result.returncode == 1, result.stderr
    assert "0 of 1 models passed" in result.stdout
    assert ET.parse(repository / "onnxzip.junit.xml").getroot().get("failures") == "1"


def test_inputs_of_the_action_are_never_commands(repository):
    env = defaults(config="the gate.toml", models="$(touch hacked) ;touch hacked")
    result = bash(step("Check")["run"], repository, GITHUB_STEP_SUMMARY="", **env)
    assert result.returncode == 2
    assert "has no model of this name" in result.stderr
    assert not (repository / "hacked").exists()


def test_every_input_of_the_action_is_used_and_documented():
    text = (ROOT / "action.yml").read_text()
    for name, given in ACTION["inputs"].items():
        assert given["description"]
        assert f"${{{{ inputs.{name} }}}}" in text
        assert f"`{name}`" in DOCS
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    assert all("${{" not in s.get("run", "") for s in ACTION["runs"]["steps"])  # or inputs would be read as commands
    assert all(s["shell"] == "bash" for s in ACTION["runs"]["steps"] if "run" in s)


def test_the_action_installs_a_python_that_onnxzip_takes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = tuple(map(int, re.findall(r"\d+", project["requires-python"])))
    assert tuple(map(int, ACTION["inputs"]["python-version"]["default"].split("."))) >= least


def test_the_example_workflow_uses_the_action_as_it_is():
    steps = WORKFLOW["jobs"]["check"]["steps"]
    (ours,) = (s for s in steps if s["uses"].startswith("onnxzip/onnxzip@"))
    assert set(ours["with"]) <= set(ACTION["inputs"])
    uploaded = next(s for s in steps if "upload-artifact" in s["uses"])["with"]["path"].split()
    assert uploaded == [ACTION["inputs"]["junit"]["default"], ACTION["inputs"]["json"]["default"]]
    assert ours["with"]["junit"] == uploaded[0]


def test_the_commands_of_gitlab_and_pre_commit_run(repository, monkeypatch):
    monkeypatch.chdir(repository)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (repository / "the gate.toml").rename("onnxzip.toml")
    (hook,) = HOOKS
    script = GITLAB["models"]["script"]
    for command in (hook["entry"], next(line for line in script if line.startswith("onnxzip "))):
        program, *args = command.split()
        assert program == "onnxzip"
        assert CliRunner().invoke(app, args).exit_code == 0
    assert (repository / GITLAB["models"]["artifacts"]["reports"]["junit"]).exists()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("models/a.onnx", True),
        ("onnxzip.toml", True),
        ("deep/onnxzip.toml", True),
        ("pyproject.toml", True),
        ("notonnxzip.toml", False),
        ("a.onnx.md", False),
    ],
)
def test_the_hook_runs_where_a_model_or_its_settings_change(name, wanted):
    (hook,) = HOOKS
    assert bool(re.search(hook["files"], name)) == wanted
    assert hook["language"] == "python"
    assert hook["pass_filenames"] is False
    assert f"- id: {hook['id']}" in DOCS
