"""Data that a model is calibrated on, and what is learnt from it.

data = open_data("calibration.npz", session.inputs)     any source, checked batch by batch, iterable again and again
tuning, held_out = split(data, 0.33)                    never the same samples
statistics = collect(model, names, tuning)              streaming, mergeable; memory does not grow with the data
values, weights = statistics["x"].distribution()
"""

from onnxzip.calibrate.collect import collect
from onnxzip.calibrate.data import Data, open_data, split
from onnxzip.calibrate.observers import Statistics, TensorStatistics

__all__ = ["Data", "Statistics", "TensorStatistics", "collect", "open_data", "split"]
