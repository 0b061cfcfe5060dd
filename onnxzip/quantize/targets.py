"""Targets: what a runtime's integer kernels take, as rows of data.

Nothing here decides anything. Placement (`onnxzip.quantize.placement`) reads the row; a new target is a new row.
"""

from __future__ import annotations

import dataclasses
import platform

from onnxzip.errors import UsageError
from onnxzip.quantize.qparams import Grid
from onnxzip.quantize.row import TargetRow
from onnxzip.runtime import sums_saturate

PER_AXIS_OPSET = 13
"""First opset whose DequantizeLinear has an axis."""

BLOCK_OPSET, BLOCK_IR = 21, 10
"""First opset whose DequantizeLinear has blocks, and first version of the format that has 4-bit integers."""

CPU = TargetRow(
    name="cpu",
    activation=Grid(("uint8",)),
    weight="int8",
    tokens=True,
    output_quantized=frozenset({"Conv"}),
    float_output=frozenset({"MatMul", "Gemm"}),
    bias_behind_matmul=True,
    integer_bias=frozenset({"gemm"}),
    stored_zero_point=frozenset({"gemm"}),
    absorbed=frozenset({"Relu", "Clip"}),
    joins=frozenset({"Add", "Concat", "GlobalAveragePool"}),
    pass_through=frozenset(
        {"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Split", "Slice", "Identity"}
    ),
    pools=frozenset({"MaxPool", "GlobalAveragePool"}),
    tables=frozenset({"Gather"}),
    bodies=True,
    machines=None,
    source="onnxruntime 1.32, CPU provider: optimized graphs read back and timed, one operator at a time, on AVX512-VNNI. "
    "U8S8: u8 weights fall off the VNNI kernel (2 times slower), s8 Add and Concat are 3 to 4 times slower than u8. "
    "Conv without an output Q dequantizes its weights at every run; MatMul and Gemm with one lose accuracy for nothing. "
    "ConvTranspose, AveragePool, Softmax, LayerNormalization, Gelu, LSTM, GRU and elementwise operators have no integer "
    "kernel, or one that is slower than float.",
)

CPU_AVX2 = dataclasses.replace(
    CPU,
    name="cpu-avx2",
    pairs=True,
    source=CPU.source
    + " Without VNNI, pairs of U8S8 products saturate at 16 bits; read off a CPU with AVX2 by weights of which one pair is not zero.",
)

ARM_MACHINES = frozenset({"aarch64", "arm64"})

ARM64 = dataclasses.replace(
    CPU,
    name="arm64",
    machines=ARM_MACHINES,
    source="onnxruntime 1.32, CPU provider on ARM64, from its documents, not measured: onnxruntime.ai/docs/performance/model-optimizations/quantization.html "
    "(U8S8 and S8S8 both run; the saturation of U8S8 is x86's alone; CPUs with dot product gain), microsoft/onnxruntime pull requests 6916 (udot kernels of quantized GEMM: "
    "4 times faster) and 9772 (symmetric convolution kernels: int8 weights with zero point 0). What fuses is decided by the same graph transformers as on x86.",
)

_MOVING = frozenset(
    {
        "MaxPool",
        "Reshape",
        "Transpose",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Split",
        "Identity",
        "DepthToSpace",
        "SpaceToDepth",
    }
)
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

TENSORRT = TargetRow(
    name="tensorrt",
    activation=Grid(("int8",), symmetric=True),
    weight="int8",
    placement="inputs",
    float_output=_WEIGHTED,
    residual="skip",
    residual_of=frozenset({"Conv", "ConvTranspose"}),
    source="docs.nvidia.com/deeplearning/tensorrt, Working with Quantized Types and Explicit Quantization, Q/DQ Layer-Placement Recommendations: symmetric, int8, zero points 0 "
    "(the ONNX parser asserts it, NVIDIA/TensorRT issue 2774); per tensor for activations, per channel for weights; quantize all inputs of weighted operations, not their outputs; "
    "nothing between a convolution and batch normalization or activation; quantize the residual input of skip connections, so that Conv and Add become one. "
    "No integer bias: DequantizeLinear of int32 is refused (microsoft/onnxruntime issue 14229). TensorRT moves Q and DQ through pools and reshapes itself. Products of two activations stay float.",
)

