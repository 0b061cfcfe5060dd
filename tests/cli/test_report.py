"""`--report`: a page where it was asked for, and a clear word where it cannot be written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from onnxzip.cli.main import app

SPARSE = Path(__file__).parents[2] / "models" / "digits_resnet_sparse.onnx"


def onnxzip(*args: object):
    return CliRunner().invoke(app, [str(a) for a in args])


def test_a_page_is_written_with_everything_that_was_done(tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    out, report = tmp_path / "out.onnx", tmp_path / "report.html"
    result = onnxzip("optimize", SPARSE, "-o", out, "--report", report, "--quiet")
    assert result.exit_code == 0, result.output
    page = report.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "Size by layer" in page
    assert "Channels that did nothing" in page
    again = onnxzip("optimize", SPARSE, "-o", tmp_path / "2.onnx", "--report", report)
    assert again.exit_code == 2
    assert "exists" in again.output
    assert not (tmp_path / "2.onnx").exists()


@pytest.mark.parametrize("name", ["jinja2", "matplotlib"])
def test_without_the_extra_nothing_is_begun(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    out = tmp_path / "out.onnx"
    result = onnxzip("optimize", SPARSE, "-o", out, "--report", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "pip install 'onnxzip[report]'" in result.output
    assert list(tmp_path.iterdir()) == []
