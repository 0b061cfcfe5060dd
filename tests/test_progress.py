"""What observers are told: steps that open and close like brackets, and totals that come true."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import onnxzip
from onnxzip.config import Config

MODELS = Path(__file__).parents[1] / "models"


@dataclass
class Step:
    name: str
    total: int | None
    count: int = 0
    closed: bool = False
    inner: list[Step] = field(default_factory=list)


class Recorder:
    """Keeps what it was told as a tree."""

    def __init__(self, stop_at: str = "") -> None:
        self.steps: list[Step] = []
        self.open: list[Step] = []
        self._stop_at = stop_at

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None):
        step = Step(name, total)
        (self.open[-1].inner if self.open else self.steps).append(step)
        self.open.append(step)

        def advance() -> None:
            assert self.open[-1] is step, f"{name!r} advances while {self.open[-1].name!r} is open inside it"
            step.count += 1
            if name == self._stop_at:
                raise KeyboardInterrupt

        try:
            yield advance
        finally:
            assert self.open.pop() is step, f"{name!r} ended before what it holds"
            step.closed = True

    def all(self, steps: list[Step] | None = None):
        for step in self.steps if steps is None else steps:
            yield step
            yield from self.all(step.inner)


@pytest.fixture(scope="module")
def data() -> list[dict[str, np.ndarray]]:
    images = np.load(MODELS / "digits_calibration.npz")["image"]
    return [{"image": images[i : i + 16]} for i in range(0, 192, 16)]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"preset": "int8"}, ["calibrate", "choose ranges and round weights", "look at what onnxruntime makes of it"]),
        ({"preset": "weights4"}, ["look at what layers read", "round weights to 4 bits", "round weights"]),
        ({"preset": "fp16"}, ["convert to float16"]),
        ({"preset": "exact", "prune": 0.3}, ["look at what layers read", "rank channels", "re-fit layers"]),
    ],
    ids=lambda s: "-".join(map(str, s.values())) if isinstance(s, dict) else "",
)
def test_steps_of_optimize_open_and_close_in_order_and_totals_come_true(settings, names, data):
    recorder = Recorder()
    config = Config(**settings, measure_speed=False, objective="size")
    onnxzip.optimize(MODELS / "digits_resnet.onnx", data, config=config, observer=recorder)
    assert not recorder.open
    steps = list(recorder.all())
    assert all(s.closed for s in steps)
    assert [(s.name, s.count, s.total) for s in steps if s.total is not None and s.count != s.total] == []
    told = [s.name for s in steps]
    expected = ["load model and data", "rewrite", "check that no number changed", "remove channels", *names]
    assert [n for n in dict.fromkeys(told) if n in expected] == expected
    assert told[-1] == "compare with the original"
    batches = next(s for s in steps if s.name == "compare with the original")
    assert batches.total == (12 if settings["preset"] == "fp16" else 4)  # what tunes holds a third of them out


def test_the_steps_of_compare(data):
    recorder = Recorder()
    model = MODELS / "digits_resnet.onnx"
    onnxzip.compare(model, model, data, observer=recorder)
    assert [(s.name, s.count, s.total) for s in recorder.all()] == [
        ("load both models", 0, None),
        ("run the original", 12, 12),
        ("compare with the original", 12, 12),
    ]


def test_an_interrupted_run_closes_its_steps_and_hands_over_its_stages(data):
    recorder = Recorder(stop_at="calibrate")
    with pytest.raises(onnxzip.Interrupted) as caught:
        onnxzip.optimize(MODELS / "digits_resnet.onnx", data, observer=recorder)
    assert [s.name for s in caught.value.done] == ["rewrite", "eliminate"]
    assert not recorder.open
    assert all(s.closed for s in recorder.all())


def test_ctrl_c_before_there_is_anything_to_hand_over_is_what_it_was(data):
    class Impatient:
        def step(self, name: str, total: int | None = None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        onnxzip.optimize(MODELS / "digits_resnet.onnx", data, observer=Impatient())
    assert type(caught.value) is KeyboardInterrupt
