"""Running a model over data and keeping statistics of some of its tensors.

The tensors are fetched as outputs and looked at with numpy (reductions inside the graph were measured and cost more: they break
the runtime's fusions too). Each batch is run once; its activations are gone before the next one starts, and nothing but the
statistics grows, which do not. What the named tensors do not need is not computed.

A tensor inside a body of If, Loop or Scan is carried out of it (`onnxzip.calibrate.surface`) and looked at once for each time that it
was computed. Watchers see these arrays joined along their first axis; they do not see a tensor that was not computed in a batch.

With effort "full" every batch counts. With "fast" the first four do, and of those behind them every second one: about half the time. Running the model
and fetching the tensors is what calibration costs, so leaving batches out saves more than looking at fewer tensors of each. What is lost: the extremes are those of
the batches that counted, and the clip that is best for them is not quite the best for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.data import Data
from onnxzip.calibrate.fingerprint import DIGEST_BITS, fingerprint
from onnxzip.calibrate.observers import Statistics, TensorStatistics
from onnxzip.calibrate.surface import one_array, surface
from onnxzip.calibrate.watch import Watcher
from onnxzip.config import Calibrate
from onnxzip.errors import DataError, ModelError
from onnxzip.model.walk import graphs_of
from onnxzip.progress import SILENT, Observer
from onnxzip.runtime import Batch, Session

ALL_OF_FIRST = 4
"""Batches that count whatever the effort: little data is not thinned out."""


def collect(
    model: ir.Model,
    tensors: Sequence[str],
    data: Iterable[Batch],
    *,
    observer: Observer = SILENT,
    model_digest: str = "",
    threads: int = 0,
    effort: Calibrate = "full",
    watchers: Sequence[Watcher] = (),
) -> Statistics:
    """Statistics of the named tensors.

    Args:
        model: the float model; it is not changed.
        tensors: names of values of the main graph (inputs, inner values or outputs) or of bodies. Each is looked at once.
        data: batches of the model's inputs; they may differ in shape.
        observer: told of each batch.
        model_digest: what the statistics shall carry, so that they are not used with another model.
        threads: intra-op threads of onnxruntime; 0 lets it choose (measured on six models: equal statistics at 1 and 2).
        effort: "full": every batch counts, so that shards merge to what one run gives, in any order. "fast": about half of them, by their place; the
            statistics carry the number and the fingerprint of those that counted.
        watchers: see the batches that count too, with the values that they want: one run serves all.

    Raises:
        DataError: there is no batch, or a tensor is NaN, infinite or no numbers on this data; the message names both.
        ModelError: a name is not that of a value, or is out of reach, or the model does not run.
    """
    names = list(dict.fromkeys(tensors))
    fed, computed = _sort_out(model, list(dict.fromkeys([*names, *(n for w in watchers for n in w.wanted)])))
    session, outputs = _session(model, computed, threads)
    found = {name: TensorStatistics() for name in names}
    defaults = {
        n: v.const_value.numpy() for n, v in model.graph.initializers.items() if n in fed and v.const_value is not None
    }
    digest = batches = 0
    with observer.step("calibrate", _total(data)) as done:
        for place, batch in enumerate(data):
            if _counts(place, effort):
                arrays: dict[str, Any] = {n: batch[n] if n in batch else defaults[n] for n in fed}
                if session is not None:
                    found_here = session.run(batch, list(outputs.values()))
                    arrays |= {n: _fetched(found_here.pop(o), inside=n != o) for n, o in outputs.items()}
                for watcher in watchers:
                    watcher.see(place, batch, _joined(arrays, watcher.wanted))
                _update_all(found, arrays, place)
                digest += fingerprint(batch)
                batches += 1
            done()
    if not batches:
        raise DataError("there is no batch to calibrate on: give at least one")
    return Statistics(found, model_digest=model_digest, data_digest=f"{digest % 2**DIGEST_BITS:032x}", batches=batches)


def _counts(place: int, effort: Calibrate) -> bool:
    """Whether a batch counts, by its place."""
    return effort == "full" or place < ALL_OF_FIRST or place % 2 == 0


def _update_all(found: dict[str, TensorStatistics], outputs: dict[str, Any], place: int) -> None:
    """Takes the values of one batch into account; each is gone once it was looked at."""
    for name in tuple(found):
        _update(found[name], outputs, name, place)
        outputs.pop(name, None)


def _update(statistics: TensorStatistics, arrays: Batch, name: str, batch: int) -> None:
    held = arrays.get(name)
    for array in held if isinstance(held, tuple) else (held,):
        if not isinstance(array, np.ndarray):
            raise DataError(f"batch {batch}: tensor {name!r} is {type(array).__name__}, not an array of numbers")
        try:
            statistics.update(array, name)
        except DataError as error:
            raise DataError(f"batch {batch}: {error}") from error


def _session(model: ir.Model, computed: Sequence[str], threads: int) -> tuple[Session | None, dict[str, str]]:
    """A session that computes these values, and the name of the output that each comes as; the model is only copied where some lie in bodies."""
    own = {o.name for node in model.graph for o in node.outputs}
    if not computed or own.issuperset(computed):
        return Session(model, threads=threads, outputs=computed) if computed else None, {n: n for n in computed}
    seen, outputs = surface(model, computed)
    return Session(seen, threads=threads), outputs


def _fetched(value: Any, *, inside: bool) -> Any:
    """What was fetched; of a tensor inside a body a tuple of arrays, so that it is told from a sequence of the model's own."""
    return tuple(value) if inside else value


def _joined(arrays: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
    """The wanted values as one array each: see `one_array`."""
    found = {n: one_array(arrays[n]) if isinstance(arrays[n], tuple) else arrays[n] for n in wanted}
    return {n: a for n, a in found.items() if a is not None}


def _total(data: Iterable[Batch]) -> int | None:
    if isinstance(data, Data):
        return data.known_batches
    return len(data) if isinstance(data, Sized) else None


def _sort_out(model: ir.Model, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names that are fed with each batch, and those that the model computes, bodies included."""
    inputs = {v.name for v in model.graph.inputs}
    computed = {o.name for node in model.graph.all_nodes() for o in node.outputs if o.name}
    computed |= {v.name for body in model.graph.subgraphs() for v in body.inputs if v.name}
    for name in names:
        if name not in inputs and name not in computed:
            raise ModelError(_why_not(model, name))
    return [n for n in names if n in inputs], [n for n in names if n not in inputs]


def _why_not(model: ir.Model, name: str) -> str:
    if any(name in graph.initializers for graph in graphs_of(model)):
        return f"tensor {name!r} is a constant: it needs no statistics, its content is known"
    functions = (f.graph for f in model.functions.values())
    if any(o.name == name for g in functions for n in g.all_nodes() for o in n.outputs):
        return (
            f"tensor {name!r} lives inside a function, from which it cannot be fetched. Leave what is inside in float."
        )
    return f"tensor {name!r} is not in the model"
