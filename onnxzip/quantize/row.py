"""What a row of the table of targets (`onnxzip.quantize.targets`) says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnxzip.quantize.qparams import U8, Grid


@dataclass(frozen=True, kw_only=True)
class TargetRow:
    """One runtime on one kind of hardware. Weights are symmetric (zero point 0).

    Attributes:
        name: what the user writes.
        activation: dtype and symmetry of activations; there is one scale for a tensor.
        weight: dtype of weights, symmetric per axis of output channels.
        operand: in placement "everywhere": dtype and symmetry of constants that MatMul, Gemm and normalizations multiply by, with one
            scale for a tensor.
        tokens: MatMuls of tokens may read an activation with one scale for each token, and smoothed (`onnxzip.quantize.smooth`).
        pairs: neighbouring products are added up in 16 bits: weights keep within that (`onnxzip.quantize.pairs`), row by row.
        weight_max: weights are rounded into -weight_max..weight_max. The range is symmetric, so that -w and w meet the
            same grid; the one code that is lost (-128) is worth 0.4 % of the range.
        bias_max: largest magnitude of an int32 bias; the rest of the 32 bits is left to the sum of products.
        placement: where Q and DQ go. "kernels": around operators with weights, and what can run in integers between them
            (`onnxzip.quantize.placement`). "inputs": on what they read, never on what they make (`onnxzip.quantize.at_inputs`).
            "everywhere": on every float tensor between operators (`onnxzip.quantize.everywhere`).
        output_quantized: operators with weights whose integer kernel exists only with a quantized output.
        float_output: operators with weights whose integer kernel dequantizes itself: their output stays float.
        bias_behind_matmul: the runtime takes a MatMul and the Add of a constant for one operator, and the bias must suit it.
        integer_bias: roles whose bias becomes int32 in the file; elsewhere it stays float, and the runtime makes it int32 when it loads.
        stored_zero_point: roles whose fusion looks for the (zero) zero points of the weights; elsewhere they are omitted.
        absorbed: activations that vanish in the quantization of the operator before them, when the range allows.
        joins: operators without weights that are worth running in integers, between integers.
        pass_through: operators that only move, drop or compare elements; scale and zero point are the same on both sides.
        pools: those of them that run well only behind an integer Conv.
        residual: in placement "inputs": of an Add of what an operator in `residual_of` makes and something else, "skip" quantizes
            the something else, "both" both, "" none.
        residual_of: see there.
        products: in placement "inputs": operators of two activations that read both quantized.
        whole: in placement "everywhere": the operators that run quantized.
        narrowed: operators of two activations the second of which comes in the dtype of `operand`, by a second Q and DQ.
        fixed: scale and zero point that the output of an operator must have.
        reach: in placement "everywhere": what only a Softmax knows of is represented down to this far below the largest value.
        channel_multiple: channels that the runtime's blocked layout handles together; widths that were multiples of it run
            slower, up to several times, when they are not any more.
        tables: operators that look up rows of a constant.
        table_bytes: tables below this size stay float.
        min_opset: models of a lower opset are raised to it.
        fixed_shapes: models with symbolic axes do not run.
        bodies: integer kernels are found inside bodies of If, Loop and Scan too.
        machines: names of the machines (`platform.machine`) where speed can be measured; None for any.
        source: where the row comes from.
    """

    name: str
    activation: Grid
    weight: str
    operand: Grid = U8
    tokens: bool = False
    pairs: bool = False
    weight_max: int = 127
    bias_max: int = 2**30
    placement: str = "kernels"
    output_quantized: frozenset[str] = frozenset()
    float_output: frozenset[str] = frozenset()
    bias_behind_matmul: bool = False
    integer_bias: frozenset[str] = frozenset()
    stored_zero_point: frozenset[str] = frozenset()
    absorbed: frozenset[str] = frozenset()
    joins: frozenset[str] = frozenset()
    pass_through: frozenset[str] = frozenset()
    pools: frozenset[str] = frozenset()
    residual: str = ""
    residual_of: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()
    narrowed: frozenset[str] = frozenset()
    fixed: tuple[tuple[str, float, int], ...] = ()
    reach: float = math.inf
    channel_multiple: int = 8
    tables: frozenset[str] = frozenset()
    table_bytes: int = 2**16
    min_opset: int = 13
    fixed_shapes: bool = False
    bodies: bool = False
    machines: frozenset[str] | None = frozenset()
    source: str
