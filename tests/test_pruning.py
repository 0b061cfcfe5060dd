"""Pruning as a stage: judged on data that it never saw, measured, taken back where it costs too much or gains nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxzip
from onnxzip import Budget, Config, UsageError, pruning
from onnxzip.ledger import Ledger
from onnxzip.records import OutputMetrics, RunRecord, Speed, StageRecord
from onnxzip.result import PROVENANCE

MODELS = Path(__file__).parent.parent / "models"
DENSE = MODELS / "digits_resnet.onnx"
IMAGES = {n: np.load(MODELS / f"digits_{n}.npz")["image"] for n in ("calibration", "evaluation")}
CALIBRATION, EVALUATION = (
    [{"image": IMAGES[n][i : i + 32]} for i in range(0, count, 32)]
    for n, count in (("calibration", 256), ("evaluation", 448))
)


@pytest.fixture(autouse=True)
def _faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stopwatch has tests of its own; here every candidate is twice as fast."""
    monkeypatch.setattr(Ledger, "paired", lambda *_, **__: Speed(speedup=2.0, low=1.9, high=2.1, pairs=15))


Batches = list[dict[str, np.ndarray]]


def run(
    data: Batches | None = CALIBRATION, evaluation: Batches | None = EVALUATION, **settings: object
) -> onnxzip.Result:
    config = Config(**{"preset": "exact", **settings})  # type: ignore[arg-type]
    return onnxzip.optimize(DENSE, data, evaluation=evaluation, config=config)


def stage(record: RunRecord, name: str = "prune") -> StageRecord:
    return next(s for s in record.stages if s.name == name)


def test_a_share_of_the_multiply_adds_goes_and_the_budget_holds():
    result = run(prune=0.3)
    found = stage(result.report.record)
    assert found.kept
    assert found.verdict is not None
    assert found.verdict.passed
    assert result.verdict.metrics["agreement"] >= 0.9
    assert result.report.record.after.parameters < 0.9 * result.report.record.before.parameters
    assert all(w.after % 8 == 0 for w in found.widths)
    assert {w.name for w in found.widths if w.after < w.before}
    assert '"preset":"pruned+exact"' in result.model.metadata_props[PROVENANCE]
    onnx.checker.check_model(result.to_proto(), full_check=True)


