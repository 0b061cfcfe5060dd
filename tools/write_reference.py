"""Write what docs/ derives from the code: docs/report.schema.json (JSON Schema 2020-12), docs/settings.md and docs/reference/cli.md.

    python tools/write_reference.py

Types come from the fields, words from the `Attributes:` of the docstrings; the page of the command line from the options. `tests/report/test_schema.py` fails where the files are out of date.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import os
import re
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from onnxzip.cli.main import app
from onnxzip.config import Budget, Config
from onnxzip.explored import Exploration
from onnxzip.records import RunRecord
from onnxzip.report.document import DERIVED, KINDS, SCHEMA
from onnxzip.settings import ModelSettings

DOCS = Path(__file__).parents[1] / "docs"
SCHEMA_FILE, SETTINGS_FILE, CLI_FILE = DOCS / "report.schema.json", DOCS / "settings.md", DOCS / "reference" / "cli.md"

FIGURE = {
    "description": "A figure. JSON has no number for those that are infinite or undefined.",
    "anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}],
}

PRECISE = {(RunRecord, "config"): Config, (Exploration, "config"): Config}
"""Fields that are annotated as mappings, for their floor knows nothing of what is in them."""

HEAD = """# Settings

<!-- Written by tools/write_reference.py from the dataclasses. Do not edit. -->

The keys of `onnxzip.toml`, and of `[tool.onnxzip]` in `pyproject.toml` (there the tables are `[tool.onnxzip.defaults]` and so on).
Hyphens and underscores are the same; `false` takes a default back where a key may be absent. Where the words below say "None", the key is left
out or `false`. Paths are relative to the file. [ci.md](ci.md) shows the file at work.
"""

CLI_HEAD = """# Command line

<!-- Written by tools/write_reference.py from the commands. Do not edit. -->

{help}

{epilog} `onnxzip --version` shows the version, `onnxzip COMMAND --help` what follows.
"""

PLACEHOLDERS = {Path: "FILE", str: "TEXT", float: "NUMBER", int: "NUMBER"}

PIPE = "\\|"
"""In a table."""


def schema() -> dict[str, Any]:
    """The schema of all JSON that `optimize`, `compare`, `check` and `explore` write."""
    definitions: dict[str, Any] = {"figure": FIGURE}
    branches = []
    for kind, record in KINDS.items():
        describe(record, definitions)
        head = {"schema": {"const": SCHEMA}, "kind": {"const": kind}}
        own = definitions.pop(record.__name__)
        definitions[kind] = {
            **own,
            "properties": {**head, **own["properties"]},
            "required": [*head, *own["required"]],
        }
        if record is RunRecord:
            definitions[record.__name__] = own  # it stands inside a check too
        branches.append({"$ref": f"#/$defs/{kind}"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Reports of onnxzip, layout {SCHEMA}",
        "description": "What --json of optimize, compare, check and explore writes. Keys may be added without a new number; none is renamed or removed without one.",
        "oneOf": branches,
        "$defs": dict(sorted(definitions.items())),
    }


def describe(kind: type, definitions: dict[str, Any]) -> dict[str, str]:
    """A reference to the definition of a dataclass, which is added where it is not there yet."""
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}  # classes may hold themselves
        hints, words = get_type_hints(kind), attributes(kind)
        properties = {}
        for field in dataclasses.fields(kind):
            hint = PRECISE.get((kind, field.name), hints[field.name])
            properties[field.name] = {**of_type(hint, definitions), **words_of(words.get(field.name))}
        for derived in DERIVED.get(kind, ()):
            getter = getattr(kind, derived).fget
            hint = get_type_hints(getter)["return"]
            properties[derived] = {**of_type(hint, definitions), **words_of(first_line(getter))}
        definitions[name] = {
            "description": first_line(kind),
            "type": "object",
            "properties": properties,
            "required": list(properties),
        }
    return {"$ref": f"#/$defs/{name}"}


def of_type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    simple = {str: "string", bool: "boolean", int: "integer", types.NoneType: "null"}
    if hint in simple:
        return {"type": simple[hint]}
    if hint is float:
        return {"$ref": "#/$defs/figure"}
    if hint in (Any, object):
        return {}
    if dataclasses.is_dataclass(hint):
        return describe(hint, definitions)
    if origin in (Union, types.UnionType):
        options = [of_type(a, definitions) for a in arguments if not is_named(a)]
        return {"anyOf": options}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple and arguments[-1] is not Ellipsis:
        items = [of_type(a, definitions) for a in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in (tuple, list, collections.abc.Sequence):
        return {"type": "array", "items": of_type(arguments[0], definitions)}
    if origin in (dict, collections.abc.Mapping):
        return {"type": "object", "additionalProperties": of_type(arguments[1], definitions)}
    raise TypeError(f"no schema for {hint!r}: teach tools/write_reference.py")


def is_named(hint: Any) -> bool:
    """Paths and functions are written as text, which stands beside them in the union."""
    return get_origin(hint) in (os.PathLike, collections.abc.Callable)


def attributes(kind: type) -> dict[str, str]:
    """The `Attributes:` of a docstring, by name."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.getdoc(kind).partition("Attributes:\n")[2].splitlines():
        if head := re.match(r" {4}(\w+(?:, \w+)*): (.*)", line):
            names = head[1].split(", ")
            found |= dict.fromkeys(names, head[2])
        elif line.startswith(" " * 8):
            found |= {n: f"{found[n]} {line.strip()}" for n in names}
        else:
            break
    return found


