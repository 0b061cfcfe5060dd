"""Running a model over data to look at inner values, each run counted.

Nothing is kept between batches but what the caller keeps. The model is cut down to what the wanted values need, so a look at
an early layer costs a fraction of a pass; `Passes` counts both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.arrays import Flags
from onnxzip.errors import DataError, ModelError
from onnxzip.model.walk import bodies_of
from onnxzip.progress import SILENT, Observer
from onnxzip.runtime import Batch, Session

Arrays = dict[str, np.ndarray]


@dataclass
class Passes:
    """What was run so far: sweeps over the data, and what they cost in passes over the whole model, by multiply-adds or nodes."""

    sweeps: int = 0
    cost: float = 0.0


def count(data: Iterable[Batch]) -> int:
    """Number of batches; iterates once where it is not known."""
    known = getattr(data, "batches", None)
    if isinstance(known, int):
        return known
    return len(data) if isinstance(data, Sized) else sum(1 for _ in data)


def values(
    model: ir.Model,
    names: Sequence[str],
    data: Iterable[Batch],
    passes: Passes,
    observer: Observer = SILENT,
    what: str = "look at activations",
) -> Iterator[tuple[Batch, Arrays]]:
    """Each batch with the named values on it (inputs of the model among them).

    Raises:
        DataError: there is no batch, or a value is not a tensor of finite numbers.
        ModelError: a name is not a value of the main graph, or the model does not run.
    """
    wanted = list(dict.fromkeys(names))
    fed = {v.name or "" for v in model.graph.inputs}
    part, share = _part(model, [n for n in wanted if n not in fed])
    session = Session(part, level="all") if part is not None else None
    passes.sweeps, passes.cost = passes.sweeps + 1, passes.cost + share
    number = 0
    with observer.step(what, count(data)) as done:
        for batch in data:
            found = {n: np.asarray(batch[n]) for n in wanted if n in fed}
            if session is not None:
                names_in = {s.name for s in session.inputs}
                found |= session.run({n: a for n, a in batch.items() if n in names_in})
            for name, array in found.items():
                _check(name, array, number)
            yield batch, found
            number += 1
            done()
    if not number:
        raise DataError("there is no batch of data: give at least one")


def token_mask(model: ir.Model, data: Iterable[Batch]) -> str | None:
    """The input that says which tokens are padding, or None when none can be told beyond doubt.

    An input of whole numbers and two axes that holds only 0 and 1 on all batches, with a 1 in every row and a 0 somewhere;
    of several such inputs the one that has "mask" in its name.
    """
    names = [
        v.name or ""
        for v in model.graph.inputs
        if v.dtype is not None and (v.dtype.is_integer() or v.dtype == ir.DataType.BOOL)
    ]
    zeros = dict.fromkeys(names, False)
    if not names:
        return None
    for batch in data:
        for name in tuple(zeros):
            array = batch.get(name)
            if not isinstance(array, np.ndarray) or array.ndim != 2 or not _is_mask(array):
                del zeros[name]
                continue
            zeros[name] |= bool((array == 0).any())
        if not zeros:
            return None
    found = [n for n, padded in zeros.items() if padded]
    named = [n for n in found if "mask" in n.lower()]
    pick = named if len(found) > 1 else found
    return pick[0] if len(pick) == 1 else None


def real_tokens(batch: Batch, mask: str | None, grid: tuple[int, ...]) -> Flags | None:
    """Which rows of a grid of rows are no padding; None for all of them, also where the grid is not one of tokens."""
    array = None if mask is None else batch.get(mask)
    if array is None or (tuple(array.shape) != grid[:2] and grid != (array.size,)):
        return None
    flags = np.asarray(array, np.bool_).reshape(array.shape + (1,) * max(0, len(grid) - 2))
    return np.broadcast_to(flags, grid).reshape(-1) if len(grid) > 1 else flags.reshape(-1)


def _is_mask(array: np.ndarray) -> bool:
    return bool(((array == 0) | (array == 1)).all() and (array == 1).any(axis=1).all())


def _check(name: str, array: object, batch: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(f"batch {batch}: value {name!r} is {type(array).__name__}, not an array of numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"batch {batch}: value {name!r} is not finite. Look at this batch, or leave it out.")


def _part(model: ir.Model, names: Collection[str]) -> tuple[ir.Model | None, float]:
    """The model that computes these values and nothing else, and its share of the nodes."""
    if not names:
        return None, 0.0
    copy = model.clone()
    made = {o.name: o for node in copy.graph for o in node.outputs}
    missing = [n for n in names if n not in made]
    if missing:
        raise ModelError(f"value {missing[0]!r} is not computed in the main graph of the model")
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(made[n] for n in names)
    total = max(1, len(copy.graph))
    needed: set[ir.Node] = set()
    pending = [made[n].producer() for n in names]
    while pending:
        node = pending.pop()
        if node is None or node in needed or node.graph is not copy.graph:
            continue
        needed.add(node)
        pending.extend(v.producer() for v in _read(node) if v is not None)
    for node in reversed(list(copy.graph)):
        if node not in needed:
            copy.graph.remove(node, safe=True)
    return copy, len(copy.graph) / total


def _read(node: ir.Node) -> Iterator[ir.Value | None]:
    """What a node reads, bodies included."""
    yield from node.inputs
    for body in bodies_of(node):
        for inner in body.all_nodes():
            yield from inner.inputs
