from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.errors import UsageError
from onnxzip.quantize import make_plan, observe, quantizable
from tests.helpers.graphs import model
from tests.quantize.audit import plan_of

W = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)
CHAIN = """agraph (float[N,16,8,8] x) => (float[N,16,4,4] y) {
  [first] a = Conv<pads=[1,1,1,1]>(x, w)
  [relu] r = Relu(a)
  [pool] p = MaxPool<kernel_shape=[3,3]>(r)
  [second] y = Conv(p, v)
}"""


@dataclass
class Fake:
    low: float
    high: float
    count: int = 10

    def distribution(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([self.low, self.high]), np.ones(2)


def chain() -> ir.Model:
    return model(CHAIN, w=W, v=W)


def test_only_roots_are_observed() -> None:
    assert observe(chain(), "cpu") == ("x", "r", "y")


def test_concat_outputs_are_not_observed() -> None:
    net = model(
        """agraph (float[N,16,8,8] x) => (float[N,16,4,4] y) {
          a = Conv(x, w)  b = Conv(x, v)  c = Concat<axis=1>(a, b)  y = Conv(c, u)
        }""",
        w=W,
        v=W,
        u=np.concatenate([W, W], 1),
    )
    assert observe(net, "cpu") == ("x", "a", "b", "y")
    plan = make_plan(net, {"x": Fake(-1, 1), "a": Fake(-2, 1), "b": Fake(0, 3), "y": Fake(-1, 1)}, method="minmax")
    sites = {s.tensor: s for s in plan.sites}
    assert sites["a"].scale == sites["b"].scale == sites["c"].scale == pytest.approx(5 / 255)


def test_numbers_of_a_plan() -> None:
    plan = make_plan(chain(), {"x": Fake(-1, 1.55), "r": Fake(0, 5.1), "y": Fake(-2, 2)}, method="minmax")
    assert [(s.tensor, round(s.scale, 6), s.zero_point, s.readers) for s in plan.sites] == [
        ("x", 0.01, 100, "quantized"),
        ("r", 0.02, 0, "all"),
        ("p", 0.02, 0, "all"),
        ("y", 0.015686, 128, "all"),
    ]
    assert [(n.node, n.role, n.weight) for n in plan.nodes] == [
        ("first", "conv", "w"),
        ("pool", "pass", ""),
        ("second", "conv", "v"),
    ]
    assert [(w.initializer, w.dtype, w.axis, w.zero_points) for w in plan.weights] == [
        ("w", "int8", 0, False),
        ("v", "int8", 0, False),
    ]


def test_infinite_statistics_keep_the_node_float_failure_18() -> None:
    plan = make_plan(chain(), {"x": Fake(-np.inf, 1), "r": Fake(0, 5), "y": Fake(-2, 2)}, method="minmax")
    assert plan.nodes == ()
    assert "tensor 'x' cannot be quantized: its values range from -inf to 1" in plan.left[0].reason
    assert all(np.isfinite(s.scale) for s in plan.sites)


def test_an_infinite_output_takes_only_its_own_conv_out() -> None:
    plan = make_plan(chain(), {"x": Fake(-1, 1), "r": Fake(0, 5), "y": Fake(-2, np.inf)}, method="minmax")
    assert [n.node for n in plan.nodes] == ["first"]
    assert [n.node for n in plan.left] == ["second"]


def test_tensor_that_no_data_reached() -> None:
    plan = make_plan(chain(), {"x": Fake(0, 0, 0), "r": Fake(0, 5), "y": Fake(-2, 2)})
    assert "no calibration value reached it" in plan.left[0].reason


def test_missing_statistics_are_an_error_that_names_the_tensor() -> None:
    with pytest.raises(UsageError, match="no statistics of tensor 'r'"):
        make_plan(chain(), {"x": Fake(0, 1), "y": Fake(0, 1)})


@pytest.mark.parametrize("target", ["qnn", "qnn16", "tensorrt", "openvino", "cpu"])
def test_a_node_kept_float_later_takes_along_what_would_read_a_tensor_that_nobody_looked_at(target: str) -> None:
    """On QNN a Conv that stays float gives its Relu an input that was to be absorbed, and so was not looked at."""
    net = chain()
    seen = {name: Fake(0, 5) for name in observe(net, target)}
    first = next(n for n in net.graph if n.name == "first")
    plan = make_plan(net, seen, target, keep={first: "kept"})
    assert {n.node for n in plan.left} >= {"first"}
    assert "a" not in {s.tensor for s in plan.sites}


def test_unknown_target_and_method() -> None:
    with pytest.raises(UsageError, match="target 'tpu' is not known: choose one of cpu"):
        observe(chain(), "tpu")
    with pytest.raises(UsageError, match="'entropie' is not known"):
        make_plan(chain(), {}, method="entropie")


@pytest.mark.parametrize(
    ("pattern", "left"), [("first", {"first", "second"}), ("second", {"second"}), ("Conv", {"first", "second"})]
)
def test_keep_float(pattern: str, left: set[str]) -> None:
    assert {n.node for n in plan_of(chain(), keep=(pattern,)).left} == left


def test_relu_that_is_kept_float_is_not_absorbed() -> None:
    assert "a" in {s.tensor for s in plan_of(chain(), keep=("relu",)).sites}


def test_keep_float_that_matches_nothing_failure_32() -> None:
    with pytest.raises(UsageError, match="'frist' matches no node name.*'first'"):
        observe(chain(), "cpu", ("frist",))


# Models that are left alone, each with a sentence


def test_quantized_model_is_recognised() -> None:
    net = model(
        "agraph (float[N,4] x) => (float[N,4] y) { q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
        s=np.float32(1),
        z=np.uint8(0),
    )
    assert observe(net, "cpu") == ()
    plan = make_plan(net, {})
    assert plan.notes == ("nothing to quantize: the model is quantized already (1 DequantizeLinear, 1 QuantizeLinear)",)
    assert quantizable(net) == ((), ("the model is quantized already (1 DequantizeLinear, 1 QuantizeLinear)",))


def test_half_precision_model() -> None:
    net = model("agraph (float16[N,16,8,8] x) => (float16[N,16,6,6] y) { y = Conv(x, w) }", w=W.astype(np.float16))
    assert plan_of(net).notes == (
        "nothing to quantize: 1 of 1 nodes with weights stay float because its weights are float16, not float32",
    )


def test_integer_model_and_model_without_weights() -> None:
    net = model("agraph (int64[N] x) => (int64[N] y) { y = Add(x, x) }")
    assert "no Conv, Gemm, MatMul or large table" in plan_of(net).notes[0]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = ConvTranspose(x, w)", "no integer kernel for ConvTranspose"),
        ("y = MatMul(x, x)", "its weights are not constant"),
        ("v = Relu(x) y = Conv(x, v)", "its weights are not constant"),
        ("y = Conv(x, nan)", "hold NaN or Inf"),
        (
            "n = Size(x) f = Cast<to=1>(n) o = Reshape(f, one) b = Expand(o, k) y = Conv(x, w, b)",
            "its bias is not constant",
        ),
    ],
)
def test_reasons(body: str, reason: str) -> None:
    text = f"agraph (float[16,16,8,8] x) => (float[P,Q,R,S] y) {{ {body} }}"
    arrays = {"w": W, "nan": np.full_like(W, np.nan), "one": np.array([1]), "k": np.array([16])}
    plan = plan_of(model(text, **{k: v for k, v in arrays.items() if f"{k})" in body or f"{k}," in body}))
    assert plan.nodes == ()
    assert reason in plan.left[0].reason


