import numpy as np
import pytest

from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check


class Attention:
    """Self-attention over (N, 5, 12) in heads of 4: builds projections, heads and their product."""

    def __init__(self, heads: int = 3, each: int = 4, batch: int | str = "N") -> None:
        self.net = Net(batch, 5, 12)
        self.heads, self.each, self.batch = heads, each, batch

    @property
    def width(self) -> int:
        return self.heads * self.each

    def columns(self, *heads: int) -> list[int]:
        return [h * self.each + c for h in heads for c in range(self.each)]

    def project(self, count: int | None = None, *, zero: list[int] | None = None, bias: bool = True) -> str:
        weights, addend = self.net.random(12, count or self.width), self.net.random(count or self.width)
        weights[:, zero or []] = 0
        addend[zero or []] = 0
        h = self.net.op("MatMul", "x", self.net.weight(weights))
        return str(self.net.op("Add", h, self.net.weight(addend)) if bias else h)

    def split(self, value: str, perm: list[int]) -> str:
        batch = 0 if self.batch == "N" else self.batch
        h = self.net.op("Reshape", value, self.net.weight([batch, 5, self.heads, self.each]))
        return str(self.net.op("Transpose", h, perm=perm))

    def attend(self, q: str, k: str, v: str, mask: np.ndarray | None = None) -> str:
        """(N, 5, width), from heads."""
        scores = self.net.op("MatMul", q, k)
        if mask is not None:
            scores = self.net.op("Add", scores, self.net.weight(mask))
        h = self.net.op("MatMul", self.net.op("Softmax", scores, axis=-1), v)
        h = self.net.op("Transpose", h, perm=[0, 2, 1, 3])
        return str(self.net.op("Reshape", h, self.net.weight([0, 0, self.width])))

    def both(self, q: str, k: str, v: str, mask: np.ndarray | None = None) -> str:
        return self.attend(self.split(q, [0, 2, 1, 3]), self.split(k, [0, 2, 3, 1]), self.split(v, [0, 2, 1, 3]), mask)

    def output(self, value: str, unread: list[int] | None = None) -> str:
        weights = self.net.random(self.width, 12)
        weights[unread or []] = 0
        h = self.net.op("MatMul", value, self.net.weight(weights))
        return str(self.net.op("Add", h, self.net.weight(self.net.random(12))))


@pytest.mark.parametrize("dead", ["values", "output"])
@pytest.mark.parametrize("heads", [(1,), (0, 2)])
def test_a_head_goes_as_a_whole(dead, heads):
    a = Attention()
    gone = a.columns(*heads)
    h = a.both(a.project(), a.project(), a.project(zero=gone if dead == "values" else []))
    y = a.output(h, gone if dead == "output" else [])
    result, _ = check(a.net.model(y, ranks=(3,)), 3 * 4 * len(heads))
    assert initializer(result, "w0").shape == (12, 4 * (3 - len(heads)))


def test_a_head_of_which_a_part_is_alive_stays():
    a = Attention()
    h = a.both(a.project(), a.project(), a.project(zero=a.columns(1)[1:]))
    check(a.net.model(a.output(h, a.columns(2)[:2]), ranks=(3,)), 0)


def test_dimensions_of_queries_are_left_alone():
    """Queries of 0 make scores of 0, and attention of equal parts: the head stays."""
    a = Attention()
    h = a.both(a.project(zero=a.columns(0)), a.project(), a.project())
    check(a.net.model(a.output(h), ranks=(3,)), 0)


@pytest.mark.parametrize("form", ["split", "gather"])
def test_one_projection_of_queries_keys_and_values(form):
    a = Attention()
    gone = a.columns(1)
    fused = a.project(36, zero=[24 + c for c in gone])
    if form == "split":
        q, k, v = a.net.op("Split", fused, a.net.weight([12, 12, 12]), axis=2, outputs=3)
        h = a.both(q, k, v)
    else:
        h = a.net.op("Reshape", fused, a.net.weight([0, 5, 3, 3, 4]))
        h = a.net.op("Transpose", h, perm=[2, 0, 3, 1, 4])  # 3, N, heads, 5, each
        q, k, v = (a.net.op("Gather", h, a.net.weight(np.int64(i)), axis=0) for i in range(3))
        h = a.attend(q, a.net.op("Transpose", k, perm=[0, 1, 3, 2]), v)
    check(a.net.model(a.output(h), ranks=(3,)), 12)


def test_a_single_head_goes_nowhere():
    """Without an axis of heads, columns of values pass to the output and can go by themselves; queries and keys stay."""
    a = Attention(heads=1, each=4)
    q, k, v = a.project(), a.project(), a.project(zero=[1, 2])
    scores = a.net.op("MatMul", q, a.net.op("Transpose", k, perm=[0, 2, 1]))
    h = a.net.op("MatMul", a.net.op("Softmax", scores, axis=-1), v)
    check(a.net.model(a.output(h), ranks=(3,)), 2)


