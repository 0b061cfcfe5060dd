"""Channels that do nothing are found and removed, exactly."""

from onnxzip.prune.eliminate import eliminate
from onnxzip.prune.record import Elimination
from onnxzip.records import Width

__all__ = ["Elimination", "Width", "eliminate"]
