"""What computed shapes hold, in symbols."""

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.passes.context import Context
from tests.helpers.graphs import model


def value(graph: ir.Model, name: str) -> ir.Value:
    return next(o for n in graph.graph.all_nodes() for o in n.outputs if o.name == name)


def symbols_of(text: str, name: str, header: str = "", **arrays: np.ndarray):
    graph = model(header + text, **arrays)
    return Context(graph).symbols, value(graph, name)


def names(found) -> list[object] | None:
    return None if found is None else [None if i is None else i.name for i in found.reshape(-1)]


I64 = np.int64
ONE, TWO = np.array([1], I64), np.array([2], I64)
CONTENTS = {
    "v = Shape(x)": ["N", "S", 4],
    "v = Shape<start=1>(x)": ["S", 4],
    "v = Shape<start=-2, end=-1>(x)": ["S"],
    "v = Size(x)": ["=4*N*S"],
    "s = Shape(x) v = Gather(s, one)": ["S"],
    "s = Shape(x) v = Slice(s, zero, two)": ["N", "S"],
    "s = Shape(x) v = Slice(s, minus, many)": [4],
    "s = Shape(x) r = Relu(x) t = Shape(r) v = Concat<axis=0>(s, t, minus)": ["N", "S", 4, "N", "S", 4, -1],
    "s = Shape(x) a = ReduceProd<keepdims=0>(s) v = Unsqueeze(a, zero)": ["=4*N*S"],
    "s = Shape(x) v = ReduceSum(s)": ["=N + S + 4"],
    "s = Shape(x) v = Mul(s, two)": ["=2*N", "=2*S", 8],
    "s = Shape(x) d = Mul(s, two) v = Div(d, two)": ["N", "S", 4],
    "s = Shape(x) v = Div(s, two)": ["=(N)//2", "=(S)//2", 2],
    "s = Shape(x) v = Mod(s, two)": ["=-2*=(N)//2 + N", "=-2*=(S)//2 + S", 0],
    "s = Shape(x) v = Sub(s, s)": [0, 0, 0],
    "s = Shape(x) e = Equal(s, minus) v = Where(e, one, s)": ["N", "S", 4],
    "s = Shape(x) v = Equal(s, zero)": [None, None, 0],
    "s = Shape(x) v = GreaterOrEqual(s, zero)": [1, 1, 1],
    "s = Shape(x) c = Cast<to=6>(s) v = Cast<to=7>(c)": ["N", "S", 4],
    "s = Shape(x) v = Min(s, two)": ["=min(2, N)", "=min(2, S)", 2],
    "s = Shape(x) v = Max(s, two)": [None, None, 4],
    "s = Shape(x) a, v, b = Split(s, ones)": ["S"],
    "v = ConstantOfShape<value=int64[1] {7}>(two)": [7, 7],
    "v = Mul(i, zero)": [0],
    "v = Mul(i, two)": [None],
    "n = NonZero(x) v = Shape(n)": [3, "unk__0"],
}


@pytest.mark.parametrize("nodes", CONTENTS)
def test_content(nodes):
    symbols, v = symbols_of(
        f"g (float[N,S,4] x, int64[1] i) => (int64[A] y) {{ {nodes} y = Identity(v) }}",
        "v",
        zero=np.array([0], I64),
        one=ONE,
        two=TWO,
        minus=np.array([-1], I64),
        many=np.array([2**63 - 1], I64),
        ones=np.array([1, 1, 1], I64),
    )
    assert names(symbols.content(v)) == CONTENTS[nodes]


SHAPES = {
    "v = Flatten(x)": ["N", "=4*S"],
    "s = Shape(w) v = Reshape(x, s)": ["N", "S"],
    "b = Shape<start=0, end=1>(x) c = Concat<axis=0>(b, minus, two) v = Reshape(x, c)": ["N", "=2*S", 2],
    "s = Shape(x) o = Slice(s, zero, two) v = ConstantOfShape(o)": ["N", "S"],
    "s = Shape(w) v = Expand(u, s)": ["N", "S"],
    "a = Shape<start=1, end=2>(x) v = Slice(w, zero, a, one)": ["N", "S"],
    "a = Shape<start=1, end=2>(x) v = Slice(t, zero, a, one)": [1, "=min(512, S)"],
    "a = Shape<start=1, end=2>(x) p = Slice(t, zero, a, one) v = Add(w, p)": ["N", "S"],
    "v = Slice(w, one, many, one)": ["N", "=axis 0"],
    "s = Shape(w) n = Gather(s, first) v = Range(first, n, step)": ["N"],
    "v = Concat<axis=1>(w, w, t)": [1, "=2*S + 512"],
    "v = Tile(w, pair)": ["N", "=2*S"],
    "f = Flatten(x) v = MatMul(f, k)": ["N", 3],
}


