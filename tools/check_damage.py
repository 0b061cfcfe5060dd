#!/usr/bin/env python3
"""Does `compare` fail every damaged model, name the guilty layer, and pass every sound one?

    python tools/check_damage.py FOLDER [--models NAME ...] [--candidates copy exact onnxsim int8 weights8 weights4 fp16] [--places 3]

For each model of the folder and each way to make a candidate of it: the candidate as it is, which must pass, then with one damage at a time, at some
places spread over the depth, which must fail. Inputs are made up. One line a damage: how many of the places failed, and the rank
of the guilty layer by born error (1 is the top), worst of the places.

weight    one weight (of at least the root mean square of its tensor) changes its sign
tensor    all weights of one layer change their sign
relu      one Relu, Clip, LeakyRelu or Sigmoid is removed
scale     one scale of a DequantizeLinear is doubled (all of its channels)
channel   one channel's scale is doubled
output    two outputs of the model change places; where there is but one: it is taken from before its last operator

A damage that changes no output of the candidate by more than rounding on these inputs is counted as without effect (a Relu before a
QuantizeLinear whose lowest code is 0). Exit code 1 where a sound candidate fails, or a damaged one passes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import onnxzip
from onnxzip.errors import OnnxzipError
from onnxzip.model.load import load
from onnxzip.records import LayerError, Verdict
from onnxzip.validate.judge import exact_problem
from onnxzip.validate.matching import regions

Damage = Callable[[onnx.ModelProto, int], str]
WEIGHTED = ("Conv", "Gemm", "MatMul", "ConvTranspose")
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


def places(model: onnx.ModelProto, damage: str) -> list[tuple[int, str]]:
    """Where a damage can be done: the number of a node, and what it makes."""
    weights, heads = {t.name: t for t in model.graph.initializer}, {o.name for o in model.graph.output}
    found = []
    for number, node in enumerate(model.graph.node):
        data = [i in weights and np.prod(weights[i].dims) > 1 for i in node.input[:2]]
        kinds = [weights[i].data_type if i in weights else None for i in node.input]
        floats = [k in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) for k in kinds]
        large = [i in weights and np.prod(weights[i].dims) > 1 for i in node.input]
        if (
            (
                damage in ("weight", "tensor")
                and node.op_type in WEIGHTED
                and any(f and n for f, n in zip(floats, data, strict=False))
            )
            or (damage == "relu" and node.op_type in ACTIVATIONS and node.output[0] not in heads)
            or (damage == "scale" and node.op_type == "DequantizeLinear" and floats[1])
            or (damage == "channel" and node.op_type == "DequantizeLinear" and floats[1] and large[1])
        ):
            found.append((number, node.output[0]))
    return found


def weight(model: onnx.ModelProto, number: int, *, every: bool) -> None:
    """Turn the sign of one weight, or of all."""
    node, tensors = model.graph.node[number], {t.name: t for t in model.graph.initializer}
    tensor = next(tensors[i] for i in node.input if i in tensors and np.prod(tensors[i].dims) > 1)
    content = numpy_helper.to_array(tensor).copy()
    flat = content.reshape(-1)
    rng = np.random.default_rng(number)
    large = np.flatnonzero(np.abs(flat.astype(np.float64)) >= np.sqrt(np.mean(flat.astype(np.float64) ** 2)))
    chosen = np.arange(flat.size) if every else rng.choice(large, 1)
    flat[chosen] = -flat[chosen]
    _own(model, node, tensor.name, content)


def scale(model: onnx.ModelProto, number: int, *, every: bool) -> None:
    """Double a scale of a DequantizeLinear, or that of one channel."""
    node, tensors = model.graph.node[number], {t.name: t for t in model.graph.initializer}
    content = numpy_helper.to_array(tensors[node.input[1]]).copy()
    if every:
        content = content * np.asarray(2, content.dtype)
    else:
        axis = 0 if content.ndim == 1 else int(np.argmax(content.shape))
        np.moveaxis(content, axis, 0)[content.shape[axis] // 2] *= 2
    _own(model, node, node.input[1], content)


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
    """Let two outputs of one type change places, or the only one come from before its last node."""
    heads = list(model.graph.output)
    pairs = [(a, b) for i, a in enumerate(heads) for b in heads[i + 1 :] if a.type == b.type]
    made = {o: n for n in model.graph.node for o in n.output}
    if pairs:
        (a, b) = (v.name for v in pairs[0])
        _rename(model, {a: b, b: a})
        return a
    last = made.get(heads[0].name)
    if last is None or last.op_type not in ("Softmax", "Sigmoid", "Relu", "Clip", "Tanh"):
        return None
    name, before = heads[0].name, last.input[0]
    last.output[0] = f"{name} unused"
    _rename(model, {before: name})
    return name


def _rename(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for slots in (node.input, node.output):
            for i, name in enumerate(slots):
                slots[i] = names.get(name, name)


def rank(verdict: Verdict, clean: onnx.ModelProto, tensor: str) -> int | None:
    """The place of the layer that makes `tensor` in the candidate, by born error; None where no layer does."""
    layers = sorted(verdict.layers, key=lambda e: (not e.suspect, np.inf if e.born_db is None else e.born_db))
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
        if damage in ("weight", "tensor"):
            weight(copy, number, every=damage == "tensor")
        elif damage == "relu":
            relu(copy, number)
        else:
            scale(copy, number, every=damage == "scale")
        yield copy, tensor


def without_effect(clean: onnx.ModelProto, copy: onnx.ModelProto) -> bool:
    """Whether the damage leaves the outputs of the candidate as they were."""
    outputs = onnxzip.compare(clean, copy, layers=False).outputs
    return exact_problem(outputs, {}, {o.name: "tensor(float)" for o in outputs}) is None


def check(path: Path, kind: str, clean: onnx.ModelProto, most: int, *, loud: bool) -> bool:
    """One candidate, sound and damaged. Whether all is as it must be."""
    start = time.perf_counter()
    sound = onnxzip.compare(path, clean, layers=True)
    suspects = sum(e.suspect for e in sound.layers)
    good = not suspects
    margins = [e.born_db - e.explained_db for e in sound.layers if e.born_db is not None and e.explained_db is not None]
    margin = min(margins, default=np.inf)
    figures = f"{len(sound.layers)} values, {suspects} suspect, at least {margin:.1f} dB better than explained, {time.perf_counter() - start:.1f} s"
    words = "passed" if sound.passed else "FAILED"
    print(
        f"{path.stem[:36]:36} {kind:8} {'sound':8} {words}: {figures}",
        *sound.reasons,
        *sound.warnings[1:],
        sep="; ",
        flush=True,
    )
    for damage in ("weight", "tensor", "relu", "scale", "channel", "output"):
        failed, ranks, idle, missed = 0, [], 0, []
        for copy, tensor in damaged(clean, damage, most):
            if without_effect(clean, copy):
                idle += 1
                continue
            verdict = onnxzip.compare(path, copy)
            failed += not verdict.passed
            missed += [tensor] if verdict.passed else []
            ranks.append(rank(verdict, clean, tensor) or 999)
            if loud:
                print("      ", tensor, verdict.passed, ranks[-1], *verdict.reasons, sep="; ")
        if ranks or idle:
            good = good and failed == len(ranks)
            note = f", {idle} without effect" if idle else ""
            print(
                f"{'':36} {'':8} {damage:8} {failed} of {len(ranks)} failed, rank {max(ranks, default=0)}{note}",
                *missed,
                flush=True,
            )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", default=[], help="parts of names; the default is all")
    parser.add_argument(
        "--candidates", nargs="*", default=["copy", "exact", "onnxsim", "int8", "weights8", "weights4", "fp16"]
    )
    parser.add_argument("--places", type=int, default=3)
    parser.add_argument("--loud", action="store_true", help="one line for each damaged model")
    arguments = parser.parse_args()
    bad = 0
    for path in sorted(arguments.folder.glob("*.onnx"), key=lambda p: (p.stat().st_size, p.name)):
        if arguments.models and not any(part in path.stem for part in arguments.models):
            continue
        try:
            for kind, clean in candidates(path, arguments.candidates):
                bad += not check(path, kind, clean, arguments.places, loud=arguments.loud)
        except OnnxzipError as error:
            print(f"{path.stem[:36]:36} refused: {error}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
