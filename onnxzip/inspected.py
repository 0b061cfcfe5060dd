"""What `inspect` finds, as plain data like `onnxzip.records`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxzip.records import Facts, PassRecord


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A constant of the file: its name, dtype and shape as text, number of elements, bytes, and how many nodes read it.

    `copy_of` names an earlier one with the same content, when there is one.
    """

    name: str
    type: str
    elements: int
    bytes: int
    readers: int
    copy_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is in a model and what could be gained.

    Attributes:
        source: path, or "model in memory".
        facts: the model as it is.
        producer: who wrote it, with version; empty when the file does not say.
        ir_version: version of the file format.
        opsets: the operator sets it imports, domain to version ("" is the standard one).
        inputs, defaults, outputs: the interface, as text.
        dynamic: names of dynamic axes ("?" where one has none), each with the places of the interface that have it.
        weights: its constants, initializers and Constant nodes, bodies included, largest first.
        types: bytes of the constants by element type, largest first.
        refused: why `optimize` would refuse the model (onnxruntime does not load it), or None.
        after_rewrite: the model after exact rewriting; None when that failed, as a note says.
        passes: what each pass would do.
        after_prune: and after exact removal of channels; None when that failed.
        removable_channels: how many channels do nothing.
        quantizable: names of the nodes that int8 would take.
        left_float: nodes that it would leave, each with the reason.
        rewrite_leaves: what exact rewriting leaves alone although it looks removable, and why.
        prune_leaves: what ties channels down, and where.
        notes: what was understood in a special way, and what could not be found out.
    """

    source: str
    facts: Facts
    producer: str
    ir_version: int
    opsets: Mapping[str, int]
    inputs: tuple[str, ...]
    defaults: tuple[str, ...]
    outputs: tuple[str, ...]
    dynamic: Mapping[str, tuple[str, ...]]
    weights: tuple[Weight, ...]
    types: Mapping[str, int]
    refused: str | None
    after_rewrite: Facts | None
    passes: tuple[PassRecord, ...]
    after_prune: Facts | None
    removable_channels: int
    quantizable: tuple[str, ...]
    left_float: tuple[str, ...]
    rewrite_leaves: tuple[str, ...]
    prune_leaves: tuple[str, ...]
    notes: tuple[str, ...]