@pytest.mark.parametrize("nodes", SHAPES)
def test_shape(nodes):
    symbols, v = symbols_of(
        f"g (float[N,S,4] x, float[N,S] w, float[S] u) => (float[A] y) {{ {nodes} y = Identity(v) }}",
        "v",
        zero=np.array([0], I64),
        one=ONE,
        two=TWO,
        minus=np.array([-1], I64),
        many=np.array([2**63 - 1], I64),
        t=np.zeros((1, 512), np.float32),
        k=np.zeros((8, 3), np.float32),
        first=np.array(0, I64),
        step=np.array(1, I64),
        pair=np.array([1, 2], I64),
    )
    found = symbols.shape(v)
    assert found is not None
    assert [s.name for s in found] == SHAPES[nodes]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("a = Concat<axis=0>(s, minus) v = Reshape(w, a)", ["=axis 0", "=axis 1"]),  # S of 0 copies N
        ("n = Shape<start=0, end=1>(w) a = Concat<axis=0>(n, minus) v = Reshape(w, a)", ["N", "S"]),
        ("n = Shape<start=0, end=1>(w) a = Concat<axis=0>(s, n) v = Reshape(w, a)", ["S", "N"]),
        ("v = Reshape(t, s)", ["=axis 0"]),
        ("v = Reshape<allowzero=1>(t, s)", ["S"]),
    ],
)
def test_a_computed_size_of_0_copies_an_axis(nodes, expected):
    symbols, v = symbols_of(
        f"g (float[N,S] w, float[4] t) => (float[A] y) {{ s = Shape<start=1>(w) {nodes} y = Identity(v) }}",
        "v",
        minus=np.array([-1], I64),
    )
    symbols.raw.inferred = lambda value: None if value is v else type(symbols.raw).inferred(symbols.raw, value)
    assert [s.name for s in symbols.shape(v) or ()] == expected


def test_equal_sizes_are_equal_for_every_pass():
    graph = model("g (float[N,S,4] x) => (float[A,B] y) { a = Flatten(x) s = Shape(a) b = Relu(a) y = Reshape(b, s) }")
    shapes = Context(graph).shapes
    assert shapes.of(value(graph, "y")) == shapes.of(value(graph, "a")) == ("N", "=4*S")


def test_grids_count_up():
    symbols, v = symbols_of(
        """g (float[N,S] w) => (int64[A,B] v) {
            s = Shape(w) n = Gather(s, zero) m = Gather(s, one)
            r = Range(zero, n, one) c = Unsqueeze(r, last) d = Mul(c, m) e = Range(zero, m, one) v = Add(d, e)
        }""",
        "v",
        zero=np.array(0, I64),
        one=np.array(1, I64),
        last=ONE,
    )
    grid = symbols.grid(v)
    assert grid is not None
    assert grid.counts_up
    assert grid.low == 0
    assert not symbols.grid(v.producer().inputs[0]).counts_up


UNIFORM = {
    "v = GreaterOrEqual(r, zero)": 1,
    "v = LessOrEqual(zero, r)": 1,
    "v = Less(r, zero)": 0,
    "v = Greater(zero, r)": 0,
    "v = Greater(r, zero)": None,
    "v = Greater(r, minus)": 1,
    "v = Equal(r, minus)": 0,
    "v = Equal(r, zero)": None,
    "v = Less(r, n)": None,
    "a = GreaterOrEqual(r, zero) b = Not(a) c = Unsqueeze(b, axis) v = Or(c, c)": 0,
    "a = Less(r, n) b = Less(r, zero) v = And(a, b)": 0,
    "t = Shape(w) v = ConstantOfShape<value=bool[1] {1}>(t)": 1,
}


@pytest.mark.parametrize("nodes", UNIFORM)
def test_uniform(nodes):
    symbols, v = symbols_of(
        f"""g (float[N,S] w) => (bool[A] y) {{
            s = Shape(w) n = Gather(s, zero) r = Range(zero, n, one) {nodes} y = Identity(v)
        }}""",
        "v",
        zero=np.array(0, I64),
        one=np.array(1, I64),
        minus=np.array(-1, I64),
        axis=ONE,
    )
    found = symbols.uniform(v)
    assert (None if found is None else found.known) == UNIFORM[nodes]


def test_long_chains_do_not_recurse():
    nodes = " ".join(f"v{i + 1} = Add(v{i}, one)" for i in range(3000))
    symbols, v = symbols_of(
        f"g (float[N] x) => (int64[1] y) {{ v0 = Shape(x) {nodes} y = Identity(v3000) }}", "y", one=ONE
    )
    assert names(symbols.content(v)) == ["=N + 3000"]


def test_opset_10_uses_attributes():
    symbols, v = symbols_of(
        "g (float[N,S,4] x) => (int64[1,2] y) { s = Shape(x) a = Slice<starts=[0], ends=[2]>(s) y = Unsqueeze<axes=[0]>(a) }",
        "y",
        header='<ir_version: 8, opset_import: ["" : 9]>\n',
    )
    assert names(symbols.content(v)) == ["N", "S"]


def test_inputs_without_names_are_sizes_of_their_own():
    symbols, v = symbols_of(
        "g (float[N,M] x) => (bool[1] y) { s = Shape<start=0, end=1>(x) t = Shape<start=1, end=2>(x) y = Equal(s, t) }",
        "y",
    )
    assert names(symbols.content(v)) == [None]


def test_a_slice_between_single_numbers():
    """Runtimes take its bounds without an axis as well."""
    symbols, v = symbols_of(
        "g (float[N,M] x) => (int64[1] y) { s = Shape(x) y = Slice(s, zero, one, zero) }",
        "y",
        zero=np.array(0),
        one=np.array(1),
    )
    assert names(symbols.content(v)) == ["N"]
    symbols, v = symbols_of(
        "g (float[N,M] x, float[K] k) => (float[A,B] y) { s = Shape(k) n = Gather(s, zero) y = Slice(x, zero, n, zero) }",
        "y",
        zero=np.array(0),
    )
    assert symbols.dims(v)[1] == "M"
