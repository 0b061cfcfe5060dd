"""The interface as a value."""

from __future__ import annotations

import numpy as np

from onnxzip.model.signature import differences, signature
from tests.helpers.graphs import model

TEXT = "agraph (float[batch,3] x, int64[1] k) => (float[batch,3] y, float[batch,3] z) { y = Relu(x) z = Abs(x) u = Identity(k) }"


def test_equal_signatures_have_no_differences():
    assert differences(signature(model(TEXT)), signature(model(TEXT))) == ()
    assert str(signature(model(TEXT)).inputs[0]) == "x: float32[batch,3]"


def test_overridable_defaults_are_told_apart():
    found = signature(model(TEXT, k=np.zeros(1, np.int64)))
    assert [s.name for s in found.inputs] == ["x"]
    assert [s.name for s in found.defaults] == ["k"]


def test_every_change_is_named():
    base = signature(model(TEXT))
    frozen = signature(model(TEXT.replace("batch,3] x", "1,3] x")))
    assert any("x: float32[batch,3] is gone" in d for d in differences(base, frozen))
    swapped = signature(
        model(
            "agraph (float[batch,3] x, int64[1] k) => (float[batch,3] z, float[batch,3] y) { y = Relu(x) z = Abs(x) u = Identity(k) }"
        )
    )
    assert differences(base, swapped) == ("the order of the outputs changed",)
