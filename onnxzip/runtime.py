"""The one door to onnxruntime: sessions, runs, and what the runtime made of a graph."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from onnxzip.errors import ModelError
from onnxzip.model.save import PROTOBUF_LIMIT, model_bytes, save, to_proto

Batch = Mapping[str, Any]
"""One feed: input name to numpy array (sequences and maps as lists and dicts)."""

VERSION: str = ort.__version__

_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True)
class TensorSpec:
    """What a session wants or gives: name, numpy dtype (None when it is not a tensor), and shape (names for dynamic axes)."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...]
    type: str


class Session:
    """A model loaded in onnxruntime's CPU provider.

    Args:
        model: the model. Weights are serialized into the session; nothing of the model is kept.
        level: graph optimizations of onnxruntime: "none" (reference numbers), "basic" or "all" (as deployed).
        threads: intra-op threads; 0 lets onnxruntime choose.
        optimized_to: write the graph that onnxruntime made of it to this path.

    Raises:
        ModelError: onnxruntime does not load it; the message carries its reason.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        level: str = "all",
        threads: int = 0,
        optimized_to: str | os.PathLike[str] | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = _LEVELS[level]
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        if optimized_to is not None:
            options.optimized_model_filepath = str(optimized_to)
        try:
            with _as_source(model) as source:
                self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except ModelError:
            raise
        except Exception as error:  # onnxruntime raises a dozen unrelated types
            raise ModelError(f"onnxruntime {VERSION} does not load the model: {_reason(error)}") from error
        self.inputs = tuple(_spec(v) for v in self._session.get_inputs())
        self.outputs = tuple(_spec(v) for v in self._session.get_outputs())

    def run(self, feed: Batch, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run one batch. Returns the outputs (all, or those named) by name.

        Raises:
            ModelError: onnxruntime fails on this input.
        """
        names = [o.name for o in self.outputs] if outputs is None else list(outputs)
        try:
            return dict(zip(names, self._session.run(names, dict(feed)), strict=True))
        except Exception as error:
            raise ModelError(f"onnxruntime {VERSION} fails to run the model: {_reason(error)}") from error


@contextlib.contextmanager
def _as_source(model: ir.Model) -> Iterator[bytes | str]:
    """The serialized model, or the path of a temporary copy with external data when it exceeds protobuf's limit."""
    if model_bytes(model) <= PROTOBUF_LIMIT:
        yield to_proto(model).SerializeToString()
        return
    with tempfile.TemporaryDirectory(prefix="onnxzip-") as folder:
        path = Path(folder) / "model.onnx"
        save(model, path, external=True)
        yield str(path)


def _spec(value: Any) -> TensorSpec:
    kind = value.type
    dtype = _DTYPES.get(kind.removeprefix("tensor(").removesuffix(")")) if kind.startswith("tensor(") else None
    return TensorSpec(value.name, dtype, tuple(value.shape or ()), kind)


_DTYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bool": np.dtype(np.bool_),
    "string": np.dtype(object),
    **{f"{u}int{b}": np.dtype(f"{u}int{b}") for u in ("", "u") for b in (8, 16, 32, 64)},
}


def _reason(error: Exception) -> str:
    """The message of onnxruntime without its source paths and status codes."""
    text = " ".join(str(error).split())
    for marker in (
        " : FAIL : ",
        " : INVALID_GRAPH : ",
        " : NOT_IMPLEMENTED : ",
        " : INVALID_ARGUMENT : ",
        " : RUNTIME_EXCEPTION : ",
    ):
        text = text.split(marker, 1)[-1]
    return text[:300]
