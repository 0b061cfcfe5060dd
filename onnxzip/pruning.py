"""Channels as two stages: what does nothing goes exactly; then, where it was asked for, what costs least goes for a price.

Pruning must hold the budget on data that neither the ranking nor the re-fit saw, and must be faster by measurement than the model
that it started from: a loss that buys nothing is taken back.

A search takes the best of many candidates, and would profit from chance. So it asks for more than the budget does:

1. of outputs that take decisions: the lower end of the 80 % Wilson interval holds the agreement asked for, for as many independent
   decisions as there are samples (thousands of anchors of one image are one), and so does the mean over classes, so that
   many easy decisions do not hide the rare ones.
2. of float outputs that take none (embeddings): where decisions are taken from them later, a relative error ε changes up to
   .4 ε of them (nearest neighbours of a sentence encoder: .08 at ε = .21, .044 at .14). Half is reckoned with, so that an
   agreement a asks for SQNR ≥ 20 log10(1 / (2 (1 − a))) dB.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.ledger import Ledger
from onnxzip.model.save import model_bytes
from onnxzip.prune import eliminate, lossy
from onnxzip.prune.reduction import Reduction
from onnxzip.prune.search import search
from onnxzip.quantize.targets import target_row
from onnxzip.records import OutputMetrics, Verdict
from onnxzip.runtime import Batch
from onnxzip.validate.intervals import wilson
from onnxzip.validate.judge import unverified

_SURE = 0.8416
"""Normal quantile of 80 %: how sure a search must be of each agreement, for it looks at many candidates and takes the best."""

_UNDECIDED_SECONDS = 8.0
"""Spent on a second measurement where the first does not tell which of two models is faster."""


def eliminate_channels(ledger: Ledger) -> None:
    """Remove channels that provably do nothing. Odd widths run up to several times slower, so spare ones stay for speed."""
    multiple = target_row(ledger.config.target).channel_multiple if ledger.config.objective != "size" else 1
    model, record = eliminate(ledger.best, multiple=multiple, observer=ledger.observer)
    notes = (*map(str, record.widths), *record.notes, *record.frozen)
    widths = (*record.widths, *record.whole)
    if not record.removed:
        kept = f" (widths stay multiples of {multiple})" if multiple > 1 else ""
        return ledger.take_back("eliminate", f"no channel does nothing{kept}", notes=notes, widths=widths)
    if (problem := ledger.exact_problem(model)) is not None:
        return ledger.take_back("eliminate", problem, bug=True, notes=notes, widths=widths)
    if model_bytes(model) > model_bytes(ledger.best):
        return ledger.take_back("eliminate", "the file would become larger", notes=notes, widths=widths)
    summary = f"{record.removed} channels that do nothing are gone"
    return ledger.keep("eliminate", model, summary, notes=notes, widths=widths)


def check_prune(config: Config, *, has_data: bool) -> None:
    """Whether pruning can be done as asked.

    Raises:
        UsageError: it needs data, and there is none.
    """
    if config.prune is None or has_data:
        return
    if config.prune == "auto":
        raise UsageError("--prune auto searches on real data: give calibration data (-c DATA), or a share")
    if not config.allow_unverified:
        raise UsageError(
            "pruning without data cannot be judged: give calibration data (-c DATA), or take what comes with --allow-unverified"
        )


def prune_channels(ledger: Ledger, tuning: Iterable[Batch] | None) -> None:
    """Prune as the configuration asks, and keep it if it holds the budget and is faster."""
    config = ledger.config
    if config.prune is None:
        return None
    round_to = target_row(config.target).channel_multiple if config.round_to is None else config.round_to
    if tuning is None:
        return _without_data(ledger, round_to)
    if config.prune == "auto":
        return _search(ledger, tuning, round_to)
    model, record = lossy.prune(
        ledger.best, tuning, ratio=config.prune, by=config.prune_by, round_to=round_to, observer=ledger.observer
    )
    return _judge(ledger, model, record)


def _without_data(ledger: Ledger, round_to: int) -> None:
    config = ledger.config
    try:
        model, record = lossy.prune_by_magnitude(
            ledger.best, ratio=float(config.prune or 0), by=config.prune_by, round_to=round_to
        )
    except ModelError as error:  # made-up inputs tell how often weights are used; not every model runs on some
        return ledger.take_back("prune", f"not pruned: {error}. Give data.")
    if not record.removed:
        return ledger.take_back("prune", "no channel can go", notes=record.notes)
    doubt = "pruned without data: what it cost is unknown"
    verdict = unverified(doubt, config.budget, model_bytes(model) / ledger.original_bytes)
    return ledger.keep("prune", model, _summary(record), notes=record.notes, widths=record.widths, verdict=verdict)


def _search(ledger: Ledger, tuning: Iterable[Batch], round_to: int) -> None:
    """The largest share that holds the budget for sure, and not by chance."""
    doubts: list[str] = []

    def accept(model: ir.Model) -> tuple[bool, float]:
        verdict = ledger.verdict(model, lossy=True, timed=False)
        found = [*verdict.problems, *_unsure(verdict, ledger.config)]
        doubts[:] = found or doubts
        figures = verdict.metrics
        return not found, figures.get("agreement", figures.get("sqnr_db", 0.0))

    config = ledger.config
    found = search(ledger.best, tuning, accept, by=config.prune_by, round_to=round_to, observer=ledger.observer)
    tried = tuple(
        f"{ratio:.1%} fewer {config.prune_by}: {score:.4g}, {'holds' if good else 'does not hold'} the budget"
        for ratio, good, score in found.tried
    )
    if found.model is None or found.record is None:
        return ledger.take_back("prune", "; ".join([found.why, *doubts[:1]]), notes=tried)
    return _judge(ledger, found.model, found.record, tried)


def _unsure(verdict: Verdict, config: Config) -> list[str]:
    """Which agreements may lie below the limit, given how few decisions there were, or how rare some of them are."""
    limit = config.budget.min_agreement
    return [] if limit is None else [r for o in verdict.outputs if (r := _doubt(o, limit, verdict.samples)) is not None]


def _doubt(o: OutputMetrics, limit: float, samples: int) -> str | None:
    if o.agreement is None:  # 2
        wanted = math.inf if limit == 1 else -20 * math.log10(2 * (1 - limit))
        if o.sqnr_db is None or o.sqnr_db >= wanted:
            return None
        return f"output {o.name!r} has {o.sqnr_db:.1f} dB SQNR; {limit:g} of the decisions taken from it ask for {wanted:.1f} dB"
    count = min(o.decisions, samples)
    low, _ = wilson(o.agreement * count, count, _SURE)
    if low < limit:
        return f"output {o.name!r}: {samples} samples, in which {o.agreement:.4f} of the decisions agree, do not show {limit:g}: give more data"
    if o.balanced is not None and o.balanced < limit:
        return (
            f"output {o.name!r} agrees in {o.balanced:.4f} of its decisions, class by class, below the limit {limit:g}"
        )
    return None


def _judge(ledger: Ledger, model: ir.Model, record: Reduction, tried: tuple[str, ...] = ()) -> None:
    notes, widths = (*tried, *map(str, record.widths), *record.notes), record.widths
    if not record.removed:
        return ledger.take_back("prune", "no channel can go", notes=notes)
    verdict = ledger.verdict(model, lossy=True)
    if not verdict.passed:
        reason = f"the budget was {verdict.outcome} with {_summary(record)}: {verdict.problems[0]}"
        return ledger.take_back("prune", reason, notes=notes, widths=widths, verdict=verdict)
    if (slow := _not_faster(ledger, model)) is not None:
        return ledger.take_back("prune", f"{_summary(record)}, but {slow}", notes=notes, widths=widths)
    return ledger.keep("prune", model, _summary(record), notes=notes, widths=widths, verdict=verdict)


def _not_faster(ledger: Ledger, model: ir.Model) -> str | None:
    """Why the result is not worth its loss; None where it is measurably faster, or where speed was not asked for."""
    measured = ledger.here if ledger.config.measure_speed is None else ledger.config.measure_speed
    if ledger.config.objective == "size" or not measured:
        return None
    speed = ledger.paired(ledger.best, model)
    if speed.low <= 1 < speed.high:
        speed = ledger.paired(ledger.best, model, _UNDECIDED_SECONDS)
    if speed.low > 1:
        return None
    return f"it is not measurably faster: {speed.speedup:.2f} ({speed.low:.2f} to {speed.high:.2f})"


def _summary(record: Reduction) -> str:
    return f"{record.multiply_adds:.1%} of the multiply-adds and {record.parameters:.1%} of the parameters gone, {record.removed} channels"
