"""int8: what a runtime has integer kernels for (targets), what is quantized and how (plan), and putting it in (insert).

tensors = observe(model, "cpu")                      which statistics are needed
plan = make_plan(model, statistics, "cpu")           data: read it, edit it, keep it, replay it
model = insert(model, plan)                          mechanical

choice = quantize(model, data, config)               all of it
"""

from onnxzip.quantize.already import already_quantized
from onnxzip.quantize.choice import Choice
from onnxzip.quantize.choose import quantize
from onnxzip.quantize.choose_weights import quantize_weights
from onnxzip.quantize.insert import insert
from onnxzip.quantize.plan import make_plan, make_weights_plan, observe, quantizable
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import LeftNode, PlannedNode, QuantPlan, Site, Weight
from onnxzip.quantize.targets import TARGETS, target_row

__all__ = [
    "TARGETS",
    "Choice",
    "LeftNode",
    "PlannedNode",
    "QuantPlan",
    "Site",
    "TargetRow",
    "Weight",
    "already_quantized",
    "insert",
    "make_plan",
    "make_weights_plan",
    "observe",
    "quantizable",
    "quantize",
    "quantize_weights",
    "target_row",
]
