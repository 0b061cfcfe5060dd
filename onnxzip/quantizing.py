"""Quantization as a stage: what holds the budget on data that it never saw is kept, where it also pays.

int8 is kept where it is not slower than the best float result, which may be much faster than the original. Where it is, weights alone are
stored in int8, if that is as small and as fast as float. `--objective size` asks for neither.
"""

from __future__ import annotations

import dataclasses

import onnx_ir as ir

from onnxzip.config import Preset
from onnxzip.ledger import Ledger
from onnxzip.quantize.choice import Choice
from onnxzip.quantize.choose import quantize
from onnxzip.quantize.choose_weights import quantize_weights
from onnxzip.quantize.half import to_half
from onnxzip.samples import Samples

AS_FAST = 1 / 1.03
"""Two models are as fast as each other down to this: what a stopwatch tells apart on a machine that others use as well."""

ASKED = {"speed": 1.0, "balanced": 1 / 1.1}
"""The speed of int8, relative to the best float result, that an objective asks for; size asks for none."""


def quantize_model(ledger: Ledger, preset: Preset, data: Samples, unpruned: ir.Model) -> None:
    """What the preset asks for.

    Args:
        ledger: the books; its best model is quantized.
        preset: int8, weights8, weights4 or fp16; exact: nothing is done.
        data: what tunes.
        unpruned: the model before channels were pruned, should pruning and int8 together cost too much.

    Raises:
        UsageError: a pattern matches nothing, or a plan does not fit.
        DataError: the model gives NaN or Inf on the data.
    """
    config, observer = ledger.config, ledger.observer
    tuning = () if data.tuning is None and config.plan is not None else data.tuning  # a plan was tuned before
    if preset == "int8" and tuning is None:
        _quantize(ledger, Choice(None, None, f"not quantized: {data.doubts[0]}"))
    elif preset == "int8" and tuning is not None:
        if _quantize(ledger, quantize(ledger.best, tuning, config, observer)):
            stored = dataclasses.replace(config, preset="weights8", plan=None)
            _store_weights(ledger, quantize_weights(ledger.best, stored, data.tuning, observer))
        if config.prune == "auto" and ledger.best is not unpruned and not ledger.stages[-1].kept:
            _quantize_instead(ledger, unpruned, quantize(unpruned, tuning, config, observer))
        ledger.notes += data.doubts if ledger.stages[-1].kept else ()
    if preset in ("weights8", "weights4"):
        _quantize(ledger, quantize_weights(ledger.best, config, data.tuning, observer))
    if preset == "fp16":
        with observer.step("convert to float16"):
            choice = to_half(ledger.best, config)
        _quantize(ledger, choice)


def _quantize(ledger: Ledger, choice: Choice) -> bool:
    """int8 is kept if it holds the budget on data that it never saw, and is not slower than what it would replace.

    Returns:
        Whether speed is all that it lacks.
    """
    ledger.plan, ledger.planned = choice.plan, ledger.best
    if choice.model is None:
        ledger.notes += (choice.summary,)
        ledger.take_back("quantize", choice.summary, notes=choice.notes)
        return False
    verdict = ledger.verdict(choice.model, lossy=True)
    if not verdict.passed:
        reason = f"the budget was {verdict.outcome}: {verdict.problems[0]}"
        ledger.take_back("quantize", reason, notes=choice.notes, verdict=verdict)
        return False
    if verdict.speed is not None and (slower := _slower(ledger, choice)) is not None:
        ledger.notes += (slower,)
        ledger.take_back("quantize", slower, notes=choice.notes, verdict=verdict)
        return True
    ledger.keep("quantize", choice.model, choice.summary, notes=choice.notes, verdict=verdict)
    return False


def _store_weights(ledger: Ledger, choice: Choice) -> None:
    """Where integers are no faster than float, weights alone in int8 may be as small, and as fast as float."""
    if choice.model is None:
        return
    verdict = ledger.verdict(choice.model, lossy=True)
    if not verdict.passed:
        reason = f"the budget was {verdict.outcome}: {verdict.problems[0]}"
        ledger.take_back("weights", reason, notes=choice.notes)
        return
    speed = ledger.paired(ledger.best, choice.model, seconds=1.0)
    if speed.speedup < AS_FAST:
        reason = f"takes {1 / speed.speedup:.2f} of the time of the float result here"
        ledger.take_back("weights", reason, notes=choice.notes)
        return
    ledger.plan = choice.plan
    ledger.keep("weights", choice.model, choice.summary, notes=choice.notes, verdict=verdict)


def _slower(ledger: Ledger, choice: Choice) -> str | None:
    """Why int8 does not pay, or None: the yardstick is the best float result, which may be much faster than the original."""
    limit = ASKED.get(ledger.config.objective)
    integers = choice.plan is not None and choice.plan.sites
    if choice.model is None or limit is None or not integers:
        return None
    speed = ledger.paired(ledger.best, choice.model, seconds=1.0)
    if speed.speedup >= limit:
        return None
    return (
        f"int8 holds the budget but takes {1 / speed.speedup:.2f} of the time of the float result here, so it is not kept: "
        "--objective size keeps it for its size"
    )


def _quantize_instead(ledger: Ledger, unpruned: ir.Model, choice: Choice) -> None:
    """Where int8 does not fit into what an automatic pruning left of the budget: int8 alone saves more than pruning alone."""
    if choice.model is None:
        return
    verdict = ledger.verdict(choice.model, lossy=True)
    if verdict.passed:
        ledger.withdraw("prune", "taken back, for int8 on top of it missed the budget, and int8 alone saves more")
        ledger.withdraw("quantize", "missed the budget on top of pruning")
        ledger.plan, ledger.planned = choice.plan, unpruned
        ledger.keep("quantize", choice.model, choice.summary, notes=choice.notes, verdict=verdict)
