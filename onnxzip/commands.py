"""The command line that does what a `Config` says: every setting that is not the default, as its option."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator

from onnxzip.config import Budget, Config

NO_OPTION = ("measure_speed", "held_out", "seed", "details", "layers")
"""Settings that only Python callers and settings files make, or that `optimize` has no use for."""

_OPTIONS = {"min_sqnr_db": "min_sqnr"}
"""Fields whose option has another name."""

_NO_LIMIT = {"min_agreement": 0.0, "min_sqnr_db": float("-inf")}
"""What stands for "no limit" where leaving the option away means the default."""


def optimize_command(
    model: str, calibration: str | None, evaluation: str | None, config: Config, out: str
) -> str | None:
    """The `onnxzip optimize` that does what `optimize` does with these arguments, quoted for a POSIX shell.

    Args:
        model: path of the model.
        calibration: path of the data, or `module:function`; None: no data.
        evaluation: likewise, for the verdict.
        config: the settings.
        out: path of the result.

    Returns:
        The command; None where a setting has no option.

    >>> config = Config(preset="int8", keep_float=("Softmax", "/head/.*"), budget=Budget(min_sqnr_db=None, max_size=0.3))
    >>> print(optimize_command("my model.onnx", "data/", None, config, "out.onnx"))
    onnxzip optimize 'my model.onnx' -c data/ --preset int8 --min-sqnr=-inf --max-size 0.3 --keep-float Softmax --keep-float '/head/.*' -o out.onnx
    """
    words = ["onnxzip", "optimize", model]
    for option, data in (("-c", calibration), ("-e", evaluation)):
        words += [] if data is None else [option, data]
    try:
        words += [w for name, value in _changed(config) for w in _words(name, value)]
    except ValueError:
        return None
    return shlex.join([*words, "-o", out])


def _changed(settings: Config | Budget) -> Iterator[tuple[str, object]]:
    """Settings that are not the default, those of the budget included."""
    default = type(settings)()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, Budget):
            yield from _changed(value)
        elif value != getattr(default, field.name):
            yield field.name, value


def _words(name: str, value: object) -> Iterator[str]:
    """One setting as words of a command line. Raises ValueError where it has none."""
    option = f"--{_OPTIONS.get(name, name).replace('_', '-')}"
    value = _NO_LIMIT.get(name) if value is None else value
    if name in NO_OPTION or value is None or value is False:
        raise ValueError(f"{name} = {value!r} cannot be written as an option")
    if value is True:
        yield option
        return
    for one in value if isinstance(value, tuple) else (value,):
        if not isinstance(one, (str, int, float, os.PathLike)):
            raise ValueError(f"{name} = {value!r} cannot be written as an option")
        text = (
            f"{one:g}"
            if isinstance(one, float) and float(f"{one:g}") == one
            else os.fspath(one)
            if isinstance(one, os.PathLike)
            else str(one)
        )
        yield from (f"{option}={text}",) if text.startswith("-") else (option, text)
