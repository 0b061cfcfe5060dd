"""What `compare` and `check` leave behind, as plain data like `onnxzip.records`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxzip.records import RunRecord, Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One `compare`.

    Attributes:
        original, candidate: where both models came from.
        versions: of onnxzip and what it stands on.
        budget: the limits.
        verdict: whether the candidate may stand in for the original.
    """

    original: str
    candidate: str
    versions: Mapping[str, str]
    budget: Mapping[str, object]
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One model of a `check`.

    Attributes:
        name: of its table in the settings.
        model: the original.
        candidate: the model that was held against it; None: `optimize` made one.
        seconds: wall-clock time.
        expected: "passed", or "missed" where the settings say that it is known to miss.
        verdict: how it was judged; None when that failed.
        error: why it could not be judged, or None.
        run: what `optimize` did; None for a candidate.
        written: the files written.
    """

    name: str
    model: str
    candidate: str | None
    seconds: float
    expected: str
    verdict: Verdict | None
    error: str | None
    run: RunRecord | None
    written: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """`error`, or that of the verdict: `passed`, `missed`."""
        return "error" if self.verdict is None else self.verdict.outcome

    @property
    def accepted(self) -> bool:
        """It came out as expected."""
        return self.verdict is not None and (self.outcome == "passed") == (self.expected == "passed")

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not accepted, one sentence each; where a miss was expected, what was missed."""
        if self.error is not None:
            return (self.error,)
        if self.verdict is None:
            return ()
        if self.expected == "missed" and self.verdict.passed:
            return ("it passed, though the settings expect it to miss its budget: take `expected` out of them",)
        return self.verdict.problems


@dataclass(frozen=True, kw_only=True)
class CheckRun:
    """One `check` of all models that were chosen.

    Attributes:
        settings: the file that says what to check.
        versions: of onnxzip and what it stands on.
        models: one record a model, in the order of the file.
    """

    settings: str
    versions: Mapping[str, str]
    models: tuple[Checked, ...]

    @property
    def passed(self) -> bool:
        """Every model came out as expected."""
        return all(m.accepted for m in self.models)

    @property
    def failed(self) -> bool:
        """Some model could not be judged."""
        return any(m.error is not None for m in self.models)
