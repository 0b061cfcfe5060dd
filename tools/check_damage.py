#!/usr/bin/env python3
"""Does `compare` fail damaged models, name the guilty layer, and pass every sound one?

    python tools/check_damage.py FOLDER [--models NAME ...] [--candidates copy exact onnxsim int8 weights8 weights4 fp16] [--places 3] [--data DATA]

For each model of the folder and each way to make a candidate of it: the candidate as it is, which must pass, then with one damage at a time, at some
places spread over the depth. Inputs are made up unless `--data` gives some (what `onnxzip compare -c` takes), for all of the models. One line a damage: how many of the
places failed, how many of these by their outputs alone, how many were warned of and missed, and the rank of the guilty layer in the table (1 is the top), worst of the places.

any       any weight that is not 0 changes its sign
weight    one weight (of at least the root mean square of its tensor) changes its sign
largest   the largest weight changes its sign
relu      one Relu, Clip, LeakyRelu or Sigmoid is removed
scale     one scale of stored weights is doubled (all of its channels)
channel   one channel's scale is doubled; in float layers its weights are
output    two outputs of the model change places; where there is but one: two of its channels

A damage that changes no output of the candidate by more than rounding on these inputs is counted as without effect (a Relu before a
QuantizeLinear whose lowest code is 0). Exit code 1 where a sound candidate fails by its layers, or a damaged float one passes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import onnxzip
from onnxzip.errors import OnnxzipError
from onnxzip.model.load import load
from onnxzip.records import LayerError, Verdict
from onnxzip.validate.exact import exact_problem
from onnxzip.validate.matching import regions

Damage = Callable[[onnx.ModelProto, int], str]
WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose")
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
DAMAGES = ("any", "weight", "largest", "relu", "scale", "channel", "output")
EXACT = ("copy", "exact", "onnxsim")
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid")


def candidates(path: Path, wanted: list[str]) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The model, made into something else in each of the ways that are asked for."""
    for name in wanted:
        if name == "copy":
            yield name, load(path).model and onnx.load(str(path))
        elif name == "onnxsim":
            import onnxsim

            yield name, onnxsim.simplify(onnx.load(str(path)))[0]
        else:
            config = onnxzip.Config(preset=name, allow_unverified=True, measure_speed=False, objective="size")
            result = onnxzip.optimize(path, config=config)
            if name == "exact" or result.report.record.stages[-1].kept:
                yield name, result.to_proto()


def stored(model: onnx.ModelProto, node: onnx.NodeProto) -> tuple[onnx.NodeProto, str] | None:
    """The node that reads the stored weights of a layer, and their name."""
    weights, made = {t.name: t for t in model.graph.initializer}, {o: n for n in model.graph.node for o in n.output}
    for source in node.input[:2]:
        reader, name = node, source
        while name in made and made[name].op_type in ("DequantizeLinear", "Cast", "Mul", "Transpose", "Reshape"):
            reader = made[name]
            name = reader.input[0]
        if name in weights and np.prod(weights[name].dims) > 1:
            return reader, name
    return None


