"""From figures to a verdict: the budget for lossy steps, and "the same numbers" for exact ones.

A verdict has three outcomes: passed; missed, where a limit is; and, for budgets with a confidence only, undecided, where the samples do not settle a limit (see `limits`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from onnxzip.config import Budget
from onnxzip.records import Accuracy, Memory, OutputMetrics, Speed, UserMetric, Verdict
from onnxzip.validate.comparison import CONFIDENCE, Comparison
from onnxzip.validate.intervals import quantile, samples_for, samples_for_drop, samples_for_share
from onnxzip.validate.limits import Findings

EXACT_SQNR_DB = 90.0
"""What exact rewriting must keep in float32: rounding in another order gives 110 to 150 dB, any mistake far less."""

_LOWER_SQNR_DB = {"tensor(float16)": 45.0, "tensor(bfloat16)": 27.0}
"""The same for outputs in half precision, whose own rounding is 2^-11 (66 dB) and 2^-8 (48 dB)."""

FEW = 10
"""Samples below which every figure is doubted."""

_MARGIN_DB = 6.0
_FLOOR_DB = 40.0
"""No noise of the original's own excuses less."""

_ROUNDING = 1e-6
"""Error that is rounding, relative to the largest value of an output."""


def exact_problem(
    outputs: Sequence[OutputMetrics], noise: Mapping[str, OutputMetrics], types: Mapping[str, str]
) -> str | None:
    """Why these figures are not those of an exact rewrite, or None when they are.

    Float outputs must reach the SQNR above, or differ by rounding only, and hold no outliers; all other outputs must be
    equal. Some models amplify rounding: where the original differs more from itself, its noise floor (less 6 dB, never
    below 40 dB) is the limit instead.

    Args:
        outputs: the candidate against the original.
        noise: the original as the runtime optimizes it against the original as it stands, by output; may be empty.
        types: onnxruntime's type of each output, such as "tensor(float16)".
    """
    for o in outputs:
        own = noise.get(o.name)
        if o.sqnr_db is None:
            if o.max_abs_error > 0 and not (own and o.agreement and own.agreement and o.agreement >= own.agreement):
                return f"output {o.name!r} is not equal (largest difference {o.max_abs_error:g})"
            continue
        limit = _LOWER_SQNR_DB.get(types.get(o.name, ""), EXACT_SQNR_DB)
        if own is not None and own.sqnr_db is not None:
            limit = min(limit, max(own.sqnr_db - _MARGIN_DB, _FLOOR_DB))
        if o.sqnr_db < limit and o.max_rel_error > _ROUNDING:
            return f"output {o.name!r} reaches {o.sqnr_db:.1f} dB SQNR, exact rewriting must keep {limit:.0f} dB"
        if limit == EXACT_SQNR_DB and o.outliers > (own.outliers if own is not None else 0):
            return f"output {o.name!r} has {o.outliers} elements that are off by more than rounding"
    return None


def judge(
    found: Comparison,
    budget: Budget,
    *,
    data: str,
    samples: int,
    size_ratio: float | None = None,
    node_ratio: float | None = None,
    memory: Memory | None = None,
    speed: Speed | None = None,
) -> Verdict:
    """Hold figures against a budget; `data` and `samples` say what they were taken on. What was not measured is not judged."""
    if samples == 0:
        return unverified("the data holds no samples", budget, size_ratio, node_ratio)
    settled = all(map(_same_numbers, found.outputs))
    findings = Findings(budget.confidence, samples, settled, made_up=data == "made up")
    for output in found.outputs:
        _judge_output(output, budget, findings)
    for accuracy in found.accuracy:
        _judge_accuracy(accuracy, budget, findings)
    if found.metric is not None:
        _judge_metric(found.metric, budget, findings)
    _judge_weight(size_ratio, node_ratio, budget, findings)
    if memory is not None:
        text = f"the peak memory is {memory.ratio:.3f} of the original's, above the limit {_g(budget.max_memory)}"
        findings.exactly(memory.ratio, budget.max_memory, text)
    if speed is not None:
        _judge_speed(speed, budget, findings)
    return Verdict(
        passed=not findings.reasons and not findings.undecided,
        verified=True,
        reasons=tuple(findings.reasons),
        undecided=tuple(findings.undecided),
        samples_needed=findings.samples_needed,
        warnings=tuple(_warnings(found, budget, data, samples)),
        data=data,
        samples=samples,
        outputs=found.outputs,
        accuracy=found.accuracy,
        metric=found.metric,
        size_ratio=size_ratio,
        node_ratio=node_ratio,
        memory=memory,
        speed=speed,
        worst=found.worst,
        confidence=budget.confidence or CONFIDENCE,
    )


