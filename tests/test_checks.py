"""Many models, one after the other, from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxzip import checks, gate
from onnxzip.config import Budget, Config
from onnxzip.errors import PassError
from onnxzip.settings import ModelSettings


def saved(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> {text}'), str(path))
    return path


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    return saved(tmp_path / "relu.onnx", "g (float[N,3] x) => (float[N,3] y) { t = Identity(x) y = Relu(t) }")


@pytest.fixture
def absolute(tmp_path: Path) -> Path:
    return saved(tmp_path / "abs.onnx", "g (float[N,3] x) => (float[N,3] y) { y = Abs(x) }")


def test_each_model_is_judged_by_its_own_settings(tmp_path, relu, absolute):
    np.savez(tmp_path / "data.npz", x=np.linspace(0, 1, 60, dtype=np.float32).reshape(20, 3))  # never negative
    out = tmp_path / "out.onnx"
    entries = (
        ModelSettings(name="optimized", path=relu, out=out),
        ModelSettings(name="other", path=relu, candidate=absolute),
        ModelSettings(name="same here", path=relu, candidate=absolute, evaluation=str(tmp_path / "data.npz")),
        ModelSettings(name="too large", path=relu, config=Config(budget=Budget(max_size=0.01)), out=tmp_path / "no.onnx"),
    )  # fmt: skip
    record = checks.check(entries, tmp_path / "onnxzip.toml")
    assert [(m.name, m.outcome) for m in record.models] == [
        ("optimized", "passed"),
        ("other", "missed"),
        ("same here", "passed"),
        ("too large", "missed"),
    ]
    assert (record.passed, record.failed) == (False, False)
    first, other, same, large = record.models
    assert [n.op_type for n in onnx.load(str(out)).graph.node] == ["Relu"]
    assert first.written == (str(out),)
    assert first.run is not None
    assert same.verdict is not None
    assert (same.verdict.data, same.verdict.samples, same.run) == ("given", 20, None)
    assert "below the limit 0.9" in other.reasons[0]
    assert "above the limit 0.01" in large.reasons[0]
    assert not (tmp_path / "no.onnx").exists()
    assert record.versions["onnx"] == onnx.__version__


def test_an_error_is_one_of_its_model_and_the_others_go_on(tmp_path, relu):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    np.savez(tmp_path / "data.npz", z=np.zeros((4, 3), np.float32))
    entries = (
        ModelSettings(name="bad", path=bad),
        ModelSettings(name="other data", path=relu, candidate=relu, evaluation=str(tmp_path / "data.npz")),
        ModelSettings(name="nothing", path=relu, config=Config(preset="weights8", keep_float=("nothing",))),
        ModelSettings(name="good", path=relu),
    )
    record = checks.check(entries, tmp_path / "onnxzip.toml")
    assert [m.outcome for m in record.models] == ["error", "error", "error", "passed"]
    assert (record.passed, record.failed) == (False, True)
    assert "not a readable ONNX model" in str(record.models[0].error)
    assert "'x'" in str(record.models[1].error)
    assert "keep_float 'nothing' matches no node" in str(record.models[2].error)


def test_a_miss_that_is_expected_is_accepted_until_it_passes(tmp_path, relu, absolute):
    entries = (
        ModelSettings(name="known", path=relu, candidate=absolute, expected="missed"),
        ModelSettings(name="mended", path=relu, candidate=relu, expected="missed"),
    )
    known, mended = checks.check(entries, tmp_path / "onnxzip.toml").models
    assert (known.outcome, known.accepted) == ("missed", True)
    assert (mended.outcome, mended.accepted) == ("passed", False)
    assert "take `expected` out" in mended.reasons[0]


def test_a_bug_is_not_taken_for_a_fault_of_the_model(tmp_path, relu, monkeypatch):
    def wrong(*_: object, **__: object) -> None:
        raise PassError("pass broke the graph")

    monkeypatch.setattr(checks, "optimize", wrong)
    with pytest.raises(PassError):
        checks.check((ModelSettings(name="a", path=relu),), tmp_path / "onnxzip.toml")


def test_speed_of_a_candidate_is_measured_where_asked(tmp_path, relu, monkeypatch):
    asked = []
    monkeypatch.setattr(checks, "compare", lambda *_, speed, **__: asked.append(speed) or gate.compare(relu, relu))
    for measure in (None, True, False):
        entry = ModelSettings(name="a", path=relu, candidate=relu, config=Config(measure_speed=measure))
        assert checks.check((entry,), tmp_path / "onnxzip.toml").passed
    assert asked == [False, True, False]
