"""What is looked at while data runs through a model: watchers say which values they want, and see them batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from onnxzip.runtime import Batch


class Watcher(Protocol):
    """Looks at some values of every batch; what it keeps must not grow with the number of batches."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of values of the main graph, inputs among them, or of bodies."""
        ...

    def see(self, number: int, batch: Batch, arrays: Mapping[str, Any]) -> None:
        """Look at one batch: its number, its inputs, and the wanted values by name. Those of bodies that did not run are missing."""
        ...
