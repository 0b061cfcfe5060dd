"""A Range whose inputs all become constants still loads."""

import numpy as np

from onnxzip.passes.runner import run
from onnxzip.runtime import Session
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent

TEXT = """g (float[N,M] x) => (float[A,B] y) {
    p = Identity(zero) s = Shape(x) r = Size(s) a = Range(p, r, one) y = ReduceMean(x, a)
}"""


def test_constants_that_a_range_reads_become_scalars():
    before = model(TEXT, zero=np.array([0]), one=np.array([1]))
    after, records = run(before, verify=lambda m: Session(m, level="none") and None, strict=True)
    assert not any(r.taken_back for r in records)
    assert op_types(after) == ["ReduceMean"]
    assert_equivalent(before, after, rtol=1e-6)


def test_constants_that_others_read_too_keep_their_shape():
    text = "g (int64 n) => (int64[A] y, int64[A] z) { p = Identity(zero) a = Range(p, n, one) y = Add(a, one) z = Sub(a, p) }"
    before = model(text, zero=np.array([0]), one=np.array([1]))
    after, _ = run(before)
    assert_equivalent(before, after, rtol=0, batch={"n": np.array(4)})
