"""Settings of many models in one file: `onnxzip.toml`, or `[tool.onnxzip]` of `pyproject.toml`.

    [defaults]                      # what every model starts from: keys of `Config`, and the data
    target = "cpu"
    [defaults.budget]               # keys of `Budget`
    min-agreement = 0.98

    [models.digits]                 # one table a model, of any name
    path = "models/digits.onnx"     # or a pattern, "models/*.onnx": then one check a file
    calibration = "data/digits.npz"
    preset = "int8"

The keys are the fields of `Config`, `Budget` and `ModelSettings`, with hyphens or underscores; what these classes refuse is refused
here with file and table before it. `false` takes back a default that may be absent (`prune = false`, `min-sqnr-db = false`).
Paths are relative to the file. A key that is not known, a file that is not there and a pattern that matches nothing are errors.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from onnxzip.config import Budget, Config
from onnxzip.errors import UsageError
from onnxzip.settings_keys import Table, known_keys
from onnxzip.settings_paths import matches, place

FILE, PROJECT = "onnxzip.toml", "pyproject.toml"

Expected = Literal["passed", "missed"]
EXPECTED: tuple[str, ...] = get_args(Expected)

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""Data that is a function, as `onnxzip.calibrate.sources` knows it."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What the file says of one model.

    Attributes:
        name: of its table; behind a slash the file, where the table names several.
        path: the model.
        candidate: a model that would replace it, and is only judged; None: `optimize` makes one.
        calibration: data to tune on, as on the command line, or None.
        evaluation: data for the verdict, or None.
        out: where the result is written when it passes; None: it is only judged.
        expected: "missed": the model is known to miss its budget, and should not pass unnoticed one day.
        config: the settings, budget included.
    """

    name: str
    path: Path
    candidate: Path | None = None
    calibration: str | None = None
    evaluation: str | None = None
    out: Path | None = None
    expected: Expected = "passed"
    config: Config = dataclasses.field(default_factory=Config)


_CONFIG = {k: v for k, v in known_keys(Config).items() if k != "budget"}
_BUDGET = known_keys(Budget)
_DATA = {k: v for k, v in known_keys(ModelSettings).items() if k in ("calibration", "evaluation")}
_MODEL = {k: v for k, v in known_keys(ModelSettings).items() if k not in ("name", "config")}
_JUDGING = ("evaluation", "labels", "measure_speed", "seed")
"""What has a say where a candidate is only judged, besides the budget."""


def find(folder: Path) -> Path:
    """The settings that hold in a folder: its `onnxzip.toml`, else its `pyproject.toml` with `[tool.onnxzip]`, else those of its parents.

    Raises:
        UsageError: there are none, or a `pyproject.toml` on the way is not TOML.
    """
    for level in (folder, *folder.resolve().parents):
        if (level / FILE).is_file():
            return level / FILE
        project = level / PROJECT
        if project.is_file() and "onnxzip" in _parse(project).get("tool", {}):
            return project
    raise UsageError(
        f"there is no {FILE}, and no {PROJECT} with [tool.onnxzip], here or in a folder above. "
        f"Write one (onnxzip init MODEL), or say where it is (--config FILE)."
    )


def read(file: Path) -> tuple[ModelSettings, ...]:
    """All models of a settings file, in its order.

    Args:
        file: TOML; of a file named `pyproject.toml` the table `[tool.onnxzip]`.

    Raises:
        UsageError: the file cannot be read, a key is not known or holds what it cannot, a file that it names is not there.
    """
    content, prefix = _parse(file), ""
    if file.name == PROJECT:
        content, prefix = content.get("tool", {}).get("onnxzip"), "tool.onnxzip."
        if not isinstance(content, Mapping):
            raise UsageError(f"{file}: there is no table [tool.onnxzip]")
    top = Table(file, prefix.rstrip("."), content)
    top.check_tables(("defaults", "models"), {*_CONFIG, *_BUDGET, *_MODEL})
    defaults = top.table("defaults")
    models = top.table("models")
    if not models.content:
        raise UsageError(f"{file}: there is no table [{prefix}models.NAME], so there is nothing to check")
    return tuple(entry for name in models.content for entry in _models(name, models.table(name), defaults))


