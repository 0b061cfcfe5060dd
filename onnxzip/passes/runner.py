"""Running passes: to a fixed point, verified, and taken back when something is wrong.

Local passes that stand next to each other in the table run together, from one worklist (`onnxzip.passes.local`); the
others one after another. A pass that changed something is kept when
1. it did not throw,
2. the graph is sound and its interface is what it was (`model.check.problems`, nothing new),
3. the file is not larger than the original, or else than before the pass (unless nodes are preferred to bytes),
4. the caller's numerical check, if there is one, has nothing against it.
Else the model goes back to what it was before the pass, and the pass is not run again.

Copies and byte counts cost more than most passes. So a round of the table is first run as a whole, and judged as a
whole; only when something is wrong with it, it is run again from where it began, each pass judged by itself, and the
guilty one is taken back. Passes are deterministic: the second run meets what the first one met. With `verify`, every
pass is judged by itself from the start.

Growing is judged round by round, except for passes in `JUDGED_AT_THE_END`: inlining repeats a function at each call, and
what follows usually wins that back. Until then a file that is too large is not the fault of a pass that leaves it so; when
it is too large in the end, everything is run again without them.
"""

from __future__ import annotations

import copy
import gc
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import onnx_ir as ir

from onnxzip.errors import PassError
from onnxzip.model.check import problems
from onnxzip.model.save import model_bytes
from onnxzip.model.signature import signature
from onnxzip.model.walk import count_nodes
from onnxzip.passes import JUDGED_AT_THE_END, PASSES
from onnxzip.passes.context import ALLOWED, Allowed, Context, Fuel, Outcome, Pass
from onnxzip.passes.local import LocalPass, sweep
from onnxzip.passes.scalar_ranges import give_ranges_scalars
from onnxzip.progress import SILENT, Observer
from onnxzip.records import PassRecord

ROUNDS = 12
"""How often the table is run at most. Real models settle after two to four rounds."""

Verify = Callable[[ir.Model], str | None]