OPENVINO = TargetRow(
    name="openvino",
    activation=Grid(("uint8", "int8"), symmetric=True),
    weight="int8",
    placement="inputs",
    float_output=_WEIGHTED,
    joins=frozenset({"Concat", "AveragePool", "GlobalAveragePool"}),
    pass_through=_MOVING,
    residual="both",
    residual_of=frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"}),
    products=frozenset({"MatMul"}),
    source="openvinotoolkit/nncf src/nncf/common/hardware/setups/cpu.py: which operators read quantized activations, per tensor, weights symmetric per channel; Concat with one scale; pools of maxima "
    "and what moves data are transparent, a quantizer goes in front of them. docs.openvino.ai, Basic Quantization Flow, preset PERFORMANCE (the default): "
    "symmetric, which is u8 where nothing is negative and i8 elsewhere. Low Precision Transformations: scales of activations per tensor. Products in elementwise formulas (swish, squeeze and excite, masks) "
    "are on NNCF's list of patterns that it ignores.",
)

QNN = TargetRow(
    name="qnn",
    activation=Grid(("uint8",), smallest=1e-4),
    weight="int8",
    placement="everywhere",
    output_quantized=frozenset({"Conv", "ConvTranspose"}),
    integer_bias=frozenset({"conv"}),
    stored_zero_point=frozenset({"conv"}),
    absorbed=frozenset({"Relu", "Clip"}),
    pass_through=_MOVING | {"AveragePool", "Gather", "TopK"},
    whole=frozenset(
        [
            "Abs",
            "Add",
            "ArgMax",
            "ArgMin",
            "Asin",
            "Atan",
            "AveragePool",
            "Clip",
            "Concat",
            "Cos",
            "DepthToSpace",
            "Div",
            "Elu",
            "Equal",
            "Exp",
            "Expand",
            "Flatten",
            "Floor",
            "Gather",
            "Gelu",
            "Gemm",
            "GlobalAveragePool",
            "Greater",
            "GreaterOrEqual",
            "GridSample",
            "HardSigmoid",
            "HardSwish",
            "Identity",
            "InstanceNormalization",
            "LRN",
            "LayerNormalization",
            "LeakyRelu",
            "Less",
            "LessOrEqual",
            "Log",
            "LogSoftmax",
            "LpNormalization",
            "MatMul",
            "Max",
            "MaxPool",
            "Min",
            "Mul",
            "Neg",
            "PRelu",
            "Pad",
            "Pow",
            "ReduceMax",
            "ReduceMean",
            "ReduceMin",
            "ReduceProd",
            "ReduceSum",
            "Relu",
            "Reshape",
            "Resize",
            "Round",
            "Sigmoid",
            "Sign",
            "Sin",
            "Slice",
            "Softmax",
            "SpaceToDepth",
            "Split",
            "Sqrt",
            "Squeeze",
            "Sub",
            "Tanh",
            "Tile",
            "TopK",
            "Transpose",
            "Unsqueeze",
            "Where",
        ]
    ),
    reach=48.0,
    fixed_shapes=True,
    source="onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html: the HTP runs quantized graphs of fixed shapes only; operators; activations uint8 or uint16; MatMul takes "
    "(uint8, uint8), (uint8, uint16), (uint16, uint8). onnxruntime 1.32, quantization/execution_providers/qnn/quant_config.py: per channel for the weights of Conv (axis 0) and "
    "ConvTranspose (axis 1) and their int32 biases, per tensor for MatMul; ranges of at least 1e-4. quantization/registry.py: operators whose output has the scale of their input.",
)

QNN16 = dataclasses.replace(
    QNN,
    name="qnn16",
    activation=Grid(("uint16",), smallest=1e-4),
    narrowed=frozenset({"MatMul"}),
    reach=128.0,
    fixed=(("Sigmoid", 2.0**-16, 0), ("Tanh", 2.0**-15, 2**15)),
    min_opset=21,
    source=QNN.source
    + " 16 bits: weights and one of two factors keep 8; Sigmoid and Tanh have fixed scales (quant_config.py). Q and DQ of 16 bits are standard from opset 21.",
)

TARGETS: dict[str, TargetRow] = {row.name: row for row in (CPU, CPU_AVX2, ARM64, TENSORRT, OPENVINO, QNN, QNN16)}


def resolved(name: str) -> str:
    """The name of the row that a target stands for here: "cpu" is this CPU, whichever it is."""
    if name != CPU.name:
        return name
    if platform.machine().lower() in ARM_MACHINES:
        return ARM64.name
    return CPU_AVX2.name if sums_saturate() else name


def runs_here(name: str) -> bool:
    """Whether this machine is of the kind that the target is, so that what is measured here says something."""
    machines = target_row(name).machines
    return machines is None or platform.machine().lower() in machines


def target_row(name: str) -> TargetRow:
    """The row of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in TARGETS:
        raise UsageError(f"target {name!r} is not known: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]


def needed_opset(target: str, *, blocks: bool = False) -> int:
    """The opset that a quantized model for a target has at least; `blocks`: with weights of 4 bits."""
    return max(BLOCK_OPSET if blocks else PER_AXIS_OPSET, target_row(target).min_opset)
