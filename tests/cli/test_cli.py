"""The command line as a user meets it: exit codes, one clear line for every mistake, nothing half written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from onnxzip.cli import optimize as optimize_command
from onnxzip.cli.main import app

MODELS = Path(__file__).parents[2] / "models"
DENSE, SPARSE = MODELS / "digits_resnet.onnx", MODELS / "digits_resnet_sparse.onnx"
CALIBRATION, EVALUATION = MODELS / "digits_calibration.npz", MODELS / "digits_evaluation.npz"


def onnxzip(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    text = '<ir_version: 8, opset_import: ["" : 18]> agraph (float[N,3] x) => (float[N,3] y) { t = Identity(x) s = Relu(t) y = Identity(s) }'
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


def test_exact_without_data_writes_beside_the_input(small):
    result = onnxzip("optimize", small)
    assert result.exit_code == 0, result.output
    written = small.with_name("small.opt.onnx")
    assert [n.op_type for n in onnx.load(str(written)).graph.node] == ["Relu"]
    assert "verdict: PASSED" in result.output
    assert "made up" in result.output
    assert "-c DATA" not in result.output  # there are no weights that data could make smaller


def test_a_run_without_data_says_what_data_would_bring(tmp_path):
    result = onnxzip("optimize", DENSE, "-o", tmp_path / "out.onnx")
    assert result.exit_code == 0, result.output
    assert "smaller (about 2" in result.output
    assert f"onnxzip optimize {DENSE} -c DATA\n" in result.output  # on one line, ready to be copied
    assert f"onnxzip optimize {DENSE} --preset weights8\n" in result.output


def test_the_full_job_on_the_shipped_model(tmp_path):
    out, report, plan = tmp_path / "out.onnx", tmp_path / "out.json", tmp_path / "plan.json"
    result = onnxzip(
        "optimize", SPARSE, "-c", CALIBRATION, "-e", EVALUATION, "-o", out, "--json", report, "--save-plan", plan
    )
    assert result.exit_code == 0, result.output
    assert "PASSED" in result.output
    assert "paired runs" in result.output
    found = json.loads(report.read_text())
    assert found["verdict"]["passed"]
    assert found["verdict"]["metrics"]["agreement"] >= 0.95
    assert found["after"]["bytes"] < 0.3 * found["before"]["bytes"]
    assert [s["kept"] for s in found["stages"]] == [True, True, True]
    assert onnxzip("compare", SPARSE, out, "-c", EVALUATION).exit_code == 0
    again = tmp_path / "again.onnx"
    assert (
        onnxzip("optimize", SPARSE, "-c", CALIBRATION, "-e", EVALUATION, "-o", again, "--plan", plan, "-q").exit_code
        == 0
    )
    assert again.read_bytes() == out.read_bytes()


def test_a_missed_budget_is_exit_code_1_and_nothing_is_written(tmp_path):
    out = tmp_path / "out.onnx"
    args = ("optimize", DENSE, "-c", CALIBRATION, "-o", out, "--max-abs-error", "1e-9")
    result = onnxzip(*args)
    assert result.exit_code == 1
    assert "the budget was missed, nothing was written" in result.stderr
    assert not out.exists()
    plan = tmp_path / "plan.json"
    kept = onnxzip(*args, "--keep-best", "--save-plan", plan)
    assert kept.exit_code == 1
    assert "onnxzip_plan" in plan.read_text()
    assert onnxzip("compare", DENSE, out, "-c", EVALUATION, "--min-sqnr", "90").exit_code == 0


def test_compare_fails_on_a_damaged_model(tmp_path):
    """failures.md 9: a mismatch that is found is an exit code, not a line that nobody reads."""
    damaged = onnx.load(str(DENSE))
    weight = max(damaged.graph.initializer, key=lambda t: t.ByteSize())
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    onnx.save(damaged, str(tmp_path / "damaged.onnx"))
    result = onnxzip("compare", DENSE, tmp_path / "damaged.onnx", "-c", EVALUATION)
    assert result.exit_code == 1
    assert "FAILED" in result.output
    other = onnxzip("compare", DENSE, DENSE, "-c", EVALUATION, "-q")
    assert (other.exit_code, other.output) == (0, "")


def test_compare_refuses_another_interface(small, tmp_path):
    result = onnxzip("compare", DENSE, small)
    assert result.exit_code == 1
    assert "the interface differs" in result.output
    assert "candidate │" not in result.output  # no table without figures


def test_inspect_shows_what_is_in_a_model(tmp_path):
    result = onnxzip("inspect", SPARSE, "--json", tmp_path / "i.json")
    assert result.exit_code == 0, result.output
    for words in ("parameters", "Largest weights", "bytes by type", "What could be gained", "BatchNormalization"):
        assert words in result.output
    assert json.loads((tmp_path / "i.json").read_text())["removable_channels"] > 0
    everything = onnxzip("inspect", SPARSE, "--all").output
    assert len(everything.splitlines()) > len(result.output.splitlines())
    assert "Largest weights" not in everything


def test_the_input_is_never_written(small):
    before = small.read_bytes()
    assert onnxzip("optimize", small, "-o", small, "--force").exit_code == 2
    assert onnxzip("optimize", small, "--json", small).exit_code == 2
    small.chmod(0o444)
    assert onnxzip("optimize", small).exit_code == 0
    assert small.read_bytes() == before


def test_an_existing_file_is_only_overwritten_by_force(small):
    out = small.with_name("out.onnx")
    out.write_text("mine")
    result = onnxzip("optimize", small, "-o", out)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert out.read_text() == "mine"
    assert onnxzip("optimize", small, "-o", out, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no such file"),
        (lambda p: p.write_bytes(b""), "no ONNX graph"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n"), "not a readable ONNX model"),
        (lambda p: p.write_bytes(DENSE.read_bytes()[:50000]), "bad.onnx"),
        (lambda p: p.mkdir(), "folder"),
    ],
)
def test_bad_models_give_one_line_and_exit_code_2(tmp_path, make, words):
    path = tmp_path / "bad.onnx"
    make(path)
    for command in ("optimize", "inspect"):
        result = onnxzip(command, path)
        assert result.exit_code == 2
        assert words in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ([path.name] if path.exists() else [])


@pytest.mark.parametrize("suffix", [".json", ".onnxjson", ".textproto"])
def test_text_that_is_no_model_is_refused_whatever_its_name(tmp_path, suffix):
    path = tmp_path / f"report{suffix}"
    path.write_text('{"schema": 1}')
    result = onnxzip("inspect", path)
    assert result.exit_code == 2
    assert "not a readable ONNX model" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_model_that_onnxruntime_cannot_run_is_refused_clearly(tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 18, "my.domain" : 1]> g (float[N,3] x) => (float[N,3] y) { y = my.domain.Decode(x) }'
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "custom.onnx"))
    result = onnxzip("optimize", tmp_path / "custom.onnx")
    assert result.exit_code == 2
    assert "my.domain" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nan", np.full((4, 1, 8, 8), np.nan, np.float32), "is nan"),
        ("inf", np.full((4, 1, 8, 8), np.inf, np.float32), "is inf"),
        ("shape", np.zeros((4, 1, 8, 9), np.float32), "image"),
        ("text", np.full((4, 1, 8, 8), "a"), "image"),
    ],
)
def test_bad_data_is_named_and_exit_code_2(tmp_path, name, content, words):
    np.savez(tmp_path / f"{name}.npz", image=content)
    result = onnxzip("optimize", DENSE, "-c", tmp_path / f"{name}.npz", "-o", tmp_path / "out.onnx")
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--preset", "int9"], "int9"),
        (["--target", "abacus"], "abacus"),
        (["--min-agreement", "1.5"], "0 to 1"),
        (["--preset", "int8"], "needs calibration data"),
        (["-c", "nowhere.npz"], "nowhere.npz"),
        (["-c", str(CALIBRATION), "--keep-float", "no_such_node"], "no_such_node"),
        (["-o", "no/such/folder/x.onnx"], "does not exist"),
        (["--json", "no/such/folder/x.json"], "does not exist"),
        (["--search-time", "-1"], "search_time is a number of seconds that is not negative, not -1"),
        (["--search-time", "nan"], "search_time is a number of seconds that is not negative, not nan"),
        (["--search-time", "soon"], "--search-time"),
    ],
)
def test_wrong_settings_are_exit_code_2(tmp_path, args, words):
    out = [] if "-o" in args else ["-o", tmp_path / "out.onnx"]
    result = onnxzip("optimize", DENSE, *out, *args)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert not (tmp_path / "out.onnx").exists()


def test_a_bug_of_ours_is_exit_code_3_with_how_to_report_it(small, monkeypatch):
    monkeypatch.setattr(optimize_command, "configured", lambda *_, **__: 1 / 0)
    result = onnxzip("optimize", small)
    assert result.exit_code == 3
    assert "Please report it" in result.stderr


def test_output_that_is_not_a_terminal_holds_no_control_codes(small):
    run = subprocess.run(
        [sys.executable, "-m", "onnxzip", "optimize", str(small)], capture_output=True, text=True, check=True
    )
    assert "\x1b" not in run.stdout
    assert all(c.isprintable() or c == "\n" for c in run.stderr)  # a line for each step that took long, if any did


def test_help_does_not_import_what_is_slow():
    script = "import sys; sys.argv = ['onnxzip', '--help']\ntry:\n import onnxzip.__main__\nexcept SystemExit: pass\nprint([m for m in ('onnx', 'onnx_ir', 'onnxruntime', 'numpy') if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert run.stdout.strip().splitlines()[-1] == "[]"


def test_reports_overwrite_nothing(small, tmp_path):
    taken = tmp_path / "taken.json"
    taken.write_text("mine")
    out = tmp_path / "out.onnx"
    for args in (
        ["--json", taken],
        ["--json", CALIBRATION, "-c", CALIBRATION],
        ["--json", tmp_path / "a", "--save-plan", tmp_path / "a"],
    ):
        assert onnxzip("optimize", DENSE, "-o", out, *args).exit_code == 2
    assert taken.read_text() == "mine"
    assert not out.exists()


@pytest.mark.parametrize("option", ["-o", "--json", "--report", "--save-plan", "--save-worst"])
def test_a_folder_that_is_read_only_is_named_before_any_work_is_done(monkeypatch, tmp_path, option):
    locked, free = tmp_path / "locked", tmp_path / "free"
    locked.mkdir()
    free.mkdir()
    rights = os.access
    monkeypatch.setattr(os, "access", lambda path, *a, **k: Path(path) != locked and rights(path, *a, **k))  # root may
    monkeypatch.setattr("onnxzip.pipeline.optimize", lambda *_, **__: pytest.fail("it was begun"))
    args = ([] if option == "-o" else ["-o", free / "out.onnx"]) + [option, locked / "x"]
    result = onnxzip("optimize", DENSE, "-c", CALIBRATION, *args)
    assert result.exit_code == 2, result.output
    assert f"{locked} cannot be written to" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_was_done_is_shown_though_a_report_cannot_be_written(monkeypatch, small, tmp_path):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("onnxzip.files.write_bytes", full)
    out = tmp_path / "out.onnx"
    result = onnxzip("optimize", small, "-o", out, "--json", tmp_path / "a.json")
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "verdict: PASSED" in result.stdout
    assert f"wrote {out}" in result.stdout.replace("\n", "")
    result = onnxzip("compare", small, out, "--markdown", tmp_path / "a.md")
    assert result.exit_code == 2
    assert "verdict: PASSED" in result.stdout


def test_external_data_of_the_input_is_never_overwritten(tmp_path):
    source = onnx.load(str(DENSE))
    onnx.save(source, str(tmp_path / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    before = (tmp_path / "m.data").read_bytes()
    (tmp_path / "onnxzip.toml").write_text('[models.m]\npath = "m.onnx"\nout = "m.data"\n')
    (tmp_path / "report.json").write_text("old")
    for args in (
        ["optimize", tmp_path / "m.onnx", "-o", tmp_path / "m.data"],
        ["optimize", tmp_path / "m.onnx", "-o", tmp_path / "o.onnx", "--json", tmp_path / "m.data"],
        ["compare", DENSE, tmp_path / "m.onnx", "--json", tmp_path / "m.data"],
        ["inspect", tmp_path / "m.onnx", "--json", tmp_path / "m.data"],
        ["init", tmp_path / "m.onnx", "-o", tmp_path / "m.data"],
        ["check", "--config", tmp_path / "onnxzip.toml"],
    ):
        result = onnxzip(*args, "--force")
        assert result.exit_code == 2
        assert "holds weights of" in result.output
    assert (tmp_path / "m.data").read_bytes() == before
    assert onnxzip("inspect", tmp_path / "m.onnx", "--json", tmp_path / "report.json", "--force").exit_code == 0


def test_what_cannot_be_compared_does_not_pass_the_gate(tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,4] y) { r = RandomNormalLike(x) y = Add(x, r) }'
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "random.onnx"))
    result = onnxzip("compare", tmp_path / "random.onnx", tmp_path / "random.onnx")
    assert result.exit_code == 1
    assert "numbers cannot be compared" in result.output


def test_a_pipe_that_nobody_reads_still_gets_the_model_written(small):
    command = f"{sys.executable} -m onnxzip optimize {small} | true"
    run = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "bug" not in run.stderr
    assert small.with_name("small.opt.onnx").exists()


def test_the_opset_is_raised_where_it_is_asked_for(small, tmp_path):
    out = tmp_path / "out.onnx"
    assert onnxzip("optimize", small, "-o", out, "--opset", 20).exit_code == 0
    assert onnx.load(str(out)).opset_import[0].version == 20
    for wanted, reason in ((17, "only raised"), (999, "is not known"), (0, "must be a version")):
        result = onnxzip("optimize", small, "-o", tmp_path / "none.onnx", "--opset", wanted)
        assert result.exit_code == 2
        assert reason in result.output
        assert not (tmp_path / "none.onnx").exists()


def test_contrib_operators_can_be_allowed(small, tmp_path):
    assert onnxzip("optimize", small, "-o", tmp_path / "out.onnx", "--allow-contrib").exit_code == 0


def test_int8_without_data_has_to_be_allowed_and_says_what_it_is(tmp_path):
    out = tmp_path / "out.onnx"
    refused = onnxzip("optimize", DENSE, "-o", out, "--preset", "int8")
    assert refused.exit_code == 2
    assert "--allow-unverified" in refused.output
    assert not out.exists()
    allowed = onnxzip("optimize", DENSE, "-o", out, "--preset", "int8", "--allow-unverified", "--objective", "size")
    assert allowed.exit_code == 0, allowed.output
    assert "made up" in allowed.output
    assert "give real data" in " ".join(allowed.output.split())
    assert out.stat().st_size < 0.35 * DENSE.stat().st_size


def test_compare_names_the_guilty_layer(tmp_path):
    damaged = onnx.load(str(DENSE))
    weight = next(t for t in damaged.graph.initializer if len(t.dims) == 4)
    content = onnx.numpy_helper.to_array(weight).copy()
    content[0, 0, 0, 0] *= -1
    weight.CopyFrom(onnx.numpy_helper.from_array(content, weight.name))
    onnx.save(damaged, str(tmp_path / "damaged.onnx"))
    result = onnxzip("compare", DENSE, tmp_path / "damaged.onnx", "-c", EVALUATION)
    assert result.exit_code == 1
    assert "Where the error is born" in result.output
    assert "was changed" in result.output
    alone = onnxzip("compare", DENSE, tmp_path / "damaged.onnx", "-c", EVALUATION, "--no-layers")
    assert (alone.exit_code, "Where" in alone.output) == (0, False)
    equal = onnxzip("compare", DENSE, DENSE, "-c", EVALUATION, "--layers")
    assert (equal.exit_code, "Where the error is born" in equal.output) == (0, True)
