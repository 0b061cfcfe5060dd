"""Weights alone: what is stored, what onnxruntime makes of it, and that it is rounded on what there is."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.config import Config
from onnxzip.errors import UsageError
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.quantize import insert, quantize, quantize_weights
from onnxzip.runtime import Session
from tests.helpers.graphs import model
from tests.quantize.audit import feeds, runtime_ops, sqnr


def normal(*shape: int) -> np.ndarray:
    """The same numbers for the same shape: every call makes the same net."""
    numbers: np.ndarray = (np.random.default_rng(shape).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
    return numbers


EIGHT, FOUR = Config(preset="weights8"), Config(preset="weights4")


@pytest.fixture
def _forgiving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes back to 8 bits: on noise, 4 bits cost more than on data that a net was made for."""
    monkeypatch.setattr("onnxzip.quantize.ladder4.NOISE", 1.0)


def conv_net() -> ir.Model:
    return model(
        "agraph (float[N,16,8,8] x) => (float[N,16,4,4] y) { [one] a = Conv(x, w) r = Relu(a) [two] y = Conv(r, v) }",
        w=normal(16, 16, 3, 3),
        v=normal(16, 16, 3, 3),
    )


def dense_net() -> ir.Model:
    """A MatMul with a bias, a Gemm, and one with transB."""
    return model(
        """agraph (float[N,64] x) => (float[N,32] y) {
            a = MatMul(x, w) b = Add(a, c) r = Sigmoid(b) g = Gemm(r, u) t = Tanh(g) [last] y = Gemm<transB=1>(t, v)
        }""",
        w=normal(64, 128),
        c=normal(128),
        u=normal(128, 128),
        v=normal(32, 128),
    )


def put(net: ir.Model, config: Config, data: object = None) -> ir.Model:
    choice = quantize_weights(net, config, data)  # type: ignore[arg-type]
    assert choice.model is not None, choice.summary
    onnx.checker.check_model(to_proto(choice.model), full_check=True)
    return choice.model


def float_sqnr(net: ir.Model, after: ir.Model) -> float:
    """In dB, the runtime's optimizations off: what the weights alone cost."""
    batch = feeds(net, 5)[4]
    before, found = (Session(m, level="none", threads=1).run(batch)["y"] for m in (net, after))
    return float(10 * np.log10((before**2).sum() / ((before - found) ** 2).sum()))


def test_weights_alone_are_stored_in_a_quarter_and_activations_stay_float() -> None:
    after = put(conv_net(), EIGHT)
    kinds = [n.op_type for n in after.graph]
    assert kinds.count("Cast") == kinds.count("Mul") == 2  # see `at_load`
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds)
    assert model_bytes(after) < 0.3 * model_bytes(conv_net())
    assert sqnr(conv_net(), after, feeds(conv_net())[0]) > 35
    assert (
        quantize_weights(conv_net(), EIGHT).summary == "the weights of 2 nodes are stored in int8, 0 nodes stay float"
    )


@pytest.mark.usefixtures("_forgiving")
def test_dense_layers_run_in_matmulnbits(tmp_path: Path) -> None:
    for config, data in ((EIGHT, None), (FOUR, None), (FOUR, feeds(dense_net()))):
        after = put(dense_net(), config, data)
        ops = runtime_ops(after, tmp_path)
        assert ops["MatMulNBits"] == 3
        assert ops["DequantizeLinear"] == 0


def test_a_gemm_is_turned_only_where_nobody_else_reads_its_weights(tmp_path: Path) -> None:
    tied = model(
        "agraph (int64[N] i) => (float[N,2000] y) { e = Gather(t, i) h = Tanh(e) y = Gemm<transB=1>(h, t) }",
        t=normal(2000, 32),
    )
    after = put(tied, EIGHT)
    assert [n.attributes.get_int("transB", 0) for n in after.graph if n.op_type == "Gemm"] == [1]
    assert sum(v.dtype == ir.DataType.INT8 for v in after.graph.initializers.values()) == 1
    alone = put(dense_net(), EIGHT)
    assert [n.attributes.get_int("transB", 0) for n in alone.graph if n.op_type == "Gemm"] == [0, 0]
    assert float_sqnr(dense_net(), alone) > 35


@pytest.mark.usefixtures("_forgiving")
def test_data_makes_rounding_better() -> None:
    for config in (EIGHT, FOUR):
        without, with_data = (
            float_sqnr(dense_net(), put(dense_net(), config, data)) for data in (None, feeds(dense_net(), 4, N=512))
        )
        assert with_data > without + 0.5


@pytest.mark.usefixtures("_forgiving")
def test_fewer_rows_than_columns_are_never_worse_than_nearest_by_much() -> None:
    nearest, few = (float_sqnr(dense_net(), put(dense_net(), FOUR, d)) for d in (None, feeds(dense_net(), 1, N=8)))
    assert few > nearest - 1.5


