"""Quantized models that are wrong on purpose: plans that are edited, and graphs that are written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from onnxzip.quantize import PlannedNode, QuantPlan, Site, insert
from onnxzip.quantize.audit import Finding, audit
from tests.helpers.graphs import model
from tests.quantize.audit import plan_of

SITE = Site(tensor="x", dtype="uint8", scale=0.05, zero_point=128, readers="all")


def found(net: ir.Model, plan: QuantPlan) -> list[tuple[str, str, str]]:
    """Node, kind and operator of what the audit finds in what insertion makes of a plan."""
    return short(audit(insert(net, plan), plan))


def short(findings: tuple[Finding, ...]) -> list[tuple[str, str, str]]:
    return [(f.node, f.kind, f.op) for f in findings]


def reasons(findings: tuple[Finding, ...]) -> str:
    """All that was seen."""
    return "; ".join(f.reason for f in findings)


def plain(net: ir.Model) -> list[tuple[str, str, str]]:
    """The same for the plan as it is made."""
    return found(net, plan_of(net))


def without_site(plan: QuantPlan, *tensors: str) -> QuantPlan:
    assert set(tensors) <= {s.tensor for s in plan.sites}
    return dataclasses.replace(plan, sites=tuple(s for s in plan.sites if s.tensor not in tensors))


def with_site(plan: QuantPlan, tensor: str, **changes: object) -> QuantPlan:
    assert tensor in {s.tensor for s in plan.sites}
    sites = tuple(dataclasses.replace(s, **changes) if s.tensor == tensor else s for s in plan.sites)  # type: ignore[arg-type]
    return dataclasses.replace(plan, sites=sites)


def planned(**roles: str) -> QuantPlan:
    """A plan that says no more than which nodes run in integers: `output="Op role"`."""
    nodes = [(output, *text.split()) for output, text in roles.items()]
    entries = tuple(PlannedNode(node=o, op=op, output=o, role=role, weight="w") for o, op, role in nodes)
    return QuantPlan(target="cpu", method="minmax", sites=(SITE,), nodes=entries)


def by_hand(interface: str, body: str, **arrays: np.ndarray) -> ir.Model:
    """A quantized graph from text. s and z are scale and zero point of activations, codes random weights of the given shape."""
    arrays = {"s": np.float32(0.05), "z": np.uint8(128), "ws": np.float32(0.01)} | arrays
    text = f"agraph {interface} {{ {body} }}"
    return model(text, **{k: v for k, v in arrays.items() if k in body})


def codes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-127, 128, shape).astype(np.int8)
