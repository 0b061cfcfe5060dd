"""Torch-Pruning on an ONNX model: the graph as a torch module, pruned without training, and its weights put back.

Covers what classifying CNNs are made of once they are rewritten; anything else raises `NotImplementedError`, with its name.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
import torch_pruning
from onnx import helper, numpy_helper
from torch import nn
from torch.nn import functional

Flags = Mapping[str, Any]


class Graph(nn.Module):
    """The nodes of an ONNX graph in their order; Conv and Gemm are layers of torch, so that Torch-Pruning finds them."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        graph = model.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.inputs = [v.name for v in graph.input if v.name not in self.constants]
        self.outputs = [v.name for v in graph.output]
        self.nodes = [(n, {a.name: helper.get_attribute_value(a) for a in n.attribute}) for n in graph.node]
        self.layers = nn.ModuleDict()
        for number, (node, flags) in enumerate(self.nodes):
            if node.op_type in LAYERS:
                weights = [torch.tensor(self.constants[i]) for i in node.input[1:]]
                self.layers[str(number)] = LAYERS[node.op_type](flags, *weights)
            elif node.op_type not in RULES:
                raise NotImplementedError(node.op_type)

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """What the graph computes."""
        values = dict(zip(self.inputs, inputs, strict=True))
        for number, (node, flags) in enumerate(self.nodes):
            if node.op_type in LAYERS:
                value = values[node.input[0]]
                pads = flags.get("pads", [0] * 4)
                if node.op_type == "Conv" and pads[:2] != pads[2:]:
                    value = functional.pad(value, (pads[1], pads[3], pads[0], pads[2]))
                values[node.output[0]] = self.layers[str(number)](value)
            else:
                given = [values[i] if i in values else self.constants[i] for i in node.input if i]
                values[node.output[0]] = RULES[node.op_type](flags, *given)
        return [values[o] for o in self.outputs]


