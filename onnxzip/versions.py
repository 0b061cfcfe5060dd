"""The versions that a report names: onnxzip's, and those of what computes its numbers."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip import __version__
from onnxzip.runtime import VERSION


def versions() -> dict[str, str]:
    """Package to version."""
    return {
        "onnxzip": __version__,
        "onnx": onnx.__version__,
        "onnx_ir": ir.__version__,
        "onnxruntime": VERSION,
        "numpy": np.__version__,
    }
