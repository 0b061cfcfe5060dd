"""Activation forms put into a plan: where MatMuls read tokens, each activation gets the form that `smooth` finds best.

Taken are sites that MatMuls alone read whose result stays float, each with weights of its own: weights that others read too
cannot be multiplied by smoothing factors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.gather import View
from onnxzip.calibrate.patches import sample
from onnxzip.calibrate.probe import real_tokens
from onnxzip.model.constants import array
from onnxzip.model.shapes import Shapes
from onnxzip.quantize.fit import find_nodes
from onnxzip.quantize.packed import pack
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Site
from onnxzip.quantize.smooth import Form, best_form
from onnxzip.runtime import Batch

TOKEN_RANK = 3
"""Activations of this rank and more are sequences of tokens."""


def token_sites(model: ir.Model, plan: QuantPlan, shapes: Shapes | None = None) -> dict[str, tuple[PlannedNode, ...]]:
    """The sites that may take another form, by tensor, with their readers. `shapes`: of the model, where they are known."""
    nodes, shapes = find_nodes(model, plan), shapes or Shapes(model)
    readers: dict[str, list[PlannedNode]] = {}
    weights: dict[str, int] = {}
    for planned in plan.nodes:
        weights[planned.weight] = weights.get(planned.weight, 0) + 1
        for value in dict.fromkeys(nodes[planned.output].inputs):
            if value is not None and value.name:
                readers.setdefault(value.name, []).append(planned)
    ends = {s.tensor for s in plan.sites}
    found = {}
    for site in plan.sites:
        own = readers.get(site.tensor, [])
        if site.readers != "quantized" or not own or any(p.role not in ("matmul", "token") for p in own):
            continue
        data = nodes[own[0].output].inputs[0]
        if any(weights[p.weight] > 1 or p.output in ends for p in own) or (shapes.rank(data) or 0) < TOKEN_RANK:
            continue
        found[site.tensor] = tuple(own)
    return found


class Rows:
    """A watcher that keeps a bounded sample of the rows (last axis) of some tensors; padding left out.

    Args:
        tensors: their names.
        view: the data; `view.rows` is how many are kept of each.
    """

    def __init__(self, tensors: Sequence[str], view: View) -> None:
        self.wanted = tuple(tensors)
        self._view = view
        self._kept: dict[str, list[np.ndarray]] = {n: [] for n in tensors}

    def see(self, number: int, batch: Batch, arrays: Mapping[str, Any]) -> None:
        """Keep some rows of one batch."""
        for name, kept in self._kept.items():
            values = arrays.get(name)
            if values is None:
                continue  # inside a body that did not run
            grid = values.shape[:-1]
            where = sample(grid, self._view.limit(), number, real_tokens(batch, self._view.mask, grid))
            kept.append(values.reshape(-1, values.shape[-1])[where])

    def of(self, name: str) -> np.ndarray:
        """The rows of a tensor, float64[n, K]."""
        kept = self._kept[name]
        return np.concatenate(kept).astype(np.float64) if kept else np.empty((0, 0))


def forms(model: ir.Model, sites: Mapping[str, tuple[PlannedNode, ...]], rows: Rows) -> dict[str, Form]:
    """The best form of each of these sites."""
    by_output = {o.name: n for n in model.graph.all_nodes() for o in n.outputs if o.name}
    found = {}
    for tensor, readers in sites.items():
        weights = [array(by_output[p.output].inputs[1]) for p in readers]
        side_by_side = np.concatenate([w for w in weights if w is not None], axis=1).astype(np.float64)
        sampled = rows.of(tensor)
        if len(sampled):
            found[tensor] = best_form(sampled, side_by_side)
    return found


def with_forms(plan: QuantPlan, sites: Mapping[str, tuple[PlannedNode, ...]], found: Mapping[str, Form]) -> QuantPlan:
    """The plan with these forms in place of what its sites had."""
    roles = {p.output: "token" for t in found for p in sites[t]}
    nodes = tuple(dataclasses.replace(p, role=roles.get(p.output, p.role)) for p in plan.nodes)
    return dataclasses.replace(plan, nodes=nodes, sites=tuple(_site(s, found.get(s.tensor)) for s in plan.sites))


def _site(site: Site, form: Form | None) -> Site:
    if form is None:
        return site
    return dataclasses.replace(
        site,
        scale=form.qparams.scale,
        zero_point=form.qparams.zero_point,
        per_token=True,
        smooth="" if form.factors is None else pack(form.factors),
    )
