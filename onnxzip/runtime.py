"""The one door to onnxruntime: sessions, runs, and what the runtime made of a graph."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from google.protobuf.message import EncodeError

from onnxzip.errors import ModelError
from onnxzip.model.load import Loaded
from onnxzip.model.proto import inline
from onnxzip.model.save import to_shallow_proto

Batch = Mapping[str, Any]
"""One feed: input name to numpy array (sequences and maps as lists and dicts)."""

VERSION: str = ort.__version__

SHARED_BYTES = 1024
"""Smaller initializers are serialized: some kernels want shapes and axes as constants."""

_SHAREABLE = frozenset(ir.DataType[n] for n in ("FLOAT", "FLOAT16", "DOUBLE", "INT8", "UINT8", "INT32", "INT64"))

_LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
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
        model: the model. Large weights are shared with the session where nothing rewrites them (see `_kept`), else onnxruntime makes its
            own copy; nothing else of the model is kept.
        level: graph optimizations of onnxruntime: "none" (reference numbers) or "all" (as deployed).
        threads: intra-op threads; 0 lets onnxruntime choose.
        timed: its speed counts: memory is laid out ahead for every shape that it has seen, as deployed. Else activations take memory
            as they come: about half, and hardly slower.
        optimized_to: write the graph that onnxruntime made of it to this path.
        outputs: names of values of the main graph to compute instead of the model's outputs; the model need not be copied for that.
        profile_to: time every node and write that to a file whose name begins with this path, once `end_profile` is called.

    Raises:
        ModelError: onnxruntime does not load it; the message carries its reason.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        level: str = "all",
        threads: int = 0,
        timed: bool = False,
        optimized_to: str | os.PathLike[str] | None = None,
        outputs: Sequence[str] | None = None,
        profile_to: Path | None = None,
    ) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = _LEVELS[level]
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = timed
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if level == "none":  # runs a few times at most: reordered copies of all weights would cost more than they save
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.log_severity_level = 4
        if optimized_to is not None:
            options.optimized_model_filepath = str(optimized_to)
        if profile_to is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile_to)
        shared = {} if optimized_to is not None else _shared_weights(model)
        # alive as long as the session
        self._weights = {n: ort.OrtValue.ortvalue_from_numpy(a) for n, a in shared.items()}
        options.add_external_initializers(list(self._weights), list(self._weights.values()))
        for name in _kept(model, shared, level):
            options.add_initializer(name, self._weights[name])
        try:
            content = _serialize(model, shared, outputs)
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
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

    def end_profile(self) -> Path:
        """Stop timing. Returns the file, JSON in the trace event format."""
        return Path(self._session.end_profiling())


def run_file(path: str | os.PathLike[str], feed: Batch) -> None:
    """Load a model file as it will be deployed, in one thread, and run it once; for what that costs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"]).run(None, dict(feed))


@cache
def sums_saturate() -> bool:
    """Whether the integer kernels of this CPU add up pairs of products in 16 bits (x86 without VNNI), found out by trying."""
    row = ir.val("a", ir.DataType.UINT8, (1, 64))
    weights = ir.val("w", ir.DataType.INT8, (64, 64), const_value=ir.tensor(np.full((64, 64), 127, np.int8)))
    node = ir.node("MatMulInteger", [row, weights])
    node.outputs[0].name = "y"
    graph = ir.Graph([row], node.outputs, nodes=[node], initializers=[weights], opset_imports={"": 18}, name="probe")
    result = Session(ir.Model(graph, ir_version=8), threads=1).run({"a": np.full((1, 64), 255, np.uint8)})["y"]
    return bool((result != 64 * 255 * 127).any())


@cache
def newest_opset() -> int:
    """The newest version of the standard operators that both onnx and this onnxruntime know."""
    for version in range(onnx.defs.onnx_opset_version(), 1, -1):
        value = ir.val("x", ir.DataType.FLOAT, (1,))
        node = ir.node("Identity", [value])
        node.outputs[0].name = "y"
        graph = ir.Graph([value], node.outputs, nodes=[node], opset_imports={"": version}, name="probe")
        with contextlib.suppress(ModelError):
            Session(ir.Model(graph, ir_version=8))
            return version
    raise ModelError(f"onnxruntime {VERSION} loads no model at all")