def run(
    model: ir.Model,
    passes: Sequence[Pass] = PASSES,
    *,
    allowed: Allowed = ALLOWED,
    verify: Verify | None = None,
    strict: bool = False,
    fuel: Fuel | None = None,
    left_out: Mapping[str, str] = MappingProxyType({}),
    observer: Observer = SILENT,
    rounds: int = ROUNDS,
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Run the table over and over, until nothing changes any more or `rounds` are over.

    Args:
        model: never touched; weights are shared with the result.
        passes: the table, in run order; each pass once.
        allowed: what passes may do.
        verify: compares a candidate with the original; returns a reason against it, or None. Asked after each pass.
        strict: raise instead of taking a pass back.
        fuel: counts the steps, and ends the run when they are used up.
        left_out: names of passes that were taken back before, each with the reason. They do not run.
        observer: told each pass that ran.
        rounds: bound of the fixed point.

    Returns:
        The new model, and one record per pass with its changes and seconds summed over the rounds.

    Raises:
        PassError: under `strict`, a pass threw or failed its verification.
    """
    fuel = Fuel() if fuel is None else fuel
    limit = model_bytes(model)

    def attempt(table: Sequence[Pass]) -> _Run:
        attempted = _Run(model, table, allowed, verify, fuel, strict=strict, advance=advance, bytes=limit)
        for name in attempted.tallies.keys() & left_out.keys():
            attempted.tallies[name].taken_back = left_out[name]
        attempted.to_fixed_point(rounds)
        return attempted

    with observer.step("rewrite") as advance, _collecting_rarely():
        done = attempt(passes)
        late = [p for p in passes if p.__name__ in JUDGED_AT_THE_END and done.tallies[p.__name__].changes]
        grown = model_bytes(done.model) - limit if late and allowed.prefer == "bytes" else 0
        if grown > 0:
            fuel.steps.clear()
            done = attempt([p for p in passes if p not in late])
            for left in late:
                done.tallies[left.__name__] = _Tally(notes=(f"left: the file would be {grown} bytes larger",))
    nodes = count_nodes(done.model)
    return done.model, tuple(done.tallies[p.__name__].record(p.__name__, nodes) for p in passes)


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """A graph is full of cycles that live: looking for dead ones again and again costs more than the passes do."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], 100_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


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


class _GuiltyError(Exception):
    """A pass, or a round of passes, failed its verification; the message says how."""


@dataclass
class _Run:
    """The model on its way, and the last state of it that was sound."""

    original: ir.Model
    passes: Sequence[Pass]
    allowed: Allowed
    verify: Verify | None
    fuel: Fuel
    strict: bool
    advance: Callable[[], None]
    bytes: int
    tallies: dict[str, _Tally] = field(default_factory=dict)
    quiet: int = 0
    """How many passes in a row have left the model alone."""
    size: int = field(init=False)
    """Bytes of the last state that was sound."""
    good: ir.Model = field(init=False)
    model: ir.Model = field(init=False)
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        self.tallies = {p.__name__: _Tally() for p in self.passes}
        self.expected = signature(self.original)
        self.flaws = frozenset(problems(self.original, self.expected))  # what was odd before is not a pass's fault
        self.good, self.size = self.original, self.bytes
        self._restore()

    def to_fixed_point(self, rounds: int) -> None:
        """Run the table until every pass has seen the model as it is and left it alone."""
        for _ in range(rounds):
            start, quiet, steps = copy.deepcopy(self.tallies), self.quiet, len(self.fuel.steps)
            try:
                self._round(each=self.verify is not None)
            except _GuiltyError:
                self.tallies, self.quiet = start, quiet
                del self.fuel.steps[steps:]
                self._restore()
                self._round(each=True)
            if self.quiet >= len(self.passes) or not self.fuel.left:
                return

    def _round(self, *, each: bool) -> None:
        """Run the table once; judge each pass by itself, or all of them at the end."""
        changed, late = False, self._late_changes()
        for together in self._groups(each=each):
            if self.quiet >= len(self.passes) or not self.fuel.left:
                break
            group = [p for p in together if self.tallies[p.__name__].taken_back is None]
            done = self._step(group, each=each) if group else False
            changed = changed or done
            self.quiet = 0 if done else self.quiet + len(together)
        if not each and changed:
            self._judge(may_grow=self._late_changes() > late)
            self._keep()

    def _late_changes(self) -> int:
        """How much the passes that are judged at the end have changed so far."""
        return sum(self.tallies[name].changes for name in JUDGED_AT_THE_END & self.tallies.keys())

    def _groups(self, *, each: bool) -> Iterator[list[Pass]]:
        """What runs together: neighbouring local passes, unless each pass is judged by itself."""
        if each:
            yield from ([p] for p in self.passes)
            return
        for is_local, group in itertools.groupby(self.passes, lambda p: isinstance(p, LocalPass)):
            together = list(group)
            yield from [together] if is_local else ([p] for p in together)

    def _step(self, group: list[Pass], *, each: bool) -> bool:
        """Run what runs together. Returns whether the model is another one now."""
        start = time.perf_counter()
        try:
            outcome = self._apply(group)
            if outcome.changes and each:
                self._judge(may_grow=group[0].__name__ in JUDGED_AT_THE_END)
        except Exception as error:
            reason = str(error) if isinstance(error, _GuiltyError) else f"it threw {type(error).__name__}: {error}"
            if not each:
                raise _GuiltyError(reason) from error
            if self.strict:
                raise PassError(f"pass {group[0].__name__} was taken back: {reason}") from error
            self._restore()
            tally = self.tallies[group[0].__name__]
            tally.seconds += time.perf_counter() - start
            tally.taken_back, tally.changes, tally.notes, tally.nodes = reason, 0, (), None
            return False
        finally:
            self.advance()
        self._note(group, outcome, time.perf_counter() - start)
        if not outcome.changes:
            return False
        self.context = self._fresh_context()
        if each:
            self._keep()
        return True

    def _apply(self, group: list[Pass]) -> Outcome:
        together = [p for p in group if isinstance(p, LocalPass)]
        if together:
            return sweep(together, self.model, self.context)
        outcome = group[0](self.model, self.context)
        if outcome.changes:
            self.fuel.spend(group[0].__name__, "")
        return outcome

    def _note(self, group: list[Pass], outcome: Outcome, seconds: float) -> None:
        """Write down what each pass of a group did. The time of a sweep is shared among its passes by what they took."""
        nodes = count_nodes(self.model) if outcome.changes else None
        whole = sum(s.seconds for s in outcome.shares.values())
        for current in group:
            tally, share = self.tallies[current.__name__], outcome.shares.get(current.__name__)
            tally.changes += outcome.changes if share is None else share.changes
            tally.seconds += seconds if share is None else seconds * share.seconds / max(whole, 1e-9)
            tally.notes = outcome.notes if share is None else share.notes
            if share.changes if share is not None else outcome.changes:
                tally.nodes = nodes

    def _judge(self, *, may_grow: bool) -> None:
        """Verify the model as it is.

        Raises:
            _GuiltyError: something is wrong with it.
        """
        _settle_ir_version(self.model)
        if give_ranges_scalars(self.model):
            self.context = self._fresh_context()
        broken = [p for p in problems(self.model, self.expected) if p not in self.flaws]
        if broken:
            raise _GuiltyError(f"the graph is broken: {broken[0]}")
        size, limit = model_bytes(self.model), max(self.bytes, self.size)
        if size > limit and not may_grow and self.allowed.prefer == "bytes":
            raise _GuiltyError(f"the file would grow from {limit} to {size} bytes")
        reason = self.verify(self.model) if self.verify is not None else None
        if reason is not None:
            raise _GuiltyError(reason)
        self.size = size

    def _keep(self) -> None:
        self.good = self.model.clone()

    def _restore(self) -> None:
        self.model = self.good.clone()
        self.context = self._fresh_context()

    def _fresh_context(self) -> Context:
        return Context(self.model, self.allowed, self.fuel, self.bytes)


def _settle_ir_version(model: ir.Model) -> None:
    """Before IR version 4 every initializer had to be an input too: raise the version once that is no longer so."""
    graph = model.graph
    listed = {v.name for v in graph.inputs}
    if (model.ir_version or 0) < 4 and any(name not in listed for name in graph.initializers):
        model.ir_version = 4
        if not graph.opset_imports:
            graph.opset_imports[""] = 1  # what a missing import meant then
