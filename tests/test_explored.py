"""The front: what no other point beats, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onnxzip.explored import SAME_DB, Exploration, Figures, Point, dominates, figures, front
from onnxzip.records import OutputMetrics, Speed, Verdict

steps = st.integers(0, 3).map(float)
exact_figures = st.builds(lambda a, s, f, q: Figures(a, (s, s), (f, q)), steps, steps, steps, steps)
noisy_figures = st.builds(
    lambda a, s, width, f: Figures(a, (s, s + width), (f, 0.0)), steps, steps, st.sampled_from([0.0, 0.5, 1.5]), steps
)


def beats(one: Figures, other: Figures) -> bool:
    """Domination as textbooks have it, of figures without noise."""
    pairs = [(-one.size, -other.size), (one.speed[0], other.speed[0]), (one.fidelity, other.fidelity)]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


@given(st.lists(exact_figures, max_size=8))
def test_without_noise_it_is_the_textbook_front(found):
    marks = front(found)
    assert marks == tuple(not any(beats(o, f) for o in found) for f in found)
    best = [f for f, on in zip(found, marks, strict=True) if on]
    assert all(on or any(beats(b, f) for b in best) for f, on in zip(found, marks, strict=True))


@given(st.lists(noisy_figures, min_size=1, max_size=8))
def test_with_noise_it_is_never_empty_and_what_is_left_out_is_beaten(found):
    marks = front(found)
    assert any(marks)
    assert all(on != any(dominates(o, f) for o in found) for f, on in zip(found, marks, strict=True))


@given(st.lists(noisy_figures, max_size=6), st.randoms())
def test_the_order_of_points_does_not_matter(found, random):
    mixed = list(enumerate(found))
    random.shuffle(mixed)
    marks = dict(zip([i for i, _ in mixed], front([f for _, f in mixed]), strict=True))
    assert front(found) == tuple(marks[i] for i in range(len(found)))


@given(noisy_figures, noisy_figures)
def test_two_points_never_beat_each_other(one, other):
    assert not (dominates(one, other) and dominates(other, one))


def test_speed_counts_only_beyond_its_noise():
    small, large = Figures(0.2, (1.5, 2.5), (1.0, 30.0)), Figures(0.3, (1.8, 2.2), (1.0, 30.0))
    assert front([small, large]) == (True, False)  # as fast as far as one can tell, and larger
    faster = Figures(0.3, (2.6, 2.8), (1.0, 30.0))
    assert front([small, faster]) == (True, True)


def point(name: str = "p", agreement: float | None = 1.0, sqnr: float | None = 40.0, **fields) -> Point:
    output = OutputMetrics(
        name="y", max_abs_error=0.1, max_rel_error=0.1, sqnr_db=sqnr, cosine=1.0, agreement=agreement
    )
    speed = fields.pop("speed", Speed(speedup=2.0, low=1.9, high=2.1, pairs=20))
    size = fields.pop("size", 0.3)
    passed = fields.pop("passed", True)
    verdict = Verdict(passed=passed, verified=True, outputs=(output,), size_ratio=size, speed=speed)
    return Point(name=name, settings={"preset": "int8"}, state="judged", verdict=verdict, **fields)


def test_fidelity_is_agreement_first_and_sqnr_where_it_is_equal():
    assert figures(point(agreement=0.99)) == Figures(0.3, (1.9, 2.1), (0.99, 40.0))
    assert figures(point(agreement=None)) == Figures(0.3, (1.9, 2.1), (1.0, 40.0))
    assert figures(point(sqnr=140.0)).fidelity == (1.0, SAME_DB)  # rounding is no difference
    assert figures(point(speed=None)).speed == (1.0, 1.0)


def test_points_without_figures_or_seen_before_are_not_compared():
    assert figures(point(same_as="exact")) is None
    assert figures(Point(name="p", settings={}, state="refused")) is None
    assert front([figures(point(same_as="exact"))]) == (False,)


def exploration(*points: Point) -> Exploration:
    return Exploration(
        source="m.onnx",
        source_digest="0",
        versions={},
        config={},
        bytes=100,
        time_limit=1.0,
        seconds=1.0,
        interrupted=False,
        points=points,
    )


def test_the_smallest_and_the_fastest_hold_the_budget():
    quick, missed = Speed(speedup=3.0, low=2.9, high=3.1, pairs=20), Speed(speedup=9.0, low=8.0, high=10.0, pairs=20)
    lucky = Speed(speedup=5.0, low=1.0, high=6.0, pairs=20)
    points = (
        point("small", size=0.2),
        point("fast", speed=quick),
        point("lucky", speed=lucky),
        point("missed", size=0.1, speed=missed, passed=False),
    )
    assert (exploration(*points).smallest, exploration(*points).fastest) == ("small", "fast")
    assert exploration(points[-1]).smallest is None
    assert exploration(point("unmeasured", speed=None)).fastest is None
    assert exploration(point("unmeasured", speed=None)).smallest == "unmeasured"
