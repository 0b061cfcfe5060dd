"""From a piece of data to a feed: arrays by input name, each with a batch axis.

Matching, by the kind of the piece:
1. mapping: by name. Arrays that no input bears (labels) are ignored as long as no input is missing; they are told as extras;
2. tuple or list: in input order. What comes after the last input (labels) is ignored;
3. one array: the input, where the model has one.

An array that has one axis less than its input is a single sample: it gets a batch axis of 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from onnxzip.calibrate.sources import Item
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec

Feed = dict[str, Any]


def feed_of(item: Item, inputs: Sequence[TensorSpec], optional: Collection[str]) -> tuple[Feed, tuple[str, ...]]:
    """The feed that a piece of data gives, and the names in it that no input bears.

    Raises:
        DataError: an input is missing, or a value is not an array; the message names the piece and the input.
    """
    content, extras = _by_name(item, inputs, optional)
    specs = {s.name: s for s in inputs}
    feed = {}
    for name, value in content.items():
        spec = specs.get(name)
        feed[name] = value if spec is not None and spec.dtype is None else _array(value, item.where, name, spec)
    return feed, extras


def _by_name(item: Item, inputs: Sequence[TensorSpec], optional: Collection[str]) -> tuple[Feed, tuple[str, ...]]:
    content, wanted = item.content, [s.name for s in inputs]
    if isinstance(content, Mapping):
        found = {str(name) for name in content} | set(item.others)
        extras = sorted(found - set(wanted) - set(optional))
        if missing := [name for name in wanted if name not in content]:
            raise DataError(_missing(item.where, missing, extras))
        return {name: content[name] for name in (*wanted, *sorted(optional)) if name in content}, tuple(extras)
    if len(wanted) == 1 and isinstance(content, list) and all(isinstance(v, (list, int, float)) for v in content):
        return {wanted[0]: np.asarray(content)}, ()  # numbers in nested lists are one array, not one value an input
    if isinstance(content, (tuple, list)):
        if len(content) < len(wanted):
            raise DataError(
                f"{item.where}: has {len(content)} values, but the model has {len(wanted)} inputs, in this order: {', '.join(wanted)}"
            )
        surplus = tuple(f"value {i} of the {type(content).__name__}" for i in range(len(wanted), len(content)))
        return dict(zip(wanted, content, strict=False)), surplus
    if len(wanted) != 1:
        raise DataError(
            f"{item.where}: is a single {type(content).__name__}, but the model has {len(wanted)} inputs. "
            f"Give a dict with {', '.join(wanted)}."
        )
    return {wanted[0]: content}, ()


def _missing(where: str, missing: Sequence[str], extras: Sequence[str]) -> str:
    text = f"{where}: nothing is named after the input{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
    if not extras:
        return f"{text}. Add it."
    text += f"; there is {', '.join(map(repr, extras))}, which is no input"
    close = [(m, c[0]) for m in missing if (c := difflib.get_close_matches(m, extras, 1))]
    return text + (
        f". Should {close[0][1]!r} be called {close[0][0]!r}?" if close else ". Name the arrays after the inputs."
    )


def _array(value: Any, where: str, name: str, spec: TensorSpec | None) -> Any:
    if hasattr(value, "detach"):  # a tensor that may require gradients or live on a device
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where}: input {name!r} cannot be made an array ({error})") from error
    text = spec is not None and spec.dtype == np.dtype(object)
    if array.dtype == object and not text:
        raise DataError(
            f"{where}: input {name!r} is {type(value).__name__} of Python objects, not an array of numbers. Convert it with numpy."
        )
    return array if spec is None else _with_batch_axis(array, spec)


def _with_batch_axis(array: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    if array.ndim != len(spec.shape) - 1:
        return array
    fits = all(not isinstance(d, int) or d == n for d, n in zip(spec.shape[1:], array.shape, strict=True))
    return array[np.newaxis] if fits else array
