"""failures.md 22: what tunes never judges."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxzip.calibrate.data import Data, open_data, split
from onnxzip.errors import DataError
from tests.calibrate.specs import spec

ROWS = (spec("x", "N", 1),)
FIXED = (spec("x", 2, 1),)


def numbered(*sizes: int) -> list[np.ndarray]:
    """Batches of these sizes whose rows are numbered from 0."""
    ends = np.cumsum(sizes)
    return [np.arange(end - n, end, dtype=np.float32)[:, None] for n, end in zip(sizes, ends, strict=True)]


def values(data: Data) -> list[int]:
    return [int(v) for batch in data for v in batch["x"][:, 0]]


def test_peer_22_whole_batches_are_dealt_out_evenly() -> None:
    data = open_data(numbered(*[1] * 12), ROWS)
    tuning, held_out = split(data, 0.33)
    assert (tuning.known_batches, held_out.known_batches) == (8, 4)
    assert values(held_out) == [1, 4, 7, 10]
    assert values(tuning) == [0, 2, 3, 5, 6, 8, 9, 11]
    assert (tuning.samples, held_out.samples) == (8, 4)
    assert held_out.name == "the given list (held-out part)"


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=12).filter(lambda s: sum(s) > 1),
    share=st.floats(0.01, 0.99),
)
def test_peer_22_parts_are_disjoint_complete_deterministic_and_not_empty(sizes: list[int], share: float) -> None:
    data = open_data(numbered(*sizes), ROWS)
    tuning, held_out = split(data, share)
    mine, theirs = values(tuning), values(held_out)
    assert mine
    assert theirs
    assert sorted(mine + theirs) == list(range(sum(sizes)))
    assert (values(tuning), values(held_out)) == (mine, theirs)
    again = split(data, share)
    assert (values(again[0]), values(again[1])) == (mine, theirs)


def test_few_batches_are_split_by_rows() -> None:
    tuning, held_out = split(open_data(numbered(7, 3), ROWS), 0.3)
    assert values(held_out) == [1, 4, 8]
    assert [len(b["x"]) for b in tuning] == [5, 2]


def test_a_batch_without_a_chosen_row_is_left_out() -> None:
    tuning, held_out = split(open_data(numbered(1, 4), ROWS), 0.2)
    assert (values(tuning), values(held_out)) == ([0, 1, 3, 4], [2])
    assert held_out.batches == 1


def test_two_fixed_batches_go_one_each() -> None:
    tuning, held_out = split(open_data(numbered(2, 2), FIXED), 0.33)
    assert (values(tuning), values(held_out)) == ([2, 3], [0, 1])


@pytest.mark.parametrize(("sizes", "inputs"), [((1,), ROWS), ((2,), FIXED)])
def test_a_single_sample_cannot_be_split(sizes: tuple[int, ...], inputs: tuple[object, ...]) -> None:
    with pytest.raises(DataError, match="one sample cannot both tune and judge. Give at least 2"):
        split(open_data(numbered(*sizes), inputs), 0.33)  # type: ignore[arg-type]


def test_inputs_without_a_common_batch_axis_are_split_by_batches_only() -> None:
    inputs = (spec("x", "N", 1), spec("y", "M", 1))
    batch = {"x": np.ones((4, 1), np.float32), "y": np.ones((3, 1), np.float32)}
    with pytest.raises(DataError, match="one sample"):
        split(open_data([batch], inputs), 0.5)
    assert [d.batches for d in split(open_data([batch] * 2, inputs), 0.5)] == [1, 1]


def test_empty_data_is_refused() -> None:
    with pytest.raises(DataError, match="holds no batch"):
        list(open_data([], ROWS))


def test_known_batches_do_not_cause_an_iteration() -> None:
    calls: list[int] = []

    def make() -> Iterator[np.ndarray]:
        calls.append(1)
        yield from numbered(1, 1)

    data = open_data(make, ROWS)
    assert data.known_batches is None
    assert data.samples == data.batches == data.known_batches == 2
    assert len(calls) == 1


def test_peer_16_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    inputs = (spec("x", "N", 100_000),)
    for index in range(24):
        np.savez(tmp_path / f"{index}.npz", x=np.full((1, 100_000), index, np.float32))
    tuning, held_out = split(open_data(tmp_path, inputs), 0.5)
    tracemalloc.start()
    try:
        for part in (tuning, held_out):
            for _ in part:
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 400_000  # a few batches of 400 kB, not 24


def test_data_that_is_shuffled_between_iterations_is_refused() -> None:
    rng = np.random.default_rng(0)
    rows = [{"x": rng.standard_normal((2, 3)).astype(np.float32)} for _ in range(4)]
    orders = iter([(0, 1, 2, 3), (0, 2, 1, 3)])
    data = open_data(lambda: [rows[i] for i in next(orders)], [spec("x", "N", 3)])
    list(data)
    with pytest.raises(DataError, match="do not shuffle"):
        list(data)