@pytest.mark.usefixtures("_forgiving")
def test_four_bits_take_half_of_eight() -> None:
    eight, four = put(dense_net(), EIGHT), put(dense_net(), FOUR, feeds(dense_net()))
    assert four.graph.opset_imports[""] >= 21
    assert four.ir_version >= 10
    kinds = [v.dtype for v in four.graph.initializers.values()]
    assert ir.DataType.UINT4 in kinds
    assert model_bytes(four) < 0.75 * model_bytes(eight)


def test_conv_keeps_eight_bits_without_data_and_small_ones_always() -> None:
    wide = model("agraph (float[N,64,6,6] x) => (float[N,8,4,4] y) { y = Conv(x, w) }", w=normal(8, 64, 3, 3))
    choice = quantize_weights(wide, FOUR)
    assert choice.plan is not None
    assert [w.dtype for w in choice.plan.weights] == ["int8"]
    assert any("without data, 4 would cost too much" in n for n in choice.notes)
    small = quantize_weights(conv_net(), FOUR, feeds(conv_net()))
    assert small.plan is not None
    assert [w.dtype for w in small.plan.weights] == ["int8", "int8"]


@pytest.mark.usefixtures("_forgiving")
def test_conv_of_four_bits_computes_what_its_plan_says() -> None:
    net = model("agraph (float[N,64,6,6] x) => (float[N,8,4,4] y) { y = Conv(x, w) }", w=normal(8, 64, 3, 3))
    choice = quantize_weights(net, FOUR, feeds(net, 4, N=256))
    assert choice.plan is not None
    assert choice.model is not None
    assert [w.dtype for w in choice.plan.weights] == ["uint4"]
    assert 15 < float_sqnr(net, choice.model) < 40


@pytest.mark.parametrize("config", [EIGHT, FOUR])
@pytest.mark.parametrize("data", [None, feeds(dense_net())])
def test_plan_is_replayed_to_the_same_bytes(tmp_path: Path, config: Config, data: object) -> None:
    first = quantize_weights(dense_net(), config, data)  # type: ignore[arg-type]
    assert first.plan is not None
    assert first.model is not None
    path = tmp_path / "plan.json"
    path.write_text(first.plan.to_json(), encoding="utf-8")
    again = quantize_weights(dense_net(), Config(preset=config.preset, plan=str(path)))
    assert again.model is not None
    assert to_proto(first.model).SerializeToString() == to_proto(again.model).SerializeToString()


def test_two_runs_give_the_same_plan() -> None:
    plans = [quantize_weights(dense_net(), FOUR, feeds(dense_net())).plan for _ in range(2)]
    assert plans[0] == plans[1]


def test_tables_of_four_bits_are_looked_up_before_they_are_scaled(tmp_path: Path) -> None:
    net = model("agraph (int64[N,M] i) => (float[N,M,64] y) { e = Gather(t, i) y = Tanh(e) }", t=normal(2000, 64))
    batch = {"i": np.arange(12).reshape(3, 4) * 150}
    after = put(net, FOUR)
    assert model_bytes(after) < 0.16 * model_bytes(net)
    assert runtime_ops(after, tmp_path)["DequantizeLinear"] == 0
    assert 18 < sqnr(net, after, batch) < 40
    odd = model("agraph (int64[N,M] i) => (float[N,M,65] y) { e = Gather(t, i) y = Tanh(e) }", t=normal(2000, 65))
    assert not any(v.dtype == ir.DataType.UINT8 for v in put(odd, FOUR).graph.initializers.values())
    assert sqnr(odd, put(odd, FOUR), batch) > 40


def test_opset_that_cannot_be_raised_means_eight_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("No Adapter")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    choice = quantize_weights(dense_net(), FOUR)
    assert choice.plan is not None
    assert {w.dtype for w in choice.plan.weights} == {"int8"}
    assert any("weights have 8 bits, not 4: opset" in n for n in choice.notes)


def test_what_is_kept_float_is_left_alone() -> None:
    choice = quantize_weights(conv_net(), Config(preset="weights4", keep_float=("one", "two")))
    assert choice.model is None
    assert "2 of 2 nodes" in choice.summary


def test_a_plan_for_activations_is_no_plan_for_weights_alone(tmp_path: Path) -> None:
    plan = quantize(conv_net(), feeds(conv_net()), Config()).plan
    assert plan is not None
    (tmp_path / "plan.json").write_text(plan.to_json())
    with pytest.raises(UsageError, match="which preset weights4 does not: use preset int8"):
        quantize_weights(conv_net(), Config(preset="weights4", plan=str(tmp_path / "plan.json")))


def test_damaged_blocks_are_refused() -> None:
    plan = quantize_weights(dense_net(), FOUR).plan
    assert plan is not None
    import dataclasses

    def spoiled(**changes: object) -> None:
        weights = tuple(dataclasses.replace(w, **changes) for w in plan.weights)  # type: ignore[arg-type]
        insert(dense_net(), dataclasses.replace(plan, weights=weights))

    with pytest.raises(UsageError, match="scales that are not positive"):
        spoiled(scales="")
    with pytest.raises(UsageError, match="does not have the shape"):
        spoiled(block=32)
