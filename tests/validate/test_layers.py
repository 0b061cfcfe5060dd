"""Where the error is born, and what that means for the verdict: damaged models fail, sound ones pass."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

import onnxzip
from onnxzip import Config
from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.records import LayerError, Verdict
from onnxzip.validate import looker as module
from onnxzip.validate.layers import look
from onnxzip.validate.taps import few
from tests.helpers.graphs import model
from tests.validate.nets import NET, batches, net, renamed, weights

EASY = onnxzip.Budget(min_agreement=None, min_sqnr_db=None)
"""No limit on outputs: the layers decide alone."""


def verdict(candidate: onnx.ModelProto, original: onnx.ModelProto | None = None, **kwargs) -> Verdict:
    return onnxzip.compare(original or net(), candidate, batches(), EASY, **kwargs)


def worst(result: Verdict) -> LayerError:
    return min(result.layers, key=lambda e: math.inf if e.born_db is None else e.born_db)


def quantized(preset: str) -> onnx.ModelProto:
    config = Config(preset=preset, measure_speed=False, objective="size", budget=EASY)
    return onnxzip.optimize(net(), batches(4), config=config).to_proto()


def one_negated(name: str) -> dict[str, np.ndarray]:
    content = weights()[name].copy()
    content.reshape(-1)[7] *= -1
    return {name: content}


@pytest.mark.parametrize(("name", "layer"), [("w1", "c1"), ("w2", "c2"), ("w3", "y"), ("w4", "z")])
@pytest.mark.parametrize("other_names", [False, True])
def test_one_negated_weight_is_found_in_its_layer_and_nowhere_else(name, layer, other_names):
    damaged = net(one_negated(name))
    result = verdict(renamed(damaged) if other_names else damaged)
    assert not result.passed
    assert [e.name for e in result.layers if e.suspect] == [layer]
    assert worst(result).name == layer
    assert worst(result).share > 0.99
    assert f"'{layer}'" in result.reasons[0]


def test_the_error_gathers_behind_where_it_is_born():
    result = verdict(net({"w1": -weights()["w1"]}))
    errors = {e.name: e for e in result.layers}
    assert errors["c1"].born_db == errors["c1"].sqnr_db < 0
    assert errors["c2"].born_db == math.inf
    assert errors["c2"].sqnr_db < 20
    assert math.isclose(sum(e.share for e in result.layers), 1)
    assert [e.name for e in result.layers] == ["c1", "r1", "c2", "s", "r2", "p", "f", "y", "t", "z"]


def test_a_removed_relu_is_named_though_its_value_is_gone():
    result = verdict(net(text=NET.replace("r1 = Relu(c1)", "").replace("r1", "c1")))
    assert not result.passed
    suspects = [e for e in result.layers if e.suspect]
    assert {e.name for e in suspects} == {"c2", "s"}
    assert all(any(n.startswith("Relu") for n in e.nodes) for e in suspects)


def test_swapped_outputs_are_named():
    swapped = NET.replace("y = Gemm", "q = Gemm").replace("z = Gemm", "y = Gemm").replace("q = Gemm", "z = Gemm")
    result = verdict(net(text=swapped))
    assert not result.passed
    assert {e.name for e in result.layers if e.suspect} == {"y", "z"}


def test_swapped_labels_are_named_though_they_are_not_float():
    text = "agraph (float[N,5] x) => (int64[N] a, int64[N] b) { a = ArgMax <axis = 1, keepdims = 0> (x) n = Neg(x) b = ArgMax <axis = 1, keepdims = 0> (n) }"
    swapped = (
        text.replace("a = ArgMax", "q = ArgMax").replace("b = ArgMax", "a = ArgMax").replace("q = ArgMax", "b = ArgMax")
    )
    data = [{"x": np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)}]
    result = onnxzip.compare(model(text), model(swapped), data, EASY)
    assert {e.name for e in result.layers if e.suspect} == {"a", "b"}
    assert not result.passed
    assert onnxzip.compare(model(text), model(text), data, EASY, layers=True).passed


@pytest.mark.parametrize("preset", ["int8", "weights8", "weights4", "fp16"])
def test_number_formats_explain_their_errors_and_nothing_else(preset):
    sound = quantized(preset)
    result = verdict(sound, layers=True)
    assert result.passed
    assert any(e.born_db < 90 for e in result.layers)
    damaged = onnx.ModelProto.FromString(sound.SerializeToString())
    tensor = next(t for t in damaged.graph.initializer if _is_scale(damaged, t.name) or t.data_type == t.FLOAT16)
    tensor.CopyFrom(onnx.numpy_helper.from_array(2 * onnx.numpy_helper.to_array(tensor), tensor.name))
    result = verdict(damaged)
    assert not result.passed
    assert sum(e.suspect for e in result.layers) == 1


def _is_scale(proto: onnx.ModelProto, name: str) -> bool:
    """Of the weights of a layer."""
    stored = {t.name for t in proto.graph.initializer}
    stored |= {n.output[0] for n in proto.graph.node if n.op_type == "Cast" and n.input[0] in stored}
    return any(
        n.op_type in ("DequantizeLinear", "Mul") and n.input[1] == name and n.input[0] in stored
        for n in proto.graph.node
    )


def test_a_doubled_scale_of_one_channel_is_found():
    damaged = quantized("weights8")
    tensor = next(t for t in damaged.graph.initializer if _is_scale(damaged, t.name))
    scales = onnx.numpy_helper.to_array(tensor).copy()
    scales.reshape(-1)[1] *= 2
    tensor.CopyFrom(onnx.numpy_helper.from_array(scales, tensor.name))
    assert not verdict(damaged).passed


def test_an_exact_rewrite_passes_under_any_names():
    rewritten = onnxzip.optimize(net()).to_proto()
    for candidate in (net(), renamed(net()), rewritten, renamed(rewritten)):
        result = verdict(candidate, layers=True)
        assert result.passed
        assert not any(e.suspect for e in result.layers)
        assert result.layers


def test_a_name_that_took_in_the_next_node_is_no_error():
    """A Conv that took in the scale behind it and kept its name: other numbers, undone by what reads them."""
    text = "agraph (float[N,4,8,8] x) => (float[N,6,8,8] y) { c = Conv <pads = [1,1,1,1]> (x, w) %s r = Relu(m) y = Neg(r) }"
    w, s = weights()["w1"], np.linspace(0.5, 3, 6, dtype=np.float32).reshape(1, 6, 1, 1)
    before = model(text % "m = Mul(c, s)", w=w, s=s)
    after = model((text % "").replace("Relu(m)", "Relu(c)"), w=w * s.reshape(6, 1, 1, 1))
    result = onnxzip.compare(before, after, batches(), EASY, layers=True)
    assert result.passed
    assert "r" in [e.name for e in result.layers]
    damaged = model((text % "").replace("Relu(m)", "Relu(c)"), w=-w * s.reshape(6, 1, 1, 1))
    assert not onnxzip.compare(before, damaged, batches(), EASY).passed


def with_codes(text: str, codes: np.ndarray, scale: float, **others: np.ndarray) -> onnx.ModelProto:
    return model(text, q=codes.astype(np.int8), s=np.float32(scale), z=np.int8(0), **others)


def test_a_layer_that_took_in_its_bias_and_kept_its_name_is_no_error_in_int8():
    """Found on magika: what reads the value is float and exact, so that the bias that is missing where the original's value is fed stands out."""
    w, b = weights()["w1"], np.linspace(-2, 2, 6, dtype=np.float32)
    scale = float(np.abs(w).max()) / 127
    codes = np.round(w / scale)
    text = "agraph (float[N,4,8,8] x) => (float[N,6,8,8] y) { %s t = Tanh(a) m = Mul(a, t) y = Add(m, a) }"
    before = model(text % "c = Conv <pads = [1,1,1,1]> (x, w) a = Add(c, b)", w=w, b=b.reshape(6, 1, 1))
    inside = "d = DequantizeLinear(q, s, z) c = Conv <pads = [1,1,1,1]> (x, d, b)"
    after = with_codes(
        (text % inside).replace("(a)", "(c)").replace("(a,", "(c,").replace("a)", "c)"), codes, scale, b=b
    )
    result = onnxzip.compare(before, after, batches(), EASY, layers=True)
    assert result.passed
    assert not any(e.guilty for e in result.layers)
    codes[2, 1] *= -1
    damaged = with_codes(
        (text % inside).replace("(a)", "(c)").replace("(a,", "(c,").replace("a)", "c)"), codes, scale, b=b
    )
    assert not onnxzip.compare(before, damaged, batches(), EASY).passed


