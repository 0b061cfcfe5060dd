"""Whose fault it is, by giving a value the original's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.model.load import load
from onnxzip.validate.energies import Place
from onnxzip.validate.patching import Patching, fitted
from tests.helpers.graphs import model
from tests.validate.nets import NET, batches, net, weights

WHOLE = Place(None, 0, 1e-3)
"""An error that is far below those of these damages."""


def to_blame(original, candidate, *names: str) -> list[str]:
    models = [load(m).model for m in (original, candidate)]
    patching = Patching(*models, batches(), {n: n for n in names})
    return [patching.blame(n, WHOLE) for n in names]


def test_a_damaged_layer_is_to_blame_and_so_is_what_only_passes_it_on():
    damaged = net({"w1": -weights()["w1"]})
    assert to_blame(net(), damaged, "c1", "r1") == ["guilty", "guilty"]


def test_what_is_before_the_damage_is_not():
    assert to_blame(net(), net({"w3": -weights()["w3"]}), "c2", "y", "z") == ["unknown", "guilty", "unknown"]


def test_a_value_that_its_reader_expects_to_be_another_is_no_pair():
    order = np.array([3, 1, 5, 0, 2, 4])
    w, text = weights(), NET.replace("s = Add(c2, r1)", "s = Identity(c2)")
    other = net({"w1": w["w1"][order], "b1": w["b1"][order], "w2": w["w2"][:, order]}, text)
    assert to_blame(net(text=text), other, "c1", "r1") == ["no pair", "no pair"]


def test_what_no_output_feels_is_not_to_blame():
    text = "agraph (float[N,4,8,8] x) => (float[N,4,8,8] y) { a = Abs(x) n = %s k = Mul(n, zero) y = Add(a, k) }"
    models = [model(text % t, zero=np.float32(0)) for t in ("Neg(a)", "Exp(a)")]
    assert to_blame(*models, "n") == ["unknown"]


@pytest.mark.parametrize(("axis", "index", "blamed"), [(1, 2, "guilty"), (1, 3, "unknown")])
def test_only_the_place_that_is_off_counts(axis, index, blamed):
    w = weights()["w1"].copy()
    w[2] *= -1
    patching = Patching(*(load(m).model for m in (net(), net({"w1": w}))), batches(), {"c1": "c1"})
    assert patching.blame("c1", Place(axis, index, 1e-3)) == blamed


def test_masks_are_as_large_as_halves_can_be():
    masks = np.array([-3.4e38, -np.inf, 1.5], np.float32)
    assert fitted(masks, np.dtype(np.float16)).tolist() == [-65504, -np.inf, 1.5]
