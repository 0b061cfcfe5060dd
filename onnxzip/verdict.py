"""The verdict on a candidate and the figures behind it, as plain data. (Read it as `onnxzip.records`, beside the records of a run.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["passed", "missed", "undecided"]


@dataclass(frozen=True, kw_only=True)
class OutputMetrics:
    """How one output of the candidate compares with the original's, over all samples.

    Attributes:
        name: the output.
        max_abs_error: largest absolute difference; inf where one side is NaN or Inf and the other is not.
        max_rel_error: max_abs_error divided by the largest finite magnitude of the original.
        sqnr_db: 10 log10(sum of squares of the original / sum of squares of the difference); inf when equal;
            None for outputs that are not float.
        cosine: cosine of the angle between both outputs, flattened over all samples; None when not float or all zero.
        outliers: number of elements that are off by more than 1e-3 of their own size and 1e-4 of their channel's; exact
            rewriting has none.
        agreement: share of equal decisions; None where the output does not look like class scores or labels.
        agreement_low, agreement_high: its Wilson interval, of the verdict's confidence. Decisions of one sample are not independent, so
            a sample counts once however many decisions are taken from it.
        decisions: number of decisions behind `agreement`.
        balanced: agreement averaged over the classes that are decided for, so that rare ones count as much as frequent ones: the smaller
            one of both directions (of the original's decisions, and of the candidate's); None where there is no agreement.
        sqnr_low, sqnr_high, cosine_low, cosine_high: bootstrap intervals over samples, of the verdict's confidence; None for fewer than
            30 samples, and in checks that do not ask for them.
        class_axis: the axis along which decisions were taken (axes of size 1 aside); None where there are none, or each element is one.
    """

    name: str
    max_abs_error: float
    max_rel_error: float
    sqnr_db: float | None
    cosine: float | None
    outliers: int = 0
    agreement: float | None = None
    agreement_low: float | None = None
    agreement_high: float | None = None
    decisions: int = 0
    balanced: float | None = None
    sqnr_low: float | None = None
    sqnr_high: float | None = None
    cosine_low: float | None = None
    cosine_high: float | None = None
    class_axis: int | None = None


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How often the decisions of one output are the right ones, by labels.

    Attributes:
        output: the output whose decisions they are.
        original, candidate: share of right decisions of each, with Wilson intervals (`original_low` to `candidate_high`).
        drop: original minus candidate; `drop_low` and `drop_high` are its interval, from the decisions on which both differ (Bonett and Price, 2012).
        decisions: how many were labelled.
        samples: how many samples they come from.
        lost: right in the original only; `won`: right in the candidate only.
    """

    output: str
    original: float
    original_low: float
    original_high: float
    candidate: float
    candidate_low: float
    candidate_high: float
    drop: float
    drop_low: float
    drop_high: float
    decisions: int
    samples: int
    lost: int
    won: int


