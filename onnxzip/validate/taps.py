"""Inner values of a model, looked at while it runs: what each is like (a sketch), or the values themselves.

Values of the main graph only: what lies in a body counts as part of the node that holds it. The runtime's optimizations are off, so that every
value that the file names is there. Values are fetched in groups, so that memory holds a part of them at a time, never all.

A sketch is the shape, the norm and the content at 256 places that depend on nothing but the number of elements: two values of one shape are told
apart by it, or found to be nearly equal, without being held side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op
from onnxzip.runtime import Batch, Session

Numbers = npt.NDArray[np.float64]

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})
"""Element types whose values are compared, and that numpy can feed to the runtime."""

PLACES = 256
"""Elements that a sketch holds."""

SAMPLES, BATCHES = 8, 4
"""Of the data, as far as it is looked at."""

LARGE, PART = 2**14, 2
"""Elements of one sample of the inputs that make it a large one, and how many of these are taken at once."""

GROUP = 64
"""Values that are fetched together while their sizes are not known yet."""


@dataclass(frozen=True)
class Sketch:
    """What a value is like: shape, element type, and some of its elements."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sample: Numbers

    def sqnr(self, other: Sketch) -> float:
        """About the SQNR in dB of `other` against this one; -inf where shapes differ, inf where equal."""
        if self.shape != other.shape:
            return -math.inf
        error, signal = float(np.sum((self.sample - other.sample) ** 2)), float(np.sum(self.sample**2))
        if not math.isfinite(error) or (signal == 0 and error > 0):
            return -math.inf
        return math.inf if error == 0 else 10 * math.log10(signal / error)

    @property
    def bytes(self) -> int:
        """Memory of the whole value."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def tells(self) -> bool:
        """Whether the content says which value it is: zeros and other constants could be any."""
        return bool(self.sample.size and np.isfinite(self.sample).all() and np.ptp(self.sample) > 0)


def sketch(array: np.ndarray[Any, Any]) -> Sketch:
    """The sketch of one value.

    >>> round(sketch(np.ones((2, 3), np.float32)).sqnr(sketch(np.full((2, 3), 1.1, np.float32))), 3)
    20.0
    """
    flat = array.reshape(-1)
    if flat.size > PLACES:
        flat = flat[np.random.default_rng(flat.size).integers(0, flat.size, PLACES)]
    return Sketch(array.shape, array.dtype, flat.astype(np.float64))


def inner_values(model: ir.Model) -> list[ir.Value]:
    """Values of the main graph that nodes compute, in order, as far as they are, or may be, float tensors."""
    shapes, found, seen = Shapes(model), list[ir.Value](), set[str]()
    for node in model.graph:
        if is_op(node, "Constant"):
            continue
        for value in node.outputs:
            dtype = shapes.dtype(value)
            if value.name and value.name not in seen and (dtype in FLOATS or (dtype is None and node.domain)):
                seen.add(value.name)
                found.append(value)
    return found


def tapped(model: ir.Model, names: Sequence[str]) -> Session:
    """A session that gives these values of the main graph, the runtime's optimizations off.

    Raises:
        ModelError: the model does not load so.
    """
    return Session(model, level="none", outputs=list(names))


def sketches(model: ir.Model, feed: Batch) -> tuple[dict[str, Sketch], Session]:
    """Sketches of the inner values that turn out to be float tensors on this batch, by name, in the order of the graph; and a session that gives them.

    Raises:
        ModelError: the model does not run on it.
    """
    values = inner_values(model)
    names = [v.name or "" for v in values]
    try:
        session = tapped(model, names)
    except ModelError:  # a value of unknown type may be one that cannot be given out
        shapes = Shapes(model)
        names = [v.name or "" for v in values if shapes.dtype(v) in FLOATS]
        session = tapped(model, names)
    found: dict[str, Sketch] = {}
    for start in range(0, len(names), GROUP):
        arrays: Mapping[str, Any] = session.run(feed, names[start : start + GROUP])
        found |= {n: sketch(a) for n, a in arrays.items() if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
    return found, session


def few(batches: Iterable[Batch], session: Session, worst: tuple[int, int] | None = None) -> list[Batch]:
    """The worst sample, where it is known, and the first ones of the data: enough to see how large errors are, in batches that the model runs on.

    A batch is cut short where all inputs have a leading axis of the same, dynamic size and the model runs on a part of it.

    Args:
        batches: the data.
        session: a model that takes it.
        worst: number of the batch of the worst sample, and the row in it.
    """
    found, lead = list[Batch](), list[Batch]()
    seen = 0
    for number, batch in enumerate(batches):
        if worst is not None and number == worst[0]:
            lead.append(_part(batch, worst[1], 1, session))
        if seen < SAMPLES and len(found) < BATCHES:
            large = sum(a.size / max(len(a), 1) for a in batch.values() if isinstance(a, np.ndarray) and a.ndim) > LARGE
            part = _part(batch, 0, min(SAMPLES - seen, PART if large else SAMPLES), session)
            found.append(part)
            seen += max((len(a) for a in part.values() if isinstance(a, np.ndarray) and a.ndim), default=1)
        elif worst is None or lead:
            break
    return [*found[:1], *lead, *found[1:]]


def _part(batch: Batch, start: int, count: int, session: Session) -> Batch:
    """Some samples of a batch, or all of it."""
    lengths = {a.shape[0] if isinstance(a, np.ndarray) and a.ndim else None for a in batch.values()}
    fixed = any(not spec.shape or isinstance(spec.shape[0], int) for spec in session.inputs if spec.name in batch)
    length = next(iter(lengths)) if len(lengths) == 1 else None
    if fixed or length is None or length <= count:
        return batch
    part = {name: array[start : start + count] for name, array in batch.items()}
    try:
        session.run(part)
    except ModelError:
        return batch
    return part
