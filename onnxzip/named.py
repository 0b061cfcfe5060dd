"""Functions of the user, named as `module:function`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onnxzip.errors import OnnxzipError


def is_named(text: str) -> bool:
    """Whether this is `module:function`.

    >>> is_named("my.metrics:top5"), is_named("c:/data")
    (True, False)
    """
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text) is not None


def function(text: str, error: type[OnnxzipError]) -> Callable[..., Any]:
    """The function that `module:function` names; the module is looked for in the working directory too, for the time of this import only.

    Raises:
        OnnxzipError: of the class `error`: there is no such module or function, or importing it fails.
    """
    module_name, _, name = text.partition(":")
    found = getattr(_imported(text, module_name, error), name, None)
    if not callable(found):
        raise error(f"{text}: module {module_name} has no function {name!r}. Check the spelling.")
    return found  # type: ignore[no-any-return] # of the user: anything that can be called


def _imported(text: str, module_name: str, kind: type[OnnxzipError]) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise kind(f"{text}: module {error.name!r} is not found in {here} nor among the installed packages.") from error
    except (Exception, SystemExit) as error:  # code of the user: anything can happen, and the user wants to know what
        raise kind(f"{text}: importing {module_name} fails: {told(error)}") from error
    finally:
        sys.path.remove(here)


def told(error: BaseException) -> str:
    """What went wrong in the user's code, in one line."""
    return f"{type(error).__name__}: {error}"
