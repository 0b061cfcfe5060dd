"""How long steps report that they advance. The library calls back; only the command line prints."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Observer(Protocol):
    """What a caller passes to follow a run."""

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Callable[[], None]]:
        """Open a step. The value of the `with` is called once for each unit of work that is done.

        Args:
            name: what is being done, in the words a user reads ("calibrate", "compare").
            total: how many units there are, or None when that is not known.
        """
        ...


class Silent:
    """Follows nothing."""

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Callable[[], None]]:
        """See `Observer.step`."""
        return contextlib.nullcontext(lambda: None)


SILENT = Silent()