def fuse_transformer(model: onnx.ModelProto, heads: int, width: int, *, norms: bool) -> onnx.ModelProto:
    """onnxruntime's own fusions for transformers, with operators of its own domain: attention and Gelu with bias.

    Args:
        model: is used up.
        heads: how many attention heads there are, 0 to let it find out.
        width: of all heads together, 0 to let it find out.
        norms: fuse embeddings and residual additions with the norms behind them as well: fewer nodes, slower on a CPU.

    Returns:
        The model as it is then. It is not checked here.

    Raises:
        ModelError: they fail on this model.
    """
    from onnxruntime.transformers.fusion_options import AttentionMaskFormat, FusionOptions
    from onnxruntime.transformers.optimizer import optimize_by_fusion

    options = FusionOptions("bert")
    options.attention_mask_format = AttentionMaskFormat.AttentionMask  # the default takes padding to be on the right
    options.enable_embed_layer_norm = options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = norms
    try:
        with _silence(Path(ort.__file__).parent / "transformers"):
            fused: onnx.ModelProto = optimize_by_fusion(model, "bert", heads, width, options).model
    except Exception as error:  # a tool for experiments: it throws whatever goes wrong in it
        raise ModelError(f"onnxruntime {VERSION} cannot fuse it: {type(error).__name__}: {_reason(error)}") from error
    return fused


def to_float16(model: onnx.ModelProto, keep: Collection[str]) -> onnx.ModelProto:
    """onnxruntime's own converter: float32 becomes float16, but for inputs, outputs, and nodes that stay as they are behind Casts.

    Args:
        model: is used up.
        keep: names of nodes that stay float32, beside the operators that have no float16.

    Returns:
        The model as it is then. It is not checked here, and its nodes are not in order.

    Raises:
        ModelError: it fails on this model.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with _silence(Path(ort.__file__).parent / "transformers"):
            half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=sorted(keep))
    except Exception as error:  # it asserts, and throws what protobuf and numpy throw
        raise ModelError(
            f"the converter of onnxruntime {VERSION} fails: {type(error).__name__}: {_reason(error)}"
        ) from error
    return half


@contextlib.contextmanager
def _silence(folder: Path) -> Iterator[None]:
    """No messages from the modules of a folder: each has a logger of its own name."""
    names = [n for n, m in tuple(sys.modules.items()) if Path(getattr(m, "__file__", None) or "").parent == folder]
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def session_of(loaded: Loaded, *, level: str = "all") -> Session:
    """A session of a model as the user gave it.

    Raises:
        ModelError: onnxruntime does not load it; the message names the model and says what that means.
    """
    try:
        return Session(loaded.model, level=level)
    except ModelError as error:
        raise ModelError(
            f"{loaded.name}: {error}. onnxzip proves its work by running the model, so models that need custom operators "
            "or another runtime cannot be handled."
        ) from error


def _shared_weights(model: ir.Model) -> dict[str, np.ndarray[Any, Any]]:
    """The large weights of the main graph, by name: the session reads them where they are instead of getting a copy."""
    return {
        name: np.ascontiguousarray(tensor.numpy())
        for name, value in model.graph.initializers.items()
        if (tensor := value.const_value) is not None
        and tensor.nbytes > SHARED_BYTES
        and tensor.dtype in _SHAREABLE
        and not value.is_graph_input()
        and (value.uses() or value.is_graph_output())  # onnxruntime drops the others before it looks for them
    }


def _kept(model: ir.Model, shared: Collection[str], level: str) -> list[str]:
    """Those of the shared weights that onnxruntime reads where they are; of the others it makes a copy of its own.

    Its optimizations may put others in their place, or pack them for its kernels. Without them nothing does; with them, it leaves alone the
    tables that only Gathers read.
    """
    values = model.graph.initializers
    tables = (n for n in shared if all(u.node.op_type == "Gather" and u.idx == 0 for u in values[n].uses()))
    return list(shared) if level == "none" else [n for n in tables if not values[n].is_graph_output()]


def _serialize(model: ir.Model, shared: Collection[str], outputs: Sequence[str] | None = None) -> bytes:
    """The model, with other outputs if they are named; its shared weights are declared as external data, which the session never looks for.

    Raises:
        ModelError: the rest is larger than protobuf's 2 GiB.
    """

    def written(value: ir.Value, tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
        if value.name in shared and value.graph is model.graph:
            shape = ir.Shape(tensor.shape.numpy())
            return ir.ExternalTensor("memory", 0, tensor.nbytes, tensor.dtype, shape=shape, name=value.name or "")
        return inline(value, tensor)

    try:
        proto = to_shallow_proto(model, written)
        if outputs is not None:
            del proto.graph.output[:]
            proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)  # the runtime infers types
        content: bytes = proto.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelError(
            "the model holds more than 2 GiB outside of the weights of its main graph: it cannot be run"
        ) from error
    return content


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
    for code in ("FAIL", "INVALID_GRAPH", "NOT_IMPLEMENTED", "INVALID_ARGUMENT", "RUNTIME_EXCEPTION"):
        text = text.split(f" : {code} : ", 1)[-1]
    return text[:300]