def test_an_approximated_formula_is_a_warning():
    """Small errors, spread over all channels, that outputs feel: not sure to be wrong."""
    text = "agraph (float[N,4,8,8] x) => (float[N,6,8,8] y) { c = Conv <pads = [1,1,1,1]> (x, w) t = Tanh(c) %s y = Neg(m) }"
    w = weights()["w1"]
    before = model(text % "m = Mul(t, k)", w=w, k=np.float32(1))
    after = model(text % "m = Mul(t, k)", w=w, k=np.float32(1.0005))
    result = onnxzip.compare(before, after, batches(), EASY)
    assert result.passed
    assert [e.name for e in result.layers if e.suspect] == ["m"]
    assert any("look at it" in w for w in result.warnings)


def test_a_scaled_channel_order_is_undone_by_its_reader():
    order = np.array([3, 1, 5, 0, 2, 4])
    w = weights()
    text = NET.replace("s = Add(c2, r1)", "s = Identity(c2)")
    before = net(text=text)
    after = net({"w1": w["w1"][order], "b1": w["b1"][order], "w2": w["w2"][:, order]}, text)
    result = verdict(after, before, layers=True)
    assert result.passed
    assert not {"c1", "r1"} & {e.name for e in result.layers}


def test_a_model_that_was_trained_anew_is_judged_by_its_outputs():
    text = NET.replace("r2 = Relu(s)", "c5 = Conv(s, w5) r2 = Relu(c5)")
    rng = np.random.default_rng(5)
    more = {**weights(), "w5": rng.standard_normal((6, 6, 1, 1)).astype(np.float32)}
    tuned = {n: w + 0.01 * rng.standard_normal(w.shape).astype(np.float32) for n, w in more.items()}
    result = verdict(net(tuned, text), net(more, text))
    assert result.passed
    assert any("trained anew" in w for w in result.warnings)
    assert verdict(net({**more, **one_negated("w1")}, text), net(more, text)).passed is False


