"""Tools that quantize to int8, each behind one call: the path of a model, calibration feeds, the path to write to.

| name | what it is asked for |
|---|---|
| onnxzip, onnxzip-PRESET | the defaults, or a preset |
| ort | onnxruntime.quantization as it comes: S8S8, QDQ, per tensor, min-max |
| ort-best, -entropy, -percentile | U8S8 per channel, 7-bit weights where the CPU has no VNNI, prepared (below), after its quant_pre_process |
| ort-linear | as ort-best, with Conv, Gemm and MatMul by constants alone in int8 |
| nncf, nncf-transformer | its defaults; its preset for transformers |
| quark, quark-u8s8 | its A8W8; its U8S8_AAWS |
| onnxsim | its simplify (else it knows no types, and quantizes nothing), then its quantize_static as it comes |
| PEER-prepared | nncf, quark, onnxsim on the prepared model; what nothing reads any more is dropped from what they write |

Prepared is what a patient user does by hand: weights are no graph inputs any more, the IR version is one that allows that,
the opset is at least 13. A call returns a remark, or raises whatever the tool raises.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from benchmark_data import Feed
from onnx import version_converter

OPSET = 13
"""The first in which a DequantizeLinear has an axis."""
IR_VERSION = 8


@dataclass(frozen=True)
class Peer:
    """A tool in one setting.

    Attributes:
        modules: what it imports; one that is missing means that it is not installed.
        quantize: path of the model, calibration feeds, path to write to; returns a remark.
        floats: that nothing is quantized is no remark worth making.
    """

    modules: tuple[str, ...]
    quantize: Callable[[str, Sequence[Feed], str], str]
    floats: bool = False


class Reader:
    """Feeds one by one, as onnxruntime and Quark want them."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next one, or None."""
        return next(self._feeds, None)


def by_onnxzip(path: str, feeds: Sequence[Feed], out: str, *, preset: Any = None) -> str:
    import onnxzip

    result = onnxzip.optimize(path, None if preset == "exact" else feeds, config=onnxzip.Config(preset=preset))
    result.save(out)
    return "" if result.verdict.passed else f"budget missed, the exact model is kept: {result.verdict.reasons[0]}"


def by_onnxruntime(path: str, feeds: Sequence[Feed], out: str) -> str:
    from onnxruntime.quantization import quantize_static  # noqa: TID251 - as a tool beside the others

    quantize_static(path, out, Reader(feeds))
    return ""


def by_onnxruntime_best(path: str, feeds: Sequence[Feed], out: str, *, method: str = "MinMax", **options: Any) -> str:
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static  # noqa: TID251
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: TID251

    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    ranges = {"per_channel": True, "reduce_range": not has_vnni()}
    with tempfile.TemporaryDirectory() as folder:
        given, ready, calibrator = f"{folder}/prepared.onnx", f"{folder}/ready.onnx", getattr(CalibrationMethod, method)
        onnx.save(prepared(path), given)
        quant_pre_process(given, ready, auto_merge=True)  # unmerged, its symbolic shapes fail on MiniLM and magika
        quantize_static(ready, out, Reader(feeds), calibrate_method=calibrator, **kinds, **ranges, **options)
    return ""


def by_onnxruntime_linear(path: str, feeds: Sequence[Feed], out: str) -> str:
    options = {"op_types_to_quantize": ["Conv", "Gemm", "MatMul"], "extra_options": {"MatMulConstBOnly": True}}
    return by_onnxruntime_best(path, feeds, out, **options)


def by_nncf(path: str, feeds: Sequence[Feed], out: str, *, transformer: bool = False) -> str:
    import nncf

    kind = nncf.ModelType.TRANSFORMER if transformer else None
    onnx.save(nncf.quantize(onnx.load(path), nncf.Dataset(feeds), subset_size=len(feeds), model_type=kind), out)
    return ""


def by_quark(path: str, feeds: Sequence[Feed], out: str, *, config: str = "A8W8") -> str:
    from quark.onnx import ModelQuantizer, QConfig

    ModelQuantizer(QConfig.get_default_config(config)).quantize_model(path, out, Reader(feeds))
    return ""


def by_onnxsim(path: str, feeds: Sequence[Feed], out: str) -> str:
    import onnxsim

    onnx.save(onnxsim.quantize_static(onnxsim.simplify(path)[0], feeds), out)
    return ""


def on_prepared(quantize: Callable[..., str], path: str, feeds: Sequence[Feed], out: str) -> str:
    """A tool on the prepared model. Constants that it leaves behind unread are dropped."""
    with tempfile.TemporaryDirectory() as folder:
        ready = f"{folder}/prepared.onnx"
        onnx.save(prepared(path), ready)
        remark = quantize(ready, feeds, out)
    model = onnx.load(out)
    graphs, read = [model.graph], {o.name for o in model.graph.output}
    while graphs:
        for node in graphs.pop().node:
            read |= set(node.input)
            graphs += [b for a in node.attribute for b in ([a.g] if a.HasField("g") else a.graphs)]
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
    onnx.save(model, out)
    return remark


def prepared(path: str) -> onnx.ModelProto:
    """The model with its weights inside alone, at an opset in which weights can be quantized per channel."""
    model = onnx.load(path)
    stored = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, IR_VERSION)
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return model if opset >= OPSET else version_converter.convert_version(model, OPSET)


@functools.cache
def has_vnni() -> bool:
    """Whether this CPU multiplies bytes without saturating sums of pairs. Linux on x86."""
    return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_vnni", "avx_vnni"))


def _presets() -> tuple[str, ...]:
    from onnxzip.config import PRESETS

    return PRESETS


def _onnxruntime(quantize: Callable[..., str], **options: Any) -> Peer:
    return Peer(("onnxruntime.quantization",), functools.partial(quantize, **options))


_NNCF, _QUARK, _ONNXSIM = ("nncf", "nncf.onnx"), ("quark.onnx",), ("onnxsim",)
PEERS: dict[str, Peer] = {
    "onnxzip": Peer(("onnxzip",), by_onnxzip),
    **{
        f"onnxzip-{p}": Peer(("onnxzip",), functools.partial(by_onnxzip, preset=p), floats=p == "exact")
        for p in _presets()
    },
    "ort": _onnxruntime(by_onnxruntime),
    "ort-best": _onnxruntime(by_onnxruntime_best),
    "ort-best-entropy": _onnxruntime(by_onnxruntime_best, method="Entropy"),
    "ort-best-percentile": _onnxruntime(by_onnxruntime_best, method="Percentile"),
    "ort-linear": _onnxruntime(by_onnxruntime_linear),
    "nncf": Peer(_NNCF, by_nncf),
    "nncf-prepared": Peer(_NNCF, functools.partial(on_prepared, by_nncf)),
    "nncf-transformer": Peer(_NNCF, functools.partial(by_nncf, transformer=True)),
    "quark": Peer(_QUARK, by_quark),
    "quark-u8s8": Peer(_QUARK, functools.partial(by_quark, config="U8S8_AAWS")),
    "quark-prepared": Peer(_QUARK, functools.partial(on_prepared, by_quark)),
    "onnxsim": Peer(_ONNXSIM, by_onnxsim),
    "onnxsim-prepared": Peer(_ONNXSIM, functools.partial(on_prepared, by_onnxsim)),
}
DEFAULT = (
    "onnxzip",
    "ort",
    "ort-best",
    "ort-linear",
    "nncf",
    "nncf-prepared",
    "quark",
    "quark-prepared",
    "onnxsim",
    "onnxsim-prepared",
)
"""Those that take tens of passes or gigabytes more are asked for by name."""
