"""Where data comes from: files, folders, functions and Python objects, each read anew at every iteration.

Sources, in the order in which they are recognised:
1. `.npz` file: its arrays by name (or `arr_0`, `arr_1` ... in input order);
2. `.npy` file: the one input;
3. folder of `.npz` and `.npy` files, in the order of their names, each read when its turn comes; where the `.npy` files bear
   the names of the inputs (`input_ids.npy`, ...), they are one batch together;
4. folder of `test_data_set_*` folders, or one of these: `input_0.pb`, `input_1.pb` ... in the order of the graph's inputs;
5. text `module:function`: the function is called without arguments and returns an iterable of batches;
6. a callable without arguments from Python: the same;
7. one mapping, or one array: a single batch, as a file would be;
8. any other object that can be iterated again and again: lists, data loaders.

Nothing is unpickled. Code of the user runs only in 5, 6 and 8, where the user names it.
"""

from __future__ import annotations

import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxzip.calibrate.protobuf import read_test_set
from onnxzip.errors import DataError
from onnxzip.named import function, is_named, told
from onnxzip.runtime import TensorSpec

KINDS = (
    "an .npz or .npy file, a folder of them, a folder of test_data_set_*/input_*.pb, or module:function "
    "(a function that returns batches)"
)


@dataclass(frozen=True)
class Item:
    """One piece of a source, not yet matched with the inputs.

    Attributes:
        where: what it is called in messages.
        content: mapping of names, sequence in input order, or one array.
        others: names of arrays that are there but were not read, because no input bears them.
        stored: it may hold more rows than one batch should, and be cut; False for what was made as a batch.
    """

    where: str
    content: Any
    others: tuple[str, ...] = ()
    stored: bool = False


@dataclass(frozen=True)
class Source:
    """A name for messages, and how to start from the beginning."""

    name: str
    items: Callable[[], Iterator[Item]]


Known = Callable[[str], bool]
"""Which arrays of a file are read."""


def open_source(
    source: Any, inputs: Sequence[TensorSpec], optional: Iterable[str] = (), beside: Known = lambda _: False
) -> Source:
    """Recognise a source. Files are looked up now and read later; of their arrays, inputs, optional ones and those that `beside` names.

    Raises:
        DataError: it is none of the kinds above, or can be iterated only once.
    """
    if isinstance(source, (str, os.PathLike)):
        if not os.fspath(source):
            raise DataError(f"the name of the data is empty. Give {KINDS}.")
        names = frozenset((*(s.name for s in inputs), *optional))
        return _from_text(os.fspath(source), inputs, names, lambda name: name in names or beside(name))
    if isinstance(source, Mapping) or hasattr(source, "__array__"):
        return Source("the given arrays", lambda: iter([Item("the given arrays", source, stored=True)]))
    if hasattr(source, "__next__"):
        raise DataError(
            f"the data is a {type(source).__name__}, which can be iterated only once, but calibration and validation each need it. "
            "Pass a list, or a function without arguments that makes a new one."
        )
    name = f"the given {type(source).__name__}"
    if callable(source) and not hasattr(source, "__iter__"):
        return Source(f"function {getattr(source, '__name__', name)}", lambda: _called(source, name))
    if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
        raise DataError(
            f"{type(source).__name__} is no data. Give {KINDS}; or a list of dicts (or tuples, or arrays) from Python."
        )
    return Source(name, lambda: _numbered(source, name))


def _from_text(text: str, inputs: Sequence[TensorSpec], names: frozenset[str], known: Known) -> Source:
    path = Path(text)
    if path.is_dir():
        return _folder(path, inputs, names, known)
    if path.is_file():
        if path.suffix in (".npz", ".npy"):
            return Source(text, lambda: iter([_read(path, names, known)]))
        raise DataError(f"{text}: data of this kind is not known. Give {KINDS}.")
    if is_named(text):
        made = function(text, DataError)
        return Source(text, lambda: _called(made, text))
    raise DataError(f"{text}: there is no such file or folder. Give {KINDS}.")


