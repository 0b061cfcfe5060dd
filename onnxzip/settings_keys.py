"""One table of a settings file: which keys it may have, and what they may hold.

What is known is read off the fields of dataclasses, so that a new field is a new key by itself.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from onnxzip.errors import UsageError

_ALIASES = {"min_sqnr": "min_sqnr_db"}
"""Keys that are named as their option on the command line."""

_HINTS = {
    "data": "Data is named calibration (it tunes, and a part that is held out judges) or evaluation (it judges).",
    "model": "The model is named path.",
}
"""Keys that one would expect."""

_WORDS: Mapping[Any, str] = {str: "a text", float: "a number", int: "a whole number", bool: "true or false"}


def known_keys(kind: type) -> dict[str, Any]:
    """The fields of a dataclass, each with its type.

    >>> from onnxzip.config import Budget
    >>> known_keys(Budget)["max_size"]
    float | None
    """
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@dataclass(frozen=True)
class Table:
    """A table of a file.

    Attributes:
        file: where it stands.
        name: its name in full, as `models.digits`; empty for the whole file.
        content: its keys as they are written.
    """

    file: Path
    name: str
    content: Mapping[str, Any]

    def error(self, key: str, problem: str) -> UsageError:
        """An error that names file, table and key (written as in the documentation)."""
        return UsageError(f"{self._where}, key {key.replace('_', '-')!r}: {problem}")

    def table(self, key: str) -> Table:
        """A table inside; empty where there is none.

        Raises:
            UsageError: it is a value.
        """
        name = f"{self.name}.{key}" if self.name else key
        content = self.content.get(key, {})
        if not isinstance(content, Mapping):
            raise UsageError(f"{self._where}: {key} must be a table: [{name}]")
        return Table(self.file, name, content)

    def check_tables(self, known: Iterable[str], settings: Iterable[str]) -> None:
        """Refuse everything but these tables; `settings` are keys that are known to belong into one of them.

        Raises:
            UsageError: there is something else.
        """
        for key in self.content:
            if key in known:
                continue
            prefix = f"{self.name}." if self.name else ""
            if _plain(key) in settings:
                raise self.error(key, f"a setting belongs into a table: [{prefix}models.NAME] or [{prefix}defaults]")
            raise self._unknown(key, known, {})

    def values(
        self,
        known: Mapping[str, Any],
        *,
        tables: Iterable[str] = (),
        elsewhere: Mapping[str, Iterable[str]] | None = None,
    ) -> dict[str, Any]:
        """The keys by the names of fields, each with its value as the field takes it.

        Args:
            known: fields and their types. Lists become tuples; `false` becomes None where the field may be absent and is no switch.
            tables: keys that are tables, and left out here.
            elsewhere: keys that belong into other tables, by the name of that table.

        Raises:
            UsageError: a key is not known, is there twice, or holds a value of another type.
        """
        found: dict[str, Any] = {}
        for key, value in self.content.items():
            name = _plain(key)
            if name in tables:
                continue
            if name not in known:
                raise self._unknown(key, known, elsewhere or {})
            if name in found:
                raise self.error(key, "is there twice, in another spelling")
            found[name] = self._converted(key, value, known[name])
        return found

    @property
    def _where(self) -> str:
        return f"{self.file}, [{self.name}]" if self.name else str(self.file)

    def _converted(self, key: str, value: Any, kind: Any) -> Any:
        optional = _fits(None, kind)
        if value is False and optional and not _fits(value, kind):
            return None
        value = tuple(value) if isinstance(value, list) else value
        if not _fits(value, kind):
            absent = " (or false: none)" if optional else ""
            shown = list(value) if isinstance(value, tuple) else value
            raise self.error(key, f"must be {_words(kind)}{absent}, not {shown!r}")
        return value

    def _unknown(self, key: str, known: Iterable[str], elsewhere: Mapping[str, Iterable[str]]) -> UsageError:
        name = _plain(key)
        for table, keys in elsewhere.items():
            if name in keys:
                full = f"{self.name}.{table}" if table == "budget" else table
                return self.error(key, f"is not known here: it belongs into [{full}]")
        close = difflib.get_close_matches(name, known, n=1)
        hint = _HINTS.get(name) or (f"Did you mean {close[0].replace('_', '-')}?" if close else "")
        if not hint:
            hint = f"Known are {', '.join(sorted(k.replace('_', '-') for k in known))}."
        return self.error(key, f"is not known. {hint}")


def _plain(key: str) -> str:
    name = key.replace("-", "_")
    return _ALIASES.get(name, name)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type. Of literals only the type is looked at: the dataclass itself lists the choices."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in arguments)
    if origin is Literal:
        return isinstance(value, str)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(v, arguments[0]) for v in value)
    if kind in (float, int) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, (int, float))
    if kind is Path:
        return isinstance(value, str)
    if kind is Any or kind is object:
        return True
    return isinstance(value, origin or kind)


def _words(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        words = [_words(a) for a in arguments if a is not types.NoneType]
        return " or ".join(dict.fromkeys(words))
    if origin is tuple:
        return f"a list, each item {_words(arguments[0])}"
    if origin is Literal:
        return "a text"
    if origin in (dict, collections.abc.Mapping):
        return "a table"
    return _WORDS.get(kind, "a text")
