"""Arrays inside a plan: bytes, compressed (zlib), as base64 text. The same array gives the same text."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxzip.errors import UsageError


def pack(array: npt.NDArray[Any]) -> str:
    """The text that stands for an array; its dtype and shape are known from elsewhere. Empty where all elements are 0."""
    if not array.any():
        return ""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode("ascii")


def unpack(text: str, dtype: type[np.generic], shape: tuple[int, ...], what: str) -> npt.NDArray[Any]:
    """The array that `pack` made a text of; zeros for the empty text.

    Raises:
        UsageError: the text is no such array of this dtype and shape; `what` names it.
    """
    if not text:
        return np.zeros(shape, dtype)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        unzip = zlib.decompressobj()
        content = unzip.decompress(
            base64.b64decode(text, validate=True), size + 1
        )  # never more memory than it may take
    except (binascii.Error, zlib.error, ValueError) as error:
        raise UsageError(f"{what} of the plan is damaged: {error}") from error
    if len(content) == size and not unzip.eof:
        raise UsageError(f"{what} of the plan is damaged: its end is missing")
    if len(content) != size:
        raise UsageError(f"{what} of the plan does not have the shape {shape}: make a new plan for this model")
    return np.frombuffer(content, dtype).reshape(shape)
