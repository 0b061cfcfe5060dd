"""Batches of model inputs, from any source, checked, iterable again and again; and their split into two parts.

Nothing is kept between batches: every iteration opens the source anew (see `sources`), matches arrays with inputs (`feeds`),
cuts or groups them (`batches`) and looks at each batch (`screen`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from onnxzip.calibrate.batches import fit, has_free_rows, rows_of, take
from onnxzip.calibrate.feeds import BESIDE, NOTHING, POSITIONS, Beside, Feed, feed_of
from onnxzip.calibrate.fingerprint import DIGEST_BITS, fingerprint
from onnxzip.calibrate.screen import Screen
from onnxzip.calibrate.sources import Source, open_source
from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec

MIN_BATCHES = 3
"""Batches from which on a split gives away whole batches; fewer are split by their rows."""


class Data:
    """Batches that can be iterated again and again, each time fresh and the same.

    Iterating gives `dict[str, numpy.ndarray]`, ready for `onnxzip.runtime.Session.run` (lists for sequence inputs). Arrays that
    no input bears, such as labels, are left out: `labelled` gives those that were asked for, `extras` names the others.

    Attributes:
        name: what the data is called in messages.
        inputs: the inputs that it fits.
        known_batches: how many batches there are, or None while that is not known without an iteration.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[TensorSpec],
        produce: Callable[[Screen], Iterator[Feed]],
        known_batches: int | None = None,
    ) -> None:
        self.name, self.inputs, self.known_batches = name, tuple(inputs), known_batches
        self._produce = produce
        self._counted: tuple[int, int] | None = None
        self._digest: int | None = None
        self._screen = Screen(inputs)

    def __iter__(self) -> Iterator[Feed]:
        """Each batch, checked.

        Raises:
            DataError: a batch cannot be read or does not fit the model, there is none, or there are more or fewer than
                in the iteration before.
        """
        return (feed for feed, _, _ in self.labelled())

    def labelled(self) -> Iterator[tuple[Feed, Feed, np.ndarray[Any, Any]]]:
        """Each batch, the arrays beside it by name (see `open_data`), and where its samples stand in the data as it was given.

        The positions are int64 [rows], from 0; parts of a split tell those of the whole.

        Raises:
            DataError: as above.
        """
        screen, batches, samples, digest = Screen(self.inputs), 0, 0, 0
        for whole in self._produce(screen):
            feed = {n: a for n, a in whole.items() if not n.startswith(BESIDE)}
            beside = {n.removeprefix(BESIDE): a for n, a in whole.items() if n.startswith(BESIDE) and n != POSITIONS}
            rows = leading_rows(feed, self.inputs)
            positions = whole.get(POSITIONS, np.arange(samples, samples + rows))
            batches, samples = batches + 1, samples + rows
            digest = (digest * 31 + fingerprint(feed)) % 2**DIGEST_BITS
            yield feed, beside, positions
        if not batches:
            raise DataError(f"{self.name}: holds no batch. Give at least one.")
        if self._counted is not None and self._counted != (batches, samples):
            raise DataError(
                f"{self.name}: gave {self._counted[0]} batches ({self._counted[1]} samples) at first and {batches} ({samples}) now. "
                "Data must be the same at every iteration: seed it, and return a new iterator each time."
            )
        if self._digest is not None and self._digest != digest:
            raise DataError(
                f"{self.name}: gave other batches now than at first, or in another order. "
                "Data must be the same at every iteration: do not shuffle, seed what is random."
            )
        self._counted, self._screen, self._digest = (batches, samples), screen, digest
        self.known_batches = batches

    @property
    def samples(self) -> int:
        """Rows of the first input that has a leading axis, over all batches. Iterates once if that was not done yet."""
        return self._count()[1]

    @property
    def batches(self) -> int:
        """How many batches there are. Iterates once if that was not done yet."""
        return self._count()[0]

    @property
    def extras(self) -> frozenset[str]:
        """Names of arrays in the data that no input bears, as of the last complete iteration."""
        return self._screen.extras

    @property
    def digest(self) -> str | None:
        """A fingerprint of all batches (see `fingerprint`), 32 hexadecimal digits; None before the first complete iteration."""
        return None if self._digest is None else f"{self._digest:032x}"

    def warnings(self) -> tuple[str, ...]:
        """What looked odd in the last complete iteration, one sentence each (see `screen`)."""
        return self._screen.warnings()

    def _count(self) -> tuple[int, int]:
        if self._counted is None:
            for _ in self:
                pass
        return self._counted or (0, 0)


def leading_rows(feed: Feed, inputs: Sequence[TensorSpec]) -> int:
    """How many samples a batch counts as: the leading axis of the first input that has one."""
    arrays = (feed.get(s.name) for s in inputs)
    return next((len(a) for a in arrays if isinstance(a, np.ndarray) and a.ndim), 1)