def test_a_model_with_no_value_in_common_is_judged_by_its_outputs():
    """Trained apart, so that channels mean other things: the original's values make the outputs worse wherever they are given."""
    text = NET.replace("r2 = Relu(s)", "c5 = Conv(s, w5) r2 = Relu(c5)")
    models = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        shapes = {**{n: w.shape for n, w in weights().items()}, "w5": (6, 6, 1, 1)}
        models.append(net({n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}, text))
    result = verdict(models[1], models[0])
    assert result.passed
    assert any("other weights" in w for w in result.warnings)


def test_what_was_pruned_and_refitted_is_judged_by_its_outputs():
    text = NET.replace("s = Add(c2, r1)", "s = Identity(c2)")
    w = weights()
    pruned = {"w1": w["w1"][:5], "b1": w["b1"][:5], "w2": w["w2"][:, :5] * 1.05}
    result = verdict(net(pruned, text), net(text=text))
    assert result.passed
    assert any("re-fitted" in w for w in result.warnings)
    damaged = verdict(net({**pruned, **one_negated("w3")}, text), net(text=text))
    assert [e.name for e in damaged.layers if e.suspect and e.name in damaged.reasons[0]] == ["y"]
    lost = verdict(net({**pruned, "w2": -pruned["w2"]}, text), net(text=text))
    assert not lost.passed


def test_outputs_alone_are_judged_where_that_is_asked_for():
    damaged = net(one_negated("w1"))
    assert verdict(damaged, layers=False) == onnxzip.compare(net(), damaged, batches(), EASY, layers=False)
    assert verdict(damaged, layers=False).passed
    assert verdict(net()).layers == ()  # equal outputs leave nothing open
    assert onnxzip.compare(net(), net(), layers=True).layers  # unless they are asked for
    lenient = onnxzip.Budget(min_agreement=None, min_sqnr_db=None, layers=False)
    assert onnxzip.compare(net(), damaged, batches(), lenient).passed


def test_a_change_without_effect_on_given_data_is_none():
    text = "agraph (float[N,4] x) => (float[N,4] y) { a = Abs(x) %s y = Sqrt(r) }"
    assert onnxzip.compare(model(text % "r = Relu(a)"), model(text.replace("(r)", "(a)") % ""), layers=True).passed


def test_groups_within_the_memory_give_the_same(monkeypatch):
    damaged = net(one_negated("w2"))
    models = [load(m).model for m in (net(), damaged)]
    whole = look(*models, batches())
    monkeypatch.setattr(module, "MEMORY", 4000)
    assert [(e.name, e.born_db, e.sqnr_db) for e in look(*models, batches()).layers] == [
        (e.name, e.born_db, e.sqnr_db) for e in whole.layers
    ]


def test_bodies_count_as_part_of_their_node():
    text = """agraph (float[N,4] x, bool c) => (float[N,4] y) {{
        a = Abs(x)
        b = If (c) <then_branch = g () => (float[N,4] t) {{ t = Mul(a, k) }}, else_branch = h () => (float[N,4] e) {{ e = Neg(a) }}>
        y = {0}(b)
    }}"""
    k, data = np.full(4, 3, np.float32), [{"x": np.ones((8, 4), np.float32), "c": np.array(True)}]
    before, after = model(text.format("Exp"), k=k), model(text.format("Exp"), k=2 * k)
    result = onnxzip.compare(before, after, data, EASY)
    assert not result.passed
    assert worst(result).operator == "If"
    assert onnxzip.compare(before, before, data, EASY, layers=True).passed


def test_what_cannot_be_looked_at_is_said(monkeypatch):
    def refuse(*args, **kwargs):
        raise ModelError("no memory")

    monkeypatch.setattr("onnxzip.gate.look", refuse)
    result = verdict(net(one_negated("w1")))
    assert any("no memory" in w for w in result.warnings)


def test_some_samples_are_enough():
    m = model("agraph (float[N,4] x) => (float[N,4] y) { y = Relu(x) }")
    from onnxzip.runtime import Session

    session = Session(m, threads=1)
    assert [b["x"].shape for b in few([{"x": np.ones((5, 4), np.float32)}] * 3, session)] == [(5, 4), (3, 4)]
    assert len(few([{"x": np.ones((1, 4), np.float32)}] * 9, session)) == 4
    data = [{"x": np.full((9, 4), i, np.float32)} for i in range(9)]
    assert [(b["x"][0, 0], len(b["x"])) for b in few(data, session, (7, 2))] == [(0, 8), (7, 1)]
