"""`inspect`: what is in a model, by numbers that are known beforehand; honest where something fails."""

from __future__ import annotations

import io
import json

import numpy as np
import onnx
import pytest
from rich.console import Console

from onnxzip import inspection
from onnxzip.inspection import inspect
from onnxzip.report.inspection import show, to_json
from tests.helpers.graphs import model

TEXT = """<ir_version: 8, opset_import: ["" : 18], producer_name: "hand", producer_version: "1">
g (float[N,4] x) => (float[N,3] y) { a = Identity(x) b = MatMul(a, w) c = Add(b, bias) d = Add(c, again) y = Relu(d) }"""


def small():
    bias = np.ones(3, np.float32)
    return model(TEXT, w=np.ones((4, 3), np.float32), bias=bias, again=bias.copy())


def shown(found, *, everything: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(show(found, everything=everything), soft_wrap=True)
    return out.getvalue()


def chain(count: int):
    lines = " ".join(f"v{i + 1} = Add(v{i}, w{i})" for i in range(count))
    return model(
        f"g (float[N,4] v0) => (float[N,4] v{count}) {{ {lines} }}",
        **{f"w{i}": np.full(4, i, np.float32) for i in range(count)},
    )


def test_the_facts_of_a_small_model():
    found = inspect(small())
    assert (found.producer, found.ir_version, found.opsets) == ("hand 1", 8, {"": 18})
    assert found.facts.nodes == 5
    assert found.after_rewrite.nodes < 5
    assert {p.name: p.changes for p in found.passes}["remove_noops"] == 1
    assert found.dynamic == {"N": ("x[0]", "y[0]")}
    assert found.types == {"float32": 72}
    assert {w.name: w.copy_of for w in found.weights}["again"] == "bias"
    assert found.refused is None
    assert not found.notes


def test_everything_is_json():
    found = json.loads(to_json(inspect(small())))
    assert found["weights"][0]["name"] == "w"
    assert found["passes"][0]["name"]


def test_a_large_model_takes_a_screenful_unless_all_is_asked_for():
    found = inspect(chain(60))
    brief, everything = shown(found), shown(found, everything=True)
    assert len(brief.splitlines()) <= 50
    assert "60 weights" in brief
    assert "w7 " not in brief
    assert all(f"w{i} " in everything for i in range(60))


def test_what_a_screenful_says():
    text = shown(inspect(small()))
    for words in ("opset 18; IR version 8; written by hand 1", "dynamic N: x[0], y[0]", "float32 72 B", "remove_noops"):
        assert words in text
    assert "1 are stored again (12 B)" in text


def test_a_model_without_weights_or_names():
    text = shown(inspect(model("g (float[3] x) => (float[3] y) { y = Relu(x) }")))
    assert "weights" not in text
    assert "dynamic" not in text
    assert "an unnamed producer" in text


def test_a_model_that_optimize_would_refuse_is_still_looked_into():
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18, "my" : 1]> g (float[3] x) => (float[3] y) { a = Identity(x) y = my.Op(a) }'
    )
    found = inspect(proto)
    assert found.refused
    assert found.after_rewrite.nodes == 1
    assert "`optimize` would refuse this model" in shown(found)


@pytest.mark.parametrize("part", ["run", "eliminate", "quantizable"])
def test_a_part_that_fails_is_named_and_the_rest_is_shown(monkeypatch, part):
    def fails(*_: object, **__: object):
        raise KeyError("half way")

    monkeypatch.setattr(inspection, part, fails)
    found = inspect(small())
    assert found.facts.nodes == 5
    assert any("failed and is left out: KeyError" in note for note in found.notes)
    assert (found.after_rewrite is None) == (part == "run")
    assert (found.after_prune is None) == (part == "eliminate")
    text = shown(found)
    assert "KeyError" in text
    assert ("could not be found out" in text) == (part != "quantizable")


def test_nothing_is_written(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(onnx.parser.parse_model(TEXT.replace("w)", "x)")), path)
    before = path.read_bytes()
    inspect(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_graph_that_cannot_be_copied_is_said_in_one_line():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Add(x, nowhere) }'
    found = inspect(onnx.parser.parse_model(text))
    assert found.refused
    assert found.notes
    assert not any("\n" in note for note in found.notes)
    assert all("nowhere" in note for note in found.notes)
