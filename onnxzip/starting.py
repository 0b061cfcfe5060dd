"""`init`: a commented settings file for one model, to start from."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxzip.calibrate.data import open_data
from onnxzip.config import OBJECTIVES, PRESETS, TARGETS, Budget
from onnxzip.errors import UsageError
from onnxzip.model.facts import facts
from onnxzip.model.load import load
from onnxzip.model.signature import signature
from onnxzip.quantize.plan import quantizable
from onnxzip.report.words import size
from onnxzip.runtime import session_of

FEWEST = 100
"""Samples below which the file says that more would be better."""

_LIMITS = {
    "min_agreement": "smallest share of equal decisions, of outputs that look like class scores",
    "min_sqnr_db": "smallest signal to quantization noise ratio in dB, of the other float outputs",
    "max_abs_error": "largest absolute error of any output",
    "max_size": "largest size of the result, as a share of the original's",
    "min_speedup": "smallest measured speed-up",
    "confidence": "hold each limit for sure: too few samples do not pass",
}
"""Limits that the file explains."""

_EXAMPLES = {"max_abs_error": 0.1, "max_size": 0.3, "min_speedup": 1.2, "confidence": 0.95}
"""Values for those without a default."""


def settings_text(model: Path, calibration: str | None, folder: Path) -> str:
    """A settings file with one table, in which every line that is commented out says what could be set, with a value that is valid.

    Args:
        model: the model. It is loaded, and the data is read once.
        calibration: data as on the command line, or None.
        folder: where the file will stand; its paths are relative to that.

    Raises:
        ModelError: the model cannot be read or does not run.
        DataError: the data does not fit it.
    """
    return "\n".join([*_head(), "", *_table(model, calibration, folder)]) + "\n"


def table_text(model: Path, calibration: str | None, folder: Path, names: tuple[str, ...]) -> str:
    """The table alone, to stand behind those that a file has already. Arguments and errors as for `settings_text`.

    Args:
        model: the model.
        calibration: data, or None.
        folder: where the file stands.
        names: of the tables that are there.

    Raises:
        UsageError: there is a table of this name.
    """
    if (name := _name(model)) in names:
        raise UsageError(f"{model}: the file has a table [models.{name}] already. Edit that one.")
    return "\n" + "\n".join(_table(model, calibration, folder)) + "\n"


def _head() -> Iterator[str]:
    yield "# What `onnxzip check` holds the models of this repository to. Paths are relative to this file."
    yield "# A line that is commented out shows a setting that could be made; docs/settings.md explains them all."
    yield ""
    yield "# [defaults]  # what every model starts from: the same keys, and a table [defaults.budget]"


def _table(model: Path, calibration: str | None, folder: Path) -> Iterator[str]:
    loaded = load(model)
    session = session_of(loaded, level="none")
    names, (ready, left) = signature(loaded.model), quantizable(loaded.model)
    found = facts(loaded.model)
    yield f"[models.{_key(_name(model))}]"
    yield f"# {size(loaded.bytes)}, {found.nodes:,} nodes, opset {found.opset}"
    yield from (f"# input {_comment(str(slot))}" for slot in names.inputs)
    yield from (f"# output {_comment(str(slot))}" for slot in names.outputs)
    yield f"path = {_value(_relative(str(model), folder))}"
    yield ""
    if calibration is None:
        yield '# calibration = "data/"           # real inputs: a .npz, a folder, or module:function; a third of them judges'
    else:
        data = open_data(
            calibration, session.inputs, [v.name or "" for v in loaded.model.graph.inputs if v.is_initializer()]
        )
        few = ": few, a few hundred settle more" if data.samples < FEWEST else ""
        yield f"# real inputs, {data.samples} samples{few}; a third of them judges"
        yield f"calibration = {_value(_relative(calibration, folder))}"
    yield '# evaluation = "data/test/"       # other inputs for the verdict'
    yield from _preset(has_data=calibration is not None, ready=len(ready), left=len(left))
    yield f'# target = "cpu"                  # {", ".join(TARGETS)}'
    yield f'# objective = "speed"             # {", ".join(OBJECTIVES)}'
    yield '# keep-float = ["Softmax"]        # nodes that stay float: operators, or regular expressions for whole names'
    yield '# prune = "auto"                  # or a share such as 0.2: channels that matter least go (needs data)'
    yield '# out = "optimized/model.onnx"    # where a result that passes is written'
    yield '# candidate = "other.onnx"        # instead: judge this model, made elsewhere, and make none'
    yield '# expected = "missed"             # the model is known to miss; `check` tells when it no longer does'
    yield ""
    yield from _budget(_name(model))


def _preset(*, has_data: bool, ready: int, left: int) -> Iterator[str]:
    yield f"# one of {', '.join(PRESETS)}; int8 would take {ready} nodes with weights and leave {left}"
    if has_data:
        yield f'preset = "{"int8" if ready else "exact"}"'
    else:
        yield 'preset = "exact"                  # without data; with calibration, "int8" is smaller and faster'


def _budget(name: str) -> Iterator[str]:
    """The limits: those with a default are set, so that the file says what holds; the others are shown."""
    yield f"[models.{_key(name)}.budget]"
    for field in dataclasses.fields(Budget):
        if field.name not in _LIMITS:
            continue
        default = field.default is not None
        value = field.default if default else _EXAMPLES[field.name]
        line = f"{field.name.replace('_', '-')} = {value}"
        yield f"{line if default else f'# {line}':33s} # {_LIMITS[field.name]}"


def _name(model: Path) -> str:
    return model.name.removesuffix(".onnx")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    """A value as TOML writes it: strings of JSON are basic strings of TOML."""
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> str:
    return " ".join(text.split())


def _relative(path: str, folder: Path) -> str:
    """The path from the folder on; what is no path (module:function) stays as it is."""
    if not Path(path).exists():
        return path
    return Path(os.path.relpath(path, folder)).as_posix()