def _folder(path: Path, inputs: Sequence[TensorSpec], names: frozenset[str], known: Known) -> Source:
    files = sorted(p for p in path.iterdir() if p.suffix in (".npz", ".npy") and not p.name.startswith("."))
    sets = sorted(p for p in path.glob("test_data_set_*") if p.is_dir()) or [path] * any(path.glob("input_*.pb"))
    if files and sets:
        raise DataError(f"{path}: holds both {files[0].name} and test sets (input_*.pb). Keep one kind in the folder.")
    if sets:
        sets.sort(key=lambda p: (len(p.name), p.name))  # test_data_set_10 comes after test_data_set_9
        return Source(str(path), lambda: (Item(str(p), read_test_set(p, inputs, names)) for p in sets))
    if not files:
        raise DataError(f"{path}: the folder holds no data. Give {KINDS}.")
    if all(p.suffix == ".npy" for p in files) and all(s.name in {p.stem for p in files} for s in inputs):
        return Source(str(path), lambda: iter([_read_together(path, files, known)]))
    if len(inputs) > 1 and any(p.suffix == ".npy" for p in files):
        raise DataError(
            f"{path}: an .npy file holds one array, but the model has {len(inputs)} inputs. "
            f"Name the files after the inputs ({', '.join(f'{s.name}.npy' for s in inputs)}), or store .npz files."
        )
    return Source(str(path), lambda: (_read(p, names, known) for p in files))


def _read_together(folder: Path, files: Sequence[Path], known: Known) -> Item:
    content = {p.stem: _read(p, frozenset(), known).content for p in files if known(p.stem)}
    return Item(str(folder), content, tuple(p.stem for p in files if not known(p.stem)), stored=True)


def _read(path: Path, names: frozenset[str], known: Known) -> Item:
    try:
        if path.suffix == ".npy":
            return Item(str(path), np.lib.format.open_memmap(path, mode="r"), stored=True)
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return _npz_item(path, file, names, known)
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, AttributeError) as error:
        if path.suffix == ".npz" and "allow_pickle" in str(error):  # numpy takes whatever is no zip for a pickle
            raise DataError(
                f"{path}: is no .npz file. It may be truncated, or of another format: write it again with numpy.savez."
            ) from error
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{path}: holds Python objects, which are never unpickled. Store arrays of numbers."
            ) from error
        raise DataError(f"{path}: cannot be read as {path.suffix} ({error}). Write it again with numpy.") from error


def _npz_item(path: Path, file: Any, names: frozenset[str], known: Known) -> Item:
    found = list(file.files)
    if found and not names.intersection(found) and all(re.fullmatch(r"arr_\d+", n) for n in found):
        found.sort(key=lambda n: int(n[4:]))
        return Item(str(path), tuple(_entry(path, file, n) for n in found), stored=True)
    content = {n: _entry(path, file, n) for n in found if known(n)}
    return Item(str(path), content, tuple(n for n in found if not known(n)), stored=True)


def _entry(path: Path, file: Any, name: str) -> Any:
    try:
        return file[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"{path}: array {name!r} holds Python objects, which are never unpickled. Store arrays of numbers."
        ) from error


def _called(function: Callable[[], Any], name: str) -> Iterator[Item]:
    try:
        batches = function()
    except (Exception, SystemExit) as error:  # code of the user
        raise DataError(f"{name}: the function fails: {told(error)}") from error
    yield from _numbered(batches, name)


def _numbered(batches: Any, name: str) -> Iterator[Item]:
    try:
        iterator = iter(batches)
    except TypeError as error:
        raise DataError(f"{name}: {type(batches).__name__} is not an iterable of batches") from error
    for number in range(sys.maxsize):
        try:
            content = next(iterator)
        except StopIteration:
            return
        except DataError:
            raise
        except (Exception, SystemExit) as error:  # code of the user
            raise DataError(f"{name}: batch {number} cannot be made: {told(error)}") from error
        yield Item(f"{name}, batch {number}", content)
