"""From figures to a verdict: the budget for lossy steps, and "the same numbers" for exact ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from onnxzip.config import Budget
from onnxzip.records import OutputMetrics, Speed, Verdict

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
    outputs: Sequence[OutputMetrics],
    budget: Budget,
    *,
    data: str,
    samples: int,
    size_ratio: float | None = None,
    speed: Speed | None = None,
) -> Verdict:
    """Hold figures against a budget; `data` and `samples` say what they were taken on."""
    if samples == 0:
        return unverified("the data holds no samples", budget, size_ratio)
    reasons: list[str] = []
    warnings: list[str] = []
    if samples < FEW and data != "made up":
        warnings.append(f"{samples} samples are few: the figures may be far from those of more data")
    for output in outputs:
        reasons += _misses(output, budget)
        warnings += _doubts(output, budget)
    reasons += _too_large(size_ratio, budget)
    if budget.min_speedup is not None and speed is not None and speed.speedup < budget.min_speedup:
        reasons.append(
            f"the speed-up is {speed.speedup:.2f} ({speed.low:.2f} to {speed.high:.2f}), below the limit {budget.min_speedup:g}"
        )
    return Verdict(
        passed=not reasons,
        verified=True,
        reasons=tuple(reasons),
        warnings=tuple(warnings),
        data=data,
        samples=samples,
        outputs=tuple(outputs),
        size_ratio=size_ratio,
        speed=speed,
    )


def unverified(reason: str, budget: Budget, size_ratio: float | None = None) -> Verdict:
    """The verdict where numbers could not be compared: only structure, and the limit on size, stand behind it."""
    reasons = _too_large(size_ratio, budget)
    if budget.min_speedup is not None:
        reasons.append("the speed could not be measured")
    warning = f"not verified by numbers: {reason}"
    return Verdict(
        passed=not reasons,
        verified=False,
        reasons=tuple(reasons),
        warnings=(warning,),
        data="none",
        size_ratio=size_ratio,
    )


def _too_large(size_ratio: float | None, budget: Budget) -> list[str]:
    if budget.max_size is None or size_ratio is None or size_ratio <= budget.max_size:
        return []
    return [f"the file is {size_ratio:.3f} of the original's size, above the limit {budget.max_size:g}"]


def _misses(o: OutputMetrics, budget: Budget) -> list[str]:
    found = []
    if o.agreement is not None:
        if budget.min_agreement is not None and o.agreement < budget.min_agreement:
            found.append(
                f"output {o.name!r} agrees in {o.agreement:.4f} of {o.decisions} decisions, below the limit {budget.min_agreement:g}"
            )
    elif o.sqnr_db is not None and budget.min_sqnr_db is not None and o.sqnr_db < budget.min_sqnr_db:
        found.append(f"output {o.name!r} has {o.sqnr_db:.1f} dB SQNR, below the limit {budget.min_sqnr_db:g} dB")
    if math.isinf(o.max_abs_error) or math.isnan(o.max_abs_error):
        found.append(f"output {o.name!r} is NaN, infinite or of another shape where the original is not")
    elif budget.max_abs_error is not None and o.max_abs_error > budget.max_abs_error:
        found.append(f"output {o.name!r} is off by up to {o.max_abs_error:g}, above the limit {budget.max_abs_error:g}")
    return found


def _doubts(o: OutputMetrics, budget: Budget) -> list[str]:
    """Where the limit lies inside the confidence interval, the samples cannot tell pass from fail."""
    limit, low, high = budget.min_agreement, o.agreement_low, o.agreement_high
    if o.max_abs_error == 0 or (o.sqnr_db is not None and o.sqnr_db >= EXACT_SQNR_DB):
        return []  # the same numbers decide the same on any other sample
    if limit is None or low is None or high is None or not low < limit < high:
        return []
    return [
        f"output {o.name!r}: {o.decisions} decisions put agreement between {low:.3f} and {high:.3f} (95 %), so they do not settle the limit {limit:g}: give more data"
    ]
