"""The ledger: the original, what it answers on the data, and the best model so far.

Every stage hands its candidate in here. An exact stage must give the same numbers on a few probe batches, a lossy one must
hold the budget on held-out data; whoever fails is taken back, and the best so far is never lost.

What is compared with are answers, not sessions: the original runs once, and its session is closed before anything else is opened.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TypedDict, Unpack

import onnx_ir as ir

from onnxzip.calibrate.data import Data
from onnxzip.config import Config
from onnxzip.errors import ModelError, PassError
from onnxzip.model.check import problems
from onnxzip.model.load import Loaded
from onnxzip.model.save import model_bytes
from onnxzip.model.signature import signature
from onnxzip.model.walk import count_nodes
from onnxzip.progress import Observer
from onnxzip.quantize.schema import QuantPlan
from onnxzip.quantize.targets import runs_here
from onnxzip.records import Memory, OutputMetrics, PassRecord, Speed, StageRecord, Verdict, Width
from onnxzip.runtime import Batch, Session
from onnxzip.saved_samples import save_worst
from onnxzip.validate.comparison import CONFIDENCE
from onnxzip.validate.doubts import on_made_up
from onnxzip.validate.exact import exact_problem
from onnxzip.validate.inputs import make_inputs
from onnxzip.validate.judge import judge, unverified
from onnxzip.validate.memory import compare_memory
from onnxzip.validate.reference import RANDOM, Reference, samples_in
from onnxzip.validate.speed import measure_speed

PROBES = 2
"""Batches on which exact stages are checked; the verdict uses all of the held-out data."""


MADE_UP = "made up"
"""What a verdict calls data that nobody gave."""


class Told(TypedDict, total=False):
    """What a stage says of itself beside its summary; the keys are fields of `StageRecord`."""

    passes: Sequence[PassRecord]
    notes: Sequence[str]
    widths: Sequence[Width]
    verdict: Verdict | None


class Ledger:
    """Keeps the books of one optimization.

    Args:
        loaded: the original.
        session: the original in the runtime, its optimizations off.
        held_out: data for the verdict; None: inputs are made up.
        source: what to call that data in the verdict.
        config: the settings.
        observer: told of long steps.

    Attributes:
        best: the smallest model so far that holds what it must.
        stages: what each stage did.
        notes: what the user should know about model and data.
        here: whether this machine is the target, so that its speed can be measured.
        plan: the quantization plan that was tried last, or None.
        planned: the float model that `plan` was made for.
        original_bytes: the bytes of the original, its external data included.
        unverified: why numbers could not be compared, or None.
    """

    def __init__(
        self, loaded: Loaded, session: Session, held_out: Data | None, source: str, config: Config, observer: Observer
    ) -> None:
        self.original, self.best, self.planned = loaded.model, loaded.model, loaded.model
        self.config, self.observer = config, observer
        self.stages: list[StageRecord] = []
        self.notes: tuple[str, ...] = ()
        self.plan: QuantPlan | None = None
        self.unverified: str | None = None
        self._held_out = held_out
        self.source = MADE_UP if held_out is None else source
        self._signature = signature(loaded.model)
        self.original_bytes = loaded.bytes
        self._types = {o.name: o.type for o in session.outputs}
        self._inputs = session.inputs
        self._level = "all"
        self._reference: Reference | None = None
        self.here = runs_here(config.target)
        if not self.here and config.measure_speed is None:
            self.notes += (f"speed is not measured: this machine is not the target ({config.target})",)
        self._probe = self._make_probe(session)
        self._deploy(session)
        self._candidate: tuple[ir.Model, Session] | None = None
        self._started = time.perf_counter()

    def _deploy(self, session: Session) -> None:
        """The original's answers as it will be deployed: with all of the runtime's optimizations, or none where they reject it."""
        try:
            session = Session(self.original)
        except ModelError as error:
            self.notes += (f"compared without the runtime's own optimizations, which reject the original: {error}",)
            self._level = "none"
        if self._probe is not None and self.unverified is None:
            data = self._batches if self._held_out is None else self._held_out
            self._reference = Reference(session, data, self.observer, repeat=False)  # the probe has tried that

    def _make_probe(self, session: Session) -> Reference | None:
        """The original's answers on a few batches. None, with the reason kept, where there can be none."""
        if self._held_out is not None:
            batches = list(itertools.islice(self._held_out, PROBES))
        else:
            try:
                batches = make_inputs(self.original, session, seed=self.config.seed)
            except ModelError as error:
                self.unverified = f"the original does not run on made-up inputs ({error}): give data"
                return None
        self._batches = batches
        probe = Reference(session, batches)
        if not probe.deterministic:
            self.unverified = RANDOM
        return probe

    # Exact stages

    def exact_problem(self, candidate: ir.Model) -> str | None:
        """Why `candidate` is not an exact rewrite of the original, or None: structure, interface, loading, numbers."""
        if found := problems(candidate, self._signature):
            return found[0]
        try:
            self._session_of(candidate)  # as it will be deployed: only whether it loads
            session = Session(candidate, level="none")
            if self._probe is None:
                return None
            metrics = self._probe.compare(session, self.observer, "check that no number changed")
        except ModelError as error:
            return str(error)
        if self.unverified is not None or exact_problem(metrics, {}, self._types) is None:
            return None
        return exact_problem(metrics, self._noise, self._types)

    def _session_of(self, candidate: ir.Model) -> Session:
        """A candidate as it will be deployed; one for another machine as its file says, for integer kernels round as they like.

        The last one is kept: what was checked is mostly what the verdict is on.
        """
        if self._candidate is None or self._candidate[0] is not candidate:
            self.rest()  # its weights are let go first
            self._candidate = candidate, Session(candidate, level=self._level if self.here else "none")
        return self._candidate[1]

    def rest(self) -> None:
        """Close the session that is kept: what follows takes memory of its own."""
        self._candidate = None

    @cached_property
    def _noise(self) -> dict[str, OutputMetrics]:
        """How far the original is from itself, once the runtime has optimized it: the floor of any comparison."""
        if self._probe is None:
            return {}
        return {o.name: o for o in self._probe.compare(Session(self.original, level=self._level))}

    # Books

    def keep(self, name: str, model: ir.Model, summary: str, **told: Unpack[Told]) -> None:
        """Accept a stage: its model is the best so far."""
        self.best = model
        self._record(name, summary, kept=True, **told)

    def take_back(self, name: str, reason: str, *, bug: bool = False, **told: Unpack[Told]) -> None:
        """Reject a stage: the best so far stays.

        Raises:
            PassError: under `strict`, when an exact stage went wrong (`bug`).
        """
        if bug and self.config.strict:
            raise PassError(f"{name}: {reason}")
        self._record(name, reason, kept=False, **told)

    def withdraw(self, name: str, reason: str) -> None:
        """Note that an earlier stage is no part of the result after all: a stage that does without it is kept next."""
        self.stages = [
            dataclasses.replace(s, kept=False, verdict=None, summary=f"{reason} ({s.summary})") if s.name == name else s
            for s in self.stages
        ]

    def _record(self, name: str, summary: str, *, kept: bool, **told: Unpack[Told]) -> None:
        now = time.perf_counter()
        self.stages.append(
            StageRecord(
                name=name,
                kept=kept,
                summary=summary,
                seconds=now - self._started,
                passes=tuple(told.get("passes", ())),
                notes=tuple(told.get("notes", ())),
                widths=tuple(told.get("widths", ())),
                verdict=told.get("verdict"),
            )
        )
        self._started = now

    # The verdict

    def verdict(self, candidate: ir.Model, *, lossy: bool, timed: bool = True) -> Verdict:
        """Hold a candidate against the budget, on held-out data where there is some; without its speed and memory where not `timed`.

        Both models run as they will be deployed: with all of the runtime's optimizations; a candidate for another machine without.
        """
        budget = self.config.budget
        size_ratio = model_bytes(candidate) / self.original_bytes
        node_ratio = count_nodes(candidate) / max(count_nodes(self.original), 1)
        if self._reference is None:
            return unverified(self.unverified or "there is no data", budget, size_ratio, node_ratio)
        session, seed = self._session_of(candidate), self.config.seed
        found = self._reference.look(session, budget, self.config.labels, seed=seed, observer=self.observer)
        del session
        self.rest()
        verdict = judge(
            found,
            budget,
            data=self.source,
            samples=self._reference.samples,
            size_ratio=size_ratio,
            node_ratio=node_ratio,
            memory=self._memory(candidate) if timed and budget.max_memory is not None else None,
            speed=self._speed(candidate) if timed else None,
        )
        if lossy and self.source == MADE_UP:
            return dataclasses.replace(verdict, warnings=(*verdict.warnings, *on_made_up(found.outputs)))
        return verdict

    def save_worst(self, folder: str | os.PathLike[str], verdict: Verdict) -> None:
        """Write the inputs of a verdict's worst samples (see `saved_samples`)."""
        data = self._batches if self._held_out is None else self._held_out
        save_worst(os.fspath(folder), verdict.worst, data, self._inputs)

    def _memory(self, candidate: ir.Model) -> Memory:
        return compare_memory(self.original, candidate, self._batches[0], self.observer)

    def _speed(self, candidate: ir.Model) -> Speed | None:
        wanted = self.config.measure_speed
        if wanted is None:
            wanted = self.here and (self._held_out is not None or self.config.budget.min_speedup is not None)
        if not wanted:
            return None
        return self.paired(self.original, candidate, confidence=self.config.budget.confidence or CONFIDENCE)

    def paired(self, before: ir.Model, after: ir.Model, seconds: float = 2.0, confidence: float = CONFIDENCE) -> Speed:
        """How much faster one model is than another, as they will be deployed, one thread."""
        first, second = (Session(m, level=self._level, threads=1, timed=True) for m in (before, after))
        config, observer = self.config, self.observer
        return measure_speed(
            first, second, self._batches, seconds=seconds, seed=config.seed, confidence=confidence, observer=observer
        )

    # For a report

    @property
    def levels(self) -> tuple[str, str]:
        """Graph optimizations of the runtime under which models are timed here, and under which they are compared for the target."""
        return self._level, self._level if self.here else "none"

    def some(self, samples: int) -> list[Batch]:
        """The first batches of the data for the verdict, so many that they hold `samples`; none where the original cannot be run."""
        if self._probe is None:
            return []
        found: list[Batch] = []
        for batch in self._batches if self._held_out is None else self._held_out:
            found.append(batch)
            if sum(map(samples_in, found)) >= samples:
                break
        return found
