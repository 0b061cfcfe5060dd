"""Any graph, rewritten, computes what it computed, is no larger, and has the interface it had."""

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import HealthCheck, assume, given, settings

from onnxzip.errors import ModelError
from onnxzip.model.load import load
from onnxzip.model.save import model_bytes
from onnxzip.passes.runner import run
from tests.helpers.numerics import assert_equivalent
from tests.helpers.numerics import run as execute
from tests.helpers.random_graphs import CHANNELS, LENGTH, models


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(models())
def test_random_graphs_stay_what_they_are(proto: onnx.ModelProto) -> None:
    before = load(proto).model
    batches = [_batch(size) for size in (1, 3)]
    assume(all(_runs(before, batch) for batch in batches))
    after, _ = run(before, strict=True)
    assert model_bytes(after) <= model_bytes(before)
    assert sum(1 for _ in after.graph.all_nodes()) <= sum(1 for _ in before.graph.all_nodes())
    for batch in batches:
        assert_equivalent(before, after, rtol=2e-5, atol=1e-6, batch=batch)


def _batch(size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(size)
    return {k: rng.standard_normal((size, CHANNELS, LENGTH)).astype(np.float32) for k in ("x", "z")}


def _runs(model: ir.Model, batch: dict[str, np.ndarray]) -> bool:
    """onnxruntime 1.32 fails on one graph in fifty: a body that reads an outer value twice ("Missing Input")."""
    try:
        execute(model, batch)
    except ModelError:
        return False
    return True
