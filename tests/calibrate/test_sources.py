"""Every kind of source gives the same batches again and again; what is no data is refused in words."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxzip.calibrate.data import Data, open_data
from onnxzip.errors import DataError
from tests.calibrate.specs import IMAGE, TEXT, images, spec, texts


def assert_batches(data: Data, expected: list[dict[str, np.ndarray]]) -> None:
    """Two iterations give exactly these batches."""
    for _ in range(2):
        got = list(data)
        assert len(got) == len(expected)
        for left, right in zip(got, expected, strict=True):
            assert left.keys() == right.keys()
            for name in left:
                np.testing.assert_array_equal(left[name], right[name], err_msg=name, strict=True)


def test_npz_with_labels_is_cut_into_batches(tmp_path: Path) -> None:
    x = images(70)
    np.savez(tmp_path / "d.npz", image=x, labels=np.arange(70))
    data = open_data(tmp_path / "d.npz", IMAGE)
    assert_batches(data, [{"image": x[:32]}, {"image": x[32:64]}, {"image": x[64:]}])
    assert (data.batches, data.samples, data.extras) == (3, 70, {"labels"})
    assert data.name == str(tmp_path / "d.npz")


def test_npz_without_names_is_in_input_order(tmp_path: Path) -> None:
    t = texts(4, 7)
    np.savez(tmp_path / "d.npz", t["ids"], t["mask"])
    assert_batches(open_data(str(tmp_path / "d.npz"), TEXT), [t])


def test_npy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", images(40))
    assert_batches(open_data(tmp_path / "d.npy", IMAGE), [{"image": images(40)[:32]}, {"image": images(40)[32:]}])


def test_folder_of_npz_keeps_the_order_of_names_and_ragged_shapes(tmp_path: Path) -> None:
    expected = [texts(4, length, seed=length) for length in (5, 9, 2)]
    for index, batch in enumerate(expected):
        np.savez(tmp_path / f"{index:03}.npz", **batch)
    (tmp_path / "readme.txt").write_text("not data")
    assert_batches(open_data(tmp_path, TEXT), expected)


def test_folder_of_npy_single_samples(tmp_path: Path) -> None:
    x = images(3)
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", x[index])
    assert_batches(open_data(tmp_path, IMAGE), [{"image": x[i : i + 1]} for i in range(3)])


def test_folder_of_npy_named_after_the_inputs(tmp_path: Path) -> None:
    t = texts(4, 7)
    for name, array in {**t, "label": np.arange(4)}.items():
        np.save(tmp_path / f"{name}.npy", array)
    data = open_data(tmp_path, TEXT)
    assert_batches(data, [t])
    assert data.extras == {"label"}


def test_files_are_opened_one_by_one_at_each_iteration(tmp_path: Path) -> None:
    for index in range(3):
        np.savez(tmp_path / f"{index}.npz", image=images(1, index))
    data = open_data(tmp_path, IMAGE)
    iterator = iter(data)
    next(iterator)
    np.savez(tmp_path / "1.npz", image=images(1, 99))  # not read yet, so the change is seen
    np.testing.assert_array_equal(next(iterator)["image"], images(1, 99))


def store(path: Path, array: np.ndarray, name: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(onnx.numpy_helper.from_array(array, name).SerializeToString())


@pytest.mark.parametrize("names", [("", ""), ("mask", "ids"), ("foreign/a", "foreign/b")])
def test_folder_of_test_sets(tmp_path: Path, names: tuple[str, str]) -> None:
    """By the names inside the files where they are the inputs', else by number; set 10 comes after set 9."""
    expected = [texts(2, 3, seed) for seed in range(11)]
    for number, t in enumerate(expected):
        arrays = (t["mask"], t["ids"]) if names[0] == "mask" else (t["ids"], t["mask"])
        for index, (array, name) in enumerate(zip(arrays, names, strict=True)):
            store(tmp_path / f"test_data_set_{number}" / f"input_{index}.pb", array, name)
        store(tmp_path / f"test_data_set_{number}" / "output_0.pb", np.zeros(3))
    assert_batches(open_data(tmp_path, TEXT), expected)
    assert_batches(open_data(tmp_path / "test_data_set_3", TEXT), expected[3:4])


def test_module_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_batches_a.py").write_text(
        "import numpy as np\ndef make():\n    for i in range(3):\n        yield {'image': np.full((2, 3, 4, 4), i, np.float32)}\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    data = open_data("my_batches_a:make", IMAGE)
    assert sys.path == before
    assert_batches(data, [{"image": np.full((2, 3, 4, 4), i, np.float32)} for i in range(3)])


