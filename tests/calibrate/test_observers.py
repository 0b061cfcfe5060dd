"""Statistics are merged, saved and loaded whole, and only for the model and data they belong to (failures.md 21)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxzip.calibrate.observers import Statistics, TensorStatistics
from onnxzip.errors import DataError


def made(seed: int = 0, model: str = "m", names: tuple[str, ...] = ("a", "b"), data: str = "ff") -> Statistics:
    rng, tensors = np.random.default_rng(seed), {}
    for name in names:
        tensors[name] = TensorStatistics()
        for size in (0, 50, 9000):
            tensors[name].update(rng.standard_normal(size).astype(np.float32))
    return Statistics(tensors, model_digest=model, data_digest=data.zfill(32), batches=3)


def test_it_is_a_mapping() -> None:
    statistics = made()
    assert (list(statistics), len(statistics), statistics["a"].count) == (["a", "b"], 2, 9050)
    assert statistics == made()
    assert statistics != made(1)
    assert statistics != made(model="other")


@pytest.mark.parametrize("names", [(), ("a",), ("a", "b/c:0")])
def test_save_and_load(tmp_path: Path, names: tuple[str, ...]) -> None:
    statistics = made(names=names)
    statistics.save(tmp_path / "one.npz")
    statistics.save(tmp_path / "two")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "two"]
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two").read_bytes()
    loaded = Statistics.load(tmp_path / "one.npz", model_digest="m", data_digest="ff".zfill(32))
    assert loaded == statistics
    for name in names:
        np.testing.assert_array_equal(loaded[name].distribution(), statistics[name].distribution())


def test_never_seen_tensors_survive(tmp_path: Path) -> None:
    statistics = Statistics({"a": TensorStatistics()})
    statistics.save(tmp_path / "s.npz")
    assert Statistics.load(tmp_path / "s.npz") == statistics


def test_peer_21_statistics_of_another_model_or_of_other_data_are_refused(tmp_path: Path) -> None:
    made().save(tmp_path / "s.npz")
    with pytest.raises(DataError, match=r"belong to another model \(digest m, not other\)"):
        Statistics.load(tmp_path / "s.npz", model_digest="other")
    with pytest.raises(DataError, match="belong to another data"):
        Statistics.load(tmp_path / "s.npz", data_digest="0" * 32)
    with pytest.raises(DataError, match="cannot be merged"):
        made().merge(made(model="other"))


def test_merge() -> None:
    merged = made(0, data="f").merge(made(1, data="1"))
    assert (merged.batches, merged.data_digest) == (6, "10".zfill(32))
    assert merged["a"] == made(0)["a"].merge(made(1)["a"])
    with pytest.raises(DataError, match="'b' is in one shard only"):
        made().merge(made(names=("a",)))


def test_saving_leaves_the_old_file_when_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        made().save(tmp_path / "no folder" / "s.npz")


def test_refuses_what_is_no_file_of_statistics(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with pytest.raises(DataError, match="there is no such file"):
        Statistics.load(path)
    made().save(path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="not a readable file of statistics"):
            Statistics.load(path)
    np.savez(path, image=np.zeros(3))
    with pytest.raises(DataError, match="not a readable file of statistics"):
        Statistics.load(path)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("body_bins", lambda a: a[:-1]),
        ("body_bins", lambda a: np.where(a >= 0, 20_000, a).astype(np.uint16)),
        ("body_counts", lambda a: -a),
        ("exact_used", lambda a: a + 1),
        ("range", lambda a: a * np.nan),
        ("counts", lambda a: a * 0),
        ("header", lambda a: np.frombuffer(a.tobytes().replace(b"statistics 2", b"statistics 1"), np.uint8)),
        ("header", lambda a: a[:-5]),
    ],
)
def test_refuses_parts_that_do_not_fit(tmp_path: Path, key: str, change: object) -> None:
    path = tmp_path / "s.npz"
    made().save(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays[key] = change(arrays[key])  # type: ignore[operator]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="not a readable file of statistics"):
        Statistics.load(path)
