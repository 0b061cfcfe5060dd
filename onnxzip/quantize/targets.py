"""Targets: what a runtime's integer kernels take, as rows of data.

Nothing here decides anything. Placement (`onnxzip.quantize.placement`) reads the row; a new target is a new row.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from onnxzip.errors import UsageError
from onnxzip.runtime import sums_saturate


@dataclass(frozen=True, kw_only=True)
class TargetRow:
    """One runtime on one kind of hardware. Activations are asymmetric per tensor, weights symmetric per axis (zero point 0).

    Attributes:
        name: what the user writes.
        activation: dtype of activations, asymmetric per tensor.
        weight: dtype of weights, symmetric per axis.
        pairs: neighbouring products are added up in 16 bits: weights keep within that (`onnxzip.quantize.pairs`), row by row.
        weight_max: weights are rounded into -weight_max..weight_max. The range is symmetric, so that -w and w meet the
            same grid; the one code that is lost (-128) is worth 0.4 % of the range.
        bias_max: largest magnitude of an int32 bias; the rest of the 32 bits is left to the sum of products.
        output_quantized: operators with weights whose integer kernel exists only with a quantized output.
        float_output: operators with weights whose integer kernel dequantizes itself: their output stays float.
        integer_bias: roles whose bias becomes int32 in the file; elsewhere it stays float, and the runtime makes it int32 when it loads.
        stored_zero_point: roles whose fusion looks for the (zero) zero points of the weights; elsewhere they are omitted.
        absorbed: activations that vanish in the quantization of the operator before them, when the range allows.
        joins: operators without weights that are worth running in integers, between integers.
        pass_through: operators that only move, drop or compare elements; scale and zero point are the same on both sides.
        pools: those of them that run well only behind an integer Conv.
        channel_multiple: channels that the runtime's blocked layout handles together; widths that were multiples of it run
            slower, up to several times, when they are not any more.
        tables: operators that look up rows of a constant.
        table_bytes: tables below this size stay float.
        source: where the row comes from.
    """

    name: str
    activation: str
    weight: str
    pairs: bool
    weight_max: int
    bias_max: int
    output_quantized: frozenset[str]
    float_output: frozenset[str]
    integer_bias: frozenset[str]
    stored_zero_point: frozenset[str]
    absorbed: frozenset[str]
    joins: frozenset[str]
    pass_through: frozenset[str]
    pools: frozenset[str]
    channel_multiple: int
    tables: frozenset[str]
    table_bytes: int
    source: str


CPU = TargetRow(
    name="cpu",
    activation="uint8",
    weight="int8",
    pairs=False,
    weight_max=127,
    bias_max=2**30,
    output_quantized=frozenset({"Conv"}),
    float_output=frozenset({"MatMul", "Gemm"}),
    integer_bias=frozenset({"conv", "gemm"}),
    stored_zero_point=frozenset({"gemm"}),
    absorbed=frozenset({"Relu", "Clip"}),
    joins=frozenset({"Add", "Concat", "GlobalAveragePool"}),
    pass_through=frozenset(
        {"MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Split", "Slice", "Identity"}
    ),
    pools=frozenset({"MaxPool", "GlobalAveragePool"}),
    channel_multiple=8,
    tables=frozenset({"Gather"}),
    table_bytes=2**16,
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

TARGETS: dict[str, TargetRow] = {row.name: row for row in (CPU, CPU_AVX2)}


def resolved(name: str) -> str:
    """The name of the row that a target stands for here: "cpu" is this CPU, whichever it is."""
    return CPU_AVX2.name if name == CPU.name and sums_saturate() else name


def target_row(name: str) -> TargetRow:
    """The row of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in TARGETS:
        raise UsageError(f"target {name!r} is not known: choose one of {', '.join(TARGETS)}")
    return TARGETS[name]
