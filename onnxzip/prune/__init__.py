"""Channels: those that do nothing are removed exactly, those that cost least for a price that is measured."""

from onnxzip.prune.eliminate import eliminate
from onnxzip.prune.lossy import prune, prune_by_magnitude
from onnxzip.prune.record import Elimination
from onnxzip.prune.reduction import Reduction
from onnxzip.records import Width

__all__ = ["Elimination", "Reduction", "Width", "eliminate", "prune", "prune_by_magnitude"]
