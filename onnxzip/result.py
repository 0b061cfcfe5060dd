"""What `optimize` gives back."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model import save as saving
from onnxzip.quantize.schema import QuantPlan
from onnxzip.records import Verdict
from onnxzip.report import Report

PROVENANCE = "onnxzip"
"""Key in the model's metadata under which version, settings, source digest and figures stand."""


@dataclass(frozen=True)
class Result:
    """The best model, the verdict on what was asked for, and the report.

    When the budget was missed, `verdict.passed` is False and `model` is the best exact model.

    Attributes:
        model: the graph.
        verdict: passed or not, with figures and reasons.
        report: what every stage did.
        plan: the quantization plan, also when its model was taken back; JSON that can be read, edited and replayed.
        external: save weights beside the model even when they are small.
        sources: the files of the original, which are never written.
    """

    model: ir.Model
    verdict: Verdict
    report: Report
    plan: QuantPlan | None = None
    external: bool = False
    sources: tuple[Path, ...] = ()

    def to_proto(self) -> onnx.ModelProto:
        """The model as protobuf, weights inline.

        Raises:
            ModelError: it is larger than protobuf's 2 GiB; use `save`.
        """
        return saving.to_proto(self.model)

    def save(self, path: str | os.PathLike[str]) -> tuple[Path, ...]:
        """Write the model, atomically. Weights go to a file beside it when they exceed 2 GiB or when the input's did.

        Returns:
            The files written, model first.

        Raises:
            ModelError: the folder does not exist or cannot be written, or the original would be overwritten.
        """
        target = Path(path)
        if target.exists() and any(s.exists() and target.samefile(s) for s in self.sources):
            raise ModelError(
                f"{target}: this is a file of the original model, which is never overwritten. Choose another name."
            )
        return saving.save(self.model, path, external=self.external)

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdict and the key figures."""
        return self.report.to_fragment()


def stamp(model: ir.Model, version: str, preset: str, digest: str, verdict: Verdict, limit: int) -> None:
    """Write the provenance into the model's metadata: a few bytes, no times, the same for the same input.

    A file that would exceed `limit` bytes by it goes without: not growing is the older promise.
    """
    figures = {
        k: float(f"{v:.4g}") for k, v in verdict.metrics.items() if k in ("agreement", "sqnr_db") and math.isfinite(v)
    }
    content = {"version": version, "preset": preset, "source": digest, "verified": verdict.verified, **figures}
    model.metadata_props[PROVENANCE] = json.dumps(content, separators=(",", ":"))
    if saving.model_bytes(model) > limit:
        del model.metadata_props[PROVENANCE]
