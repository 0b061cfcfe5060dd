"""Moments of many layers, in memory and in a file."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from onnxzip.calibrate.moment_store import SUMS, MomentStore
from onnxzip.calibrate.moments import Moments


def summed(width: int, seed: int, groups: int = 1, targets: int = 0) -> Moments:
    rng = np.random.default_rng(seed)
    found = Moments(width, groups, targets, single=True)
    found.add(rng.standard_normal((50, width), np.float32), rng.standard_normal((50, targets), np.float32))
    return found


def same(one: Moments, other: Moments) -> bool:
    parts = (np.array_equal(getattr(one, name), getattr(other, name)) for name in SUMS)
    return one.count == other.count and one.diagonal == other.diagonal and all(parts)


@pytest.mark.parametrize(("limit", "kept"), [(0, ""), (5000, "ac"), (2**20, "abcd")])
def test_what_is_put_in_comes_out_wherever_it_lies(limit: int, kept: str) -> None:
    layers = {"a": summed(30, 0), "b": summed(40, 1, groups=2), "c": summed(12, 2, targets=4), "d": Moments(8)}
    store = MomentStore(limit)
    for name, moments in layers.items():
        store.put((name, f"{name} too"), moments)
    assert list(store) == [n + end for n in layers for end in ("", " too")]
    assert len(store) == 8
    for _ in range(2):
        for name, moments in [*layers.items()][::-1]:
            assert same(store[name], moments)
            assert same(store[f"{name} too"], moments)
            assert (store[name] is moments) == (name in kept)
    assert "e" not in store
    assert store.get("e") is None
    with pytest.raises(KeyError):
        store["e"]


def test_memory_holds_the_limit_and_one_layer() -> None:
    tracemalloc.start()
    store = MomentStore(2**20)
    for number in range(12):
        store.put([str(number)], summed(300, number))
    for name in store:
        assert store[name].count == 50
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**20 + 4 * 300 * 300 * 4 < 12 * 300 * 300 * 4


def test_the_file_goes_with_the_store() -> None:
    def files() -> int:
        return len([*Path("/proc/self/fd").iterdir()]) if Path("/proc/self/fd").exists() else 0

    gc.collect()
    before = files()
    store = MomentStore(0)
    store.put("a", summed(30, 0))
    del store
    assert files() == before