def open_data(
    source: Any, inputs: Sequence[TensorSpec], optional: Collection[str] = (), beside: Beside = NOTHING
) -> Data:
    """Data for a model.

    Args:
        source: path of an `.npz` or `.npy` file or of a folder, `module:function`, or a re-iterable Python object of dicts,
            of tuples in input order, or of single arrays for one input; see `sources` for all kinds and `batches` for
            how stored arrays are cut.
        inputs: the inputs of the model's `onnxzip.runtime.Session`.
        optional: names of overridable defaults, which batches may hold but need not.
        beside: which arrays that are no inputs `Data.labelled` gives: labels, or everything.

    Raises:
        DataError: the source is of no known kind, is not there, or can be iterated only once. (What is in it is
            looked at when it is iterated.)
    """
    opened = open_source(source, inputs, optional, beside.wants)
    return Data(opened.name, inputs, lambda screen: _produced(opened, inputs, frozenset(optional), beside, screen))


def _produced(
    source: Source, inputs: Sequence[TensorSpec], optional: Collection[str], beside: Beside, screen: Screen
) -> Iterator[Feed]:
    def feeds() -> Iterator[tuple[str, Feed, bool]]:
        first = 0
        for item in source.items():
            feed, extras = feed_of(item, inputs, optional, beside)
            screen.extras |= frozenset(extras)
            rows = leading_rows(feed, inputs)
            single = {
                n: a[np.newaxis] for n, a in feed.items() if n.startswith(BESIDE) and rows == 1 and a.shape[:1] != (1,)
            }
            yield item.where, {**feed, **single, POSITIONS: np.arange(first, first + rows)}, item.stored
            first += rows

    for where, feed in fit(feeds(), inputs, screen.note):
        checked = screen.check(where, {n: a for n, a in feed.items() if not n.startswith(BESIDE)})
        yield {**checked, **{n: a for n, a in feed.items() if n.startswith(BESIDE)}}


def split(data: Data, held_out: float) -> tuple[Data, Data]:
    """Two parts without a sample in common: one to tune on, one to judge by. The same data gives the same parts.

    The held-out samples are spread evenly over the data. Neither part is loaded: each iterates the data and leaves out the other.

    1. Three batches or more: whole batches are dealt out.
    2. Fewer, of inputs that share a dynamic batch axis: single rows are.
    3. Two batches of other inputs: one each.

    Args:
        data: what to split; iterated once to count it.
        held_out: share of the second part, 0 < share < 1; at least one sample goes to each part.

    Raises:
        DataError: there are not two samples to deal out, or a batch does not fit the model.
    """
    if data.batches >= MIN_BATCHES:
        return _parts(data, _dealt(data.batches, held_out), by_rows=False)
    if (
        has_free_rows(data.inputs)
        and data.samples >= 2
        and all(rows_of(feed, data.inputs) is not None for feed in data)
    ):
        return _parts(data, _dealt(data.samples, held_out), by_rows=True)
    if data.batches == 2:
        return _parts(data, _dealt(2, held_out), by_rows=False)
    raise DataError(
        f"{data.name}: one sample cannot both tune and judge. Give at least 2 batches of the model's size, better 100 samples or more."
    )


def _dealt(count: int, share: float) -> Callable[[int], bool]:
    """Which of `count` samples are held out: `share` of them (one at least, not all), evenly spread."""
    held = min(max(round(count * share), 1), count - 1)

    def is_held(index: int) -> bool:
        return ((index + 1) * held + count // 2) // count > (index * held + count // 2) // count

    return is_held


def _parts(data: Data, is_held: Callable[[int], bool], *, by_rows: bool) -> tuple[Data, Data]:
    def part(label: str, *, held: bool) -> Data:
        def produce(screen: Screen) -> Iterator[Feed]:
            feeds = data._produce(screen)
            if by_rows:
                return _dealt_rows(feeds, data.inputs, lambda index: is_held(index) == held)
            return (feed for index, feed in enumerate(feeds) if is_held(index) == held)

        batches = None if by_rows else sum(is_held(index) == held for index in range(data.batches))
        return Data(f"{data.name} ({label})", data.inputs, produce, batches)

    return part("tuning part", held=False), part("held-out part", held=True)


def _dealt_rows(feeds: Iterator[Feed], inputs: Sequence[TensorSpec], wanted: Callable[[int], bool]) -> Iterator[Feed]:
    first = 0
    for feed in feeds:
        rows = rows_of(feed, inputs) or 0
        chosen = [row for row in range(rows) if wanted(first + row)]
        first += rows
        if chosen:
            yield take(feed, chosen, inputs)
