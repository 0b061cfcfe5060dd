"""Settings, as frozen dataclasses that check themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from onnxzip.errors import UsageError
from onnxzip.named import function, is_named

Preset = Literal["exact", "int8", "weights8", "weights4", "fp16"]
Target = Literal["cpu", "cpu-avx2", "arm64", "tensorrt", "openvino", "qnn", "qnn16"]
Objective = Literal["speed", "balanced", "size"]
Prefer = Literal["bytes", "nodes"]
Calibrate = Literal["full", "fast"]
PruneBy = Literal["multiply-adds", "parameters"]
PRESETS: tuple[str, ...] = get_args(Preset)
TARGETS: tuple[str, ...] = get_args(Target)
OBJECTIVES: tuple[str, ...] = get_args(Objective)
PREFERENCES: tuple[str, ...] = get_args(Prefer)
CALIBRATE: tuple[str, ...] = get_args(Calibrate)
PRUNE_BY: tuple[str, ...] = get_args(PruneBy)

_NAMED = {
    "target": TARGETS,
    "objective": OBJECTIVES,
    "prefer": PREFERENCES,
    "calibrate": CALIBRATE,
    "prune_by": PRUNE_BY,
}
"""Settings that are one of a few names."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a lossy step may cost, measured on held-out data against the original.

    `None` means "no limit". Limits on accuracy are judged per output and the worst output decides; agreement is
    asked of outputs that look like class scores (see `onnxzip.validate.decisions`), SQNR of the other float outputs, all else of every float output.

    Attributes:
        min_agreement: smallest share of equal arg-max decisions, 0 to 1.
        min_sqnr_db: smallest signal to quantization noise ratio in dB of an output *without* class scores.
        min_cosine: smallest cosine, -1 to 1, of any float output.
        max_abs_error: largest absolute error of any element of any float output.
        max_rel_error: the same, relative to the largest finite magnitude of that output.
        class_axis: where the classes of float outputs lie, for agreement and accuracy; None: it is found out. Outputs without that axis
            take no decisions then.
        max_accuracy_drop: largest accuracy of the original minus that of the candidate, -1 to 1; needs labels.
        metric: a figure of your own, higher is better, as `module:function` or a callable: it gets the outputs by name, the labels (or None), and
            the other arrays of the data by name, over all samples together (see `onnxzip.validate.user_metric`); needs data.
        min_metric: smallest `metric` of the candidate.
        max_metric_drop: largest `metric` of the original minus that of the candidate.
        max_size: largest bytes of the result divided by bytes of the original.
        max_nodes: largest number of nodes of the result divided by that of the original, bodies included.
        max_memory: largest peak memory of the result divided by that of the original, each loaded and run in a process of its own.
        min_speedup: smallest latency of the original divided by latency of the result, paired.
        confidence: None: the figures decide as they are, and a limit that lies inside of the 95 % interval of its figure is a warning. A number such as
            0.95: a limit is held or missed only if it lies outside of the interval of that confidence (Wilson, bootstrap); where one lies inside, the
            outcome is "undecided", which does not pass, and the verdict says how many samples would do. The largest errors, sizes and counts
            have no interval.
        layers: `compare` and `check` look at the layers where outputs differ, and a layer that was changed beyond doubt does not pass. False for
            a model that was changed on purpose (trained further), which only its outputs can judge.
    """

    min_agreement: float | None = 0.9
    min_sqnr_db: float | None = 10.0
    min_cosine: float | None = None
    max_abs_error: float | None = None
    max_rel_error: float | None = None
    class_axis: int | None = None
    max_accuracy_drop: float | None = None
    metric: str | Callable[..., float] | None = None
    min_metric: float | None = None
    max_metric_drop: float | None = None
    max_size: float | None = None
    max_nodes: float | None = None
    max_memory: float | None = None
    min_speedup: float | None = None
    confidence: float | None = None
    layers: bool = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in ("class_axis", "metric", "layers"):
                _check_limit(name, value)
        axis, metric = self.class_axis, self.metric
        if axis is not None and (isinstance(axis, bool) or not isinstance(axis, int)):
            raise UsageError(f"class_axis is the number of an axis, such as 1 or -1, not {axis!r}")
        if isinstance(metric, str) and not is_named(metric):
            raise UsageError(f"metric is module:function, or a callable from Python, not {metric!r}")
        if metric is not None and not isinstance(metric, str) and not callable(metric):
            raise UsageError(f"metric is module:function, or a callable from Python, not a {type(metric).__name__}")
        if metric is None and not (self.min_metric is None and self.max_metric_drop is None):
            raise UsageError(
                "min_metric and max_metric_drop limit a metric of your own: name it (metric, as module:function)"
            )
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise UsageError(f"confidence must lie in 0.5 to 1 (not 1 itself), such as 0.95, not {self.confidence}")


_RANGES = {
    "min_agreement": (0.0, 1.0),
    "min_cosine": (-1.0, 1.0),
    "max_accuracy_drop": (-1.0, 1.0),
    **dict.fromkeys(
        ("max_abs_error", "max_rel_error", "max_size", "max_nodes", "max_memory", "min_speedup"), (0.0, math.inf)
    ),
}
"""Where the limits of a budget must lie; others are any numbers."""


def _check_limit(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"{name} must be a number, not {value!r}")
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if math.isinf(high) and not value >= low:
        raise UsageError(
            f"{name} must not be negative or NaN, not {value}" if low == 0 else f"{name} must be a number, not NaN"
        )
    if not low <= value <= high:
        raise UsageError(f"{name} must lie in {low:g} to {high:g}, not {value}")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What `optimize` is to do.

    Attributes:
        preset: "exact" (no data needed), "int8" (needs calibration data, or `allow_unverified`), "weights8" and "weights4" (weights stored in 8 or 4 bits, rounded
            on data where there is some, arithmetic in float: smaller, not faster), "fp16" (weights and arithmetic in float16, inputs
            and outputs as they are), or None: "int8" with data, else "exact".
        target: where the model will run; decides dtypes and placement of int8. "cpu" (onnxruntime on this CPU), "cpu-avx2" (x86 without VNNI),
            "arm64", "tensorrt", "openvino", "qnn" (8-bit activations), "qnn16" (16-bit activations, 8-bit weights).
        objective: "speed": int8 is kept only where it is at least as fast as the exact float result (else its weights alone are stored in int8, where that costs no time), and pruning leaves a few spare channels where
            odd widths would run slower; "balanced": int8 may be up to a tenth slower than that, for it is a quarter of the size; "size": speed does not
            count, and every spare channel goes.
        prefer: "bytes": exact rewriting never makes the file larger; "nodes": constants are folded, weights are fused,
            even where the file grows by it.
        prune: the share of `prune_by` to remove by pruning channels, 0 < share < 1, or "auto": the largest one that holds the budget.
            None: only channels that do nothing go. Needs calibration data, or `allow_unverified`.
        prune_by: what the share is of: "multiply-adds" or "parameters".
        round_to: layers that are pruned end at a multiple of this many channels; None: the target's (8 on cpu).
        allow_unverified: without data, prune by the size of weights alone, and calibrate and judge int8 on inputs made up from their
            specification; nothing then says what it costs on real ones.
        budget: what the lossy steps may cost.
        labels: name of the array in the data that holds the right classes, for accuracy and for a metric of your own; a number such as "1" where
            the data is tuples in input order. None: there are none.
        keep_float: patterns (regular expressions over node names, or exact operator types) that stay float.
        plan: path of a quantization plan (JSON) to replay instead of deciding anew.
        calibrate: "full": the ranges of int8 come from every calibration batch; "fast": from the first four and every second one behind them, in
            about half the time.
        keep_defaults: leave initializers that are also graph inputs alone even when the exporter listed all of them.
        search_time: seconds, counted from the beginning of int8, in which the search is over; 0: no search. It tries equalized channels, float nodes and other ranges, and
            begins nothing that would take longer. Calibration is not cut short, and what onnxruntime makes of the result is looked at afterwards.
        held_out: share of the calibration samples that is kept back for the verdict, 0 < share < 1.
        measure_speed: measure the paired latency of original and result; None: when there is data to time it on, and this machine
            is the target.
        verify_each: compare numbers with the original after every pass, not once after all of them (slower).
        opset: raise the model to this version of the standard operators first, so that more of it can become one operator;
            None: leave it at its own.
        allow_contrib: operators of onnxruntime's own domain may be used; other runtimes do not read the result.
        strict: a pass that fails is an error instead of being taken back.
        details: gather what the HTML report shows beside the figures of every run (bytes and time by operator and by layer, ranges, what each
            layer costs), which takes further runs of the model.
        seed: seed of every random choice (made-up inputs, bootstrap).
    """

    preset: Preset | None = None
    target: Target = "cpu"
    objective: Objective = "speed"
    prefer: Prefer = "bytes"
    prune: float | Literal["auto"] | None = None
    prune_by: PruneBy = "multiply-adds"
    round_to: int | None = None
    allow_unverified: bool = False
    budget: Budget = field(default_factory=Budget)
    labels: str | None = None
    keep_float: tuple[str, ...] = ()
    plan: str | os.PathLike[str] | None = None
    calibrate: Calibrate = "full"
    keep_defaults: bool = False
    search_time: float = 0.0
    held_out: float = 0.33
    measure_speed: bool | None = None
    verify_each: bool = False
    opset: int | None = None
    allow_contrib: bool = False
    strict: bool = False
    details: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise UsageError(f"preset {self.preset!r} is not known: choose one of {', '.join(PRESETS)}")
        for name, known in _NAMED.items():
            if getattr(self, name) not in known:
                raise UsageError(f"{name} {getattr(self, name)!r} is not known: choose one of {', '.join(known)}")
        self._check_prune()
        if not isinstance(self.budget, Budget):
            raise UsageError(f"budget must be an onnxzip.Budget, not {type(self.budget).__name__}")
        check_labels(self.labels, self.budget)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise UsageError(f"seed must be a whole number that is not negative, not {self.seed!r}")
        if self.opset is not None and (
            isinstance(self.opset, bool) or not isinstance(self.opset, int) or self.opset < 1
        ):
            raise UsageError(f"opset must be a version such as 20, not {self.opset!r}")
        if self.plan is not None and not isinstance(self.plan, (str, os.PathLike)):
            raise UsageError(
                f"plan is the path of a plan, not a {type(self.plan).__name__}: write it to a file first (to_json)"
            )
        if (
            isinstance(self.search_time, bool)
            or not isinstance(self.search_time, (int, float))
            or not 0 <= self.search_time < math.inf
        ):
            raise UsageError(f"search_time is a number of seconds that is not negative, not {self.search_time!r}")
        if not isinstance(self.held_out, (int, float)) or not 0 < self.held_out < 1:
            raise UsageError(f"held_out is a share and must lie strictly between 0 and 1, not {self.held_out}")
        if isinstance(self.keep_float, str):
            raise UsageError("keep_float takes a tuple of patterns, not one string")

    def _check_prune(self) -> None:
        share = self.prune
        number = isinstance(share, (int, float)) and not isinstance(share, bool)
        if share not in (None, "auto") and not (number and 0 < float(share) < 1):
            raise UsageError(f'prune is a share strictly between 0 and 1, or "auto", not {share!r}')
        if self.round_to is not None and (
            isinstance(self.round_to, bool) or not isinstance(self.round_to, int) or self.round_to < 1
        ):
            raise UsageError(f"round_to is a number of channels of at least 1, not {self.round_to!r}")


def check_labels(labels: str | None, budget: Budget) -> None:
    """Raise UsageError where `labels` is no name, or is missing although the budget asks for accuracy."""
    if labels is not None and (not isinstance(labels, str) or not labels):
        raise UsageError(f"labels is the name of an array in the data, not {labels!r}")
    if labels is None and budget.max_accuracy_drop is not None:
        raise UsageError("max_accuracy_drop needs labels: name the array of the data that holds them (--labels NAME)")


def check_answers(labels: str | None, budget: Budget, *, has_data: bool) -> None:
    """Whether accuracy and a metric of the user can be had, before any work is done.

    Raises:
        UsageError: labels as above; there is no data to hold them, or to compute the metric on; or there is no such metric.
    """
    check_labels(labels, budget)
    if not has_data and (labels is not None or budget.metric is not None):
        raise UsageError(
            "labels and a metric of your own need data: made-up inputs have no right answers (give -c DATA)"
        )
    if isinstance(budget.metric, str):
        function(budget.metric, UsageError)