def test_two_runs_give_the_same_bytes():
    first, second = (run(prune=0.2).to_proto().SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_parameters_can_be_what_the_share_is_of():
    result = run(prune=0.3, prune_by="parameters", round_to=4)
    before, after = result.report.record.before.parameters, result.report.record.after.parameters
    assert 0.55 * before < after < 0.75 * before


def test_what_misses_the_budget_is_taken_back_and_said():
    result = run(prune=0.95, budget=Budget(min_agreement=0.999))
    found = stage(result.report.record)
    assert not found.kept
    assert found.summary.startswith("the budget was missed with ")
    assert not result.verdict.passed
    assert "below the limit 0.999" in result.verdict.reasons[0]
    assert result.report.record.after.parameters == stage_parameters(result)


def stage_parameters(result: onnxzip.Result) -> int:
    exact = onnxzip.optimize(DENSE, config=Config(preset="exact"))
    return exact.report.record.after.parameters


def test_what_is_not_faster_is_taken_back_without_a_miss(monkeypatch):
    monkeypatch.setattr(Ledger, "paired", lambda *_, **__: Speed(speedup=1.01, low=0.97, high=1.04, pairs=15))
    result = run(prune=0.2)
    found = stage(result.report.record)
    assert not found.kept
    assert found.summary.endswith("but it is not measurably faster: 1.01 (0.97 to 1.04)")
    assert result.verdict.passed
    kept = run(prune=0.2, objective="size")
    assert stage(kept.report.record).kept


def test_the_largest_share_that_holds_the_budget_is_found():
    result = run(prune="auto", budget=Budget(min_agreement=0.97))
    found = stage(result.report.record)
    assert found.kept
    assert result.verdict.metrics["agreement"] >= 0.97
    assert sum("holds the budget" in n or "does not hold" in n for n in found.notes) >= 2


def test_a_search_that_finds_nothing_ends_with_a_model_and_a_reason_failure_33():
    """failures.md 33: the best so far is kept, and it is said why the search stopped."""
    result = onnxzip.optimize(
        DENSE,
        [{"image": IMAGES["calibration"][i : i + 8]} for i in range(0, 40, 8)],
        config=Config(preset="exact", prune="auto", budget=Budget(min_agreement=0.99)),
    )
    found = stage(result.report.record)
    assert not found.kept
    assert "give more data" in found.summary
    assert result.verdict.passed
    onnx.checker.check_model(result.to_proto(), full_check=True)
    assert len(result.to_proto().graph.node) < len(onnx.load(str(DENSE)).graph.node)  # the exact stages stay


def test_pruning_then_int8():
    result = run(prune=0.2, preset="int8", budget=Budget(min_agreement=0.8))
    assert [s.name for s in result.report.record.stages if s.kept] == ["rewrite", "prune", "quantize"]
    assert "QuantizeLinear" in result.report.record.after.operators
    assert result.verdict.passed
    onnx.checker.check_model(result.to_proto(), full_check=True)


def test_int8_alone_where_it_does_not_fit_on_top_of_a_search(monkeypatch):
    real, missed = Ledger.verdict, []

    def verdict(self, candidate, *, lossy, timed=True):
        found = real(self, candidate, lossy=lossy, timed=timed)
        quantized = any(n.op_type == "QuantizeLinear" for n in candidate.graph)
        if not quantized or missed:
            return found
        missed.append(candidate)
        return onnxzip.Verdict(passed=False, verified=True, reasons=("too much",), outputs=found.outputs)

    monkeypatch.setattr(Ledger, "verdict", verdict)
    result = run(prune="auto", preset="int8", budget=Budget(min_agreement=0.8))
    assert [s.name for s in result.report.record.stages if s.kept] == ["rewrite", "quantize"]
    assert stage(result.report.record).summary.startswith("taken back, for int8 on top of it missed the budget")
    assert result.verdict.passed


def test_without_data_it_is_refused_or_unverified():
    with pytest.raises(UsageError, match="pruning without data cannot be judged"):
        run(data=None, evaluation=None, prune=0.2)
    with pytest.raises(UsageError, match="auto searches on real data"):
        run(data=None, evaluation=None, prune="auto", allow_unverified=True)
    result = run(data=None, evaluation=None, prune=0.2, allow_unverified=True)
    assert stage(result.report.record).kept
    assert not result.verdict.verified
    assert "pruned without data" in result.verdict.warnings[0]


def test_a_quantized_model_is_left_and_said_why():
    quantized = onnxzip.optimize(DENSE, CALIBRATION, config=Config(preset="int8", budget=Budget(min_agreement=0.5)))
    result = onnxzip.optimize(quantized.to_proto(), CALIBRATION, config=Config(preset="exact", prune=0.2))
    found = stage(result.report.record)
    assert (found.kept, found.summary) == (False, "no channel can go")
    assert any("is quantized: prune the float model" in n for n in found.notes)


def test_a_model_that_runs_on_no_made_up_inputs_is_not_pruned_without_data():
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        g (int64[K] s, float[N,4] x) => (float[A,B] y) { y = Reshape(x, s) }""")
    result = onnxzip.optimize(model, config=Config(prune=0.3, allow_unverified=True, preset="exact"))
    assert not stage(result.report.record).kept
    assert stage(result.report.record).summary.startswith("not pruned: ")


@pytest.mark.parametrize("share", [0, 1, -0.5, True, "half"])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="prune is a share strictly between 0 and 1"):
        Config(prune=share)


def test_other_settings_are_checked():
    with pytest.raises(UsageError, match="prune_by 'bytes' is not known"):
        Config(prune_by="bytes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="round_to is a number of channels"):
        Config(round_to=0)


def test_agreement_must_be_shown_by_enough_decisions_and_for_rare_ones():
    def doubt(agreement: float | None, decisions: int, balanced: float = 1.0, sqnr_db: float = 1.0) -> str | None:
        o = OutputMetrics(
            name="y",
            max_abs_error=1.0,
            max_rel_error=1.0,
            sqnr_db=sqnr_db,
            cosine=1.0,
            agreement=agreement,
            decisions=decisions,
            balanced=balanced,
        )
        return pruning._doubt(o, 0.97, min(decisions, 100))

    assert doubt(1.0, 100) is None
    assert "give more data" in (doubt(1.0, 9) or "")
    assert "give more data" in (doubt(0.975, 80) or "")
    assert doubt(None, 0, sqnr_db=24.5) is None
    assert "ask for 24.4 dB" in (doubt(None, 0, sqnr_db=24.0) or "")
    assert "class by class" in (doubt(0.999, 10000, balanced=0.5) or "")
