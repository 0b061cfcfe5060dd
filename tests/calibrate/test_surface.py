"""Values inside bodies, carried out: exactly what each iteration computed."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.calibrate import TensorStatistics, collect
from onnxzip.calibrate.surface import one_array, out_of_reach, shared_names, surface
from onnxzip.errors import ModelError
from onnxzip.model.save import to_proto
from onnxzip.runtime import Batch, Session
from tests.helpers import graphs

IF = """agraph (bool c, float[N, 4] x) => (float[N, 4] y) {
    y = If (c) <
        then_branch = then () => (float[N, 4] a) { h = Relu (x) a = Neg (h) },
        else_branch = else () => (float[N, 4] b) { k = Abs (x) b = Neg (k) }>
}"""

LOOP = """agraph (int64 n, float[N, 4] x) => (float[N, 4] y, float[K, N, 4] z) {
    t = Constant <value = bool {1}> ()
    y, z = Loop (n, t, x) <body = body (int64 i, bool go, float[N, 4] s) => (bool go_on, float[N, 4] next, float[N, 4] kept) {
        go_on = Identity (go)
        next = MatMul (s, w)
        odd = Mod (i, two)
        b = Cast <to = 9> (odd)
        kept = If (b) <
            then_branch = then () => (float[N, 4] a) { deep = Neg (next) a = Relu (deep) },
            else_branch = else () => (float[N, 4] e) { e = Abs (next) }>
    }>
}"""

GROWING = """agraph (int64 n, float[M] x) => (float[K] y) {
    t = Constant <value = bool {1}> ()
    y = Loop (n, t, x) <body = body (int64 i, bool go, float[A] s) => (bool go_on, float[B] next) {
        go_on = Identity (go)
        next = Concat <axis = 0> (s, x)
    }>
}"""

NESTED = """agraph (int64 n, float[N, 4] x) => (float[N, 4] y) {
    t = Constant <value = bool {1}> ()
    y = Loop (n, t, x) <body = outer (int64 i, bool go, float[N, 4] s) => (bool go_on, float[N, 4] after) {
        go_on = Identity (go)
        after = Loop (i, t, s) <body = inner (int64 j, bool on, float[N, 4] r) => (bool still, float[N, 4] again) {
            still = Identity (on)
            again = MatMul (r, w)
        }>
    }>
}"""

RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 4)).astype(np.float32)
X = RNG.standard_normal((3, 4)).astype(np.float32)


def fetched(model: ir.Model, names: list[str], batch: Batch) -> dict[str, list[np.ndarray]]:
    before = graphs.nodes(model)
    copy, outputs = surface(model, names)
    onnx.checker.check_model(to_proto(copy), full_check=True)
    assert graphs.nodes(model) == before
    found = Session(copy, threads=1).run(batch)
    return {n: found[o] for n, o in outputs.items()}


def powers(count: int) -> list[np.ndarray]:
    found = [X]
    for _ in range(count):
        found.append(found[-1] @ W)
    return found


@pytest.mark.parametrize("taken", [True, False])
def test_if_gives_the_branch_that_was_taken(taken: bool) -> None:
    found = fetched(graphs.model(IF), ["h", "k", "y"], {"c": np.array(taken), "x": X})
    assert (len(found["h"]), len(found["k"])) == ((1, 0) if taken else (0, 1))
    np.testing.assert_array_equal(found["h" if taken else "k"][0], np.maximum(X, 0) if taken else np.abs(X))
    assert isinstance(found["y"], np.ndarray)


@pytest.mark.parametrize("opset", [12, 18])
def test_loop_gives_every_iteration_and_an_if_in_it_those_that_took_its_branch(opset: int) -> None:
    text = f'<ir_version: 7, opset_import: ["" : {opset}]> {LOOP}'
    model = graphs.model(text, w=W, two=np.array(2))
    found = fetched(model, ["s", "next", "deep", "z", "kept"], {"n": np.array(4), "x": X})
    states = powers(4)
    np.testing.assert_allclose(found["s"], states[:4], rtol=1e-5)
    np.testing.assert_allclose(found["next"], states[1:], rtol=1e-5)
    np.testing.assert_allclose(found["deep"], [-states[2], -states[4]], rtol=1e-5)
    np.testing.assert_array_equal(found["z"], found["kept"])


def test_no_iteration_gives_nothing() -> None:
    model = graphs.model(LOOP, w=W, two=np.array(2))
    found = fetched(model, ["s", "deep", "z"], {"n": np.array(0), "x": X})
    assert (found["s"], found["deep"], len(found["z"])) == ([], [], 0)


def test_shapes_may_differ_from_iteration_to_iteration() -> None:
    found = fetched(graphs.model(GROWING), ["next"], {"n": np.array(3), "x": np.ones(2, np.float32)})
    assert [a.shape for a in found["next"]] == [(4,), (6,), (8,)]


def test_loops_in_loops() -> None:
    found = fetched(graphs.model(NESTED, w=W), ["r", "s"], {"n": np.array(4), "x": X})
    states = powers(6)
    np.testing.assert_allclose(found["r"], states[:6], rtol=1e-5)  # 0 + 1 + 2 + 3 iterations
    np.testing.assert_allclose(found["s"], [states[0], states[0], states[1], states[3]], rtol=1e-5)


def test_statistics_are_those_of_each_iteration() -> None:
    model, rng = graphs.model(LOOP, w=W, two=np.array(2)), np.random.default_rng(1)
    data = [{"n": np.array(n), "x": rng.standard_normal((2000, 4)).astype(np.float32)} for n in (2, 0, 3)]
    expected = TensorStatistics()
    for batch in data:
        for state in fetched(model, ["s"], batch)["s"]:
            expected.update(state)
    statistics = collect(model, ["s", "deep", "x"], data)
    assert statistics["s"] == expected
    assert statistics["s"].count == 5 * 8000
    assert statistics["deep"].count == 2 * 8000
    assert statistics["x"].count == 3 * 8000


def test_watchers_see_iterations_side_by_side_and_nothing_where_there_was_none() -> None:
    class Shapes:
        wanted = ("s", "x")

        def __init__(self) -> None:
            self.seen: list[dict[str, tuple[int, ...]]] = []

        def see(self, number: int, batch: Batch, arrays: dict[str, np.ndarray]) -> None:
            self.seen.append({n: a.shape for n, a in arrays.items()})

    watcher = Shapes()
    data = [{"n": np.array(n), "x": X} for n in (2, 0)]
    collect(graphs.model(LOOP, w=W, two=np.array(2)), ["y"], data, watchers=[watcher])  # type: ignore[list-item]
    assert watcher.seen == [{"s": (6, 4), "x": (3, 4)}, {"x": (3, 4)}]


def test_arrays_of_one_value_as_one() -> None:
    vectors, matrices = [np.ones(3), np.zeros(3)], [np.ones((2, 3)), np.empty((0, 3)), np.ones((1, 3)), np.ones((2, 5))]
    assert np.array_equal(one_array(vectors), [[1, 1, 1], [0, 0, 0]])  # type: ignore[arg-type]
    assert np.array_equal(one_array(matrices), np.ones((3, 3)))  # type: ignore[arg-type]
    assert one_array([np.empty((0, 3))]) is None


def test_names_that_two_bodies_use_are_out_of_reach() -> None:
    text = IF.replace("k", "h")
    model = graphs.model(text)
    reason = "the name 'h' inside If 'y' is that of another value too"
    assert list(out_of_reach(model).values()) == [reason, reason]
    assert shared_names(model) == out_of_reach(model)
    with pytest.raises(ModelError, match=f"tensor 'h' cannot be fetched: {reason}"):
        surface(model, ["h"])


def test_everything_is_within_reach_of_ordinary_models() -> None:
    assert out_of_reach(graphs.model(NESTED, w=W)) == {}


def test_bodies_of_other_operators_are_out_of_reach_with_all_that_is_in_them() -> None:
    model = graphs.model("""agraph (bool c, seq(float[4]) s) => (seq(float[4]) y) {
        y = SequenceMap (s) <body = body (float[4] v) => (float[4] o) {
            o = If (c) <then_branch = then () => (float[4] a) { a = Neg (v) }, else_branch = else () => (float[4] b) { b = Abs (v) }>
        }>
    }""")
    assert (
        list(out_of_reach(model).values())
        == ["it lies inside SequenceMap 'y', from which no value can be carried out"] * 3
    )


def test_an_opset_that_cannot_be_raised_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: ir.Model, version: int) -> ir.Model:
        raise ModelError(f"opset 12 cannot be raised to {version}")

    monkeypatch.setattr("onnxzip.calibrate.surface.raise_opset", refuse)
    model = graphs.model(f'<ir_version: 7, opset_import: ["" : 12]> {NESTED}', w=W)
    assert set(out_of_reach(model).values()) == {"opset 12 cannot be raised to 14"}
    assert out_of_reach(graphs.model(NESTED, w=W)) == {}


def test_refuses_names_of_nothing() -> None:
    with pytest.raises(ModelError, match="tensor 'nothing' is not in the model"):
        surface(graphs.model(IF), ["nothing"])
