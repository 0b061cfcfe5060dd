from __future__ import annotations

import numpy as np
import pytest

from onnxzip.prune.families import families, step
from onnxzip.prune.rules import analyse
from tests.prune.nets import Net


@pytest.mark.parametrize(
    ("widths", "profile", "left", "round_to", "expected"),
    [
        ((32,), (1,), 30, 8, 8),
        ((20,), (1,), 19, 8, 4),  # 20 becomes 16
        ((8,), (1,), 7, 8, 0),  # never below the multiple
        ((7,), (1,), 6, 8, 0),
        ((9,), (1,), 8, 8, 1),
        ((384, 384), (32, 32), 11, 8, 1),  # whole attention heads
        ((32, 64), (1, 2), 30, 8, 8),
        ((48,), (2,), 20, 8, 4),
        ((20, 24), (1, 1), 15, 8, 8),  # no number suits both: the one that is even stays so
        ((32, 3), (1, 0), 30, 8, 8),  # layers that hold none of it do not matter
        ((16,), (1,), 5, 8, 0),  # too few left for a whole step
        ((16,), (1,), 15, 1, 1),
    ],
)
def test_steps_keep_widths_round(
    widths: tuple[int, ...], profile: tuple[int, ...], left: int, round_to: int, expected: int
) -> None:
    assert step(widths, profile, left, round_to) == expected


def test_layers_that_meet_in_an_add_are_one_family() -> None:
    net = Net(1, 3, 8, 8)
    stem = net.conv("x", 16, 3)
    inner = net.conv(net.op("Relu", stem), 24, 16, pad=1)
    total = net.op("Add", net.conv(net.op("Relu", inner), 16, 24, pad=1), stem)
    state = analyse(net.model(net.conv(net.op("Relu", total), 4, 16)))
    found = families(state, state.channels.roots())
    assert [(f.widths, len(f.classes), len(f.layers)) for f in found] == [((16, 16), 16, 2), ((24,), 24, 1)]
    assert [len(lanes) for lanes in (f.lanes() for f in found)] == [1, 1]
    assert (found[0].counts == 1).all()
    assert "1 more" in found[0].name


def test_frozen_classes_belong_to_no_family() -> None:
    net = Net(1, 3, 8, 8)
    state = analyse(net.model(net.conv("x", 16, 3)))
    assert families(state, state.channels.roots()) == []


def test_classes_of_different_profiles_go_in_lanes_of_their_own() -> None:
    net = Net(1, 3, 8, 8)
    left = net.conv("x", 8, 3)
    twice = net.op("Concat", left, left, axis=1)
    both = net.op("Add", net.conv("x", 16, 3), twice)
    state = analyse(net.model(net.conv(net.op("Relu", both), 4, 16)))
    (family,) = families(state, state.channels.roots())
    assert family.widths == (8, 16)
    assert np.unique(family.counts, axis=1).tolist() == [[1], [2]]