def scaling(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether a node gives stored codes their scale, which is its second input."""
    weights, made = {t.name for t in model.graph.initializer}, {o: n for n in model.graph.node for o in n.output}
    if node.op_type not in ("DequantizeLinear", "Mul") or node.input[1] not in weights:
        return False
    first = made.get(node.input[0])
    return node.input[0] in weights or (
        node.op_type == "Mul" and first is not None and first.op_type == "Cast" and first.input[0] in weights
    )


def places(model: onnx.ModelProto, damage: str) -> list[tuple[int, str]]:
    """Where a damage can be done: the number of a node, and what it makes."""
    sizes, heads = {t.name: np.prod(t.dims) for t in model.graph.initializer}, {o.name for o in model.graph.output}
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    found = []
    for number, node in enumerate(model.graph.node):
        scales = scaling(model, node)
        weights = stored(model, node) if node.op_type in WEIGHTED else None
        is_float = weights is not None and weights[0] is node and kinds[weights[1]] in FLOATS
        if (
            (damage in ("any", "weight", "largest") and weights is not None)
            or (damage == "relu" and node.op_type in ACTIVATIONS and node.output[0] not in heads)
            or (damage == "scale" and scales)
            or (damage == "channel" and ((scales and sizes[node.input[1]] > 1) or is_float))
        ):
            found.append((number, node.output[0]))
    return found


def weight(model: onnx.ModelProto, number: int, damage: str) -> None:
    """Turn the sign of one weight, about the zero point of codes."""
    node, tensors = model.graph.node[number], {t.name: t for t in model.graph.initializer}
    reader, name = stored(model, node) or (node, "")
    content = numpy_helper.to_array(tensors[name]).copy()
    zero = 0
    if reader.op_type == "DequantizeLinear" and len(reader.input) > 2 and reader.input[2]:
        zero = int(numpy_helper.to_array(tensors[reader.input[2]]).reshape(-1)[0])
    flat = content.reshape(-1)
    off = np.abs(flat.astype(np.float64) - zero)
    least = {"any": 1e-12, "weight": np.sqrt(np.mean(off**2)), "largest": off.max()}[damage]
    chosen = np.random.default_rng(number).choice(np.flatnonzero(off >= least))
    turned = 2 * zero - flat[chosen].astype(np.float64)
    if content.dtype.kind in "iu":
        turned = np.clip(turned, np.iinfo(content.dtype).min, np.iinfo(content.dtype).max)
    flat[chosen] = turned
    _own(model, reader, name, content)


def scale(model: onnx.ModelProto, number: int, *, every: bool) -> None:
    """Double the scale of stored weights, or that of one channel; of a float layer, the weights of one channel."""
    node, tensors = model.graph.node[number], {t.name: t for t in model.graph.initializer}
    name = node.input[1] if scaling(model, node) else (stored(model, node) or (node, ""))[1]
    content = numpy_helper.to_array(tensors[name]).copy()
    if every:
        content = content * np.asarray(2, content.dtype)
    else:
        last = node.op_type in ("MatMul", "Gemm") and content.ndim > 1
        axis = content.ndim - 1 if last else int(np.argmax(content.shape)) if scaling(model, node) else 0
        np.moveaxis(content, axis, 0)[content.shape[axis] // 2] *= 2
    _own(model, node, name, content)


def _own(model: onnx.ModelProto, node: onnx.NodeProto, name: str, content: np.ndarray) -> None:
    """Give a node its own copy of a constant: others may read the same."""
    model.graph.initializer.append(numpy_helper.from_array(content, f"{name} damaged"))
    node.input[list(node.input).index(name)] = f"{name} damaged"


def relu(model: onnx.ModelProto, number: int) -> None:
    """Take a node out: its readers read what it read."""
    node = model.graph.node[number]
    for other in model.graph.node:
        for i, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[i] = node.input[0]
    model.graph.node.remove(node)


def output(model: onnx.ModelProto) -> str | None:
    """Let two outputs of one type change places, or the first two channels of the only one."""
    heads = list(model.graph.output)
    pairs = [(a, b) for i, a in enumerate(heads) for b in heads[i + 1 :] if a.type == b.type]
    if pairs:
        (a, b) = (v.name for v in pairs[0])
        _rename(model, {a: b, b: a})
        return a
    size = heads[0].type.tensor_type.shape.dim
    if not size or size[-1].dim_value < 2:
        return None
    name = heads[0].name
    _rename(model, {name: f"{name} ordered"})
    order = np.arange(size[-1].dim_value)
    order[:2] = 1, 0
    model.graph.initializer.append(numpy_helper.from_array(order, "order"))
    model.graph.node.append(onnx.helper.make_node("Gather", [f"{name} ordered", "order"], [name], axis=-1))
    return name


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for slots in (node.input, node.output):
            for i, name in enumerate(slots):
                slots[i] = names.get(name, name)


def rank(verdict: Verdict, clean: onnx.ModelProto, tensor: str) -> int | None:
    """The place of the layer that makes `tensor` in the candidate, by born error; None where no layer does."""
    layers = sorted(
        verdict.layers, key=lambda e: (not e.guilty, not e.suspect, np.inf if e.born_db is None else e.born_db)
    )
    model = load(clean).model
    known = {o.name for n in model.graph for o in n.outputs}
    ends = [e.counterpart for e in layers if e.counterpart in known]
    makers = {name: {o.name for n in nodes for o in n.outputs} for name, nodes, _ in regions(model, ends)}

    def holds(e: LayerError) -> bool:
        return tensor in makers.get(e.counterpart, ())

    return next((i + 1 for i, e in enumerate(layers) if holds(e)), None)


def damaged(clean: onnx.ModelProto, damage: str, most: int) -> Iterator[tuple[onnx.ModelProto, str]]:
    """Damaged copies, and the tensor that the guilty layer makes."""
    if damage == "output":
        copy = onnx.ModelProto.FromString(clean.SerializeToString())
        name = output(copy)
        if name is not None:
            yield copy, name
        return
    found = places(clean, damage)
    for index in sorted({round(i * (len(found) - 1) / max(most - 1, 1)) for i in range(most)}) if found else ():
        number, tensor = found[index]
        copy = onnx.ModelProto.FromString(clean.SerializeToString())
        if damage in ("any", "weight", "largest"):
            weight(copy, number, damage)
        elif damage == "relu":
            relu(copy, number)
        else:
            scale(copy, number, every=damage == "scale")
        yield copy, tensor


def without_effect(clean: onnx.ModelProto, copy: onnx.ModelProto, data: Any) -> bool:
    """Whether the damage leaves the outputs of the candidate as they were."""
    outputs = onnxzip.compare(clean, copy, data, layers=False).outputs
    return exact_problem(outputs, {}, {o.name: "tensor(float)" for o in outputs}) is None


def check(path: Path, kind: str, clean: onnx.ModelProto, most: int, data: Any = None, *, loud: bool = False) -> bool:
    """One candidate, sound and damaged. Whether all is as it must be."""
    start = time.perf_counter()
    alone = onnxzip.compare(path, clean, data, layers=False)
    middle = time.perf_counter()
    sound = onnxzip.compare(path, clean, data, layers=True)
    times = f"{middle - start:.1f} s without and {time.perf_counter() - middle:.1f} s with layers"
    suspects, guilty = sum(e.suspect for e in sound.layers), sum(e.guilty for e in sound.layers)
    good = sound.passed == alone.passed
    words = "as its outputs" if good else "FAILED BY LAYERS"
    figures = f"{len(sound.layers)} values, {suspects} suspect, {guilty} guilty, {times}"
    print(f"{path.stem[:36]:36} {kind:8} {'sound':8} {words}: {figures}", *sound.reasons, sep="; ", flush=True)
    for damage in DAMAGES:
        found = Counter[str]()
        ranks, missed = list[int](), list[str]()
        for copy, tensor in damaged(clean, damage, most):
            if without_effect(clean, copy, data):
                found["without effect"] += 1
                continue
            verdict = onnxzip.compare(path, copy, data)
            shown = any(e.suspect for e in verdict.layers)
            by_layers = any(e.guilty for e in verdict.layers)
            word = (
                "failed" if by_layers else "by outputs alone" if not verdict.passed else "warned" if shown else "missed"
            )
            found[word] += 1
            missed += [] if by_layers else [tensor]
            ranks += [rank(verdict, clean, tensor) or 999] if shown else []
            if loud:
                print("      ", damage, tensor, word, ranks[-1:], *verdict.reasons, sep="; ")
        good = good and not (kind in EXACT and (found["warned"] or found["missed"]))
        if found:
            counts = ", ".join(f"{n} {word}" for word, n in sorted(found.items()))
            print(f"{'':36} {'':8} {damage:8} {counts}; ranks {sorted(ranks)}", *missed, sep="; ", flush=True)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", default=[], help="parts of names; the default is all")
    parser.add_argument(
        "--candidates", nargs="*", default=["copy", "exact", "onnxsim", "int8", "weights8", "weights4", "fp16"]
    )
    parser.add_argument("--data", help="what onnxzip compare -c takes")
    parser.add_argument("--places", type=int, default=3)
    parser.add_argument("--loud", action="store_true", help="one line for each damaged model")
    arguments = parser.parse_args()
    bad = 0
    for path in sorted(arguments.folder.glob("*.onnx"), key=lambda p: (p.stat().st_size, p.name)):
        if arguments.models and not any(part in path.stem for part in arguments.models):
            continue
        try:
            for kind, clean in candidates(path, arguments.candidates):
                bad += not check(path, kind, clean, arguments.places, arguments.data, loud=arguments.loud)
        except OnnxzipError as error:
            print(f"{path.stem[:36]:36} refused: {error}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
