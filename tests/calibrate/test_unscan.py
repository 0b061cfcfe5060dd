"""Scan as Loop: the same numbers, and every iteration can be fetched."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxzip.calibrate.surface import out_of_reach, surface
from onnxzip.calibrate.unscan import to_loop
from onnxzip.errors import ModelError
from onnxzip.model.edit import Names
from onnxzip.model.save import to_proto
from onnxzip.runtime import Session
from tests.helpers import graphs

RNG = np.random.default_rng(0)
FEED = {
    "s0": RNG.standard_normal((3, 4)).astype(np.float32),
    "x": RNG.standard_normal((5, 3, 4)).astype(np.float32),
    "u": RNG.standard_normal((3, 5, 4)).astype(np.float32),
}


def scan(attributes: str = "", u_axis: int = 1) -> str:
    return f"""agraph (float[N, 4] s0, float[T, N, 4] x, float[N, T, 4] u) => (float[N, 4] y, float[T, N, 4] z) {{
        y, z = Scan <num_scan_inputs = 2, scan_input_axes = [0, {u_axis}] {attributes},
            body = body (float[N, 4] s, float[N, 4] xi, float[N, 4] ui) => (float[N, 4] next, float[N, 4] kept) {{
                sum = Add (s, xi)
                next = Tanh (sum)
                kept = Mul (next, ui)
            }}> (s0, x, u)
    }}"""


DIRECTIONS = [
    "",
    ", scan_input_directions = [1, 0]",
    ", scan_output_directions = [1]",
    ", scan_input_directions = [1, 1], scan_output_directions = [1]",
]


@pytest.mark.parametrize("attributes", DIRECTIONS)
@pytest.mark.parametrize("u_axis", [1, -2])
def test_the_same_numbers(attributes: str, u_axis: int) -> None:
    model = graphs.model(scan(attributes, u_axis))
    before = Session(model, threads=1).run(FEED)
    names = Names(model)
    to_loop(next(iter(model.graph)), names)
    onnx.checker.check_model(to_proto(model), full_check=True)
    assert graphs.op_types(model).count("Loop") == 1
    after = Session(model, threads=1).run(FEED)
    assert list(after) == list(before)
    for name, expected in before.items():
        np.testing.assert_array_equal(after[name], expected)


def test_slices_come_out_in_the_order_of_the_iterations() -> None:
    model = graphs.model(scan(DIRECTIONS[1]))
    copy, outputs = surface(model, ["xi", "ui", "next", "y"])
    assert graphs.op_types(model) == ["Scan"]
    found = Session(copy, threads=1).run(FEED)
    np.testing.assert_array_equal(found[outputs["xi"]], FEED["x"][::-1])
    np.testing.assert_array_equal(found[outputs["ui"]], FEED["u"].swapaxes(0, 1))
    np.testing.assert_array_equal(found[outputs["next"]][-1], found["y"])


def test_leaves_a_scan_alone_of_which_nothing_is_wanted() -> None:
    copy, _ = surface(graphs.model(scan()), ["y"])
    assert graphs.op_types(copy) == ["Scan"]


def test_refuses_outputs_that_are_stacked_along_another_axis() -> None:
    model = graphs.model(scan(", scan_output_axes = [1]").replace("float[T, N, 4] z", "float[N, T, 4] z"))
    reason = "Scan 'y' stacks an output along another axis than the first"
    assert list(out_of_reach(model).values()) == [reason]
    with pytest.raises(ModelError, match=f"{reason}: it cannot be written as a Loop"):
        to_loop(next(iter(model.graph)), Names(model))
    with pytest.raises(ModelError, match=f"tensor 'xi' cannot be fetched: {reason}"):
        surface(model, ["xi"])
