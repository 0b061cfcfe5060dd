"""The plan as data: what is quantized and how, which nodes stay float and why. JSON that can be read, edited and replayed.

Sites carry the numbers (scale, zero point). The scales of weights follow from the float weights and the plan by a fixed rule
(`onnxzip.quantize.weights`), and so do the integers where they are rounded to nearest: they are not written. What was fitted
on data is: as packed arrays (`onnxzip.quantize.packed`), so that a replay gives the same bytes without the data.
Nodes are named by their first output, which is unique; `node` is there for the reader.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxzip.errors import UsageError
from onnxzip.quantize.qparams import CODES

VERSION = 2
ROLES = ("conv", "gemm", "matmul", "token", "table", "row_bias", "int32_bias", "join", "pass", "biased", "stored")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A quantized activation.

    Attributes:
        tensor: its name.
        dtype: uint8, int8, uint16 or int16.
        scale: a float32 number.
        zero_point: a code of that dtype.
        readers: "all" read the dequantized value, or the "quantized" nodes only. "factor": what such a site gives is quantized once
            more, for the products of which it is the second factor.
        per_token: what is quantized is the tensor divided by the largest magnitude of its row (last axis); its readers have the
            role "token".
        smooth: packed float32[K]: the tensor is divided by it along its last axis first, and the weights of its readers
            are multiplied (SmoothQuant; Xiao et al., 2022).
    """

    tensor: str
    dtype: str
    scale: float
    zero_point: int
    readers: str
    per_token: bool = False
    smooth: str = ""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant stored as integers.

    Attributes:
        initializer: its name.
        dtype: int8, or uint4 in blocks.
        axis: of the output channels: there is a scale for each index along it.
        zero_points: whether they are stored: only where a fusion asks.
        pairs: two neighbours along the sum stay within the limit of kernels that add them up in 16 bits (`onnxzip.quantize.pairs`).
        rounding: packed int8, shape of the weights: what is added to the nearest integers; empty for nothing.
        half: the scales are float16 numbers, and stored as such.
        block: each scale stands for so many weights along the other axis (`onnxzip.quantize.blocks`); 0: for all of them.
        scales, zeros: packed float32 and uint8, shape of the scales: those of the blocks.
    """

    initializer: str
    dtype: str
    axis: int
    zero_points: bool
    pairs: bool = False
    rounding: str = ""
    half: bool = False
    block: int = 0
    scales: str = ""
    zeros: str = ""


@dataclass(frozen=True, kw_only=True)
class PlannedNode:
    """A node that takes part.

    Attributes:
        node, op, output: its name, operator and first output.
        role: see `onnxzip.quantize.insert`.
        weight: names its entry in the weights, or is empty.
        bias: packed float32[C]: what is added to the bias that it holds; empty for nothing.
    """

    node: str
    op: str
    output: str
    role: str
    weight: str = ""
    bias: str = ""


@dataclass(frozen=True, kw_only=True)
class LeftNode:
    """A node that stays float, and why."""

    node: str
    op: str
    output: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Equalized:
    """What a layer makes, divided by a factor for each channel before anything else (see `onnxzip.quantize.rescale`).

    Attributes:
        tensor: the output of a Conv or Gemm.
        factors: packed float32[C], positive.
    """

    tensor: str
    factors: str


@dataclass(frozen=True, kw_only=True)
class QuantPlan:
    """Everything that `onnxzip.quantize.insert` needs beside the model.

    Attributes:
        target: name of the target row.
        method: how ranges were chosen.
        sites, weights, nodes: see their classes; empty when there is nothing to quantize.
        left: nodes that stay float.
        equalized: tensors that are divided first.
        notes: what the reader should know, one sentence each.
    """

    target: str
    method: str
    sites: tuple[Site, ...] = ()
    weights: tuple[Weight, ...] = ()
    nodes: tuple[PlannedNode, ...] = ()
    left: tuple[LeftNode, ...] = ()
    equalized: tuple[Equalized, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Readable, deterministic JSON: one entry a line."""
        head = {"onnxzip_plan": VERSION, "target": self.target, "method": self.method}
        lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
        for name, kind in _LISTS.items():
            entries = [_entry(e) if kind else e for e in getattr(self, name)]
            body = ",\n".join(f"    {json.dumps(e, ensure_ascii=False)}" for e in entries)
            lines.append(f'  "{name}": [\n{body}\n  ]' if body else f'  "{name}": []')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> QuantPlan:
        """Read what `to_json` wrote, perhaps edited by hand.

        Raises:
            UsageError: it is not JSON, not a plan, of another version, or an entry is wrong; the entry is named.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UsageError(f"the plan is not JSON: {error}") from error
        if not isinstance(data, dict) or "onnxzip_plan" not in data:
            raise UsageError('the file is not a quantization plan: there is no "onnxzip_plan" in it')
        version = data.pop("onnxzip_plan")
        if version != VERSION:
            raise UsageError(f"the plan has version {version}, this onnxzip reads version {VERSION}: make it anew")
        if unknown := sorted(set(data) - {"target", "method", *_LISTS}):
            raise UsageError(f"the plan holds {unknown[0]!r}, which is not known")
        lists = {name: _read_list(name, kind, data.get(name, [])) for name, kind in _LISTS.items()}
        plan = cls(target=str(data.get("target", "")), method=str(data.get("method", "")), **lists)
        _check(plan)
        return plan


_LISTS: dict[str, type[Any] | None] = {
    "sites": Site,
    "weights": Weight,
    "nodes": PlannedNode,
    "left": LeftNode,
    "equalized": Equalized,
    "notes": None,
}


def _entry(item: Any) -> dict[str, Any]:
    """Fields of an entry; float32 numbers in their shortest form, defaults left out."""
    fields = {f.name: getattr(item, f.name) for f in dataclasses.fields(item) if getattr(item, f.name) != f.default}
    return {k: float(str(np.float32(v))) if isinstance(v, float) else v for k, v in fields.items()}


def _read_list(name: str, kind: type[Any] | None, entries: Any) -> tuple[Any, ...]:
    if not isinstance(entries, list):
        raise UsageError(f"{name!r} of the plan must be a list")
    if kind is None:
        return tuple(map(str, entries))
    return tuple(_read_entry(f"entry {i} of {name!r}", kind, e) for i, e in enumerate(entries))


def _read_entry(where: str, kind: type[Any], entry: Any) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if not isinstance(entry, dict):
        raise UsageError(f"{where} of the plan must be an object")
    if unknown := sorted(set(entry) - set(fields)):
        raise UsageError(f"{where} of the plan holds {unknown[0]!r}, which is not known")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in entry:
            if field.default is dataclasses.MISSING:
                raise UsageError(f"{where} of the plan lacks {name!r}")
            continue
        values[name] = _typed(f"{name!r} in {where}", str(field.type), entry[name])
    return kind(**values)


def _typed(where: str, kind: str, value: Any) -> Any:
    if kind == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(np.float32(value))
    if type(value).__name__ != kind:
        raise UsageError(f"{where} of the plan must be of type {kind}, not {value!r}")
    return value


def _check(plan: QuantPlan) -> None:
    """Values that insertion relies on."""
    for site in plan.sites:
        lowest, highest = CODES.get(site.dtype, (1, 0))
        if not (lowest <= site.zero_point <= highest and site.readers in ("all", "quantized", "factor")):
            raise UsageError(
                f"site {site.tensor!r} of the plan must be {', '.join(CODES)} with a zero point among its codes (uint8: 0 to 255) and readers 'all', 'quantized' or 'factor'"
            )
        if not np.finfo(np.float32).tiny <= site.scale < np.inf:
            raise UsageError(
                f"site {site.tensor!r} of the plan has the scale {site.scale}, which is not a normal positive number"
            )
    for weight in plan.weights:
        if (weight.dtype, weight.block > 0) not in (("int8", False), ("uint4", True)):
            raise UsageError(
                f"weight {weight.initializer!r} of the plan must be int8, or uint4 in blocks, not {weight.dtype!r} with block {weight.block}"
            )
    for node in plan.nodes:
        if node.role not in ROLES:
            raise UsageError(f"node {node.output!r} of the plan has the role {node.role!r}: one of {', '.join(ROLES)}")
