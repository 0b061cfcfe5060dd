"""Numerical equivalence, in one place: seeded inputs, onnxruntime with its optimisations off, an explicit tolerance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.model.save import to_proto
from onnxzip.runtime import Session


def feed(
    model: ir.Model, seed: int = 0, sizes: Mapping[str, int] | None = None, default: int = 2
) -> dict[str, np.ndarray]:
    """One seeded batch for all inputs: normal floats, integers and booleans of 0 and 1. Dynamic axes take `sizes` or `default`."""
    rng, batch = np.random.default_rng(seed), {}
    for spec in Session(model, level="none", threads=1).inputs:
        shape = [d if isinstance(d, int) else (sizes or {}).get(str(d), default) for d in spec.shape]
        assert spec.dtype is not None, f"{spec.name} is not a tensor: give the feed by hand"
        if spec.dtype.kind == "f":
            batch[spec.name] = rng.standard_normal(shape).astype(spec.dtype)
        else:
            batch[spec.name] = rng.integers(0, 2, shape).astype(spec.dtype)
    return batch


def run(model: ir.Model, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs, by onnxruntime without optimisations."""
    return Session(model, level="none", threads=1).run(batch)


def assert_equivalent(
    before: ir.Model,
    after: ir.Model,
    *,
    rtol: float,
    atol: float = 0.0,
    batch: Mapping[str, np.ndarray] | None = None,
    sizes: tuple[int, ...] = (2, 3),
) -> None:
    """Both models give the same numbers, dtypes and shapes, at each size of the dynamic axes; and `after` is valid ONNX.

    `rtol` is relative to the largest magnitude of each output.
    """
    onnx.checker.check_model(to_proto(after), full_check=True)
    for batch_ in [batch] if batch is not None else [feed(before, default=size) for size in sizes]:
        expected, actual = run(before, batch_), run(after, batch_)
        assert list(expected) == list(actual)
        for name, reference in expected.items():
            assert reference.dtype == actual[name].dtype, name
            assert reference.shape == actual[name].shape, name
            scale = np.abs(reference.astype(np.float64)).max(initial=0.0) if reference.dtype.kind == "f" else 0.0
            np.testing.assert_allclose(actual[name], reference, rtol=0, atol=atol + rtol * scale, err_msg=name)
