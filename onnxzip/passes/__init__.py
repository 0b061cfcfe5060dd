"""Exact rewrites. `PASSES` is the order they run in; the runner repeats it until nothing changes."""

from onnxzip.passes.context import Pass
from onnxzip.passes.fold_constants import fold_constants
from onnxzip.passes.lift_constants import lift_constants
from onnxzip.passes.remove_dead import remove_dead

PASSES: tuple[Pass, ...] = (
    lift_constants,
    fold_constants,
    remove_dead,
)

JUDGED_AT_THE_END = frozenset({"inline_functions"})
