"""Any shape arithmetic, rewritten, gives what it gave, to the bit, at every size at which it ran: 0 and 1 are among them."""

import pytest

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.model.save import model_bytes
from onnxzip.model.walk import count_nodes
from onnxzip.passes.runner import run
from tests.helpers.numerics import assert_equivalent
from tests.helpers.numerics import run as execute
from tests.helpers.random_sizes import SIZES, random_model, shaped


@pytest.mark.parametrize("seed", range(0, 120, 10))
def test_random_sizes(seed):
    compared = 0
    for one in range(seed, seed + 10):
        before = load(random_model(one)).model
        after, _ = run(before, strict=True)
        assert model_bytes(after) <= model_bytes(before)
        assert count_nodes(after) <= count_nodes(before)
        for sizes in SIZES:
            try:
                execute(before, shaped(sizes))
            except ModelError:
                continue
            assert_equivalent(before, after, rtol=0, batch=shaped(sizes))
            compared += 1
    assert compared >= 20
