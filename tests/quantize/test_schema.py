import json

import numpy as np
import pytest

from onnxzip.errors import UsageError
from onnxzip.quantize import LeftNode, PlannedNode, QuantPlan, Site, Weight

PLAN = QuantPlan(
    target="cpu",
    method="mse",
    sites=(Site(tensor="é x", dtype="uint8", scale=float(np.float32(0.1)), zero_point=3, readers="all"),),
    weights=(Weight(initializer="w", dtype="int8", axis=0, zero_points=False),),
    nodes=(
        PlannedNode(node="c", op="Conv", output="y", role="conv", weight="w"),
        PlannedNode(node="r", op="Reshape", output="z", role="pass"),
    ),
    left=(LeftNode(node="t", op="ConvTranspose", output="u", reason="no kernel"),),
    notes=("a note",),
)


def test_round_trip() -> None:
    assert QuantPlan.from_json(PLAN.to_json()) == PLAN
    assert QuantPlan.from_json(PLAN.to_json()).to_json() == PLAN.to_json()
    empty = QuantPlan(target="cpu", method="mse")
    assert QuantPlan.from_json(empty.to_json()) == empty


def test_json_is_readable_one_entry_a_line() -> None:
    lines = PLAN.to_json().splitlines()
    assert '    {"tensor": "é x", "dtype": "uint8", "scale": 0.1, "zero_point": 3, "readers": "all"}' in lines
    assert json.loads(PLAN.to_json())["onnxzip_plan"] == 2


@pytest.mark.parametrize(
    "scale",
    [np.float32(1) / 3, np.finfo(np.float32).tiny, np.float32(3e38), np.nextafter(np.float32(1), np.float32(2))],
)
def test_every_float32_scale_survives(scale: np.float32) -> None:
    plan = QuantPlan(
        target="cpu",
        method="mse",
        sites=(Site(tensor="x", dtype="uint8", scale=float(scale), zero_point=0, readers="all"),),
    )
    assert QuantPlan.from_json(plan.to_json()).sites[0].scale == float(scale)


def edited(**changes: object) -> str:
    data = json.loads(PLAN.to_json())
    for path, value in changes.items():
        *parents, key = path.split("__")
        place = data
        for p in parents:
            place = place[int(p) if p.isdigit() else p]
        place[key] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a quantization plan"),
        ('{"a": 1}', "not a quantization plan"),
        (edited(onnxzip_plan=9), "version 9, this onnxzip reads version 2"),
        (edited(extra=1), "'extra', which is not known"),
        (edited(sites={}), "'sites' of the plan must be a list"),
        (edited(sites__0__zero_point=256), "site 'é x'"),
        (
            edited(sites__0__zero_point="3"),
            "'zero_point' in entry 0 of 'sites' of the plan must be of type int, not '3'",
        ),
        (edited(sites__0__scale=0), "scale 0.0"),
        (edited(sites__0__scale=1e-44), "not a normal positive number"),
        (edited(sites__0__scale=float("inf")), "scale inf"),
        (edited(sites__0__readers="some"), "readers 'all', 'quantized' or 'factor'"),
        (edited(sites__0__dtype="int4"), "must be uint8, int8, uint16, int16"),
        (edited(sites__0__dtype="int8", sites__0__zero_point=128), "among its codes"),
        (edited(sites__0__color="red"), "'color', which is not known"),
        (edited(sites=[1]), "entry 0 of 'sites' of the plan must be an object"),
        (edited(weights=[{"initializer": "w", "dtype": "int8"}]), "entry 0 of 'weights' of the plan lacks 'axis'"),
        (edited(weights__0__dtype="int4"), "must be int8"),
        (edited(nodes__0__role="magic"), "has the role 'magic'"),
    ],
)
def test_broken_plans_are_refused_and_the_entry_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        QuantPlan.from_json(text)
