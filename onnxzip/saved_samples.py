"""The inputs of the worst samples, written to be looked at, and to be run again (`-c FOLDER`)."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxzip.calibrate.batches import fixed_size, has_free_rows, rows_of, take
from onnxzip.calibrate.data import Data
from onnxzip.errors import DataError, UsageError
from onnxzip.files import replacing
from onnxzip.records import WorstSample
from onnxzip.runtime import Batch, TensorSpec

_NAME = re.compile(r"sample-\d+\.npz")


def check_apart(folder: str | os.PathLike[str], *sources: Any) -> None:
    """Samples never land in the data that they are taken from: those of an earlier run are removed there.

    Args:
        folder: where samples are to be written.
        sources: data as the user gave it; only paths count.

    Raises:
        UsageError: one of them is this folder, or a sample in it.
    """
    target = Path(folder).resolve()
    for source in sources:
        if not isinstance(source, (str, os.PathLike)):
            continue
        path = Path(source).resolve()
        if path == target or (path.parent == target and _NAME.fullmatch(path.name)):
            raise UsageError(f"{folder}: the worst samples would replace the data, {source}. Choose another folder.")


def save_worst(
    folder: str | Path, worst: Sequence[WorstSample], data: Iterable[Batch], inputs: Sequence[TensorSpec]
) -> tuple[Path, ...]:
    """Write the inputs of each sample, and the labels and other arrays that were read with them, to `sample-INDEX.npz`.

    Where the model takes batches of one fixed size larger than 1, or where samples have no rows of their own, a file holds the whole batch of its sample.
    Files of that name from an earlier run are removed; each file is written in one step.

    Args:
        folder: made if it is missing; its parent must be there.
        worst: the samples.
        data: the batches in which they were found, iterated once.
        inputs: of the model.

    Returns:
        The files, worst sample first.

    Raises:
        DataError: an input is a sequence, which these files cannot hold.
        UsageError: the folder cannot be made or written.
    """
    target, wanted = Path(folder), {s.batch: [w for w in worst if w.batch == s.batch] for s in worst}
    by_rows = has_free_rows(inputs) or fixed_size(inputs) == 1
    try:
        target.mkdir(exist_ok=True)
        for old in target.iterdir():
            if _NAME.fullmatch(old.name):
                old.unlink()
        for number, (feed, beside) in enumerate(_batches(data)):
            for sample in wanted.get(number, ()):
                content = _content(feed, beside, sample.row if by_rows else None, inputs)
                _write(target / f"sample-{sample.index}.npz", content)
    except OSError as error:
        raise UsageError(f"{target}: the worst samples cannot be written there ({error.strerror or error})") from error
    return tuple(target / f"sample-{s.index}.npz" for s in worst)


def _batches(data: Iterable[Batch]) -> Iterable[tuple[Batch, Mapping[str, Any]]]:
    if isinstance(data, Data):
        return ((feed, beside) for feed, beside, _ in data.labelled())
    return ((feed, {}) for feed in data)


def _content(feed: Batch, beside: Mapping[str, Any], row: int | None, inputs: Sequence[TensorSpec]) -> dict[str, Any]:
    """One row of everything, or the whole batch."""
    if odd := [n for n, v in feed.items() if not isinstance(v, np.ndarray)]:
        raise DataError(f"input {odd[0]!r} is a sequence: samples of such models cannot be written as .npz")
    rows = rows_of(dict(feed), inputs)
    if row is None or rows is None:
        return {**beside, **feed}
    cut = {n: a[row : row + 1] if a.ndim and len(a) == rows else a for n, a in beside.items()}
    return {**cut, **take(dict(feed), slice(row, row + 1), inputs)}


def _write(path: Path, content: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """As numpy's savez, which cannot take every name; the same content gives the same bytes."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in content.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, like numpy's
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(
                    file, array.astype(str) if array.dtype == object else array, allow_pickle=False
                )
