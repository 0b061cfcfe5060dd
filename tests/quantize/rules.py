"""Small networks of every kind that targets have rules about, and the questions that the rules ask of a quantized graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.model.constants import array, constant
from onnxzip.model.save import to_proto
from onnxzip.model.shapes import Shapes
from onnxzip.quantize import insert
from onnxzip.runtime import Session
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, dense, feeds, normal, plan_of

PAD = "pads=[1,1,1,1]"


def chain() -> ir.Model:
    return conv_net(f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)")


def residual() -> ir.Model:
    body = (
        f"a = Conv<{PAD}>(x, w1, b1) r = Relu(a) c = Conv<{PAD}>(r, w2, b2) s = Add(c, r) t = Relu(s) y = Conv(t, w3)"
    )
    return conv_net(body, w3=normal(16, 16, 3, 3))


def downsample() -> ir.Model:
    """Both operands of the Add come out of a Conv; the one on the short way is the skip."""
    body = f"d = Conv(x, w3) a = Conv<{PAD}>(x, w1, b1) r = Relu(a) c = Conv<{PAD}>(r, w2) s = Add(d, c) t = Relu(s) y = Conv(t, w2)"
    return conv_net(body, w3=normal(16, 16, 1, 1))


def depthwise() -> ir.Model:
    body = f"a = Conv(x, w1, b1) k = Clip(a, low, high) c = Conv<group=16, {PAD}>(k, wide) y = Conv(c, w2)"
    return conv_net(body, wide=normal(16, 1, 3, 3), low=np.float32(0), high=np.float32(6))


def concat() -> ir.Model:
    body = f"a = Conv<{PAD}>(x, w1) r = Relu(a) b = Conv<{PAD}>(x, w2) s = Relu(b) c = Concat<axis=1>(r, s) y = Conv(c, w3)"
    return conv_net(body, w3=normal(16, 32, 3, 3))


def pool() -> ir.Model:
    return model(
        f"""agraph (float[N,16,8,8] x) => (float[N,32] y) {{ a = Conv<{PAD}>(x, w, b) r = Relu(a)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) c = Conv<{PAD}>(p, u) g = GlobalAveragePool(c) f = Flatten(g) y = Gemm(f, v, e) }}""",
        w=normal(16, 16, 3, 3),
        b=normal(16),
        u=normal(16, 16, 3, 3),
        v=normal(16, 32),
        e=normal(32),
    )


def gemm() -> ir.Model:
    body = "g = Gemm(x, w, b) r = Relu(g) y = Gemm<transB=1>(r, v, c)"
    return dense(body, v=normal(48, 48), c=normal(48))


def attention() -> ir.Model:
    return model(
        """agraph (float[2,6,32] x) => (float[2,6,32] y) { q0 = MatMul(x, wq) q1 = Add(q0, bq) q2 = Reshape(q1, shape) q = Transpose<perm=[0,2,1,3]>(q2)
        k0 = MatMul(x, wk) k1 = Reshape(k0, shape) k = Transpose<perm=[0,2,3,1]>(k1) s0 = MatMul(q, k) s = Mul(s0, scale) p = Softmax(s)
        v0 = MatMul(x, wv) v1 = Reshape(v0, shape) v = Transpose<perm=[0,2,1,3]>(v1) o0 = MatMul(p, v) o1 = Transpose<perm=[0,2,1,3]>(o0)
        o = Reshape(o1, back) m = MatMul(o, wo) n = Add(m, bo) z = Add(n, x) y = LayerNormalization(z, gain, shift) }""",
        **{name: normal(32, 32) for name in ("wq", "wk", "wv", "wo")},
        **{name: normal(32) for name in ("bq", "bo", "shift")},
        gain=1 + normal(32),
        shape=np.array([0, 0, 4, 8]),
        back=np.array([0, 0, 32]),
        scale=np.float32(0.35),
    )


def deconv() -> ir.Model:
    body = "a = ConvTranspose<strides=[2,2]>(x, wt, bt) l = LeakyRelu(a) y = Conv(l, w3)"
    return conv_net(body, wt=normal(16, 8, 2, 2), bt=normal(8), w3=normal(16, 8, 3, 3))


def gates() -> ir.Model:
    return conv_net(f"a = Conv<{PAD}>(x, w1) s = Sigmoid(a) m = Mul(a, s) t = Tanh(m) y = Conv(t, w2)")


NETS: dict[str, Callable[[], ir.Model]] = {
    f.__name__: f for f in (chain, residual, downsample, depthwise, concat, pool, gemm, attention, deconv, gates)
}


def quantized_for(target: str, net: ir.Model, method: str = "minmax") -> ir.Model:
    """The network quantized for a target, checked by onnx."""
    result = insert(net, plan_of(net, target=target, method=method))
    onnx.checker.check_model(to_proto(result), full_check=True)
    return result


def as_written(before: ir.Model, after: ir.Model) -> float:
    """SQNR in dB of what the file says, without any runtime optimization, on data that nothing was chosen on."""
    batch = feeds(before, 4)[3]
    expected, actual = (Session(m, level="none", threads=1).run(batch)["y"].astype(np.float64) for m in (before, after))
    return float(10 * np.log10((expected**2).sum() / ((expected - actual) ** 2).sum()))


def of(net: ir.Model, *ops: str) -> list[ir.Node]:
    """The nodes of these operators."""
    return [n for n in net.graph if n.op_type in ops]


def is_dequantized(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear"


def grid(value: ir.Value | None) -> tuple[bytes, bytes, str]:
    """Scale, zero point and dtype that a value is dequantized with."""
    assert value is not None
    assert is_dequantized(value)
    _, scale, zero = value.producer().inputs  # type: ignore[union-attr]
    content = array(zero)
    assert content is not None
    return array(scale).tobytes(), content.tobytes(), str(content.dtype)  # type: ignore[union-attr]


def stored(value: ir.Value | None) -> np.ndarray:
    """The integers behind a dequantized constant."""
    assert value is not None
    assert is_dequantized(value)
    codes = array(value.producer().inputs[0])  # type: ignore[union-attr]
    assert codes is not None
    return codes


def readers(value: ir.Value) -> list[str]:
    return sorted(use.node.op_type for use in value.uses())


def activation_inputs(net: ir.Model) -> Iterator[tuple[ir.Node, ir.Value]]:
    """What each operator but Q and DQ reads in float that is no constant."""
    shapes = Shapes(net)
    for node in net.graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for value in node.inputs:
            if value is not None and constant(value) is None and shapes.dtype(value) == ir.DataType.FLOAT:
                yield node, value