@pytest.mark.parametrize(
    "gemm", ["Gemm<alpha=0.5>(x, w, b)", "Gemm<beta=2.0>(x, w, b)", "Gemm<transA=1>(x, w, b)", "Gemm(x, w, x)"]
)
def test_gemm_that_no_integer_kernel_takes(gemm: str) -> None:
    rng = np.random.default_rng(0)
    net = model(
        f"agraph (float[32,32] x) => (float[32,32] y) {{ y = {gemm} }}",
        w=rng.standard_normal((32, 32)).astype(np.float32),
        **({"b": np.ones(32, np.float32)} if "b)" in gemm else {}),
    )
    assert len(plan_of(net).left) == 1


def test_nodes_that_would_make_the_file_larger_stay_float() -> None:
    net = model("agraph (float[N,4] x) => (float[N,4] y) { y = MatMul(x, w) }", w=np.ones((4, 4), np.float32))
    assert plan_of(net).left[0].reason == "int8 would save 48 bytes and cost about 256"


def test_quantizable_needs_no_data() -> None:
    net = model(
        "agraph (float[N,16,8,8] x) => (float[N,16,6,6] y, float[N,16,10,10] z) { [c] y = Conv(x, w) [t] z = ConvTranspose(x, v) }",
        w=W,
        v=W,
    )
    ready, left = quantizable(net)
    assert ready == ("Conv 'c'",)
    assert left == ("ConvTranspose 't': target cpu has no integer kernel for ConvTranspose",)
