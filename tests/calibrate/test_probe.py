from __future__ import annotations

import numpy as np
import pytest

from onnxzip.calibrate.probe import Passes, real_tokens, token_mask, values
from onnxzip.errors import DataError, ModelError
from tests.helpers.graphs import model as model_from_text
from tests.prune.nets import Net


def net() -> Net:
    return Net(2, 3, 6, 6)


def test_values_are_those_of_the_whole_model_and_only_what_they_need_is_run() -> None:
    n = net()
    first = n.op("Relu", n.conv("x", 4, 3))
    last = n.conv(n.op("Relu", n.conv(first, 4, 4)), 2, 4)
    model, batch, passes = n.model(last, ranks=(4,)), {"x": n.random(2, 3, 6, 6)}, Passes()
    ((_, found),) = values(model, [first, "x"], [batch], passes)
    assert set(found) == {first, "x"}
    assert passes.sweeps == 1
    assert passes.cost == pytest.approx(2 / 5)
    assert [o.name for o in model.graph.outputs] == [last]


def test_bad_data_is_named() -> None:
    n = net()
    y = n.conv("x", 4, 3)
    model = n.model(y)
    with pytest.raises(DataError, match="no batch"):
        list(values(model, [y], [], Passes()))
    with pytest.raises(DataError, match="batch 0: value 'conv0_out' is not finite"):
        list(values(model, [y], [{"x": np.full((2, 3, 6, 6), np.nan, np.float32)}], Passes()))
    with pytest.raises(ModelError, match="'z' is not computed"):
        list(values(model, ["z"], [{"x": n.random(2, 3, 6, 6)}], Passes()))


TEXT = """
<ir_version: 8, opset_import: ["" : 18]>
text (int64[b, s] ids, int64[b, s] attention_mask, int64[b, s] kinds, int64[b, s] flags) => (int64[b, s] y)
{
  a = Add(ids, attention_mask)
  c = Add(a, kinds)
  y = Add(c, flags)
}
"""


def feed(mask: list[list[int]], flags: list[list[int]]) -> dict[str, np.ndarray]:
    m = np.array(mask, np.int64)
    return {"ids": m * 7, "attention_mask": m, "kinds": m * 0, "flags": np.array(flags, np.int64)}


def test_the_mask_of_tokens_is_found() -> None:
    model = model_from_text(TEXT)
    padded = [[1, 1, 0], [1, 1, 1]]
    assert token_mask(model, [feed(padded, [[3, 0, 0], [1, 1, 0]])]) == "attention_mask"
    assert (
        token_mask(model, [feed(padded, [[1, 0, 0], [1, 1, 0]])]) == "attention_mask"
    )  # of two, the one that is named so
    assert token_mask(model, [feed([[1, 1], [1, 1]], [[1, 1], [1, 1]])]) is None  # nothing is padded


def test_padded_rows_are_left_out_of_grids_of_tokens_only() -> None:
    batch = {"m": np.array([[1, 1, 0], [1, 0, 0]])}
    flags = real_tokens(batch, "m", (2, 3))
    assert flags is not None
    assert flags.tolist() == [True, True, False, True, False, False]
    flat = real_tokens(batch, "m", (6,))
    assert flat is not None
    assert flat.tolist() == flags.tolist()
    heads = real_tokens(batch, "m", (2, 3, 2))
    assert heads is not None
    assert heads.tolist() == np.repeat(flags, 2).tolist()
    assert real_tokens(batch, "m", (2, 4)) is None
    assert real_tokens(batch, None, (2, 3)) is None