def unverified(
    reason: str, budget: Budget, size_ratio: float | None = None, node_ratio: float | None = None
) -> Verdict:
    """The verdict where numbers could not be compared: only structure, and the limits on size and nodes, stand behind it."""
    findings = Findings(budget.confidence)
    _judge_weight(size_ratio, node_ratio, budget, findings)
    for limit, what in (
        (budget.min_speedup, "speed"),
        (budget.max_memory, "peak memory"),
        (budget.max_accuracy_drop, "accuracy"),
        (budget.min_metric if budget.max_metric_drop is None else budget.max_metric_drop, "metric"),
    ):
        if limit is not None:
            findings.reasons.append(f"the {what} could not be measured")
    undecided = () if budget.confidence is None else (f"numbers were not compared: {reason}",)
    return Verdict(
        passed=not findings.reasons and not undecided,
        verified=False,
        reasons=tuple(findings.reasons),
        undecided=undecided,
        warnings=(f"not verified by numbers: {reason}",),
        data="none",
        size_ratio=size_ratio,
        node_ratio=node_ratio,
        confidence=budget.confidence or CONFIDENCE,
    )


def _same_numbers(o: OutputMetrics) -> bool:
    """Whether an output is the original's up to rounding: then it is so on any other sample."""
    return o.max_abs_error == 0 or (o.sqnr_db is not None and o.sqnr_db >= EXACT_SQNR_DB)


def _judge_output(o: OutputMetrics, budget: Budget, findings: Findings) -> None:
    own = Findings(findings.confidence, findings.samples, _same_numbers(o), findings.made_up)
    if o.agreement is not None:
        share, limit, z = o.agreement, budget.min_agreement, quantile(budget.confidence or CONFIDENCE)
        what = f"output {o.name!r} agrees in {share:.4f} of {o.decisions} decisions"
        own.estimate(
            share,
            limit,
            (o.agreement_low, o.agreement_high),
            (what, f"the limit {_g(limit)}"),
            lambda: samples_for_share(share, limit or 0.0, z),
            least=True,
        )
    elif o.sqnr_db is not None:
        _judge_bootstrapped(
            o.sqnr_db,
            budget.min_sqnr_db,
            (o.sqnr_low, o.sqnr_high),
            (f"output {o.name!r} has {o.sqnr_db:.1f} dB SQNR", f"the limit {_g(budget.min_sqnr_db)} dB"),
            own,
        )
    if o.cosine is not None:
        _judge_bootstrapped(
            o.cosine,
            budget.min_cosine,
            (o.cosine_low, o.cosine_high),
            (f"output {o.name!r} has cosine {o.cosine:.5g}", f"the limit {_g(budget.min_cosine)}"),
            own,
        )
    if not math.isfinite(o.max_abs_error):
        own.reasons.append(f"output {o.name!r} is NaN, infinite or of another shape where the original is not")
    else:
        text = f"output {o.name!r} is off by up to {o.max_abs_error:g}"
        own.exactly(o.max_abs_error, budget.max_abs_error, f"{text}, above the limit {_g(budget.max_abs_error)}")
        relative = (
            f"{text}, which is {o.max_rel_error:.3g} of its largest value, above the limit {_g(budget.max_rel_error)}"
        )
        own.exactly(o.max_rel_error, budget.max_rel_error, relative)
    findings.add(own)


def _judge_bootstrapped(
    value: float,
    limit: float | None,
    interval: tuple[float | None, float | None],
    texts: tuple[str, str],
    findings: Findings,
    *,
    least: bool = True,
) -> None:
    low, high = interval

    def needed() -> int | None:
        return (
            None
            if limit is None or low is None or high is None
            else samples_for(value, low, high, limit, findings.samples)
        )

    findings.estimate(value, limit, interval, texts, needed, least=least)


