"""From a piece of data to a feed: arrays by input name, each with a batch axis.

Matching, by the kind of the piece:
1. mapping: by name. Arrays that no input bears (labels) are ignored as long as no input is missing; they are told as extras;
2. tuple or list: in input order. What comes after the last input (labels) is ignored; its name is its place from 0, such as "1";
3. one array: the input, where the model has one.

An array that has one axis less than its input is a single sample: it gets a batch axis of 1.

Labels, and other arrays that a metric of the user wants, travel in the feed beside the inputs, under names that begin with `BESIDE`: those that have a row
for each sample are cut, joined and dealt out as rows of the inputs are. `Data` takes them out of the feed again.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxzip.calibrate.sources import Item
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec

Feed = dict[str, Any]

BESIDE = "\0"
"""What the names of arrays beside the inputs begin with; no input of a model can be called so."""

POSITIONS = BESIDE
"""Where each sample stands in the data, int64 [rows], counted from 0."""


@dataclass(frozen=True)
class Beside:
    """Which arrays that no input bears are handed on: `labels`, which every piece must have then, or `everything`."""

    labels: str | None = None
    everything: bool = False

    def wants(self, name: str) -> bool:
        """Whether the array of this name is handed on."""
        return self.everything or name == self.labels


NOTHING = Beside()
"""Inputs only."""


def feed_of(
    item: Item, inputs: Sequence[TensorSpec], optional: Collection[str], beside: Beside = NOTHING
) -> tuple[Feed, tuple[str, ...]]:
    """The feed that a piece of data gives, and the names in it that are ignored because no input bears them.

    Raises:
        DataError: an input or the labels are missing, or a value is not an array; the message names the piece and the input.
    """
    content, others, unread = _by_name(item, inputs, optional)
    if beside.labels is not None and beside.labels not in others:
        raise DataError(_no_labels(item.where, beside.labels, (*others, *unread)))
    specs = {s.name: s for s in inputs}
    feed = {}
    for name, value in content.items():
        spec = specs.get(name)
        feed[name] = (
            value if spec is not None and spec.dtype is None else _array(value, item.where, f"input {name!r}", spec)
        )
    for name in filter(beside.wants, sorted(others)):
        feed[BESIDE + name] = _array(others[name], item.where, f"array {name!r}", None)
    ignored = {n for n in others if not beside.wants(n)}
    if not isinstance(item.content, Mapping):
        ignored = {f"value {n} of the {type(item.content).__name__}" for n in ignored}
    return feed, tuple(sorted({*ignored, *unread}))


def _by_name(
    item: Item, inputs: Sequence[TensorSpec], optional: Collection[str]
) -> tuple[Feed, dict[str, Any], tuple[str, ...]]:
    """What inputs and optional values bear, what is there beside them, and the names of what was not even read."""
    content, wanted = item.content, [s.name for s in inputs]
    if isinstance(content, Mapping):
        others = {str(n): v for n, v in content.items() if n not in wanted and n not in optional}
        if missing := [name for name in wanted if name not in content]:
            raise DataError(_missing(item.where, missing, sorted({*others, *item.others})))
        return {n: content[n] for n in (*wanted, *sorted(optional)) if n in content}, others, item.others
    if len(wanted) == 1 and isinstance(content, list) and all(isinstance(v, (list, int, float)) for v in content):
        return {wanted[0]: np.asarray(content)}, {}, ()  # numbers in nested lists are one array, not one value an input
    if isinstance(content, (tuple, list)):
        if len(content) < len(wanted):
            raise DataError(
                f"{item.where}: has {len(content)} values, but the model has {len(wanted)} inputs, in this order: {', '.join(wanted)}"
            )
        surplus = {str(i): content[i] for i in range(len(wanted), len(content))}
        return dict(zip(wanted, content, strict=False)), surplus, ()
    if len(wanted) != 1:
        raise DataError(
            f"{item.where}: is a single {type(content).__name__}, but the model has {len(wanted)} inputs. "
            f"Give a dict with {', '.join(wanted)}."
        )
    return {wanted[0]: content}, {}, ()


def _no_labels(where: str, labels: str, names: Sequence[str]) -> str:
    text = f"{where}: there is no array {labels!r} for the labels"
    if not names:
        return f"{text}, nor any other beside the inputs. Store them with the inputs, one for each sample."
    return f"{text}. Beside the inputs there is {', '.join(map(repr, sorted(names)))}."


def _missing(where: str, missing: Sequence[str], extras: Sequence[str]) -> str:
    text = f"{where}: nothing is named after the input{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"
    if not extras:
        return f"{text}. Add it."
    text += f"; there is {', '.join(map(repr, extras))}, which is no input"
    close = [(m, c[0]) for m in missing if (c := difflib.get_close_matches(m, extras, 1))]
    return text + (
        f". Should {close[0][1]!r} be called {close[0][0]!r}?" if close else ". Name the arrays after the inputs."
    )


def _array(value: Any, where: str, what: str, spec: TensorSpec | None) -> Any:
    if hasattr(value, "detach"):  # a tensor that may require gradients or live on a device
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where}: {what} cannot be made an array ({error})") from error
    text = spec is not None and spec.dtype == np.dtype(object)
    if array.dtype == object and not text:
        raise DataError(
            f"{where}: {what} is {type(value).__name__} of Python objects, not an array of numbers. Convert it with numpy."
        )
    return array if spec is None else _with_batch_axis(array, spec)


def _with_batch_axis(array: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    if array.ndim != len(spec.shape) - 1:
        return array
    fits = all(not isinstance(d, int) or d == n for d, n in zip(spec.shape[1:], array.shape, strict=True))
    return array[np.newaxis] if fits else array
