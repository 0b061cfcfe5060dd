"""Which constants may be folded without the file growing.

Folding a value adds a tensor, and frees the nodes that were there for it alone and the constants that only they read.
A value is folded when it adds no more bytes than it frees (failures.md 1: a Tile of one number to half a million
stays a Tile). Values that share what they are computed from are first judged one by one, then together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.passes.constant_part import ConstantPart
from onnxzip.passes.size import constant_bytes, node_bytes

_SHARED_BYTES = 64
"""Constants up to this size do not tie the values computed from them together."""


def affordable(part: ConstantPart, sizes: Mapping[ir.Value, int]) -> list[ir.Value]:
    """The values of `sizes` (frontier value to bytes of its tensor) that may become initializers, in a fixed order."""
    ledger, taken, left = _Ledger(part), [], []
    for value in sizes:
        if ledger.take([value], sizes[value]):
            taken.append(value)
        else:
            left.append(value)
    for group in _groups(left, part):
        if len(group) > 1 and ledger.take(group, sum(sizes[v] for v in group)):
            taken += group
    return taken


def least_bytes(value: ir.Value, size: int, dtype: ir.DataType | None) -> int:
    """What an initializer of `size` bytes takes at least: as integers may be small, that is known after running."""
    content = size // 8 if dtype in (None, ir.DataType.INT64) else size
    return content + len((value.name or "").encode()) + 6


class _Ledger:
    """Counts readers, as if values were already folded."""

    def __init__(self, part: ConstantPart) -> None:
        self._part = part
        self._readers: dict[ir.Value, int] = {}
        self._gone: set[ir.Node] = set()

    def take(self, values: Sequence[ir.Value], added: int) -> bool:
        """Fold these values if that does not add more than it frees."""
        changed: dict[ir.Value, int] = {}
        gone: set[ir.Node] = set()
        freed, pending = 0, []
        for value in values:
            changed.setdefault(value, self._count(value))
            self._readers[value] = 0  # all of them read the new initializer
            pending.append(value.producer())
        while pending:
            node = pending.pop()
            if node is None or node in self._gone or node in gone or any(self._count(o) > 0 for o in node.outputs):
                continue
            gone.add(node)
            freed += node_bytes(node)
            for read in node.inputs:
                if read is None:
                    continue
                changed.setdefault(read, self._count(read))
                self._readers[read] = self._count(read) - 1
                if self._readers[read] == 0:
                    freed += constant_bytes(read) if read not in self._part.values else 0
                    pending.append(read.producer() if read in self._part.values else None)
        if added > freed:
            self._readers.update(changed)
            return False
        self._gone |= gone
        return True

    def _count(self, value: ir.Value) -> int:
        if value not in self._readers:
            self._readers[value] = len(value.uses()) + value.is_graph_output()
        return self._readers[value]


def _groups(values: Sequence[ir.Value], part: ConstantPart) -> list[list[ir.Value]]:
    """Values that are computed from something in common, by union-find over nodes and larger constants."""
    parent: dict[ir.Node | ir.Value, ir.Node | ir.Value] = {}

    def root(item: ir.Node | ir.Value) -> ir.Node | ir.Value:
        while parent.setdefault(item, item) is not item:
            parent[item] = item = parent[parent[item]]
        return item

    for node in part.nodes:
        for read in node.inputs:
            producer = read.producer() if read is not None else None
            if read in part.values and producer is not None:
                parent[root(node)] = root(producer)
            elif (tensor := constant(read)) is not None and tensor.nbytes > _SHARED_BYTES and read is not None:
                parent[root(node)] = root(read)
    groups: dict[ir.Node | ir.Value, list[ir.Value]] = {}
    for value in values:
        producer = value.producer()
        if producer is not None:
            groups.setdefault(root(producer), []).append(value)
    return list(groups.values())
