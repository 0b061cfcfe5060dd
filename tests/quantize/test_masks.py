import numpy as np
import pytest

from onnxzip.quantize.masks import masked
from tests.helpers.graphs import model
from tests.quantize import rules
from tests.quantize.audit import plan_of

LOWEST = np.finfo(np.float32).min


def hidden(body: str) -> set[str]:
    arrays = {"low": np.float32(LOWEST), "zero": np.float32(0), "axes": np.array([1])}
    net = model(
        f"agraph (float[4,6] x, float[4,6] m, bool[4,6] c) => (float[N,M] y) {{ {body} }}",
        **{k: v for k, v in arrays.items() if k in body},
    )
    return {v.name or "" for v in masked(net)}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = Add(x, m) y = Softmax(s)", {"s", "x", "m"}),
        ("k = Where(c, low, zero) s = Add(x, k) y = Softmax(s)", {"k", "low", "zero", "s", "x"}),
        ("t = Transpose<perm=[1,0]>(x) y = Softmax(t)", {"t", "x"}),
        ("e = Exp(x) y = Softmax(e)", {"e"}),
        ("s = Add(x, m) p = Softmax(s) y = Mul(p, x)", {"s", "m"}),
        ("s = Add(x, m) y = Relu(s)", set()),
    ],
)
def test_what_only_a_softmax_knows_of(body: str, expected: set[str]) -> None:
    assert hidden(body) == expected


def test_values_in_bodies_and_outputs_are_known_elsewhere() -> None:
    net = model("agraph (float[4,6] x) => (float[4,6] s, float[4,6] y) { s = Identity(x) y = Softmax(s) }")
    assert masked(net) == set()


@pytest.mark.parametrize(("target", "decibels"), [("qnn", 28), ("qnn16", 35)])
def test_scores_survive_a_mask_of_the_lowest_number(target: str, decibels: float) -> None:
    net = model(
        """agraph (float[8,32] x, bool[8,16] c) => (float[8,16] y)
        { q = MatMul(x, w) k = Where(c, zero, low) s = Add(q, k) y = Softmax(s) }""",
        w=np.random.default_rng(0).standard_normal((32, 16)).astype(np.float32),
        zero=np.float32(0),
        low=np.float32(LOWEST),
    )
    rng = np.random.default_rng(1)
    batches = [
        {"x": rng.standard_normal((8, 32)).astype(np.float32) / 2, "c": rng.random((8, 16)) < 0.7} for _ in range(4)
    ]
    plan = plan_of(net, batches[:3], target=target)
    sites = {s.tensor: s for s in plan.sites}
    assert sites["s"].scale * 255 < 80
    after = rules.insert(net, plan)
    expected, actual = (rules.Session(m, level="none", threads=1).run(batches[3])["y"] for m in (net, after))
    noise = ((expected.astype(np.float64) - actual) ** 2).sum()
    assert 10 * np.log10((expected.astype(np.float64) ** 2).sum() / noise) > decibels
