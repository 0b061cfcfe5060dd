"""What was done, as plain data: every stage leaves a record, the report only renders them.

All of it is made of numbers, strings, tuples and other records, so that `dataclasses.asdict` gives JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxzip.verdict import (
    Accuracy,
    LayerError,
    Memory,
    Outcome,
    OutputMetrics,
    Speed,
    UserMetric,
    Verdict,
    WorstSample,
)

__all__ = [
    "Accuracy",
    "Facts",
    "LayerError",
    "Memory",
    "Outcome",
    "OutputMetrics",
    "PassRecord",
    "RunRecord",
    "Speed",
    "StageRecord",
    "UserMetric",
    "Verdict",
    "Width",
    "WorstSample",
]


@dataclass(frozen=True, kw_only=True)
class PassRecord:
    """One run of one pass.

    Attributes:
        name: name of the pass.
        changes: how many places it changed; 0 when it was taken back.
        seconds: wall-clock time.
        nodes: number of nodes after it, bodies included.
        notes: what it refused or left, each naming its node.
        taken_back: why its work was undone, or None.
    """

    name: str
    changes: int
    seconds: float
    nodes: int
    notes: tuple[str, ...] = ()
    taken_back: str | None = None


@dataclass(frozen=True, kw_only=True)
class Width:
    """The channels of one layer.

    Attributes:
        name: the layer that makes them, as `Conv 'name'`.
        before, after: how many there were and are.
        tied: other layers whose channels go and stay with these (residual Add and the like).
        stayed: why the rest stayed, one phrase a reason, most frequent first, each with its count.
    """

    name: str
    before: int
    after: int
    tied: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()

    def __str__(self) -> str:
        reasons = f" ({'; '.join(self.stayed)})" if self.stayed else ""
        return f"{self.name}: {self.before} channels become {self.after}{reasons}"


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """One stage of the pipeline.

    Attributes:
        name: opset, rewrite, eliminate, prune, quantize, or weights (stored in int8, where int8 was too slow).
        kept: its result is part of the final model. False: it was taken back, or there was nothing to do.
        summary: one sentence: what it did, or why it was taken back.
        seconds: wall-clock time.
        passes: for exact rewriting, one record a pass.
        notes: what was left alone and why, each naming its node.
        widths: for stages that remove channels, one record for each layer that makes some: before, after, why the rest stayed.
        verdict: for lossy stages, how their result was judged.
    """

    name: str
    kept: bool
    summary: str
    seconds: float
    passes: tuple[PassRecord, ...] = ()
    notes: tuple[str, ...] = ()
    widths: tuple[Width, ...] = ()
    verdict: Verdict | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a model weighs. `bytes` counts the file and its external data; `operators` counts nodes by type, bodies included."""

    bytes: int
    nodes: int
    parameters: int
    opset: int
    operators: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Held:
    """What one layer, or all nodes of one operator, hold in constants.

    Attributes:
        name: the layer, or the operator.
        operator: its operator.
        before, after: bytes in the original and in the result; 0 where there is none.
    """

    name: str
    operator: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Latency:
    """What the nodes of one operator take together in one run.

    Attributes:
        operator: the operator.
        kernels: what the runtime made of it, in the original and in the result (QLinearConv, FusedConv).
        before, after: microseconds of one run, one thread; 0 where there is no such node.
    """

    operator: str
    kernels: tuple[str, ...]
    before: float
    after: float


@dataclass(frozen=True, kw_only=True)
class Range:
    """A quantized activation: what values it took, and which of them its integers can stand for.

    Attributes:
        tensor: its name.
        dtype: of the integers.
        low, high: smallest and largest value on the samples.
        clip_low, clip_high: smallest and largest value that the integers stand for.
        clipped: share of the values beyond these.
    """

    tensor: str
    dtype: str
    low: float
    high: float
    clip_low: float
    clip_high: float
    clipped: float


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What the model's outputs suffer when one layer alone is quantized, and all others stay float.

    Attributes:
        node: the layer.
        operator: its operator.
        output: the output that suffers most.
        sqnr_db: of that output; inf where nothing changes.
    """

    node: str
    operator: str
    output: str
    sqnr_db: float


@dataclass(frozen=True, kw_only=True)
class Details:
    """What only a report needs; gathered when asked (`Config.details`), for it takes further runs.

    What a run has not is empty.

    Attributes:
        samples: how many samples ranges, sensitivity and latency were taken on.
        source: where these came from, as in `Verdict.data`.
        digests: of the result, and of the data that tuned and judged, each with what it is of.
        by_operator, by_layer: bytes of constants, largest in the original first.
        latency: time by operator, as the runtime's profile has it; empty where this machine is not the target.
        method: how the ranges were chosen.
        ranges: quantized activations that have one scale for all values, in order of the graph.
        per_token: how many more have a scale for each token, which fits, so that nothing is clipped.
        sensitivity: layers that were quantized, in order of the graph.
        untried: how many more layers were quantized, and not looked at one by one.
        layers: the error through the depth against the float model that was quantized, in order of the graph; empty where none was.
        unseen: why the depth could not be looked at, or empty.
    """

    samples: int
    source: str
    digests: Mapping[str, str]
    by_operator: tuple[Held, ...]
    by_layer: tuple[Held, ...]
    latency: tuple[Latency, ...] = ()
    method: str = ""
    ranges: tuple[Range, ...] = ()
    per_token: int = 0
    sensitivity: tuple[Sensitivity, ...] = ()
    untried: int = 0
    layers: tuple[LayerError, ...] = ()
    unseen: str = ""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything a report shows of one `optimize`.

    Attributes:
        source, source_digest: where the model came from, and its SHA-256.
        versions: of onnxzip and what it stands on.
        config: the settings.
        before, after: the original, and the model that is returned.
        stages: what each stage did.
        verdict: on what was asked for. When it failed, the candidate was taken back.
        result: on the model that is returned; the same as `verdict` when that passed.
        notes: what the user should know about model and data.
        advice: what more could be had, and with which command.
        details: figures for the HTML report, where they were asked for.
    """

    source: str
    source_digest: str
    versions: Mapping[str, str]
    config: Mapping[str, object]
    before: Facts
    after: Facts
    stages: tuple[StageRecord, ...]
    verdict: Verdict
    result: Verdict
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = field(default=())
    details: Details | None = None
