"""Any shape arithmetic, rewritten, gives what it gave, to the bit, at every size at which it ran: 0 and 1 are among them."""

import numpy as np
import onnx
import pytest

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.model.walk import count_nodes
from onnxzip.passes.runner import run
from onnxzip.runtime import Session
from tests.helpers.random_sizes import SIZES, random_model, shaped


@pytest.mark.parametrize("seed", range(0, 60, 10))
def test_random_sizes(seed):
    compared = 0
    for one in range(seed, seed + 10):
        before = load(random_model(one)).model
        after, _ = run(before, strict=True)
        onnx.checker.check_model(to_proto(after), full_check=True)
        assert model_bytes(after) <= model_bytes(before)
        assert count_nodes(after) <= count_nodes(before)
        first, second = (Session(m, level="none", threads=1) for m in (before, after))
        for sizes in SIZES:
            try:
                expected = first.run(shaped(sizes))
            except ModelError:
                continue
            if any(array.ndim != len(spec.shape) for array, spec in zip(expected.values(), first.outputs, strict=True)):
                continue  # not the rank that the model declares
            actual = second.run(shaped(sizes))
            for name, array in expected.items():
                assert actual[name].dtype == array.dtype
                np.testing.assert_array_equal(actual[name], array, strict=True, err_msg=f"{one} {sizes} {name}")
            compared += 1
    assert compared >= 20
