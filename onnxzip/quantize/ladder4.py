"""Which weights of 4 bits go back to 8: those whose share of the error is far above their share of the bytes.

e_l is the noise of the model's outputs, relative to their signal, when weights l alone have 4 bits: measured end to end on a few batches,
because what a layer does to its own output says little about the model's. With b_l the bytes that 4 bits save there,

 1. l goes back where e_l / Σ e > `SHARE` · b_l / Σ b: at most 1 / SHARE of the bytes do;
 2. then the next by e_l / b_l, until Σ e of those that are left is within `NOISE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.progress import Observer
from onnxzip.runtime import Batch, Session

SHARE = 3.0
NOISE = 0.006
"""22 dB on the data that was rounded on, which is 16 to 19 dB on other data: beyond it several per cent of the decisions change."""

BATCHES = 2
"""Batches that the error is measured on."""


def errors(
    model: ir.Model, stand_ins: Mapping[str, np.ndarray], data: Iterable[Batch], observer: Observer
) -> dict[str, float]:
    """e of each constant when another content stands in for it alone; infinite where the model does not run then.

    Args:
        model: the float model; not changed.
        stand_ins: name of an initializer to the content that stands in for it.
        data: its first batches are used.
        observer: told of each.
    """
    batches = list(islice(data, BATCHES))
    reference = [_floats(Session(model).run(b)) for b in batches]
    found: dict[str, float] = {}
    with observer.step("find weights that need 8 bits", len(stand_ins)) as done:
        for name, content in stand_ins.items():
            copy = model.clone()
            copy.graph.initializers[name].const_value = ir.tensor(content.astype(np.float32), name=name)
            try:
                session = Session(copy)
                found[name] = _noise(reference, [_floats(session.run(b)) for b in batches])
            except ModelError:
                found[name] = float("inf")
            done()
    return found


def back_to_eight(error: Mapping[str, float], saved: Mapping[str, int]) -> list[str]:
    """The names that go back to 8 bits, in the order of `error`.

    >>> back_to_eight({"a": 0.03, "b": 0.001, "c": 0.001}, {"a": 10, "b": 50, "c": 40})
    ['a']
    >>> back_to_eight({"a": 0.001, "b": 0.001}, {"a": 10, "b": 10})
    []
    """
    total, bytes_ = sum(error.values()), sum(saved.values())
    if total <= 0 or bytes_ <= 0:
        return []
    if not np.isfinite(total):
        return [n for n, e in error.items() if not np.isfinite(e)]
    gone = {n for n, e in error.items() if e * bytes_ > SHARE * saved[n] * total}
    order: Sequence[str] = sorted((n for n in error if n not in gone), key=lambda n: -error[n] / max(1, saved[n]))
    left = sum(error[n] for n in order)
    for name in order:
        if left <= NOISE:
            break
        gone.add(name)
        left -= error[name]
    return [n for n in error if n in gone]


def _floats(outputs: Mapping[str, object]) -> dict[str, np.ndarray]:
    return {
        n: a.astype(np.float64)
        for n, a in outputs.items()
        if isinstance(a, np.ndarray) and a.dtype.kind == "f" and a.size
    }


def _noise(reference: Sequence[Mapping[str, np.ndarray]], others: Sequence[Mapping[str, np.ndarray]]) -> float:
    """Noise over signal of the worst output."""
    worst = 0.0
    for name in reference[0] if reference else ():
        pairs = [(r[name], o[name]) for r, o in zip(reference, others, strict=True)]
        if any(a.shape != b.shape for a, b in pairs):
            return float("inf")
        signal = sum(float((a * a).sum()) for a, _ in pairs)
        noise = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
        worst = max(worst, noise / signal if signal > 0 else 0.0)
    return worst
