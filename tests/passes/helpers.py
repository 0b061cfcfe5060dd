"""What the tests of the passes share."""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.save import to_proto
from onnxzip.passes.context import Context, Outcome, Pass


def apply(model: ir.Model, *passes: Pass) -> tuple[ir.Model, Outcome]:
    """A copy of the model after these passes, one after another, and the outcome of the last."""
    copy = model.clone()
    for each in passes:
        outcome = each(copy, Context(copy))
    return copy, outcome


def assert_untouched(model: ir.Model, *passes: Pass) -> Outcome:
    """The passes do nothing; their last outcome, for its notes."""
    before = to_proto(model)
    after, outcome = apply(model, *passes)
    assert outcome.changes == 0
    assert to_proto(after) == before
    return outcome
