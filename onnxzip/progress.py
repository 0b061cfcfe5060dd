"""How long steps report that they advance. The library calls back; only the command line prints.

Every function that may take longer than a second takes an `observer`. Steps are opened and closed in order, like brackets; a step may hold others.
A step that is left by an exception (an error, Ctrl-C) is closed too, with that exception.

>>> import contextlib, onnx, onnxzip
>>> class Printer:
...     @contextlib.contextmanager
...     def step(self, name, total=None):
...         count = 0
...         def advance():
...             nonlocal count
...             count += 1
...         yield advance
...         print(f"{name}: {count} of {total}")
>>> text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
>>> model = onnx.parser.parse_model(text)
>>> verdict = onnxzip.compare(model, model, [{"x": [1.0, 2.0]}, {"x": [-1.0]}], observer=Printer())
load both models: 0 of None
run the original: 2 of 2
compare with the original: 2 of 2
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Observer(Protocol):
    """What a caller passes to follow a run: any object with this method (see `onnxzip.progress` for an example)."""

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
