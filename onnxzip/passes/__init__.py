"""Exact rewrites. `PASSES` is the order they run in; the runner repeats it until nothing changes."""

from onnxzip.passes.context import Pass
from onnxzip.passes.cut_shuffles import cut_shuffles
from onnxzip.passes.fold_constants import fold_constants
from onnxzip.passes.fuse_affine_after import fuse_affine_after
from onnxzip.passes.fuse_affine_before import fuse_affine_before
from onnxzip.passes.inline_functions import inline_functions
from onnxzip.passes.lift_constants import lift_constants
from onnxzip.passes.merge_affines import merge_affines
from onnxzip.passes.merge_casts import merge_casts
from onnxzip.passes.merge_common import merge_common
from onnxzip.passes.merge_concats import merge_concats
from onnxzip.passes.merge_gathers import merge_gathers
from onnxzip.passes.merge_initializers import merge_initializers
from onnxzip.passes.merge_reshapes import merge_reshapes
from onnxzip.passes.merge_slices import merge_slices
from onnxzip.passes.merge_transposes import merge_transposes
from onnxzip.passes.merge_views import merge_views
from onnxzip.passes.move_views import move_views
from onnxzip.passes.remove_dead import remove_dead
from onnxzip.passes.remove_noops import remove_noops
from onnxzip.passes.split_slices import split_slices

PASSES: tuple[Pass, ...] = (
    inline_functions,  # what is inside of functions is seen by no other pass
    lift_constants,  # one form of constant for all that follows
    fold_constants,  # shapes and axes become constants that the other passes can read
    remove_noops,  # links of chains that would hide what is next to what
    merge_transposes,
    merge_reshapes,
    merge_views,  # after those two, which need to know less
    cut_shuffles,
    merge_concats,
    merge_slices,
    split_slices,  # after the former, which needs fewer
    merge_gathers,
    merge_casts,
    fuse_affine_after,  # before equal weights are tied: a weight of its own is changed in its place
    fuse_affine_before,  # after the former: a map between two linear operators costs less in the first
    merge_affines,  # what no linear operator could take
    merge_initializers,  # makes equal nodes out of nodes with equal constants
    merge_common,
    move_views,  # by itself: whatever takes a node away without it should have been done
    remove_dead,  # what all of the above left behind
)

# Passes that may add bytes for a while, because others win them back. The runner judges them when all is done.
JUDGED_AT_THE_END = frozenset({"inline_functions"})