def choose(entries: Sequence[ModelSettings], names: Sequence[str], file: Path) -> tuple[ModelSettings, ...]:
    """The models of these names, all without names. A name is that of a table, of one check, or the path of a model.

    Raises:
        UsageError: a name is none of these.
    """
    chosen: set[str] = set()
    for name in names:
        found = {e.name for e in entries if name in (e.name, e.name.split("/")[0]) or _same(e.path, Path(name))}
        if not found:
            raise UsageError(f"{name}: {file} has no model of this name or path. It has {_listed(entries)}.")
        chosen |= found
    return tuple(e for e in entries if not names or e.name in chosen)


def of_model(entries: Sequence[ModelSettings], model: Path, file: Path) -> ModelSettings:
    """How the file says to optimize the model at this path. Tables with a candidate say how to judge one, and do not count.

    Raises:
        UsageError: it does not say, or has several tables for it.
    """
    to_optimize = [e for e in entries if e.candidate is None]
    found = [e for e in to_optimize if _same(e.path, model)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{model}: {file} has several tables for this model: {_listed(found)}. Leave one.")
    raise UsageError(
        f"{model}: {file} has no table that says how to optimize the model at this path, but those of {_listed(to_optimize) or 'none'}."
    )


def _models(name: str, table: Table, defaults: Table) -> Iterator[ModelSettings]:
    """The models of one table: one, or as many as its pattern matches."""
    own = table.values({**_MODEL, **_CONFIG}, tables=("budget",), elsewhere={"budget": _BUDGET})
    if "path" not in own:
        raise table.error("path", "is missing: it says where the model is")
    if own.get("expected", "passed") not in EXPECTED:
        raise table.error("expected", f"must be one of {', '.join(EXPECTED)}, not {own['expected']!r}")
    if own.get("candidate") is not None:
        _check_candidate(table, own)
    given = {
        **defaults.values(
            {**_DATA, **_CONFIG}, tables=("budget",), elsewhere={"budget": _BUDGET, "models.NAME": _MODEL}
        ),
        **own,
    }
    config = _config(table, defaults, given)
    folder = table.file.parent
    calibration, evaluation = (_data(table, key, given.get(key)) for key in ("calibration", "evaluation"))
    results = [own[key] for key in ("out", "candidate") if own.get(key) is not None]
    for label, path in matches(table, name, own["path"], results):
        candidate, out = (place(folder, own.get(key), label) for key in ("candidate", "out"))
        if candidate is not None and not candidate.is_file():
            raise table.error("candidate", f"{candidate}: there is no such file")
        yield ModelSettings(
            name=name if label is None else f"{name}/{label}",
            path=path,
            candidate=candidate,
            calibration=calibration if candidate is None else None,
            evaluation=evaluation,
            out=out,
            expected=own.get("expected", "passed"),
            config=config,
        )


def _config(table: Table, defaults: Table, given: Mapping[str, Any]) -> Config:
    limits = [t.table("budget").values(_BUDGET, elsewhere={t.name: {**_MODEL, **_CONFIG}}) for t in (defaults, table)]
    chosen = {key: given[key] for key in _CONFIG if key in given}
    if chosen.get("plan") is not None:
        plan = table.file.parent / chosen["plan"]
        if not plan.is_file():
            raise table.error("plan", f"{plan}: there is no such file")
        chosen["plan"] = str(plan)
    try:
        return Config(budget=Budget(**{**limits[0], **limits[1]}), **chosen)
    except UsageError as error:
        raise UsageError(f"{table.file}, [{table.name}] (with the defaults): {error}") from error


def _check_candidate(table: Table, own: Mapping[str, Any]) -> None:
    """A candidate is judged as it is: keys that would change it contradict it."""
    for key in own:
        if key not in (*_JUDGING, "path", "candidate", "expected"):
            hint = " (data for the verdict is named evaluation)" if key == "calibration" else ""
            raise table.error(
                key, f"has no say beside candidate, which is judged as it is{hint}: leave one of them out"
            )


def _data(table: Table, key: str, text: str | None) -> str | None:
    if text is None:
        return None
    path = table.file.parent / text
    if path.exists():
        return str(path)
    if _FUNCTION.fullmatch(text):
        return text
    raise table.error(key, f"{path}: there is no such file or folder, and it is no module:function")


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: this is not TOML: {error}") from error


def _same(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.samefile(b)


def _listed(entries: Sequence[ModelSettings]) -> str:
    return ", ".join(f"{e.name} ({e.path})" for e in entries)
