"""`explore`: what can be had of a model, in size, speed and fidelity, within a time limit.

The original is run once and rewritten once; each trial (`trials.py`) starts from the exact result, is made on the tuning part of the data and judged
on the held-out part by the same ledger as in `optimize`. A trial is begun only where it is expected to end in time: making the last model of its
kind took so long, plus what the last verdict took. The first of a kind is begun where there is time for its verdict, and given up at the limit: at the
end of the unit of work (a batch, a layer) in which that falls.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxzip import __version__
from onnxzip.commands import optimize_command
from onnxzip.config import Budget, Config, check_answers
from onnxzip.errors import DataError, Interrupted, ModelError, UsageError
from onnxzip.explored import Exploration, Point, figures, front
from onnxzip.ledger import Ledger
from onnxzip.model.load import Loaded, load
from onnxzip.model.save import model_bytes, model_digest, save
from onnxzip.pipeline import check_measured, exact_stages
from onnxzip.progress import SILENT, Observer
from onnxzip.quantizing import ASKED
from onnxzip.records import Verdict
from onnxzip.result import stamp
from onnxzip.runtime import session_of
from onnxzip.samples import samples_of
from onnxzip.trials import TRIALS, Candidates, Trial, file_name
from onnxzip.versions import versions

SLOW = "no faster than the exact result, so optimize keeps it with --objective size only"
"""Of models that pay by their size alone. (That objective may also remove channels that are left for even widths.)"""


def explore(
    model: Any,
    calibration: Any,
    *,
    evaluation: Any = None,
    config: Config | None = None,
    time_limit: float = 600.0,
    save_to: str | os.PathLike[str] | None = None,
    observer: Observer = SILENT,
) -> Exploration:
    """Try presets and shares of pruning, and say which of them are worth a choice.

    Args:
        model: path, `onnx.ModelProto`, `onnx_ir.Model` or torch `ONNXProgram`. Never changed.
        calibration: data as `optimize` takes it. Part of it is held out for the verdicts.
        evaluation: data for the verdicts, of which then nothing is held out.
        config: what all points share: target, budget, nodes to keep float. `preset`, `prune` and `plan` must not be set.
        time_limit: seconds, not negative; the exact result is always made.
        save_to: folder to write every model to, as `MODEL.POINT.onnx`; files of these names are replaced.
        observer: told of long steps.

    Raises:
        ModelError: the model cannot be read, does not run, or answers differently each time.
        DataError: the data does not fit the model.
        UsageError: settings contradict each other, or there is no data.
        Interrupted: the user stopped it (a `KeyboardInterrupt`); `done` is the `Exploration` so far.
    """
    config = Config() if config is None else config
    _check(config, time_limit, has_data=calibration is not None)
    check_measured(config)
    check_answers(config.labels, config.budget, has_data=True)
    started = time.monotonic()
    limited = _Limited(observer)
    with observer.step("load model and data"):
        loaded = load(model, keep_defaults=config.keep_defaults)
        session = session_of(loaded, level="none")
        data = samples_of(loaded, session, calibration, evaluation, config, tunes=True, made_up=False)
        if (tuning := data.tuning) is None:
            raise UsageError("explore needs calibration data: pass it (-c DATA on the command line)")
        ledger = Ledger(loaded, session, data.held_out, data.source, config, limited)
    if ledger.unverified is not None:
        raise ModelError(
            f"{loaded.name}: there is nothing to explore, for nothing can be compared: {ledger.unverified}"
        )
    run = _Run(loaded, ledger, limited, (calibration, evaluation), (started, time_limit), save_to)
    run.notes += [w for d in (tuning, data.held_out) if d is not None for w in d.warnings()]
    try:
        with observer.step("explore", len(TRIALS)) as done:
            for trial in TRIALS:
                run.begin(trial, lambda exact: Candidates(exact, tuning, config, limited))
                done()
    except KeyboardInterrupt as stop:
        raise Interrupted(run.result(interrupted=True)) from stop
    return run.result(interrupted=False)


def _check(config: Config, time_limit: float, *, has_data: bool) -> None:
    if not isinstance(config, Config):
        raise UsageError(f"config must be an onnxzip.Config, not {type(config).__name__}")
    if not has_data:
        raise UsageError("explore needs calibration data: pass it (-c DATA on the command line)")
    if config.preset is not None or config.prune is not None or config.plan is not None:
        raise UsageError("preset, prune and plan are what explore tries: leave them out of its config")
    number = isinstance(time_limit, (int, float)) and not isinstance(time_limit, bool)
    if not number or not 0 <= time_limit < math.inf:
        raise UsageError(f"time_limit is a number of seconds that is not negative, not {time_limit!r}")


class _OutOfTimeError(Exception):
    """The limit was reached while a model was made."""


class _Limited:
    """An observer that ends a run at its deadline, at the next unit of work that is done."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self.deadline = observer, math.inf

    @contextlib.contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """See `Observer.step`."""
        with self._observer.step(name, total) as done:

            def advance() -> None:
                done()
                if time.monotonic() > self.deadline:
                    raise _OutOfTimeError

            yield advance