def _judge_accuracy(a: Accuracy, budget: Budget, findings: Findings) -> None:
    what = f"accuracy of output {a.output!r} falls by {a.drop:.4f}, from {a.original:.4f} to {a.candidate:.4f} of {a.decisions} decisions"
    limit, z = budget.max_accuracy_drop, quantile(budget.confidence or CONFIDENCE)
    trials = min(a.samples, a.decisions)
    lost, won = (count * trials / max(a.decisions, 1) for count in (a.lost, a.won))
    findings.estimate(
        a.drop,
        limit,
        (a.drop_low, a.drop_high),
        (what, f"the limit {_g(limit)}"),
        lambda: samples_for_drop(lost, won, trials, limit or 0.0, z),
        least=False,
    )


def _judge_metric(m: UserMetric, budget: Budget, findings: Findings) -> None:
    limit, drop = budget.min_metric, budget.max_metric_drop
    texts = f"metric {m.name} is {m.candidate:.5g}", f"the limit {_g(limit)}"
    _judge_bootstrapped(m.candidate, limit, (m.candidate_low, m.candidate_high), texts, findings)
    texts = (
        f"metric {m.name} falls by {m.drop:.5g}, from {m.original:.5g} to {m.candidate:.5g}",
        f"the limit {_g(drop)}",
    )
    _judge_bootstrapped(m.drop, drop, (m.drop_low, m.drop_high), texts, findings, least=False)


def _judge_weight(size_ratio: float | None, node_ratio: float | None, budget: Budget, findings: Findings) -> None:
    if size_ratio is not None:
        text = f"the file is {size_ratio:.3f} of the original's size, above the limit {_g(budget.max_size)}"
        findings.exactly(size_ratio, budget.max_size, text)
    if node_ratio is not None:
        text = f"there are {node_ratio:.3f} times the nodes of the original, above the limit {_g(budget.max_nodes)}"
        findings.exactly(node_ratio, budget.max_nodes, text)


def _judge_speed(speed: Speed, budget: Budget, findings: Findings) -> None:
    """Its interval tells of repetitions, not of samples: more of those would not settle it."""
    what = f"the speed-up is {speed.speedup:.2f} ({speed.low:.2f} to {speed.high:.2f})"
    own = Findings(findings.confidence)
    texts = what, f"the limit {_g(budget.min_speedup)}"
    own.estimate(speed.speedup, budget.min_speedup, (speed.low, speed.high), texts, lambda: None, least=True)
    findings.add(own)


def _warnings(found: Comparison, budget: Budget, data: str, samples: int) -> Iterator[str]:
    if samples < FEW and data != "made up":
        yield f"{samples} {'samples are' if samples > 1 else 'sample is'} few: the figures may be far from those of more data"
    if budget.confidence is None:
        yield from _doubts(found, budget)
    elif budget.max_abs_error is not None or budget.max_rel_error is not None:
        yield "the largest errors have no interval: their limits are held on these samples, and that is all that is known"


def _g(limit: float | None) -> str:
    return "none" if limit is None else f"{limit:g}"


def _doubts(found: Comparison, budget: Budget) -> Iterator[str]:
    """Where a limit lies inside the 95 % interval of its figure, the samples cannot tell pass from fail."""
    for o in found.outputs:
        low, high, limit = o.agreement_low, o.agreement_high, budget.min_agreement
        if _same_numbers(o):
            continue
        if o.agreement is not None and _between(low, limit, high):
            needed = samples_for_share(o.agreement, limit or 0.0, quantile(CONFIDENCE))
            tail = "" if needed is None else f", about {needed:,} samples would"
            yield (
                f"output {o.name!r}: {o.decisions} decisions put agreement between {low:.3f} and {high:.3f} (95 %), so they do not settle "
                f"the limit {_g(limit)}: give more data{tail}"
            )
        if o.agreement is None and _between(o.sqnr_low, budget.min_sqnr_db, o.sqnr_high):
            yield (
                f"output {o.name!r}: SQNR lies between {o.sqnr_low:.1f} and {o.sqnr_high:.1f} dB (95 %), so the limit "
                f"{_g(budget.min_sqnr_db)} dB is not settled: give more data"
            )
    for a in found.accuracy:
        if a.lost + a.won and _between(a.drop_low, budget.max_accuracy_drop, a.drop_high):
            yield (
                f"output {a.output!r}: {a.decisions} labelled decisions put the loss of accuracy between {a.drop_low:.3f} and {a.drop_high:.3f} (95 %), "
                f"so they do not settle the limit {_g(budget.max_accuracy_drop)}: give more data"
            )


def _between(low: float | None, limit: float | None, high: float | None) -> bool:
    return low is not None and limit is not None and high is not None and low < limit < high
