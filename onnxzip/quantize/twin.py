"""The equalized twin of a model, tried beside it by the search: it takes a run over the data and a fit of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from onnxzip.model.walk import all_nodes
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.equalize import equalize
from onnxzip.quantize.evidence import Evidence, look
from onnxzip.quantize.recipes import Recipe, Recipes
from onnxzip.quantize.rescale import rescaled
from onnxzip.runtime import Batch

EQUALIZED_MARGIN_DB = 1.5
"""What equalization must gain on the data that it was fitted to: on other data it gains less (UltraFace, five splits: 2.3 dB of 3)."""


def with_equalized(
    plain: Recipes,
    recipe: Recipe,
    error: float,
    evidence: Evidence,
    data: Iterable[Batch],
    observer: Observer = SILENT,
) -> tuple[Recipes, Recipe, float]:
    """Recipes for the equalized model, the recipe on it and its error, where that costs the outputs less by the margin; else those given."""
    equalized = () if evidence.extents is None else equalize(plain.model, evidence.extents)
    if not equalized:
        return plain, recipe, error
    twin = rescaled(plain.model, equalized)
    by_output = {n.outputs[0].name: n for n in all_nodes(twin) if n.outputs}
    keep = {by_output[node.outputs[0].name]: reason for node, reason in recipe.keep.items()}
    tensors = tuple(evidence.statistics)
    seen = look(twin, plain.row, keep, tensors, data, effort=evidence.effort, observer=observer, extents=False)
    other, own = Recipes(twin, plain.row, seen, equalized), dataclasses.replace(recipe, keep=keep)
    found = other.error(other.make(own)[1], data, observer)
    if found * 10 ** (EQUALIZED_MARGIN_DB / 10) < error:
        return other, own, found
    return plain, recipe, error
