"""The statistics of many tensors: mergeable, saved as npz, and bound to the model and the data that they were taken from.

A file holds a header (JSON: format, digests, names) and flat arrays: one entry a tensor for scalars, and the histograms of
all tensors one after the other. It is never unpickled, and what does not add up is refused.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxzip.calibrate.fingerprint import DIGEST_BITS
from onnxzip.calibrate.histogram import BINS, Histogram
from onnxzip.calibrate.tensor_statistics import TensorStatistics
from onnxzip.errors import DataError
from onnxzip.files import replacing

__all__ = ["Statistics", "TensorStatistics"]

_FORMAT = "onnxzip statistics 2"
_HISTOGRAMS = ("exact", "body", "tails")


class Statistics(Mapping[str, TensorStatistics]):
    """Statistics by tensor name.

    Args:
        tensors: what is known of each tensor.
        model_digest: digest of the model that computed the tensors; "" where the caller gave none.
        data_digest: fingerprint of the batches, whatever their order (see `fingerprint`), 32 hexadecimal digits.
        batches: number of batches.
    """

    def __init__(
        self,
        tensors: Mapping[str, TensorStatistics],
        *,
        model_digest: str = "",
        data_digest: str = "0" * 32,
        batches: int = 0,
    ) -> None:
        self._tensors = dict(tensors)
        self.model_digest, self.data_digest, self.batches = model_digest, data_digest, batches

    def __getitem__(self, name: str) -> TensorStatistics:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statistics):
            return NotImplemented
        return self._key() == other._key() and self._tensors == other._tensors

    __hash__ = None  # type: ignore[assignment] # its tensors are mutable

    def _key(self) -> tuple[str, str, int]:
        return self.model_digest, self.data_digest, self.batches

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both shards of data together: equal to one run over all of it.

        Raises:
            DataError: the shards were taken from different models or of different tensors.
        """
        if self.model_digest != other.model_digest:
            raise DataError(
                f"statistics of model {self.model_digest or '(unknown)'} and of model {other.model_digest or '(unknown)'} "
                "cannot be merged. Collect both shards with the same model."
            )
        if different := sorted(set(self) ^ set(other)):
            raise DataError(
                f"statistics of different tensors cannot be merged: {different[0]!r} is in one shard only. "
                "Collect the same tensors of every shard."
            )
        digest = (int(self.data_digest, 16) + int(other.data_digest, 16)) % 2**DIGEST_BITS
        return Statistics(
            {name: mine.merge(other[name]) for name, mine in self._tensors.items()},
            model_digest=self.model_digest,
            data_digest=f"{digest:032x}",
            batches=self.batches + other.batches,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to `path` (npz), atomically. The same statistics give the same bytes.

        Raises:
            DataError: the file cannot be written.
        """
        target = Path(path)
        try:
            with replacing(target) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **self._to_arrays())
        except OSError as error:
            raise DataError(
                f"{target}: cannot be written ({error.strerror or error}). Check the folder and its permissions."
            ) from error

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, model_digest: str | None = None, data_digest: str | None = None
    ) -> Statistics:
        """Read what `save` wrote.

        Args:
            path: the file.
            model_digest: refuse statistics of any other model; None: take any.
            data_digest: refuse statistics of any other data; None: take any.

        Raises:
            DataError: the file is missing, damaged or something else, or was taken from another model or other data.
        """
        target = Path(path)
        try:
            with target.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                found = cls._from_arrays({name: file[name] for name in file.files})
        except FileNotFoundError as error:
            raise DataError(f"{target}: there is no such file. Collect the statistics first.") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{target}: this is not a readable file of statistics ({error}). Collect them again."
            ) from error
        for what, wanted, got in (
            ("model", model_digest, found.model_digest),
            ("data", data_digest, found.data_digest),
        ):
            if wanted is not None and wanted != got:
                raise DataError(
                    f"{target}: these statistics belong to another {what} (digest {got or 'unknown'}, not {wanted}). Collect them again."
                )
        return found

    def _to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        header = {
            "format": _FORMAT,
            "model_digest": self.model_digest,
            "data_digest": self.data_digest,
            "batches": self.batches,
            "names": list(self._tensors),
        }
        states = [t.state() for t in self._tensors.values()]
        arrays: dict[str, npt.NDArray[Any]] = {
            "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8),
            "range": np.array([s[0] for s in states], np.float64).reshape(-1, 2),
            "counts": np.array([s[1] for s in states], np.int64).reshape(-1, 2),
        }
        for index, kind in enumerate(_HISTOGRAMS):
            histograms = [s[2][index] for s in states]
            arrays[f"{kind}_used"] = np.array([len(h.keys) for h in histograms], np.int64)
            arrays[f"{kind}_bins"] = np.concatenate([np.zeros(0, np.uint16), *(h.keys for h in histograms)])
            arrays[f"{kind}_counts"] = np.concatenate([np.zeros(0, np.int64), *(h.counts for h in histograms)])
        return arrays

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Statistics:
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']!r}, not {_FORMAT!r}")
        names = [str(name) for name in header["names"]]
        ranges, counts = arrays["range"].astype(np.float64), arrays["counts"].astype(np.int64)
        if ranges.shape != (len(names), 2) or counts.shape != (len(names), 2) or counts.min(initial=0) < 0:
            raise ValueError("its parts do not fit together")
        kinds = [_split_histograms(arrays, kind, len(names)) for kind in _HISTOGRAMS]
        tensors = {}
        for name, (low, high), (count, blocks), *histograms in zip(names, ranges, counts, *kinds, strict=True):
            if math.isnan(low) or math.isnan(high) or (count and low > high):
                raise ValueError(f"the range of {name!r} is not valid")
            large = count - histograms[0].total()
            if large < 0 or (large > 0 and (blocks <= 0 or histograms[1].total() <= 0)):
                raise ValueError(f"the counts of {name!r} do not add up")
            state = (float(low), float(high)), (int(count), int(blocks)), tuple(histograms)
            tensors[name] = TensorStatistics.from_state(state)
        return cls(
            tensors,
            model_digest=str(header["model_digest"]),
            data_digest=f"{int(header['data_digest'], 16):032x}",
            batches=int(header["batches"]),
        )


def _split_histograms(arrays: Mapping[str, npt.NDArray[Any]], kind: str, tensors: int) -> list[Histogram]:
    used = arrays[f"{kind}_used"].astype(np.int64)
    keys, counts = arrays[f"{kind}_bins"].astype(np.uint16), arrays[f"{kind}_counts"].astype(np.int64)
    sizes = keys.shape == counts.shape == (int(used.sum()),)
    if used.shape != (tensors,) or not sizes or used.min(initial=0) < 0:
        raise ValueError("its parts do not fit together")
    if keys.max(initial=0) >= BINS or counts.min(initial=1) <= 0:
        raise ValueError("a count is not valid")
    ends = used.cumsum()
    return [Histogram(keys[end - n : end], counts[end - n : end]) for end, n in zip(ends, used, strict=True)]