def _conv(flags: Flags, weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Module:
    groups, pads = flags.get("group", 1), flags.get("pads", [0] * 4)
    if flags.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or weight.ndim != 4:
        raise NotImplementedError("Conv of another form")
    options = {"stride": flags.get("strides", 1), "dilation": flags.get("dilations", 1), "groups": groups}
    padding = pads[:2] if pads[:2] == pads[2:] else 0
    layer = nn.Conv2d(
        weight.shape[1] * groups, len(weight), weight.shape[2:], padding=padding, bias=bias is not None, **options
    )
    return _filled(layer, weight, bias)


def _gemm(flags: Flags, weight: torch.Tensor, bias: torch.Tensor | None = None) -> nn.Module:
    if flags.get("transA", 0) or flags.get("alpha", 1) != 1 or flags.get("beta", 1) != 1:
        raise NotImplementedError("Gemm with factors")
    weight = weight if flags.get("transB", 0) else weight.T
    return _filled(nn.Linear(weight.shape[1], len(weight), bias=bias is not None), weight, bias)


def _norm(flags: Flags, *terms: torch.Tensor) -> nn.Module:
    layer = nn.BatchNorm2d(len(terms[0]), eps=flags.get("epsilon", 1e-5))
    layer.running_mean, layer.running_var = terms[2].clone(), terms[3].clone()
    return _filled(layer, *terms[:2])


LAYERS: dict[str, Callable[..., nn.Module]] = {"Conv": _conv, "Gemm": _gemm, "BatchNormalization": _norm}


def _filled(layer: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    layer.weight.data = weight.clone()
    if bias is not None:
        layer.bias.data = bias.clone()
    return layer


def _pool(flags: Flags, value: torch.Tensor, kind: str) -> torch.Tensor:
    """MaxPool and AveragePool; padding is added by hand where it is uneven."""
    pads, options = flags.get("pads", [0] * 4), {"ceil_mode": bool(flags.get("ceil_mode", 0))}
    if flags.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise NotImplementedError("pool with auto_pad")
    shape = flags["kernel_shape"], flags.get("strides", 1)
    around = pads[1], pads[3], pads[0], pads[2]
    if kind == "MaxPool":
        return functional.max_pool2d(functional.pad(value, around, value=-torch.inf), *shape, **options)
    counted = bool(flags.get("count_include_pad", 0))
    if pads[:2] == pads[2:]:
        return functional.avg_pool2d(value, *shape, pads[:2], count_include_pad=counted, **options)
    mean = functional.avg_pool2d(functional.pad(value, around), *shape, **options)
    ones = functional.pad(torch.ones(1, 1, *value.shape[2:]), around, value=float(counted))
    return mean / functional.avg_pool2d(ones, *shape, **options)


def _flat(value: torch.Tensor, target: Any) -> torch.Tensor:
    if len(target) != 2:
        raise NotImplementedError("Reshape to other than two axes")
    return torch.flatten(value, 1)


def _squeeze(flags: Flags, value: torch.Tensor, axes: Any = ()) -> torch.Tensor:
    if sorted(flags.get("axes", axes)) != [2, 3]:
        raise NotImplementedError("Squeeze of other axes")
    return torch.flatten(value, 1)


RULES: dict[str, Callable[..., Any]] = {
    "Relu": lambda _, x: functional.relu(x),
    "Clip": lambda f, x, *bounds: torch.clamp(x, *([float(b) for b in bounds] or [f["min"], f["max"]])),
    "Add": lambda _, x, y: x + (y if isinstance(y, torch.Tensor) else torch.tensor(y)),
    "Sum": lambda _, x, *more: sum(more, x),
    "Concat": lambda f, *xs: torch.cat(xs, f["axis"]),
    "MaxPool": lambda f, x: _pool(f, x, "MaxPool"),
    "AveragePool": lambda f, x: _pool(f, x, "AveragePool"),
    "GlobalAveragePool": lambda _, x: functional.adaptive_avg_pool2d(x, 1),
    "Flatten": lambda _, x: torch.flatten(x, 1),
    "Reshape": lambda _, x, target: _flat(x, target),
    "Squeeze": _squeeze,
    "Transpose": lambda f, x: x.permute(f["perm"]),
    "Softmax": lambda f, x: torch.softmax(x, f.get("axis", 1)),
    "LRN": lambda f, x: functional.local_response_norm(
        x, f["size"], f.get("alpha", 1e-4), f.get("beta", 0.75), f.get("bias", 1.0)
    ),
    "Dropout": lambda _, x: x,
    "Identity": lambda _, x: x,
}


def prune(
    model: onnx.ModelProto, feed: Mapping[str, np.ndarray[Any, Any]], share: float, round_to: int
) -> onnx.ModelProto:
    """Take `share` of the channels of every group by magnitude. What makes an output keeps its width."""
    graph = copy.deepcopy(Graph(model)).eval()
    example = tuple(torch.tensor(feed[n]) for n in graph.inputs)
    last = [graph.layers[str(i)] for i in _makers_of_outputs(graph)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.BasePruner(
            graph,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            ignored_layers=last,
            round_to=round_to,
        )
        pruner.step()
    return _put_back(model, graph)


def _makers_of_outputs(graph: Graph) -> list[int]:
    """The layers from which an output is reached without passing another layer."""
    makers, pending, found = {n.output[0]: i for i, (n, _) in enumerate(graph.nodes)}, list(graph.outputs), []
    while pending:
        number = makers.get(pending.pop())
        if number is None:
            continue
        node = graph.nodes[number][0]
        if node.op_type in ("Conv", "Gemm"):
            found.append(number)
        else:
            pending.extend(node.input)
    return found


def _put_back(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """The model with the weights and groups that the layers have now, each layer with its own."""
    result = onnx.ModelProto.FromString(model.SerializeToString())
    result.graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), "flat"))
    for number, node in enumerate(result.graph.node):
        if node.op_type == "Reshape":  # the rules let only those through that flatten
            node.input[1] = "flat"
        if str(number) not in graph.layers:
            continue
        layer: Any = graph.layers[str(number)]
        weight = layer.weight.detach().numpy()
        if node.op_type == "Gemm" and not graph.nodes[number][1].get("transB", 0):
            weight = weight.T
        terms = [weight] if layer.bias is None else [weight, layer.bias.detach().numpy()]
        if node.op_type == "BatchNormalization":
            terms += [layer.running_mean.numpy(), layer.running_var.numpy()]
        for index, content in enumerate(terms, 1):
            name = f"{node.input[index]}.{number}"
            result.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(content), name))
            node.input[index] = name
        for attribute in node.attribute:
            if attribute.name == "group":
                attribute.i = layer.groups
    read = {i for n in result.graph.node for i in n.input}
    kept = [t for t in result.graph.initializer if t.name in read]
    del result.graph.initializer[:]
    result.graph.initializer.extend(kept)
    del result.graph.value_info[:]
    return result
