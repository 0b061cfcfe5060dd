"""Exact rewrites. `PASSES` is the order they run in; the runner repeats it until nothing changes."""

from onnxzip.passes.absorb import absorb
from onnxzip.passes.cancel_requantization import cancel_requantization
from onnxzip.passes.cancel_sqrt import cancel_sqrt
from onnxzip.passes.compute_on_table import compute_on_table
from onnxzip.passes.context import Pass
from onnxzip.passes.drop_saturated import drop_saturated
from onnxzip.passes.fold_constants import fold_constants
from onnxzip.passes.fuse_affine_after import fuse_affine_after
from onnxzip.passes.fuse_affine_before import fuse_affine_before
from onnxzip.passes.fuse_contrib import fuse_contrib
from onnxzip.passes.fuse_pads import fuse_pads
from onnxzip.passes.hoist_common import hoist_common
from onnxzip.passes.hoist_invariants import hoist_invariants
from onnxzip.passes.inline_functions import inline_functions
from onnxzip.passes.lift_constants import lift_constants
from onnxzip.passes.matmul_to_gemm import matmul_to_gemm
from onnxzip.passes.merge_affines import merge_affines
from onnxzip.passes.merge_casts import merge_casts
from onnxzip.passes.merge_clips import merge_clips
from onnxzip.passes.merge_common import merge_common
from onnxzip.passes.merge_concats import merge_concats
from onnxzip.passes.merge_gathers import merge_gathers
from onnxzip.passes.merge_initializers import merge_initializers
from onnxzip.passes.merge_moves import merge_moves
from onnxzip.passes.merge_reduces import merge_reduces
from onnxzip.passes.merge_reshapes import merge_reshapes
from onnxzip.passes.merge_siblings import merge_siblings
from onnxzip.passes.merge_sizes import merge_sizes
from onnxzip.passes.merge_slices import merge_slices
from onnxzip.passes.merge_squeezes import merge_squeezes
from onnxzip.passes.merge_transposes import merge_transposes
from onnxzip.passes.merge_views import merge_views
from onnxzip.passes.move_views import move_views
from onnxzip.passes.one_hot_to_gather import one_hot_to_gather
from onnxzip.passes.permute_weights import permute_weights
from onnxzip.passes.raise_clip import raise_clip
from onnxzip.passes.raise_gelu import raise_gelu
from onnxzip.passes.raise_hard_swish import raise_hard_swish
from onnxzip.passes.raise_layer_norm import raise_layer_norm
from onnxzip.passes.raise_mean import raise_mean
from onnxzip.passes.raise_softmax import raise_softmax
from onnxzip.passes.remove_dead import remove_dead
from onnxzip.passes.remove_noops import remove_noops
from onnxzip.passes.reshape_once import reshape_once
from onnxzip.passes.resolve_ifs import resolve_ifs
from onnxzip.passes.shortcut_to_conv import shortcut_to_conv
from onnxzip.passes.simplify_reshapes import simplify_reshapes
from onnxzip.passes.skip_broadcasts import skip_broadcasts
from onnxzip.passes.split_slices import split_slices
from onnxzip.passes.square import square
from onnxzip.passes.transposes_into_gemm import transposes_into_gemm
from onnxzip.passes.trim_bodies import trim_ifs, trim_loops
from onnxzip.passes.trim_recurrent import trim_recurrent
from onnxzip.passes.unroll_loops import unroll_loops

PASSES: tuple[Pass, ...] = (
    inline_functions,  # what is inside of functions is seen by no other pass
    lift_constants,  # one form of constant for all that follows
    fuse_contrib,  # only where it is allowed; it knows the forms that exporters write, so nothing else comes first
    fold_constants,  # shapes and axes become constants that the other passes can read
    resolve_ifs,  # what is in a branch is next to what is around it from now on
    unroll_loops,
    trim_ifs,
    trim_loops,
    hoist_common,
    hoist_invariants,
    trim_recurrent,
    absorb,
    remove_noops,  # links of chains that would hide what is next to what
    merge_transposes,
    merge_reshapes,
    merge_squeezes,  # what merge_reshapes could not undo
    merge_reduces,
    cancel_sqrt,
    square,
    merge_moves,  # after merge_transposes and merge_reshapes, which know more about shapes that are symbolic
    merge_views,
    merge_concats,
    reshape_once,
    merge_slices,
    split_slices,  # after the former, which needs fewer nodes
    merge_gathers,
    merge_casts,
    one_hot_to_gather,  # before affine maps: what follows the product then meets a table
    compute_on_table,  # what it puts on constants is computed in the next round
    raise_mean,  # formulas, before affine maps are taken out of them; small ones before those that they are part of
    raise_clip,
    raise_hard_swish,
    raise_softmax,
    raise_layer_norm,
    raise_gelu,
    drop_saturated,
    cancel_requantization,
    simplify_reshapes,  # shape arithmetic has no reader left then
    skip_broadcasts,
    merge_clips,
    fuse_pads,
    matmul_to_gemm,  # a linear operator with a bias takes more of what follows
    transposes_into_gemm,
    permute_weights,
    fuse_affine_after,  # before equal weights are tied: a weight of its own is changed in its place
    fuse_affine_before,  # after the former: a map between two linear operators costs less in the first
    merge_siblings,  # with what followed each of them folded in
    merge_affines,  # what no linear operator could take
    merge_initializers,  # makes equal nodes out of nodes with equal constants
    merge_sizes,
    merge_common,
    shortcut_to_conv,  # when most bytes are saved: its kernel takes some
    move_views,  # by itself: whatever takes a node away without it should have been done
    remove_dead,  # what all of the above left behind
)

# Passes that may add bytes for a while, because others win them back. The runner judges them when all is done.
JUDGED_AT_THE_END = frozenset({"inline_functions", "compute_on_table"})
