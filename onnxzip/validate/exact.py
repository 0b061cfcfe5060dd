"""The same numbers: what exact rewriting must give, up to rounding.

SQNR >= 90 dB in float32, 45 dB in float16, 27 dB in bfloat16, or an error below 1e-6 of the largest value; no outliers
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxzip.records import OutputMetrics

EXACT_SQNR_DB = 90.0
"""What exact rewriting must keep in float32: rounding in another order gives 110 to 150 dB, any mistake far less."""

_LOWER_SQNR_DB = {"tensor(float16)": 45.0, "tensor(bfloat16)": 27.0}
"""The same for outputs in half precision, whose own rounding is 2^-11 (66 dB) and 2^-8 (48 dB)."""

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


def same_numbers(o: OutputMetrics) -> bool:
    """Whether an output is the original's up to rounding: then it is so on any other sample."""
    return o.max_abs_error == 0 or (o.sqnr_db is not None and o.sqnr_db >= EXACT_SQNR_DB)