def first_line(item: Any) -> str:
    """The first paragraph of a docstring."""
    return " ".join((inspect.getdoc(item) or "").split("\n\n")[0].split())


def words_of(text: str | None) -> dict[str, str]:
    """As a description, where there is one."""
    return {"description": text} if text else {}


def settings() -> str:
    """The keys of a settings file as Markdown."""
    own = ("candidate", "calibration", "evaluation", "out", "expected")
    parts = [HEAD, "## `[models.NAME]`", "", *table(ModelSettings, {"path": "required"}, only=("path", *own)), ""]
    parts += ["## `[models.NAME]` and `[defaults]`", ""]
    parts += ["`calibration` and `evaluation` from above, and:", "", *table(Config, {}, without=("budget",)), ""]
    parts += ["## `[models.NAME.budget]` and `[defaults.budget]`", "", first_line(Budget), "", *table(Budget, {})]
    return "\n".join(parts) + "\n"


def table(
    kind: type, defaults: Mapping[str, str], only: tuple[str, ...] = (), without: tuple[str, ...] = ()
) -> Iterator[str]:
    """One row a field: key, default, meaning."""
    words = attributes(kind)
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for field in dataclasses.fields(kind):
        if field.name in without or (only and field.name not in only):
            continue
        default = defaults.get(field.name) or toml(field.default)
        meaning = words.get(field.name, "").replace("|", "\\|")
        yield f"| `{field.name.replace('_', '-')}` | {default} | {meaning} |"


def toml(value: Any) -> str:
    """A default as it would stand in the file."""
    if value is None or value is dataclasses.MISSING:
        return "–"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def command_line() -> str:
    """The page of the command line as Markdown: one table of arguments and options a command, read off its signature."""
    parts = [CLI_HEAD.format(help=app.info.help, epilog=app.info.epilog)]
    for command in app.registered_commands:
        hints = get_type_hints(command.callback, include_extras=True)
        parameters = [p for p in inspect.signature(command.callback).parameters.values() if is_shown(hints[p.name])]
        rows = [option_row(p, hints[p.name]) for p in parameters]
        arguments = [argument(p) for p in parameters if is_argument(hints[p.name])]
        parts += [f"## onnxzip {command.name}", "", inspect.getdoc(command.callback) or "", ""]
        parts += ["```text", " ".join(["onnxzip", str(command.name), *arguments, "[OPTIONS]"]), "```", ""]
        parts += ["| argument or option | meaning |", "|---|---|", *rows, ""]
    return "\n".join(parts)


def is_shown(hint: Any) -> bool:
    """Typer hands its context over beside what stands on the line."""
    return get_origin(hint) is Annotated


def is_argument(hint: Any) -> bool:
    """Arguments stand on the line without a name."""
    return isinstance(get_args(hint)[1], typer.models.ArgumentInfo)


def argument(parameter: inspect.Parameter) -> str:
    """As in a usage line."""
    name = parameter.name.upper()
    return name if parameter.default is inspect.Parameter.empty else f"[{name}]..."


def option_row(parameter: inspect.Parameter, hint: Any) -> str:
    """One row of the table."""
    kind, info = get_args(hint)[:2]
    if is_argument(hint):
        head = f"`{parameter.name.upper()}`"
    else:
        kinds = [k for k in (get_args(kind) or (kind,)) if k is not types.NoneType]
        kinds = [get_args(k)[0] if get_origin(k) is list else k for k in kinds]
        value = "" if kinds[0] is bool else f" {info.metavar or PLACEHOLDERS[kinds[0]]}"
        names = [
            n for n in (info.default, *(info.param_decls or ())) if isinstance(n, str)
        ]  # typer keeps the first there
        ordered = sorted(names or [f"--{parameter.name.replace('_', '-')}"], key=len)
        head = ", ".join(f"`{n}{value if n == ordered[-1] else ''}`" for n in ordered)
    default = parameter.default if parameter.default is not inspect.Parameter.empty else None
    shown = "" if default is None or default is False else f" Default: `{default}`."
    return f"| {head.replace('|', PIPE)} | {info.help.replace('|', PIPE)}{shown} |"


def documents() -> dict[Path, str]:
    """Every file with its content."""
    return {
        SCHEMA_FILE: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
        SETTINGS_FILE: settings(),
        CLI_FILE: command_line(),
    }


if __name__ == "__main__":
    for path, content in documents().items():
        path.write_text(content, encoding="utf-8")
        print(f"wrote {path}")
