"""What layers mean for the verdict."""

from __future__ import annotations

import pytest

from onnxzip.records import LayerError, OutputMetrics, Verdict
from onnxzip.validate.layers import Depth
from onnxzip.validate.suspicion import with_layers


def layer(name: str, **kwargs) -> LayerError:
    given = {"sqnr_db": 12.0, "born_db": 12.0, "explained_db": 40.0, **kwargs}
    return LayerError(name=name, counterpart=name, node=f"Conv '{name}'", operator="Conv", **given)


def verdict(*layers: LayerError, sqnr: float = 20.0, data: str = "given", **depth) -> Verdict:
    output = OutputMetrics(name="y", max_abs_error=1.0, max_rel_error=0.1, sqnr_db=sqnr, cosine=1.0)
    found = Depth(layers, **{"pruned": frozenset(), "other_weights": None, **depth})
    return with_layers(Verdict(passed=True, verified=True, data=data, outputs=(output,)), found, {})


def test_a_suspect_is_a_warning_and_a_guilty_one_fails():
    doubted = verdict(layer("a"), layer("b", suspect=True))
    assert doubted.passed
    assert "'b'" in doubted.warnings[0]
    assert "look at it" in doubted.warnings[0]
    failed = verdict(layer("a", suspect=True, born_db=1.0), layer("b", suspect=True, guilty=True))
    assert not failed.passed
    assert len(failed.reasons) == 1
    assert "Conv 'b' was changed" in failed.reasons[0]


def test_sound_layers_change_nothing():
    result = verdict(layer("a"))
    assert (result.passed, result.warnings, result.reasons) == (True, (), ())


@pytest.mark.parametrize(("data", "warnings"), [("given", 0), ("made up", 1)])
def test_what_outputs_do_not_feel_does_not_fail(data, warnings):
    result = verdict(layer("a", suspect=True, guilty=True), sqnr=140.0, data=data)
    assert result.passed
    assert len(result.warnings) == warnings


def test_weights_of_its_own_are_judged_by_outputs():
    guilty = layer("a", suspect=True, guilty=True)
    assert verdict(guilty, other_weights="3 of 4 layers have other weights").passed
    assert verdict(guilty, pruned=frozenset({"a"})).passed
    assert not verdict(guilty, layer("b", suspect=True, guilty=True), pruned=frozenset({"a"})).passed
    assert not verdict(layer("a", suspect=True, guilty=True, born_db=0.0), pruned=frozenset({"a"})).passed


def test_only_the_worst_are_named():
    result = verdict(*(layer(f"l{i}", suspect=True, guilty=True, born_db=float(i)) for i in range(5)))
    assert [r.split(" was ")[0] for r in result.reasons] == [
        "Conv 'l0'",
        "Conv 'l1'",
        "Conv 'l2'",
        "2 more layers were changed",
    ]
