"""The stages together: whoever breaks something is named and taken back, and the best so far is never lost."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxzip
from onnxzip import Budget, Config, pipeline, pruning, rewriting
from onnxzip.model.edit import new_node
from onnxzip.passes import PASSES
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.local import local
from onnxzip.passes.runner import run
from tests.helpers.graphs import model


def negate_outputs(m: ir.Model, context: Context) -> Outcome:
    """A pass with a bug: the structure is sound, the numbers are not."""
    relu = next((n for n in m.graph if n.op_type == "Relu"), None)
    if relu is None:
        return Outcome()
    wrong = new_node("Neg", relu.inputs, context.names.fresh("wrong"))
    m.graph.insert_before(relu, wrong)
    relu.replace_input_with(0, wrong.outputs[0])
    relu.op_type = "Abs"
    return Outcome(changes=1)


def small() -> onnx.ModelProto:
    return onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,4] y) { t = Identity(x) u = Relu(t) y = Identity(u) }'
    )


def test_a_pass_that_changes_numbers_is_named_and_taken_back(monkeypatch):
    """failures.md 9: a check that fails stops what it checks."""
    monkeypatch.setattr(rewriting, "run", lambda m, **kwargs: run(m, (*PASSES, negate_outputs), **kwargs))
    result = onnxzip.optimize(small())
    assert [n.op_type for n in result.to_proto().graph.node] == ["Relu"]
    rewrite = result.report.record.stages[0]
    assert rewrite.kept
    assert {p.name for p in rewrite.passes if p.taken_back} == {"negate_outputs"}
    assert "negate_outputs was taken back" in result.report.to_text()


def test_strict_makes_it_an_error(monkeypatch):
    monkeypatch.setattr(rewriting, "run", lambda m, **kwargs: run(m, (*PASSES, negate_outputs), **kwargs))
    with pytest.raises(onnxzip.PassError):
        onnxzip.optimize(small(), config=Config(strict=True))


def test_verify_each_finds_the_pass_too(monkeypatch):
    monkeypatch.setattr(rewriting, "run", lambda m, **kwargs: run(m, (*PASSES, negate_outputs), **kwargs))
    result = onnxzip.optimize(small(), config=Config(verify_each=True))
    assert [n.op_type for n in result.to_proto().graph.node] == ["Relu"]
    assert {p.name for p in result.report.record.stages[0].passes if p.taken_back} == {"negate_outputs"}


@local("Relu")
def loses_the_second(node: ir.Node, context: Context) -> bool:
    """A rule with a bug at one node only: Relu becomes Abs where it reads an output of a Relu."""
    if node.name != "second":
        return False
    node.op_type = "Abs"
    node.name = "third"
    return True


def test_the_very_node_is_named(monkeypatch):
    table = (*(p for p in PASSES if p.__name__ != "remove_noops"), loses_the_second)
    monkeypatch.setattr(rewriting, "run", lambda m, **kwargs: run(m, table, **kwargs))
    before = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N,4] x) => (float[N,4] y) { t = Relu(x) u = Neg(t) y = Relu(u) }'
    )
    before.graph.node[2].name = "second"
    record = onnxzip.optimize(before).report.record.stages[0].passes[-1]
    assert record.changes == 0
    assert record.taken_back is not None
    assert record.taken_back.startswith("at Relu 'second': ")
    with pytest.raises(onnxzip.PassError, match="loses_the_second.*at Relu 'second'"):
        onnxzip.optimize(before, config=Config(strict=True))


def test_nodes_may_be_preferred_to_bytes():
    """failures.md 1: by default folding never makes the file larger; who wants fewer nodes says so."""
    text = """<ir_version: 8, opset_import: ["" : 18]> g (float[N,64] x) => (float[N,64] y)
        <int64[2] shape = {64, 64}> { w = ConstantOfShape(shape) v = Cos(w) y = MatMul(x, v) }"""
    before = onnx.parser.parse_model(text)
    small, large = (onnxzip.optimize(before, config=Config(prefer=p)) for p in ("bytes", "nodes"))
    assert [n.op_type for n in small.to_proto().graph.node] == ["ConstantOfShape", "Cos", "MatMul"]
    assert small.to_proto().ByteSize() <= before.ByteSize()
    assert [n.op_type for n in large.to_proto().graph.node] == ["MatMul"]
    assert large.verdict.passed
    with pytest.raises(onnxzip.UsageError, match="prefer 'speed' is not known"):
        Config(prefer="speed")


def test_a_wrong_elimination_is_taken_back(monkeypatch):
    real = pruning.eliminate

    def wrong(m, **kwargs):
        pruned, record = real(m, **kwargs)
        for value in pruned.graph.initializers.values():
            if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT:
                value.const_value = ir.tensor(-value.const_value.numpy(), name=value.name)
        return pruned, record

    monkeypatch.setattr(pruning, "eliminate", wrong)
    result = onnxzip.optimize(zeroed_mlp(zeros=9))
    prune = result.report.record.stages[1]
    assert (prune.name, prune.kept) == ("eliminate", False)
    assert "SQNR" in prune.summary
    assert result.verdict.passed


def zeroed_mlp(zeros: int = 5) -> onnx.ModelProto:
    from onnxzip.model.save import to_proto

    rng = np.random.default_rng(0)
    w = rng.standard_normal((16, 8)).astype(np.float32)
    w[:zeros] = 0
    return to_proto(
        model(
            "agraph (float[N,8] x) => (float[N,3] y) { a = Gemm <transB = 1> (x, w, b) r = Relu(a) y = Gemm <transB = 1> (r, v, c) }",
            w=w,
            b=np.where(np.arange(16) < zeros, 0, 1).astype(np.float32),
            v=rng.standard_normal((3, 16)).astype(np.float32),
            c=np.zeros(3, np.float32),
        )
    )


def test_zeroed_channels_are_removed_for_real():
    result = onnxzip.optimize(zeroed_mlp(), config=Config(objective="size"))
    shapes = {tuple(t.dims) for t in result.to_proto().graph.initializer}
    assert (11, 8) in shapes
    assert (3, 11) in shapes
    assert result.verdict.metrics["sqnr_db"] > 90


def test_widths_stay_multiples_of_8_for_speed():
    narrow = onnxzip.optimize(zeroed_mlp(zeros=9)).to_proto()
    assert (8, 8) in {tuple(t.dims) for t in narrow.graph.initializer}
    same = onnxzip.optimize(zeroed_mlp(zeros=5)).to_proto()
    assert (16, 8) in {tuple(t.dims) for t in same.graph.initializer}


def transformer() -> onnx.ModelProto:
    """One attention block with dynamic batch and sequence, reshaped through Shape arithmetic as exporters do."""
    from onnxzip.model.save import to_proto

    rng = np.random.default_rng(0)
    width, heads, rows = 32, 4, 50
    text = f"""agraph (int64[batch,seq] ids) => (float[batch,seq,{width}] y) {{
        e = Gather(table, ids)
        n = LayerNormalization <axis = -1> (e, g, b)
        q0 = MatMul(n, wq) q = Add(q0, bq)
        k0 = MatMul(n, wk) v0 = MatMul(n, wv)
        s = Shape(e) zero = Constant <value_int = 0> () one = Constant <value_int = 1> ()
        d0 = Gather(s, zero) d1 = Gather(s, one)
        axes = Constant <value_ints = [0]> () u0 = Unsqueeze(d0, axes) u1 = Unsqueeze(d1, axes)
        hh = Constant <value_ints = [{heads}]> () hd = Constant <value_ints = [{width // heads}]> () ww = Constant <value_ints = [{width}]> ()
        split = Concat <axis = 0> (u0, u1, hh, hd) join = Concat <axis = 0> (u0, u1, ww)
        q1 = Reshape(q, split) qt = Transpose <perm = [0, 2, 1, 3]> (q1)
        k1 = Reshape(k0, split) kt = Transpose <perm = [0, 2, 3, 1]> (k1)
        v1 = Reshape(v0, split) vt = Transpose <perm = [0, 2, 1, 3]> (v1)
        a = MatMul(qt, kt) p = Softmax <axis = -1> (a) o = MatMul(p, vt)
        ot = Transpose <perm = [0, 2, 1, 3]> (o) oj = Reshape(ot, join)
        f = MatMul(oj, wo) y = Add(e, f)
    }}"""
    weights = {k: rng.standard_normal((width, width)).astype(np.float32) / 6 for k in ("wq", "wk", "wv", "wo")}
    vectors = {
        "g": np.ones(width, np.float32),
        "b": np.zeros(width, np.float32),
        "bq": rng.standard_normal(width).astype(np.float32),
    }
    return to_proto(model(text, table=rng.standard_normal((rows, width)).astype(np.float32), **weights, **vectors))


def test_an_ordinary_transformer_export_with_ragged_batches_goes_through():
    """failures.md 16, 19: dynamic batch and sequence, batches of different shape, no symbolic shape inference to fail."""
    rng = np.random.default_rng(1)
    data = [{"ids": rng.integers(0, 50, (b, s))} for b, s in ((4, 7), (2, 12), (4, 3), (1, 20), (3, 9), (4, 16))]
    result = onnxzip.optimize(transformer(), calibration=data)
    assert result.verdict.passed
    assert result.verdict.metrics["sqnr_db"] > 20
    assert any(n.op_type == "DequantizeLinear" for n in result.to_proto().graph.node)
    dims = [d.dim_param for d in result.to_proto().graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "seq"]


def test_a_model_without_float_work_passes_through_int8_with_the_reason():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (int64[N,4] x) => (int64[N,4] y) { t = Identity(x) y = Abs(t) }'
    result = onnxzip.optimize(
        onnx.parser.parse_model(text), calibration=[{"x": np.ones((2, 4), np.int64)} for _ in range(4)]
    )
    quantize = result.report.record.stages[-1]
    assert not quantize.kept
    assert result.verdict.passed


def test_min_speedup_is_a_gate():
    result = onnxzip.optimize(zeroed_mlp(), config=Config(budget=Budget(min_speedup=1000)))
    assert not result.verdict.passed
    assert "speed-up" in result.verdict.reasons[0]


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "qnn", "qnn16"])
def test_speed_is_not_measured_for_a_machine_that_this_one_is_not(target):
    rng = np.random.default_rng(0)
    net = model(
        "agraph (float[4,32] x) => (float[4,16] y) { g = Gemm(x, w, b) r = Relu(g) y = MatMul(r, v) }",
        w=rng.standard_normal((32, 256)).astype(np.float32),
        b=rng.standard_normal(256).astype(np.float32),
        v=rng.standard_normal((256, 16)).astype(np.float32),
    )
    batches = [{"x": rng.standard_normal((4, 32)).astype(np.float32)} for _ in range(12)]
    result = onnxzip.optimize(net, calibration=batches, config=Config(target=target))
    assert result.verdict.passed
    assert result.verdict.speed is None
    assert f"this machine is not the target ({target})" in " ".join(result.report.record.notes)
    quantize = result.report.record.stages[-1]
    assert (quantize.name, quantize.kept) == ("quantize", True)
    assert result.plan is not None
    assert result.plan.target == target
    asked = onnxzip.optimize(net, calibration=batches, config=Config(target=target, measure_speed=True))
    assert asked.verdict.speed is not None


def test_a_limit_on_speed_needs_the_target():
    config = Config(target="tensorrt", budget=Budget(min_speedup=1.5))
    with pytest.raises(onnxzip.UsageError, match="min_speedup cannot be judged for target tensorrt"):
        onnxzip.optimize(small(), config=config)


def spelled_out(opset: int) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,4] x) => (float[N,4] y)
        <float root = {{1.4142135}}, float one = {{1.0}}, float half = {{0.5}}>
        {{ a = Div(x, root) e = Erf(a) s = Add(e, one) m = Mul(x, s) y = Mul(m, half) }}"""
    )


def test_a_newer_opset_has_more_operators():
    result = onnxzip.optimize(spelled_out(15), config=Config(opset=20))
    assert [n.op_type for n in result.to_proto().graph.node] == ["Gelu"]
    assert result.to_proto().opset_import[0].version == 20
    assert [(s.name, s.kept) for s in result.report.record.stages[:2]] == [("opset", True), ("rewrite", True)]
    as_it_is = onnxzip.optimize(spelled_out(15)).to_proto()
    assert as_it_is.opset_import[0].version == 15
    assert len(as_it_is.graph.node) == 5


def test_its_own_opset_is_nothing_to_raise():
    result = onnxzip.optimize(spelled_out(20), config=Config(opset=20))
    assert result.report.record.stages[0].name == "rewrite"


@pytest.mark.parametrize(("wanted", "reason"), [(13, "only raised"), (1000, "is not known to onnx")])
def test_an_opset_that_cannot_be_had(wanted, reason):
    with pytest.raises(onnxzip.UsageError, match=reason):
        onnxzip.optimize(spelled_out(15), config=Config(opset=wanted))


def test_a_converter_that_changes_the_model_is_told(monkeypatch):
    def wrong(m, version):
        other = m.clone()
        next(n for n in other.graph if n.op_type == "Erf").op_type = "Tanh"
        return other

    monkeypatch.setattr(pipeline, "raise_opset", wrong)
    with pytest.raises(onnxzip.ModelError, match="export the model with opset 20"):
        onnxzip.optimize(spelled_out(15), config=Config(opset=20))


def test_contrib_operators_have_to_be_allowed(monkeypatch):
    seen = []
    monkeypatch.setattr(
        rewriting, "run", lambda m, **kwargs: seen.append(kwargs["allowed"].contrib) or run(m, **kwargs)
    )
    onnxzip.optimize(small())
    onnxzip.optimize(small(), config=Config(allow_contrib=True))
    assert seen == [False, True]
