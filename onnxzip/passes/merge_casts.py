"""Two Casts in a row become one, or none, where the type in between holds every value of the first.

Cast(Cast(x: A, to B), to C), exact when B holds every value of A, and
1. C is A: the readers read x;
2. A, B and C are all float, or A is bool: Cast(x, to C) rounds once, as before;
3. A, B and C are all integers: both forms wrap alike.
Left alone: int to float to int (out of range values differ), types of 8-bit floats and 4-bit integers, strings.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, remove, replace
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local

_T = ir.DataType
_FLOATS = {_T.FLOAT16: (11, 16), _T.BFLOAT16: (8, 128), _T.FLOAT: (24, 128), _T.DOUBLE: (53, 1024)}
"""Bits of precision, and the exponent of the largest value."""

_INTEGERS = {_T.INT8: (-7, 7), _T.INT16: (-15, 15), _T.INT32: (-31, 31), _T.INT64: (-63, 63)} | {
    _T.UINT8: (0, 8),
    _T.UINT16: (0, 16),
    _T.UINT32: (0, 32),
    _T.UINT64: (0, 64),
}
"""Bits below and above zero."""


@local("Cast", since=1)
def merge_casts(second: ir.Node, context: Context) -> bool:
    """Skip Casts to a type that holds everything."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    if middle is None or first is None or not is_op(first, "Cast") or first.inputs[0] is None:
        return False
    source = first.inputs[0]
    kinds = (context.shapes.dtype(source), context.shapes.dtype(middle), context.shapes.dtype(second.outputs[0]))
    given, between, wanted = kinds
    if given is None or between is None or wanted is None or not _holds(between, given):
        return False
    if given == wanted and can_replace(second.outputs[0], source):
        replace(second.outputs[0], source)
        remove(second)
    elif _alike(given, between, wanted):
        second.replace_input_with(0, source)
    else:
        return False
    discard([middle])
    return True


def _alike(given: ir.DataType, between: ir.DataType, wanted: ir.DataType) -> bool:
    kinds = (given, between, wanted)
    if given == _T.BOOL:
        return wanted in _FLOATS or wanted in _INTEGERS or wanted == _T.BOOL
    return all(k in _FLOATS for k in kinds) or all(k in _INTEGERS for k in kinds)


def _holds(wide: ir.DataType, narrow: ir.DataType) -> bool:
    """Whether every value of `narrow` is a value of `wide`."""
    if wide == narrow:
        return wide in _FLOATS or wide in _INTEGERS or wide == _T.BOOL
    if narrow == _T.BOOL:
        return wide in _FLOATS or wide in _INTEGERS
    if narrow in _INTEGERS and wide in _INTEGERS:
        return _INTEGERS[wide][0] <= _INTEGERS[narrow][0] and _INTEGERS[wide][1] >= _INTEGERS[narrow][1]
    if narrow in _INTEGERS and wide in _FLOATS:
        low, high = _INTEGERS[narrow]
        return max(-low, high) <= _FLOATS[wide][0] and high < _FLOATS[wide][1]
    if narrow in _FLOATS and wide in _FLOATS:
        return all(w >= n for w, n in zip(_FLOATS[wide], _FLOATS[narrow], strict=True))
    return False
