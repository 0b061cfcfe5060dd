"""From figures to a verdict: whether they hold the budget of a lossy step. (Exact steps must give the same numbers: see `exact`.)

A verdict has three outcomes: passed; missed, where a limit is; and, for budgets with a confidence only, undecided, where the samples do not settle a limit (see `limits`).
"""

from __future__ import annotations

import math

from onnxzip.config import Budget
from onnxzip.records import Accuracy, Memory, OutputMetrics, Speed, UserMetric, Verdict
from onnxzip.validate.comparison import CONFIDENCE, Comparison
from onnxzip.validate.doubts import warnings
from onnxzip.validate.exact import same_numbers
from onnxzip.validate.intervals import quantile, samples_for, samples_for_drop, samples_for_share
from onnxzip.validate.limits import Findings, shown


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
    settled = all(map(same_numbers, found.outputs))
    findings = Findings(budget.confidence, samples, settled, made_up=data == "made up")
    for output in found.outputs:
        _judge_output(output, budget, findings)
    for accuracy in found.accuracy:
        _judge_accuracy(accuracy, budget, findings)
    if found.metric is not None:
        _judge_metric(found.metric, budget, findings)
    _judge_weight(size_ratio, node_ratio, budget, findings)
    if memory is not None:
        text = f"the peak memory is {memory.ratio:.3f} of the original's, above the limit {shown(budget.max_memory)}"
        findings.exactly(memory.ratio, budget.max_memory, text)
    if speed is not None:
        _judge_speed(speed, budget, findings)
    return Verdict(
        passed=not findings.reasons and not findings.undecided,
        verified=True,
        reasons=tuple(findings.reasons),
        undecided=tuple(findings.undecided),
        samples_needed=findings.samples_needed,
        warnings=tuple(warnings(found, budget, data, samples)),
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


def _judge_output(o: OutputMetrics, budget: Budget, findings: Findings) -> None:
    own = Findings(findings.confidence, findings.samples, same_numbers(o), findings.made_up)
    if o.agreement is not None:
        share, limit, z = o.agreement, budget.min_agreement, quantile(budget.confidence or CONFIDENCE)
        what = f"output {o.name!r} agrees in {share:.4f} of {o.decisions} decisions"
        own.estimate(
            share,
            limit,
            (o.agreement_low, o.agreement_high),
            (what, f"the limit {shown(limit)}"),
            lambda: samples_for_share(share, limit or 0.0, z),
            least=True,
        )
    elif o.sqnr_db is not None and math.isfinite(o.max_abs_error):
        _judge_bootstrapped(
            o.sqnr_db,
            budget.min_sqnr_db,
            (o.sqnr_low, o.sqnr_high),
            (f"output {o.name!r} has {o.sqnr_db:.1f} dB SQNR", f"the limit {shown(budget.min_sqnr_db)} dB"),
            own,
        )
    if o.cosine is not None:
        _judge_bootstrapped(
            o.cosine,
            budget.min_cosine,
            (o.cosine_low, o.cosine_high),
            (f"output {o.name!r} has cosine {o.cosine:.5g}", f"the limit {shown(budget.min_cosine)}"),
            own,
        )
    if not math.isfinite(o.max_abs_error):
        own.reasons.append(f"output {o.name!r} is NaN, infinite or of another shape where the original is not")
    else:
        text = f"output {o.name!r} is off by up to {o.max_abs_error:g}"
        own.exactly(o.max_abs_error, budget.max_abs_error, f"{text}, above the limit {shown(budget.max_abs_error)}")
        relative = f"{text}, which is {o.max_rel_error:.3g} of its largest value, above the limit {shown(budget.max_rel_error)}"
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
        (what, f"the limit {shown(limit)}"),
        lambda: samples_for_drop(lost, won, trials, limit or 0.0, z),
        least=False,
    )


def _judge_metric(m: UserMetric, budget: Budget, findings: Findings) -> None:
    limit, drop = budget.min_metric, budget.max_metric_drop
    texts = f"metric {m.name} is {m.candidate:.5g}", f"the limit {shown(limit)}"
    _judge_bootstrapped(m.candidate, limit, (m.candidate_low, m.candidate_high), texts, findings)
    texts = (
        f"metric {m.name} falls by {m.drop:.5g}, from {m.original:.5g} to {m.candidate:.5g}",
        f"the limit {shown(drop)}",
    )
    _judge_bootstrapped(m.drop, drop, (m.drop_low, m.drop_high), texts, findings, least=False)


def _judge_weight(size_ratio: float | None, node_ratio: float | None, budget: Budget, findings: Findings) -> None:
    if size_ratio is not None:
        text = f"the file is {size_ratio:.3f} of the original's size, above the limit {shown(budget.max_size)}"
        findings.exactly(size_ratio, budget.max_size, text)
    if node_ratio is not None:
        text = f"there are {node_ratio:.3f} times the nodes of the original, above the limit {shown(budget.max_nodes)}"
        findings.exactly(node_ratio, budget.max_nodes, text)


def _judge_speed(speed: Speed, budget: Budget, findings: Findings) -> None:
    """Its interval tells of repetitions, not of samples: more of those would not settle it."""
    what = f"the speed-up is {speed.speedup:.2f} ({speed.low:.2f} to {speed.high:.2f})"
    own = Findings(findings.confidence)
    texts = what, f"the limit {shown(budget.min_speedup)}"
    own.estimate(speed.speedup, budget.min_speedup, (speed.low, speed.high), texts, lambda: None, least=True)
    findings.add(own)
