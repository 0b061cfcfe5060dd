"""The data of one run: what tunes, what judges, and what is doubtful about both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnxzip.calibrate.data import Data, open_data, split
from onnxzip.calibrate.feeds import NOTHING, Beside
from onnxzip.config import Budget, Config
from onnxzip.errors import ModelError
from onnxzip.ledger import MADE_UP
from onnxzip.model.load import Loaded
from onnxzip.runtime import Session
from onnxzip.validate.comparison import Comparing
from onnxzip.validate.made_up import MadeUp

DOUBT = (
    "int8 was calibrated on made-up inputs (standard normal, behind any normalization that the model begins with), so the ranges of real "
    "ones may not fit into it: give real data (-c DATA)"
)


@dataclass(frozen=True)
class Samples:
    """What a run looks at.

    Attributes:
        tuning: data to tune on, or None.
        held_out: data for the verdict, no sample of which tuned, or None.
        source: what the verdict calls that.
        doubts: what the user should know about both.
    """

    tuning: Data | None
    held_out: Data | None
    source: str
    doubts: tuple[str, ...] = ()


def samples_of(
    loaded: Loaded,
    session: Session,
    calibration: Any,
    evaluation: Any,
    config: Config,
    *,
    tunes: bool,
    made_up: bool,
) -> Samples:
    """Open what was given.

    Args:
        loaded: the original.
        session: of it.
        calibration: data as `optimize` takes it, or None.
        evaluation: likewise.
        config: the share that is held out, and the seed.
        tunes: something will be tuned, so that without `evaluation` a part of the data is held out.
        made_up: something needs data to tune on; where there is none, both parts are made up, of different seeds.

    Raises:
        DataError: the data does not fit the model, or its labels no output.
        UsageError: no output has the class axis of the budget.
    """
    optional = [v.name or "" for v in loaded.model.graph.inputs if v.is_initializer()]
    beside = Beside(config.labels, everything=config.budget.metric is not None)
    judged = calibration if evaluation is None else evaluation  # only what judges needs labels
    tuning, held_out = (
        None if d is None else open_data(d, session.inputs, optional, beside if d is judged else NOTHING)
        for d in (calibration, evaluation)
    )
    if (first := tuning if held_out is None else held_out) is not None:
        _check_answers(session, first, config)
    if tuning is not None and held_out is None:
        tuning, held_out = split(tuning, config.held_out) if tunes else (None, tuning)
        return Samples(tuning, held_out, "held-out" if tunes else "given")
    if tuning is not None or not made_up:
        return Samples(tuning, held_out, "given")
    try:
        tuning, judging = (_made_up(loaded, session, config.seed, part) for part in (0, 1))
    except ModelError as error:
        doubt = f"no inputs can be made up that the model runs on ({error}): give data"
        return Samples(None, held_out, "given", (doubt,))
    if held_out is None:
        return Samples(tuning, judging, MADE_UP, (DOUBT,))
    return Samples(tuning, held_out, "given", (DOUBT,))


def _check_answers(session: Session, data: Data, config: Config) -> None:
    """Whether labels and class axis fit the model, by its first batch: better said now than after an hour of work."""
    budget = config.budget
    labels = config.labels if budget.metric is None or budget.max_accuracy_drop is not None else None
    if labels is None and budget.class_axis is None:
        return
    feed, beside, positions = next(data.labelled())
    outputs = session.run(feed)
    found = Comparing(list(outputs), Budget(class_axis=budget.class_axis), labels)
    found.add(outputs, outputs, beside, positions)
    found.result()


def _made_up(loaded: Loaded, session: Session, seed: int, part: int) -> Data:
    batches = MadeUp(loaded.model, session, seed=seed, part=part)
    return Data("made-up data", session.inputs, lambda _: iter(batches), len(batches))
