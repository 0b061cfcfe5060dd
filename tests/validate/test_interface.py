"""What keeps two models from being compared, said so that it can be mended."""

from __future__ import annotations

import pytest

from onnxzip.model.signature import signature
from onnxzip.validate.interface import mismatches
from tests.helpers.graphs import model

TEXT = "agraph (float[N,3,32,32] x) => (float[N,3,32,32] y) { y = Relu(x) }"


def found(text: str, original: str = TEXT) -> tuple[str, ...]:
    return mismatches(signature(model(original)), signature(model(text)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace("N,3,32,32] x", "N,32,32,3] x"), ["input 'x'", "float32[N,32,32,3]", "another layout", "Transpose"]),
        (TEXT.replace("float[", "float16["), ["another element type", "Cast"]),
        (TEXT.replace("x)", "image)"), ["called 'image'", "rename"]),
        (TEXT.replace("float[N,3,32,32] x", "float[1,3,32,32] x"), ["another shape"]),
        (TEXT.replace("[N,3,32,32] x", "[N,3,64,64] x"), ["another shape"]),
        (TEXT.replace("32] x)", "32] x, float[N] m)"), ["only in the candidate"]),
    ],
)  # fmt: skip
def test_what_differs_is_named(text, words):
    message = found(text)[0]
    assert all(w in message for w in words), message


def test_a_missing_output_and_another_order():
    both = "agraph (float[N] x, float[N] m) => (float[N] y, float[N] z) { y = Relu(x) z = Neg(m) }"
    assert "output z: float32[N] is missing" in found(both.replace(", float[N] z)", ")"), both)[0]
    assert "another order" in found(both.replace("x, float[N] m", "m, float[N] x"), both)[0]


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("N", "batch"), TEXT.replace("32] x", "W] x")])
def test_names_of_axes_and_wider_inputs_are_left_alone(text):
    assert found(text) == ()
