"""docs/report.schema.json describes what is really written, and is made from the records themselves."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from onnxzip import checks, optimize
from onnxzip.checked import Checked, CheckRun, Comparison
from onnxzip.config import Budget, Config
from onnxzip.gate import compare
from onnxzip.records import OutputMetrics, RunRecord, Verdict
from onnxzip.report.document import SCHEMA, plain, to_json
from onnxzip.settings import ModelSettings
from onnxzip.versions import versions
from tests.report.records import gate, verdict

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("write_reference", ROOT / "tools" / "write_reference.py")
assert SPEC is not None
assert SPEC.loader is not None
write_reference = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(write_reference)

PUBLISHED = json.loads((ROOT / "docs" / "report.schema.json").read_text())


def strict() -> dict:
    """The published schema, closed: readers must bear new keys, this version writes none that are not described."""
    closed = copy.deepcopy(PUBLISHED)
    for definition in closed["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return closed


def problems(text: str) -> list[str]:
    content = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    return [e.message for e in jsonschema.Draft202012Validator(strict()).iter_errors(content)]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "relu.onnx"
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) { t = Identity(x) y = Relu(t) }'
    onnx.save(onnx.parser.parse_model(text), str(path))
    return path


@pytest.mark.parametrize("path", write_reference.documents(), ids=lambda p: p.name)
def test_the_files_in_docs_are_up_to_date(path):
    assert path.read_text() == write_reference.documents()[path], "run: python tools/write_reference.py"


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)


def test_real_reports_are_valid(model, tmp_path):
    config = Config(preset="int8", allow_unverified=True, keep_float=("Relu",))
    run = optimize(model, config=config).report
    assert problems(run.to_json()) == []
    judged = compare(model, model)
    record = Comparison(
        original="a", candidate="b", versions=versions(), budget=dataclasses.asdict(Budget()), verdict=judged
    )
    assert problems(to_json(record)) == []
    bad = tmp_path / "bad.onnx"
    bad.touch()
    entries = (
        ModelSettings(name="a", path=model),
        ModelSettings(name="b", path=bad),
        ModelSettings(name="c", path=model, candidate=model),
    )
    assert problems(to_json(checks.check(entries, Path("onnxzip.toml")))) == []
    assert problems(to_json(gate())) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.pop("settings"), "not valid"),
        (lambda d: d.update(extra=1), "not valid"),
        (lambda d: d.update(schema=SCHEMA + 1), "not valid"),
        (lambda d: d["models"][0].update(outcome=3), "not valid"),
        (lambda d: d["models"][0]["verdict"]["outputs"][0].update(sqnr_db="large"), "not valid"),
    ],
)
def test_the_schema_refuses_what_is_wrong(change, words):
    content = json.loads(to_json(gate()))
    change(content)
    assert words in problems(json.dumps(content))[0]


def test_readers_bear_keys_that_come_later():
    content = {**json.loads(to_json(gate())), "later": 1}
    assert list(jsonschema.Draft202012Validator(PUBLISHED).iter_errors(content)) == []


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [
        (Verdict, "Verdict", {"metrics"}),
        (OutputMetrics, "OutputMetrics", set()),
        (Config, "Config", set()),
        (Budget, "Budget", set()),
        (RunRecord, "RunRecord", set()),
        (RunRecord, "optimize", {"schema", "kind"}),
        (Checked, "Checked", {"outcome", "accepted", "reasons"}),
        (CheckRun, "check", {"schema", "kind", "passed"}),
    ],
)
def test_the_keys_of_the_schema_are_the_fields(kind, name, more):
    definition = PUBLISHED["$defs"][name]
    fields = {f.name for f in dataclasses.fields(kind)} | more
    assert set(definition["properties"]) == fields == set(definition["required"])


def test_figures_without_a_number_are_words():
    output = dataclasses.replace(verdict().outputs[0], sqnr_db=float("inf"), max_abs_error=float("nan"))
    record = Comparison(original="a", candidate="b", versions={}, budget={}, verdict=verdict(outputs=(output,)))
    found = json.loads(to_json(record))
    assert found["verdict"]["outputs"][0]["sqnr_db"] == "inf"
    assert found["verdict"]["metrics"]["max_abs_error"] == "nan"


def test_paths_and_functions_are_written_by_name():
    assert plain({"plan": Path("a/b.json"), "metric": plain}) == {
        "plan": "a/b.json",
        "metric": "onnxzip.report.document:plain",
    }
    hint = str | os.PathLike[str] | Callable[..., float] | None
    assert write_reference.of_type(hint, {}) == {"anyOf": [{"type": "string"}, {"type": "null"}]}


def test_every_setting_has_words():
    """settings.md is only as good as the docstrings."""
    for kind in (Config, Budget):
        words = write_reference.attributes(kind)
        assert {f.name for f in dataclasses.fields(kind)} <= set(words)


def test_a_type_that_has_no_schema_is_said():
    with pytest.raises(TypeError, match="teach"):
        write_reference.of_type(complex, {})