@dataclass(frozen=True, kw_only=True)
class UserMetric:
    """A figure of the user's own: `name` is the function; `original` and `candidate` its values; `drop` original minus candidate.

    The intervals are bootstrapped over samples, for budgets with a confidence; None where they were not asked for, or cannot be had.
    """

    name: str
    original: float
    candidate: float
    drop: float
    candidate_low: float | None = None
    candidate_high: float | None = None
    drop_low: float | None = None
    drop_high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak memory in bytes that loading a model and running one batch adds to a process, one thread; `ratio` is candidate / original."""

    original: int
    candidate: int
    ratio: float


@dataclass(frozen=True, kw_only=True)
class WorstSample:
    """A sample on which the candidate differs most from the original.

    Attributes:
        index: position in the data as it was given, counted in samples from 0 over all files and batches.
        batch, row: number of the compared batch, and the row in it, both from 0.
        disagreement: largest share of its decisions, over the outputs, that differ; 0 where none are taken.
        error: largest relative squared error over the float outputs: sum of squares of the difference / sum of squares of the original, of
            that sample alone (at least 1 % of the mean over the samples); inf where one is NaN or infinite and the other is not.
        errors: that of each float output; where an output has no row for each sample, the batch's.
        lost: by the labels, the original is right and the candidate wrong (in some decision of some output); None without labels.
    """

    index: int
    batch: int
    row: int
    disagreement: float
    error: float
    errors: Mapping[str, float]
    lost: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Paired latency: `speedup` is the median of (original / candidate), `low` and `high` its bootstrap interval (95 %, or the verdict's confidence)."""

    speedup: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How one inner value of the candidate compares with the original's value that it stands for.

    The born error is that of the candidate's nodes between the nearest matched values alone, fed with the original's values: it says
    where error enters, while `sqnr_db` says how much has gathered so far.

    Attributes:
        name: the original's tensor.
        counterpart: the candidate's tensor.
        node: the original's node that makes it, as `Conv 'name'`.
        operator: its operator.
        nodes: all of the original's nodes between the nearest matched values and this one, `node` last: the error is born in one of them.
        sqnr_db: 10 log10(signal / error) with all error from the input on; inf when equal; None for a tensor that is not float.
        born_db: the same for the error that is born here.
        explained_db: the least that rounding explains: born errors below it are suspect; None where nothing was judged.
        share: the part of all born error that is born here, 0 to 1, with the error of a layer relative to its signal: the shares add up to 1 where there is any error.
        suspect: the born error is more than the number formats of the candidate explain.
        guilty: the layer was changed, beyond doubt: it is far off, in the candidate's own run too, and with the original's values in its place the outputs are better.
    """

    name: str
    counterpart: str
    node: str
    operator: str
    nodes: tuple[str, ...] = ()
    sqnr_db: float | None
    born_db: float | None
    explained_db: float | None = None
    share: float = 0.0
    suspect: bool = False
    guilty: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a candidate may stand in for the original, and the figures behind the answer.

    Attributes:
        passed: every limit of the budget holds, and the interface is the same.
        verified: numbers were compared (False: structure only, because the original could not be run).
        reasons: one sentence for each limit that was missed.
        undecided: one sentence for each limit that the samples do not settle at the confidence that the budget asks for; empty where it asks for none.
        samples_needed: about how many samples would settle all of these, going by the figures so far; None where none would, or none are missing.
        warnings: what weakens the verdict without failing it (few samples, made-up data).
        data: where the compared samples came from: "held-out" (part of the calibration data), "given", "made up", or "none".
        samples: how many samples were compared.
        outputs: the figures of each output.
        accuracy: by labels, one record for each output that they fit; empty without labels.
        metric: the user's own metric, where there is one.
        size_ratio: bytes of the candidate divided by bytes of the original.
        node_ratio: nodes of the candidate divided by nodes of the original, bodies included.
        memory: peak memory, where it was measured.
        speed: paired latency, where it was measured.
        worst: the samples with the largest errors, worst first.
        layers: the error through the depth, in the order of the original's graph; empty where it was not looked at.
        confidence: of every interval; 0.95 unless the budget names another.
        outcome: "passed"; "missed": some limit is; "undecided": none is for sure, but the samples do not show that all hold.
    """

    passed: bool
    verified: bool
    reasons: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    samples_needed: int | None = None
    warnings: tuple[str, ...] = ()
    data: str = "made up"
    samples: int = 0
    outputs: tuple[OutputMetrics, ...] = ()
    accuracy: tuple[Accuracy, ...] = ()
    metric: UserMetric | None = None
    size_ratio: float | None = None
    node_ratio: float | None = None
    memory: Memory | None = None
    speed: Speed | None = None
    worst: tuple[WorstSample, ...] = ()
    layers: tuple[LayerError, ...] = ()
    confidence: float = 0.95
    outcome: Outcome = field(init=False)

    def __post_init__(self) -> None:
        outcome = "passed" if self.passed else "undecided" if self.undecided and not self.reasons else "missed"
        object.__setattr__(self, "outcome", outcome)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it did not pass: what was missed, then what is not settled."""
        return (*self.reasons, *self.undecided)

    @property
    def metrics(self) -> dict[str, float]:
        """The worst figure over the outputs, by name. Keys whose figure does not exist are left out."""
        worst: dict[str, float] = {}
        for key, pick in (
            ("agreement", min),
            ("sqnr_db", min),
            ("cosine", min),
            ("max_abs_error", max),
            ("max_rel_error", max),
        ):
            values = [v for o in self.outputs if (v := getattr(o, key)) is not None]
            if values:
                worst[key] = pick(values)
        if self.accuracy:
            worst["accuracy"] = min(a.candidate for a in self.accuracy)
            worst["accuracy_drop"] = max(a.drop for a in self.accuracy)
        if self.metric is not None:
            worst["metric"], worst["metric_drop"] = self.metric.candidate, self.metric.drop
        whole = {
            "size_ratio": self.size_ratio,
            "node_ratio": self.node_ratio,
            "memory_ratio": None if self.memory is None else self.memory.ratio,
            "speedup": None if self.speed is None else self.speed.speedup,
        }
        return worst | {key: value for key, value in whole.items() if value is not None}
