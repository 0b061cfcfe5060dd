"""Inputs of pretended models, for tests of data."""

from __future__ import annotations

import numpy as np

from onnxzip.runtime import TensorSpec

_KINDS = {"float32": "float", "float64": "double"}


def spec(name: str, *shape: int | str | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, np.dtype(dtype), shape, f"tensor({_KINDS.get(dtype, dtype)})")


IMAGE = (spec("image", "N", 3, 4, 4),)
TEXT = (spec("ids", "N", "S", dtype="int64"), spec("mask", "N", "S", dtype="int64"))


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 4, 4)).astype(np.float32)


def texts(count: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "ids": rng.integers(0, 99, (count, length)),
        "mask": np.ones((count, length), np.int64),
    }