def test_dimensions_that_are_zero_in_queries_and_keys_go():
    a = Attention(heads=1, each=4)
    q, k, v = a.project(zero=[1, 2]), a.project(zero=[2, 3]), a.project()
    scores = a.net.op("MatMul", q, a.net.op("Transpose", k, perm=[0, 2, 1]))
    h = a.net.op("MatMul", a.net.op("Softmax", scores, axis=-1), v)
    check(a.net.model(a.output(h), ranks=(3,)), 6)  # q · k is 0 where either is


def test_a_mask_for_all_heads_and_one_for_each():
    for shape in ((1, 1, 5, 5), (5, 5), (1, 3, 5, 5)):
        a = Attention()
        mask = np.where(a.net.rng.random(shape) < 0.3, np.float32(-100), np.float32(0))
        h = a.both(a.project(), a.project(), a.project(zero=a.columns(1)), mask)
        check(a.net.model(a.output(h), ranks=(3,)), 12)


def test_heads_that_share_their_axis_with_a_batch_of_known_size():
    """(2 · heads, 5, each): a head goes from both."""
    a = Attention(batch=2)
    gone = a.columns(1)
    parts = [
        a.net.op("Reshape", a.split(a.project(zero=z), [0, 2, 1, 3]), a.net.weight([6, 5, 4])) for z in ([], [], gone)
    ]
    scores = a.net.op("MatMul", parts[0], a.net.op("Transpose", parts[1], perm=[0, 2, 1]))
    h = a.net.op("MatMul", a.net.op("Softmax", scores, axis=-1), parts[2])
    h = a.net.op("Transpose", a.net.op("Reshape", h, a.net.weight([2, 3, 5, 4])), perm=[0, 2, 1, 3])
    h = a.net.op("Reshape", h, a.net.weight([2, 5, 12]))
    check(a.net.model(a.output(h), ranks=(3,)), 12, sizes=(2,))


def test_scaled_queries_and_a_residual():
    a = Attention()
    q = a.net.op("Mul", a.project(), a.net.weight(np.float32(0.5)))
    h = a.output(a.both(q, a.project(), a.project(zero=a.columns(0)), None))
    check(a.net.model(a.net.op("Add", h, "x"), ranks=(3,)), 12)


def test_values_of_one_head_for_all_queries():
    """Multi-query attention: keys and values have one head, which is broadcast. A head of queries could go by itself, but heads and
    columns of values are not told apart: all go together."""
    a = Attention()
    gone = a.columns(1)
    q = a.split(a.project(), [0, 2, 1, 3])
    k = a.net.op("Reshape", a.project(4), a.net.weight([0, 1, 5, 4]))
    v = a.net.op("Reshape", a.project(4), a.net.weight([0, 1, 5, 4]))
    h = a.attend(q, a.net.op("Transpose", k, perm=[0, 1, 3, 2]), v)
    check(a.net.model(a.output(h, gone), ranks=(3,)), 0)


def test_two_attentions_that_share_keys_tie_their_heads():
    a = Attention()
    gone = a.columns(1)
    k = a.split(a.project(), [0, 2, 3, 1])
    first = a.attend(a.split(a.project(), [0, 2, 1, 3]), k, a.split(a.project(zero=gone), [0, 2, 1, 3]))
    second = a.attend(a.split(a.project(), [0, 2, 1, 3]), k, a.split(a.project(), [0, 2, 1, 3]))
    for unread, removed in (([], 0), (gone, 5 * 4)):
        b = Attention()
        b.net.nodes, b.net.weights = list(a.net.nodes), dict(a.net.weights)
        y = b.output(first), b.output(second, unread)
        check(b.net.model(*y, ranks=(3, 3)), removed)


def test_a_product_with_a_graph_input_is_refused():
    net = Net("N", 6, 6)
    h = net.op("MatMul", net.op("Transpose", net.op("MatMul", "x", net.weight(net.random(6, 6))), perm=[0, 2, 1]), "x")
    _, record = check(net.model(h, ranks=(3,)), 0)
    assert any("keeps its shape" in why for why in record.frozen)


def test_channels_on_both_sides_of_the_product_are_refused():
    net = Net("N", 6, 6)
    left = net.op("Transpose", net.op("MatMul", "x", net.weight(net.random(6, 4))), perm=[0, 2, 1])
    right = net.op("MatMul", "x", net.weight(net.random(6, 4)))
    _, record = check(net.model(net.op("MatMul", left, right), ranks=(3,)), 0)
    assert "makes a matrix of its channels" in record.frozen[0]