def test_python_objects() -> None:
    x, t = images(4), texts(4, 7)
    halves = [{"image": x[:2]}, {"image": x[2:]}]
    assert_batches(open_data(halves, IMAGE), halves)
    assert_batches(open_data([x[:2], x[2:]], IMAGE), halves)
    assert_batches(open_data([(x[:2], "label"), [x[2:], 1]], IMAGE), halves)
    assert_batches(open_data(lambda: ({"image": h["image"]} for h in halves), IMAGE), halves)
    assert_batches(open_data({"image": x}, IMAGE), [{"image": x}])
    assert_batches(open_data(x, IMAGE), [{"image": x}])
    assert_batches(open_data([(t["ids"], t["mask"], np.zeros(4))], TEXT), [t])


class FakeTensor:
    """What matters of a tensor of another library."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.steps = array, 0

    def detach(self) -> FakeTensor:
        self.steps += 1
        return self

    def cpu(self) -> FakeTensor:
        self.steps += 1
        return self

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.steps < 2:
            raise RuntimeError("requires grad")
        return self.array


def test_tensors_of_other_libraries() -> None:
    data = open_data([{"image": FakeTensor(images(2))}], IMAGE)
    assert_batches(data, [{"image": images(2)}])


def test_torch_data_loader() -> None:
    torch = pytest.importorskip("torch")
    x, y = torch.from_numpy(images(6)).requires_grad_(), torch.arange(6)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
    assert_batches(open_data(loader, IMAGE), [{"image": images(6)[:4]}, {"image": images(6)[4:]}])


@pytest.mark.parametrize("once", [(b for b in [{"image": images(1)}]), iter([{"image": images(1)}]), map(dict, [])])
def test_peer_18_one_shot_iterators_are_refused(once: object) -> None:
    with pytest.raises(DataError, match=r"iterated only once.*Pass a list, or a function"):
        open_data(once, IMAGE)


def test_an_object_that_runs_dry_is_found_out() -> None:
    class Dry:
        def __init__(self) -> None:
            self.rest = [{"image": images(1)}]

        def __iter__(self) -> object:
            return iter([self.rest.pop()] if self.rest else [])

    data = open_data(Dry(), IMAGE)
    assert len(list(data)) == 1
    with pytest.raises(DataError, match="holds no batch"):
        list(data)


def test_a_source_that_changes_is_found_out() -> None:
    sizes = iter([2, 3])
    data = open_data(lambda: [{"image": images(1)}] * next(sizes), IMAGE)
    assert data.batches == 2
    with pytest.raises(DataError, match=r"2 batches \(2 samples\) at first and 3 \(3\) now"):
        list(data)


def test_npz_is_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", image=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"d\.npz: array 'image' holds Python objects"):
        list(open_data(tmp_path / "d.npz", IMAGE))
    with pytest.raises(DataError, match=r"d\.npy: holds Python objects"):
        list(open_data(tmp_path / "d.npy", IMAGE))


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04broken"])
def test_damaged_files_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"d{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"d{suffix}: (cannot be read|is no .npz file)"):
        list(open_data(path, IMAGE))


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    for source, message in (
        (tmp_path / "nothing.npz", "there is no such file or folder"),
        (tmp_path / "data.csv", "data of this kind is not known"),
        (tmp_path, "the folder holds no data"),
        (7, "int is no data"),
        ("no_such_module_x:make", r"module 'no_such_module_x' is not found"),
        ("onnxzip.errors:make", "has no function 'make'"),
    ):
        with pytest.raises(DataError, match=message):
            open_data(source, IMAGE)


def test_folders_that_do_not_say_what_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", images(1))
    with pytest.raises(DataError, match=r"Name the files after the inputs \(ids.npy, mask.npy\)"):
        open_data(tmp_path, TEXT)
    store(tmp_path / "test_data_set_0" / "input_0.pb", images(1))
    with pytest.raises(DataError, match="both a.npy and test sets"):
        open_data(tmp_path, IMAGE)


def test_errors_in_the_user_s_code_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_batches_b.py").write_text("raise RuntimeError('boom')")
    (tmp_path / "my_batches_c.py").write_text("def make():\n    yield {}['missing']")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="importing my_batches_b fails: RuntimeError: boom"):
        open_data("my_batches_b:make", IMAGE)
    with pytest.raises(DataError, match="my_batches_c:make: batch 0 cannot be made: KeyError: 'missing'"):
        list(open_data("my_batches_c:make", IMAGE))
    with pytest.raises(DataError, match="int is not an iterable of batches"):
        list(open_data(lambda: 3, IMAGE))


def test_overridable_defaults_may_be_given_and_may_be_missing() -> None:
    inputs = (spec("x", "N", 2),)
    x, scale = np.ones((2, 2), np.float32), np.ones(3, np.float32)
    data = open_data([{"x": x, "scale": scale}, {"x": x * 2}], inputs, ["scale"])
    assert [sorted(batch) for batch in data] == [["scale", "x"], ["x"]]
    assert not data.extras


def test_a_file_that_is_no_archive_is_not_called_pickled(tmp_path):
    (tmp_path / "notes.npz").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as .npz .it is no zip archive"):
        list(open_data(tmp_path / "notes.npz", IMAGE))