class _Run:
    """The points so far, and the time that they took."""

    def __init__(
        self,
        loaded: Loaded,
        ledger: Ledger,
        limited: _Limited,
        data: tuple[Any, Any],
        time_limit: tuple[float, float],
        save_to: str | os.PathLike[str] | None,
    ) -> None:
        self._loaded, self._ledger, self._limited, self._data = loaded, ledger, limited, data
        self._started, self._limit = time_limit
        self._folder = None if save_to is None else Path(save_to)
        self._candidates: Candidates | None = None
        self._points: list[Point] = []
        self._known: dict[str, Point] = {}
        self._making: dict[str, float] = {}
        self._judging = 0.0
        self.notes: list[str] = []

    def begin(self, trial: Trial, start: Callable[[ir.Model], Candidates]) -> None:
        """Try this, if there is time."""
        now = time.monotonic()
        if self._candidates is None:
            exact_stages(self._ledger)
            self._candidates = start(self._ledger.best)
        elif (short := self._short_of_time(trial, now)) is not None:
            return self._add(trial, state="not run", notes=(short,))
        else:
            self._limited.deadline = self._started + self._limit
        try:
            made = self._candidates.make(trial)
            if made.model is None:
                return self._add(trial, now, state="refused", notes=(made.why,))
            self._making[trial.kind] = time.monotonic() - now
            return self._judge(trial, made.model, now)
        except (ModelError, DataError) as error:
            return self._add(trial, now, state="refused", notes=(str(error),))
        except _OutOfTimeError:
            return self._add(trial, now, state="not run", notes=("no time left: it was given up at the limit",))

    def _short_of_time(self, trial: Trial, now: float) -> str | None:
        needs, left = self._making.get(trial.kind, 0.0) + self._judging, self._started + self._limit - now
        if needs <= left:
            return None
        return f"no time left: it takes about {math.ceil(needs)} s, and {max(left, 0):.0f} s are left"

    def _judge(self, trial: Trial, model: ir.Model, start: float) -> None:
        digest, size = model_digest(model), model_bytes(model)
        if (same := self._known.get(digest)) is not None:
            return self._add(trial, start, state="judged", verdict=same.verdict, bytes=size, same_as=same.name)
        before = time.monotonic()
        verdict = self._ledger.verdict(model, lossy=trial != TRIALS[0])
        self._judging = time.monotonic() - before
        file = None if self._folder is None else str(self._save(trial, model, verdict, self._folder))
        self._add(trial, start, state="judged", verdict=verdict, bytes=size, file=file)
        self._known[digest] = self._points[-1]
        return None

    def _add(self, trial: Trial, start: float | None = None, **fields: Any) -> None:
        seconds = 0.0 if start is None else time.monotonic() - start
        point = Point(name=trial.name, settings=trial.settings, seconds=seconds, **fields)
        on_the_way = [p for p in self._points if trial.preset != "exact" and p.settings == trial.before.settings]
        slow = any(self._is_slow(p) for p in (*on_the_way, point))
        notes = (*point.notes, SLOW) if slow else point.notes
        missed = [p.verdict for p in (*on_the_way, point) if p.verdict is not None and not p.passed]
        command = None if point.state == "refused" else self._command(trial, missed, slow=slow)
        self._points.append(dataclasses.replace(point, notes=notes, command=command))

    def _is_slow(self, point: Point) -> bool:
        """Whether `optimize` would take it back: it holds integers or is pruned, and the exact result is as fast."""
        limit = ASKED.get(self._ledger.config.objective)
        exact, speed = self._points[0].speed if self._points else None, point.speed
        if speed is None or exact is None or limit is None:
            return False
        if point.settings["preset"] == "int8":
            return speed.speedup < limit * exact.speedup
        return "prune" in point.settings and speed.low <= exact.speedup

    def _command(self, trial: Trial, missed: Sequence[Verdict], *, slow: bool) -> str | None:
        path = self._loaded.path
        calibration, evaluation = self._data
        if path is None or not _is_text(calibration) or not (evaluation is None or _is_text(evaluation)):
            return None
        config = trial.of(self._ledger.config)
        for verdict in missed:
            config = dataclasses.replace(config, budget=_admitting(config.budget, verdict))
        config = dataclasses.replace(config, objective="size") if slow else config
        out = Path(path).with_name(file_name(self._loaded.path, trial))
        data = (os.fspath(calibration), None if evaluation is None else os.fspath(evaluation))
        return optimize_command(str(path), *data, config, str(out))

    def _save(self, trial: Trial, model: ir.Model, verdict: Verdict, folder: Path) -> Path:
        result = model.clone()
        stamp(result, __version__, trial.done, self._loaded.digest, verdict, limit=self._loaded.bytes)
        return save(result, folder / file_name(self._loaded.path, trial), external=self._loaded.external)[0]

    def result(self, *, interrupted: bool) -> Exploration:
        """What was found, the front marked."""
        on = front([figures(p) for p in self._points])
        config = self._ledger.config
        return Exploration(
            source=self._loaded.name,
            source_digest=self._loaded.digest,
            versions=versions(),
            config={**vars(config), "budget": vars(config.budget)},
            bytes=self._loaded.bytes,
            time_limit=self._limit,
            seconds=time.monotonic() - self._started,
            interrupted=interrupted,
            points=tuple(dataclasses.replace(p, on_front=f) for p, f in zip(self._points, on, strict=True)),
            notes=tuple(dict.fromkeys((*self._loaded.notes, *self._ledger.notes, *self.notes))),
        )


def _is_text(data: Any) -> bool:
    """Whether the command line can name this data; else it came from memory."""
    return isinstance(data, (str, os.PathLike))


def _admitting(budget: Budget, verdict: Verdict) -> Budget:
    """A budget that lets a model pass which missed this one: limits where its figures are, a little below."""
    found = verdict.metrics
    limits: dict[str, Any] = {
        f.name: f.default for f in dataclasses.fields(budget) if f.name.startswith(("min_", "max_", "confidence"))
    }
    for name, key, digits in (("min_agreement", "agreement", 1000), ("min_sqnr_db", "sqnr_db", 10)):
        own = getattr(budget, name)
        if own is not None and key in found and math.isfinite(found[key]):
            own = min(own, math.floor(found[key] * digits) / digits)
        limits[name] = own
    return dataclasses.replace(budget, **limits)
