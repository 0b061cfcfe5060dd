"""Running passes: to a fixed point, verified after every change, and taken back when something is wrong.

A pass that changed something is kept when
1. it did not throw,
2. the graph is sound and its interface is what it was (`model.check.problems`, nothing new),
3. the file did not grow,
4. the caller's numerical check, if there is one, has nothing against it.
Else the model goes back to what it was before the pass, and the pass is not run again.

Growing is judged pass by pass, except for passes in `JUDGED_AT_THE_END`: inlining repeats a function at each call, and
what follows usually wins that back. When it did not, everything is run again without them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.errors import PassError
from onnxzip.model.check import problems
from onnxzip.model.save import model_bytes
from onnxzip.model.signature import signature
from onnxzip.model.walk import all_nodes
from onnxzip.passes import JUDGED_AT_THE_END, PASSES
from onnxzip.passes.context import Context, Outcome, Pass
from onnxzip.progress import SILENT, Observer
from onnxzip.records import PassRecord

ROUNDS = 12
"""How often the table is run at most. Real models settle after two to four rounds."""

Verify = Callable[[ir.Model], str | None]


def run(
    model: ir.Model,
    passes: Sequence[Pass] = PASSES,
    *,
    verify: Verify | None = None,
    strict: bool = False,
    observer: Observer = SILENT,
    rounds: int = ROUNDS,
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Run the table over and over, until nothing changes any more or `rounds` are over.

    Args:
        model: never touched; weights are shared with the result.
        passes: the table, in run order.
        verify: compares a candidate with the original; returns a reason against it, or None.
        strict: raise instead of taking a pass back.
        observer: told each pass that ran.
        rounds: bound of the fixed point.

    Returns:
        The new model, and one record per pass with its changes and seconds summed over the rounds.

    Raises:
        PassError: under `strict`, a pass threw or failed its verification.
    """
    limit = model_bytes(model)
    with observer.step("rewrite") as advance:
        rounds_run = _Run(model, passes, verify=verify, strict=strict, advance=advance, bytes=limit)
        rounds_run.to_fixed_point(rounds)
        grown = rounds_run.bytes - limit
        late = [p for p in passes if p.__name__ in JUDGED_AT_THE_END and rounds_run.tallies[p.__name__].changes]
        if grown > 0 and late:
            rest = [p for p in passes if p not in late]
            rounds_run = _Run(model, rest, verify=verify, strict=strict, advance=advance, bytes=limit)
            rounds_run.to_fixed_point(rounds)
            for left in late:
                rounds_run.tallies[left.__name__] = _Tally(notes=(f"left: the file would be {grown} bytes larger",))
    nodes = _count(rounds_run.model)
    return rounds_run.model, tuple(rounds_run.tallies[p.__name__].record(p.__name__, nodes) for p in passes)


@dataclass
class _Tally:
    """What one pass did over all rounds."""

    changes: int = 0
    seconds: float = 0.0
    nodes: int | None = None
    notes: tuple[str, ...] = ()
    taken_back: str | None = None

    def record(self, name: str, nodes: int) -> PassRecord:
        return PassRecord(
            name=name,
            changes=self.changes,
            seconds=self.seconds,
            nodes=nodes if self.nodes is None else self.nodes,
            notes=tuple(dict.fromkeys(self.notes)),
            taken_back=self.taken_back,
        )


@dataclass
class _Run:
    """The model on its way, and the last state of it that was sound."""

    original: ir.Model
    passes: Sequence[Pass]
    verify: Verify | None
    strict: bool
    advance: Callable[[], None]
    bytes: int
    tallies: dict[str, _Tally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tallies = {p.__name__: _Tally() for p in self.passes}
        self.expected = signature(self.original)
        self.flaws = frozenset(problems(self.original, self.expected))  # what was odd before is not a pass's fault
        self.good = self.original
        self.model = self.original.clone()
        self.context = Context(self.model)

    def to_fixed_point(self, rounds: int) -> None:
        """Run the table until every pass has seen the model as it is and left it alone."""
        quiet = 0
        for _ in range(rounds):
            for current in self.passes:
                tally = self.tallies[current.__name__]
                changed = tally.taken_back is None and self._step(current, tally)
                quiet = 0 if changed else quiet + 1
                if quiet >= len(self.passes):
                    return

    def _step(self, current: Pass, tally: _Tally) -> bool:
        """Run one pass; keep its work or take it back. Returns whether the model is another one now."""
        start = time.perf_counter()
        try:
            outcome = current(self.model, self.context)
            reason = self._reason_against(current.__name__) if outcome.changes else None
        except Exception as error:
            if self.strict:
                raise PassError(f"pass {current.__name__} threw {type(error).__name__}: {error}") from error
            outcome, reason = Outcome(), f"it threw {type(error).__name__}: {error}"
        tally.seconds += time.perf_counter() - start
        self.advance()
        if reason is not None:
            if self.strict:
                raise PassError(f"pass {current.__name__} was taken back: {reason}")
            self._take_back(tally, reason)
            return False
        tally.notes = outcome.notes
        tally.changes += outcome.changes
        if outcome.changes:
            self.good = self.model.clone()
            self.context = Context(self.model)
            tally.nodes = _count(self.model)
        return outcome.changes > 0

    def _reason_against(self, name: str) -> str | None:
        _settle_ir_version(self.model)
        broken = [p for p in problems(self.model, self.expected) if p not in self.flaws]
        if broken:
            return f"the graph is broken: {broken[0]}"
        size = model_bytes(self.model)
        if size > self.bytes and name not in JUDGED_AT_THE_END:
            return f"the file would grow from {self.bytes} to {size} bytes"
        reason = self.verify(self.model) if self.verify is not None else None
        if reason is None:
            self.bytes = size
        return reason

    def _take_back(self, tally: _Tally, reason: str) -> None:
        self.model = self.good.clone()
        self.context = Context(self.model)
        tally.taken_back, tally.changes, tally.notes, tally.nodes = reason, 0, (), None


def _settle_ir_version(model: ir.Model) -> None:
    """Before IR version 4 every initializer had to be an input too: raise the version once that is no longer so."""
    graph = model.graph
    listed = {v.name for v in graph.inputs}
    if (model.ir_version or 0) < 4 and any(name not in listed for name in graph.initializers):
        model.ir_version = 4
        if not graph.opset_imports:
            graph.opset_imports[""] = 1  # what a missing import meant then


def _count(model: ir.Model) -> int:
    return sum(1 for _ in all_nodes(model))
