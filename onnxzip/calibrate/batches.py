"""Cutting and grouping feeds into batches that a model takes. Rows are the leading axis of every input of rank 1 or more.

1. All inputs have the same fixed leading size b: rows are gathered, across files, into batches of b. Rows that do not
   fill a last batch are left out, with a note.
2. The leading axes are dynamic, and a stored array has more than 32 rows: it is cut into batches of up to 32.
3. Anything else stays as it is: batches that the caller made, inputs whose leading axes differ in size (that axis is no batch
   axis then), or whose batch axis has a name that occurs at another place of the inputs too (cutting would tear them apart).

Arrays beside the inputs (labels) that have as many rows are cut and joined with them; others stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from onnxzip.calibrate.feeds import BESIDE, Feed
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec

ROWS = 32
"""Rows of one batch when the model leaves the choice."""

Located = tuple[str, Feed]


def fit(
    feeds: Iterable[tuple[str, Feed, bool]], inputs: Sequence[TensorSpec], note: Callable[[str], None]
) -> Iterator[Located]:
    """Batches that fit the inputs, with their place for messages.

    Args:
        feeds: (place, feed, stored); stored ones may be cut even where the model does not ask for it.
        inputs: the model's inputs.
        note: told what was left out.

    Raises:
        DataError: there are rows, but too few for one batch.
    """
    size = fixed_size(inputs)
    if size is not None:
        return _gathered(((where, feed) for where, feed, _ in feeds), size, inputs, note)
    return _cut(feeds, inputs)


def rows_of(feed: Feed, inputs: Sequence[TensorSpec]) -> int | None:
    """The size that the leading axes of all inputs share (those without axes left aside), or None."""
    arrays = [feed[s.name] for s in inputs]
    if not all(isinstance(a, np.ndarray) for a in arrays):
        return None
    sizes = {a.shape[0] for a in arrays if a.ndim}
    return int(sizes.pop()) if len(sizes) == 1 else None


def take(feed: Feed, rows: slice | Sequence[int], inputs: Sequence[TensorSpec]) -> Feed:
    """These rows of every input, and of what lies beside them; those without axes, and overridden defaults, as they are."""
    count = rows_of(feed, inputs)
    chosen = {s.name: feed[s.name][rows] for s in inputs if feed[s.name].ndim}
    beside = {n: a[rows] for n, a in feed.items() if n.startswith(BESIDE) and a.ndim and len(a) == count}
    return {**feed, **chosen, **beside}


def has_free_rows(inputs: Sequence[TensorSpec]) -> bool:
    """Whether any number of rows makes a batch (case 2)."""
    leading = [s.shape[0] for s in inputs if s.shape]
    elsewhere = {d for s in inputs for d in s.shape[1:] if isinstance(d, str)}
    return bool(leading) and not any(isinstance(d, int) or d in elsewhere for d in leading)


def fixed_size(inputs: Sequence[TensorSpec]) -> int | None:
    """How many rows a batch must have, where that is fixed (case 1); else None."""
    leading = {s.shape[0] for s in inputs if s.shape}
    size = leading.pop() if len(leading) == 1 else None
    return size if isinstance(size, int) and size > 0 else None


def _cut(feeds: Iterable[tuple[str, Feed, bool]], inputs: Sequence[TensorSpec]) -> Iterator[Located]:
    cuttable = has_free_rows(inputs)
    for where, feed, stored in feeds:
        rows = rows_of(feed, inputs) if stored and cuttable else None
        if rows is None or rows <= ROWS:
            yield where, feed
            continue
        for start in range(0, rows, ROWS):
            yield f"{where}, from row {start}", take(feed, slice(start, start + ROWS), inputs)


def _gathered(
    feeds: Iterable[Located], size: int, inputs: Sequence[TensorSpec], note: Callable[[str], None]
) -> Iterator[Located]:
    rest: Feed | None = None
    made = left_out = 0
    for where, feed in feeds:
        if not rows_of(feed, inputs):
            yield where, feed  # no batch axis to speak of: the screen says what is wrong
            made += 1
            continue
        joined = feed if rest is None else _joined(rest, feed, inputs)
        if joined is None:
            left_out += _count(rest, inputs)
            joined = feed
        rows = _count(joined, inputs)
        for start in range(0, rows - size + 1, size):
            yield (
                (where if rows == size else f"{where}, from row {start}"),
                take(joined, slice(start, start + size), inputs),
            )
            made += 1
        rest = _copied(take(joined, slice(rows - rows % size, rows), inputs)) if rows % size else None
    left_out += _count(rest, inputs)
    if left_out and not made:
        raise DataError(f"the model takes batches of exactly {size} rows, but the data has only {left_out}. Give more.")
    if left_out:
        note(f"{left_out} rows are left out: they do not fill a batch of {size}, which is what the model takes")


def _count(feed: Feed | None, inputs: Sequence[TensorSpec]) -> int:
    return 0 if feed is None else rows_of(feed, inputs) or 0


def _copied(feed: Feed) -> Feed:
    """Copies, so that the rest of a file does not keep all of it in memory."""
    return {name: np.array(array) for name, array in feed.items()}


def _joined(first: Feed, second: Feed, inputs: Sequence[TensorSpec]) -> Feed | None:
    """The rows of both, or None where they differ in dtype or in another axis."""
    joined = {n: a for n, a in second.items() if not n.startswith(BESIDE)} | _beside(first, second, inputs)
    for spec in inputs:
        one, other = first[spec.name], second[spec.name]
        if (one.dtype, one.ndim, one.shape[1:]) != (other.dtype, other.ndim, other.shape[1:]):
            return None
        if one.ndim:
            joined[spec.name] = np.concatenate([one, other])
    return joined


def _beside(first: Feed, second: Feed, inputs: Sequence[TensorSpec]) -> Feed:
    """What lies beside the inputs of both: rows one after the other, what is the same in both once. Anything else is gone, and missed where it is needed."""
    joined: Feed = {}
    counts = rows_of(first, inputs), rows_of(second, inputs)
    for name in (n for n in second if n.startswith(BESIDE) and n in first):
        one, other = first[name], second[name]
        if one.ndim and other.ndim and (len(one), len(other)) == counts and one.shape[1:] == other.shape[1:]:
            joined[name] = np.concatenate([one, other])
        elif np.array_equal(one, other):
            joined[name] = other
    return joined
