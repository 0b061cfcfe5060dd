"""`explore`: the points, the time, the commands, what is refused."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import onnxzip
from onnxzip import exploration, ledger
from onnxzip.cli.main import app
from onnxzip.config import Budget, Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.explored import Exploration
from onnxzip.records import Speed
from onnxzip.trials import TRIALS, Made, Trial
from onnxzip.validate.speed import measure_speed

MODELS = Path(__file__).parents[1] / "models"
DIGITS, DATA = MODELS / "digits_resnet.onnx", MODELS / "digits_calibration.npz"
RELU = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) { t = Identity(x) y = Relu(t) }'


def short(*args, seconds: float, **kwargs) -> Speed:
    return measure_speed(*args, seconds=0.02, **{**kwargs, "max_pairs": 15})


@pytest.fixture(autouse=True)
def little_time_for_speed(monkeypatch):
    monkeypatch.setattr(ledger, "measure_speed", short)


def tried(monkeypatch, *trials: Trial) -> None:
    monkeypatch.setattr(exploration, "TRIALS", (Trial("exact"), *trials))


@pytest.fixture(scope="module")
def images() -> list[dict[str, np.ndarray]]:
    images = np.load(DATA)["image"]
    return [{"image": images[i : i + 16]} for i in range(0, 96, 16)]


def test_every_trial_is_a_point_and_the_front_is_marked(tmp_path, monkeypatch):
    monkeypatch.setattr(exploration, "TRIALS", TRIALS[:5])
    found = onnxzip.explore(DIGITS, str(DATA), save_to=tmp_path)
    assert [p.name for p in found.points] == ["exact", "int8", "weights8", "fp16", "weights4"]
    assert all(p.state == "judged" and p.passed for p in found.points)
    assert found.points[0].on_front  # nothing else is as faithful
    sizes = [p.size_ratio for p in found.points]
    assert sizes[0] > sizes[3] > sizes[1] > sizes[4]
    assert found.smallest == "weights4"
    assert {Path(p.file).name for p in found.points} == {f"digits_resnet.{p.name}.onnx" for p in found.points}
    for p in found.points:
        loaded = onnx.load(p.file)
        assert abs(loaded.ByteSize() - p.bytes) < 400  # its provenance
    assert not found.interrupted
    assert 0 < found.seconds < 60


@pytest.mark.parametrize("trial", [Trial("int8"), Trial("int8", 0.3)], ids=lambda t: t.slug)
def test_the_command_of_a_point_makes_its_model(trial, tmp_path, monkeypatch):
    model, folder = tmp_path / "my digits.onnx", tmp_path / "all"
    model.write_bytes(DIGITS.read_bytes())
    folder.mkdir()
    tried(monkeypatch, *([trial.before] if trial.prune else []), trial)
    monkeypatch.setattr(ledger.Ledger, "paired", faster())
    point = onnxzip.explore(model, DATA, save_to=folder).points[-1]
    assert (point.name, point.notes) == (trial.name, ())
    words = shlex.split(point.command)
    assert words[-1] == str(tmp_path / f"my digits.{trial.slug}.onnx")
    monkeypatch.setattr(ledger.Ledger, "paired", faster())
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.output
    assert Path(words[-1]).read_bytes() == Path(point.file).read_bytes()


def faster():
    """Each model that is measured is faster than the one before."""
    speeds = iter(np.arange(1.0, 50.0))

    def paired(*_: object, **__: object) -> Speed:
        speed = float(next(speeds)) + 1
        return Speed(speedup=speed, low=speed - 0.1, high=speed + 0.1, pairs=20)

    return paired


def test_what_is_slower_than_the_exact_result_says_so(monkeypatch, images):
    speeds = iter([1.5, 1.48, 1.45, 3.0])  # a hair slower is slower: optimize takes it back as well
    monkeypatch.setattr(
        ledger.Ledger,
        "paired",
        lambda *_, **__: (lambda s: Speed(speedup=s, low=s - 0.1, high=s + 0.1, pairs=20))(next(speeds)),
    )
    tried(monkeypatch, Trial("int8"), Trial("exact", 0.3), Trial("int8", 0.3))
    exact, slow, pruned, both = onnxzip.explore(DIGITS, DATA).points
    assert exact.notes == ()
    assert "--objective" not in exact.command
    for p in (slow, pruned, both):  # the last one is fast, but optimize would stop at what comes before it
        assert p.notes == (exploration.SLOW,)
        assert "--objective size" in p.command


def test_what_misses_the_budget_has_its_figures_and_a_command_that_admits_it(monkeypatch):
    tried(monkeypatch, Trial("weights8"))
    budget = Budget(max_abs_error=1e-4, min_agreement=0.95)
    exact, stored = onnxzip.explore(DIGITS, DATA, config=Config(budget=budget)).points
    assert exact.passed
    assert "--min-agreement 0.95 --max-abs-error 0.0001" in exact.command
    assert not stored.passed
    assert stored.agreement > 0.9
    assert "off by up to" in stored.verdict.reasons[0]
    assert "--max-abs-error" not in stored.command


def test_a_limit_that_was_missed_becomes_what_was_reached(monkeypatch):
    tried(monkeypatch, Trial("exact", 0.9))
    exact, pruned = onnxzip.explore(DIGITS, DATA, config=Config(budget=Budget(min_agreement=0.999))).points
    assert "--min-agreement 0.999" in exact.command
    assert pruned.agreement < 0.99
    words = shlex.split(pruned.command)
    limit = float(words[words.index("--min-agreement") + 1])
    assert pruned.agreement - 0.001 < limit <= pruned.agreement


def test_no_time_makes_the_exact_result_only(images):
    found = onnxzip.explore(DIGITS, images, time_limit=0)
    exact, *others = found.points
    assert (exact.state, exact.passed) == ("judged", True)
    assert len(others) == len(TRIALS) - 1
    assert all(p.state == "not run" and "no time left" in p.notes[0] and p.verdict is None for p in others)
    assert found.smallest == "exact"


class Slow:
    """Makes the exact model at once, and others in steps that take for ever."""

    def __init__(self, exact, tuning, config, observer) -> None:
        self._exact, self._observer = exact, observer

    def make(self, trial: Trial) -> Made:
        if trial.preset == "int8":
            with self._observer.step("for ever", 1000) as done:
                for _ in range(1000):
                    time.sleep(0.02)
                    done()
        return Made(self._exact)


def test_the_limit_ends_what_nobody_could_foretell(monkeypatch, images):
    monkeypatch.setattr(exploration, "Candidates", Slow)
    start = time.monotonic()
    found = onnxzip.explore(DIGITS, images, time_limit=2.0, config=Config(measure_speed=False))
    assert time.monotonic() - start < 6
    int8 = found.points[1]
    assert (int8.state, int8.notes) == ("not run", ("no time left: it was given up at the limit",))


def test_trials_that_come_to_the_same_model_are_judged_once(monkeypatch, images):
    tried(monkeypatch, Trial("exact", 0.3), Trial("exact", 0.3001))
    _, first, second = onnxzip.explore(DIGITS, images).points
    assert second.same_as == first.name == "prune 0.3"
    assert second.verdict == first.verdict
    assert not second.on_front


def test_what_cannot_be_made_says_why(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.parser.parse_model(RELU), str(path))
    data = [{"x": np.random.default_rng(i).normal(size=(4, 3)).astype(np.float32)} for i in range(6)]
    found = onnxzip.explore(path, data)
    exact, *others = found.points
    assert exact.passed
    assert {p.state for p in others if p.name != "fp16"} == {"refused"}
    assert all(p.notes and p.verdict is None and p.command is None for p in others if p.state == "refused")
    assert [p.notes[0] for p in others if p.name == "prune 0.1 + int8"] == ["no channel can go"]


def test_what_came_from_memory_has_no_command(images, monkeypatch):
    tried(monkeypatch)
    assert onnxzip.explore(DIGITS, images).points[0].command is None
    assert onnxzip.explore(onnx.load(str(DIGITS)), str(DATA)).points[0].command is None
    assert onnxzip.explore(DIGITS, DATA, evaluation=images).points[0].command is None


def test_patterns_are_left_to_the_presets_that_read_them(monkeypatch):
    tried(monkeypatch, Trial("fp16"))
    exact, half = onnxzip.explore(DIGITS, DATA, config=Config(keep_float=("Gemm",))).points
    assert "--keep-float" not in exact.command
    assert "--keep-float Gemm" in half.command


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"config": Config(preset="int8")}, "are what explore tries"),
        ({"config": Config(prune=0.5)}, "are what explore tries"),
        ({"config": {"target": "cpu"}}, "must be an onnxzip.Config"),
        ({"time_limit": -1}, "time_limit is a number of seconds"),
        ({"time_limit": float("inf")}, "time_limit is a number of seconds"),
        ({"config": Config(keep_float=("nothing like this",))}, "nothing like this"),
    ],
)
def test_wrong_settings_are_refused(settings, words, images):
    with pytest.raises(UsageError, match=words):
        onnxzip.explore(DIGITS, images, **settings)


def test_it_needs_data(images):
    with pytest.raises(UsageError, match="needs calibration data"):
        onnxzip.explore(DIGITS, None)


def test_a_model_that_draws_random_numbers_is_refused(tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,4] y) { r = RandomNormalLike(x) y = Add(x, r) }'
    data = [{"x": np.ones((4, 4), np.float32)}] * 4
    with pytest.raises(ModelError, match="nothing to explore"):
        onnxzip.explore(onnx.parser.parse_model(text), data)


def test_an_interrupt_hands_over_the_points_so_far(monkeypatch, images):
    class Impatient(Slow):
        def make(self, trial: Trial) -> Made:
            if trial.preset == "weights8":
                raise KeyboardInterrupt
            return Made(self._exact)

    monkeypatch.setattr(exploration, "Candidates", Impatient)
    with pytest.raises(onnxzip.Interrupted) as caught:
        onnxzip.explore(DIGITS, images, config=Config(measure_speed=False))
    found = caught.value.done
    assert isinstance(found, Exploration)
    assert found.interrupted
    assert [p.name for p in found.points] == ["exact", "int8"]


def test_the_library_default_is_to_print_nothing(capsys, images, monkeypatch):
    tried(monkeypatch)
    onnxzip.explore(DIGITS, images)
    assert capsys.readouterr() == ("", "")
