"""Looking at every batch before the model sees it: refuse what cannot be right, and say what looks odd.

Refused, by name of the data, batch and input:
1. a dtype that is neither the input's nor safely made it: Python's and numpy's defaults (float64, int64, int32) are cast,
   whole numbers only where every value fits, and so are narrower kinds of the same sort (float16 to float32);
2. a wrong rank, a wrong size of a fixed axis, two sizes of one named axis within a batch, no rows at all;
3. NaN or infinity, with the index of the first.

Odd, told by `warnings` after an iteration: an input that never changes, float inputs that look like raw pixels, batches
that occur twice, casts, arrays that no input bears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxzip.calibrate.feeds import Feed
from onnxzip.calibrate.fingerprint import fingerprint
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec

_REMEMBERED = 4096
"""Batches among which repetitions are noticed; a limit, so that memory does not grow with the data."""

_PIXEL = 128.0
_PROBE = 4096


class Screen:
    """The checks of one iteration.

    Args:
        inputs: the model's inputs. Arrays of other names (overridable defaults) are checked for NaN and infinity only.
    """

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        self._specs = {s.name: s for s in inputs}
        self._notes: dict[str, None] = {}
        self._ranges: dict[str, tuple[float, float]] = {}
        self._raw = {s.name for s in inputs if s.dtype is not None and s.dtype.kind == "f"}
        self._seen: set[int] = set()
        self._twice = self.batches = 0
        self.extras: frozenset[str] = frozenset()

    def note(self, text: str) -> None:
        """Add a remark for the user; said once, however often it comes up."""
        self._notes[text] = None

    def check(self, where: str, feed: Feed) -> Feed:
        """The batch as the model takes it.

        Raises:
            DataError: see the cases above.
        """
        named: dict[str, tuple[str, int]] = {}
        checked: Feed = {}
        for name, value in feed.items():
            place = f"{where}: input {name!r}"
            spec = self._specs.get(name)
            if not isinstance(value, np.ndarray):
                checked[name] = value
                for item in value if isinstance(value, (list, tuple)) else ():
                    _refuse_not_finite(np.asarray(item), place)
                continue
            if spec is not None and spec.dtype is not None:
                _check_shape(value, spec, named, place)
            array = value if spec is None or spec.dtype is None else self._cast(value, spec.dtype, place, name)
            checked[name] = np.ascontiguousarray(array).reshape(array.shape)
            self._look(name, checked[name], _refuse_not_finite(checked[name], place))
        self._remember(checked)
        return checked

    def warnings(self) -> tuple[str, ...]:
        """What looked odd in the batches so far, one sentence each."""
        found = list(self._notes)
        constant = [n for n, (low, high) in self._ranges.items() if low == high and self._specs[n].shape]
        every = len(constant) == len(self._specs)
        for name in constant:
            dtype = self._specs[name].dtype
            if every or (dtype is not None and dtype.kind == "f"):
                found.append(f"input {name!r} is {self._ranges[name][0]:g} everywhere in the data: is that right?")
        for name in sorted(self._raw & self._ranges.keys()):
            low, high = self._ranges[name]
            if low >= 0 and _PIXEL <= high <= 255:
                found.append(
                    f"input {name!r} holds whole numbers from {low:g} to {high:g}, as raw pixels do: "
                    "if the model expects normalised images, normalise them as in training"
                )
        if self._twice:
            found.append(f"{self._twice} of {self.batches} batches repeat an earlier one: they add no information")
        if self.extras:
            names = ", ".join(map(repr, sorted(self.extras)))
            found.append(f"{names} in the data is no input of the model and was ignored")
        return tuple(found)

    def _cast(self, array: np.ndarray[Any, Any], wanted: np.dtype[Any], place: str, name: str) -> np.ndarray[Any, Any]:
        if array.dtype == wanted:
            return array
        if wanted == np.dtype(object) and array.dtype.kind in "UT":
            return array.astype(object)
        if not _may_cast(array.dtype, wanted):
            raise DataError(
                f"{place} is {array.dtype}, but the model takes {wanted}. Convert it where the data is made, as in training "
                f"(numpy: x.astype({wanted.name!r}))."
            )
        if wanted.kind in "iu" and array.size:
            limits = np.iinfo(wanted)
            if array.min() < limits.min or array.max() > limits.max:
                raise DataError(
                    f"{place} is {array.dtype} with values from {array.min()} to {array.max()}, which do not fit {wanted}"
                )
        with np.errstate(over="ignore"):
            cast = array.astype(wanted)
        if wanted.kind == "f" and np.isfinite(array).all() and not np.isfinite(cast).all():
            raise DataError(f"{place} is {array.dtype} with values that are too large for {wanted}")
        self.note(f"input {name!r} was cast from {array.dtype} to {wanted}")
        return cast

    def _look(self, name: str, array: np.ndarray[Any, Any], span: tuple[float, float] | None) -> None:
        if span is None or name not in self._specs:
            return
        low, high = self._ranges.get(name, (math.inf, -math.inf))
        self._ranges[name] = min(low, span[0]), max(high, span[1])
        if name in self._raw:
            probe = array.reshape(-1)[:_PROBE]
            if span[0] < 0 or span[1] > 255 or (probe != np.rint(probe)).any():
                self._raw.discard(name)

    def _remember(self, feed: Feed) -> None:
        self.batches += 1
        if len(self._seen) < _REMEMBERED:
            before = len(self._seen)
            self._seen.add(fingerprint(feed))
            self._twice += len(self._seen) == before


def _may_cast(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Python's and numpy's defaults, and wider types of the same sort."""
    if given.kind != wanted.kind:
        return given.kind == "i" and wanted.kind == "u" and given.itemsize >= 4
    return given in (np.float64, np.int64, np.int32) or np.can_cast(given, wanted, "safe")


def _check_shape(array: np.ndarray[Any, Any], spec: TensorSpec, named: dict[str, tuple[str, int]], place: str) -> None:
    wanted = f"[{', '.join('?' if d is None else str(d) for d in spec.shape)}]"
    if not spec.shape:
        return  # a scalar, or a shape that the model does not tell
    if array.ndim != len(spec.shape):
        raise DataError(
            f"{place} has shape {list(array.shape)}, but the model takes {wanted}: {len(spec.shape)} axes, not {array.ndim}"
        )
    for axis, (dim, size) in enumerate(zip(spec.shape, array.shape, strict=True)):
        if isinstance(dim, int) and dim != size:
            raise DataError(
                f"{place} has shape {list(array.shape)}, but the model takes {wanted}: axis {axis} is {dim}, not {size}"
            )
        if isinstance(dim, str) and dim:
            other, expected = named.setdefault(dim, (spec.name, size))
            if size != expected:
                raise DataError(
                    f"{place} has {size} at axis {axis} ({dim!r}), but input {other!r} has {expected} there: they must be equal"
                )
    if array.shape[0] == 0 and spec.shape[0] != 0:
        raise DataError(f"{place} is empty: it has no rows")


def _refuse_not_finite(array: np.ndarray[Any, Any], place: str) -> tuple[float, float] | None:
    """The smallest and the largest element, or None where there are none or they are no numbers."""
    if array.size == 0 or array.dtype.kind not in "fiub":
        return None
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"{place} is {array[index]} at index {list(index)}. Clean the data: one such value makes every range meaningless."
        )
    return low, high
