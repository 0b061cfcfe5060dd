"""`inspect`: what is in a model, and what could be gained, without writing anything."""

from __future__ import annotations

from typing import Any

from onnxzip.config import Config
from onnxzip.model.facts import facts
from onnxzip.model.load import load
from onnxzip.model.signature import signature
from onnxzip.model.walk import graphs_of
from onnxzip.passes.runner import run
from onnxzip.progress import SILENT, Observer
from onnxzip.prune import eliminate
from onnxzip.quantize.plan import quantizable
from onnxzip.quantize.targets import target_row
from onnxzip.records import Inspection, Weight

LARGEST = 10


def inspect(model: Any, *, observer: Observer = SILENT) -> Inspection:
    """Look into a model: interface, operators, largest weights, and what each stage would gain.

    Raises:
        ModelError: the model cannot be read.
    """
    loaded = load(model)
    rewritten, _ = run(loaded.model, observer=observer)
    multiple = target_row(Config().target).channel_multiple  # as `optimize` does by default
    pruned, elimination = eliminate(rewritten, multiple=multiple, observer=observer)
    names = signature(loaded.model)
    ready, left = quantizable(pruned)
    return Inspection(
        source=loaded.name,
        facts=facts(loaded.model),
        inputs=tuple(map(str, names.inputs)),
        defaults=tuple(map(str, names.defaults)),
        outputs=tuple(map(str, names.outputs)),
        largest=_largest(loaded.model),
        after_rewrite=facts(rewritten),
        after_prune=facts(pruned),
        removable_channels=elimination.removed,
        quantizable=ready,
        left_float=left,
        notes=(*loaded.notes, *elimination.notes),
    )


def _largest(model: Any) -> tuple[Weight, ...]:
    weights = [
        Weight(
            name=value.name or "",
            type=f"{tensor.dtype.name.lower()}{list(tensor.shape.numpy())}",
            bytes=tensor.nbytes,
            readers=len(value.uses()),
        )
        for graph in graphs_of(model)
        for value in graph.initializers.values()
        if (tensor := value.const_value) is not None
    ]
    return tuple(sorted(weights, key=lambda w: (-w.bytes, w.name))[:LARGEST])
