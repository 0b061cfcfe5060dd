"""Smaller, faster ONNX models, proven on real data to do what the original did.

    result = onnxzip.optimize("model.onnx", calibration=batches)
    result.save("model.int8.onnx")

Names are loaded when they are first used, so that `onnxzip --help` need not import onnx and onnxruntime.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxzip.config import Budget, Config
    from onnxzip.errors import DataError, Interrupted, ModelError, OnnxzipError, PassError, UsageError
    from onnxzip.exploration import explore
    from onnxzip.explored import Exploration
    from onnxzip.gate import compare
    from onnxzip.pipeline import optimize
    from onnxzip.progress import Observer
    from onnxzip.records import Verdict
    from onnxzip.report import Report
    from onnxzip.result import Result

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Config",
    "DataError",
    "Exploration",
    "Interrupted",
    "ModelError",
    "Observer",
    "OnnxzipError",
    "PassError",
    "Report",
    "Result",
    "UsageError",
    "Verdict",
    "compare",
    "explore",
    "optimize",
]

_HOMES = {
    **dict.fromkeys(("Budget", "Config"), "config"),
    **dict.fromkeys(("DataError", "Interrupted", "ModelError", "OnnxzipError", "PassError", "UsageError"), "errors"),
    "Exploration": "explored",
    "Observer": "progress",
    "Report": "report",
    "Result": "result",
    "Verdict": "records",
    "compare": "gate",
    "explore": "exploration",
    "optimize": "pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onnxzip' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"onnxzip.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
