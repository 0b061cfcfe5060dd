"""The settings file: what it may say, and one clear line for every mistake in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from onnxzip.config import Budget, Config
from onnxzip.errors import UsageError
from onnxzip.settings import ModelSettings, choose, find, of_model, read
from onnxzip.settings_keys import Table, known_keys

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.onnx", "b.onnx", "data.npz", "zoo/c.onnx", "zoo/deep/d.onnx", "zoo/readme.md", "plan.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def write(folder: Path, text: str, name: str = "onnxzip.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def models(folder: Path, text: str) -> tuple[ModelSettings, ...]:
    return read(write(folder, text))


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        models(folder, text)
    return str(caught.value)


def test_a_table_becomes_settings_with_paths_from_the_file(folder):
    (entry,) = models(
        folder,
        """
        [models.first]
        path = "a.onnx"
        calibration = "data.npz"
        evaluation = "package.module:function"
        out = "new/a.onnx"
        preset = "int8"
        keep-float = ["Softmax"]
        plan = "plan.json"
        prune = "auto"
        search_time = 3
        [models.first.budget]
        max-size = 1
        min-sqnr = 20
        """,
    )
    assert entry == ModelSettings(
        name="first",
        path=folder / "a.onnx",
        calibration=str(folder / "data.npz"),
        evaluation="package.module:function",
        out=folder / "new/a.onnx",
        config=Config(
            preset="int8",
            keep_float=("Softmax",),
            plan=str(folder / "plan.json"),
            prune="auto",
            search_time=3,
            budget=Budget(max_size=1, min_sqnr_db=20),
        ),
    )


def test_a_model_starts_from_the_defaults_key_by_key(folder):
    first, second = models(
        folder,
        """
        [defaults]
        preset = "weights8"
        calibration = "data.npz"
        prune = 0.2
        [defaults.budget]
        min-agreement = 0.99
        max-size = 0.5
        [models.a]
        path = "a.onnx"
        [models.b]
        path = "b.onnx"
        preset = false
        calibration = false
        prune = false
        [models.b.budget]
        max-size = 0.3
        min-agreement = false
        """,
    )
    assert first.config == Config(preset="weights8", prune=0.2, budget=Budget(min_agreement=0.99, max_size=0.5))
    assert first.calibration == str(folder / "data.npz")
    assert second.config == Config(budget=Budget(min_agreement=None, max_size=0.3))
    assert second.calibration is None


def test_every_setting_is_a_key(folder):
    """A field that someone adds is a key by itself."""
    lines = {"config": [], "budget": []}
    for room, kind in (("config", Config), ("budget", Budget)):
        for field in dataclasses.fields(kind):
            value = field.default
            if isinstance(value, (str, bool, int, float)):
                shown = f'"{value}"' if isinstance(value, str) else str(value).lower()
                lines[room].append(f"{field.name.replace('_', '-')} = {shown}")
    assert len(lines["config"]) > 10
    text = "\n".join(['[models.a]\npath = "a.onnx"', *lines["config"], "[models.a.budget]", *lines["budget"]])
    assert models(folder, text)[0].config == Config()


def test_a_pattern_is_one_check_a_file_and_results_are_no_models(folder):
    text = '[models.zoo]\npath = "zoo/**/*.onnx"\nout = "zoo/deep"'
    (only,) = models(folder, text)
    assert (only.name, only.path, only.out) == ("zoo/c", folder / "zoo/c.onnx", folder / "zoo/deep/c.onnx")
    both = models(folder, '[models.zoo]\npath = "zoo/**/*.onnx"')
    assert [e.name for e in both] == ["zoo/c", "zoo/deep/d"]
    strange = folder / "x[1].onnx"
    strange.touch()
    assert models(folder, '[models.x]\npath = "x[1].onnx"')[0].path == strange  # a file of that very name is no pattern


def test_a_candidate_is_judged_on_evaluation_data(folder):
    text = '[defaults]\ncalibration = "data.npz"\npreset = "int8"\n[models.a]\npath = "a.onnx"\ncandidate = "b.onnx"\nevaluation = "data.npz"'
    (entry,) = models(folder, text)
    assert entry.candidate == folder / "b.onnx"
    assert (entry.calibration, entry.evaluation) == (None, str(folder / "data.npz"))


MODEL = '[models.a]\npath = "a.onnx"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models.a]\npath = 'a.onnx", ("this is not TOML",)),
        ("", ("no table [models.NAME]",)),
        ("[models.a]\npreset = 'exact'", ("[models.a], key 'path'", "is missing")),
        ("models = 3", ("must be a table: [models]",)),
        ("[models]\na = 3", ("[models]: a must be a table: [models.a]",)),
        ("[modles.a]\npath = 'a.onnx'", ("'modles'", "Did you mean models?")),
        (f"preset = 'int8'\n{MODEL}", ("'preset'", "[models.NAME] or [defaults]")),
        (f"{MODEL}keep_flaot = ['x']", ("[models.a], key 'keep-flaot'", "Did you mean keep-float?")),
        (f"{MODEL}xyzzy = 1", ("'xyzzy'", "Known are allow-contrib, ")),
        (f"{MODEL}data = 'data.npz'", ("calibration", "evaluation")),
        (f"{MODEL}min-agreement = 0.9", ("it belongs into [models.a.budget]",)),
        (f"{MODEL}[models.a.budget]\npreset = 'int8'", ("[models.a.budget]", "it belongs into [models.a]")),
        (f"[defaults]\npath = 'x'\n{MODEL}", ("[defaults]", "it belongs into [models.NAME]")),
        (f"{MODEL}keep-float = ['x']\nkeep_float = ['y']", ("is there twice",)),
        (f"{MODEL}keep-float = 'x'", ("must be a list, each item a text, not 'x'",)),
        (f"{MODEL}keep-float = ['x', 3]", ("must be a list, each item a text, not ['x', 3]",)),
        (f"{MODEL}strict = 'yes'", ("'strict': must be true or false, not 'yes'",)),
        (f"{MODEL}opset = 1.5", ("'opset': must be a whole number (or false: none), not 1.5",)),
        (f"{MODEL}opset = true", ("must be a whole number",)),
        (f"{MODEL}prune = [1]", ("must be a number or a text (or false: none)",)),
        (f"{MODEL}preset = 'int7'", ("[models.a]", "preset 'int7' is not known: choose one of exact")),
        (f"{MODEL}[models.a.budget]\nmin-agreement = 2", ("[models.a]", "must lie in 0 to 1")),
        (f"{MODEL}expected = 'failed'", ("must be one of passed, missed",)),
        (f"{MODEL}calibration = 'no.npz'", ("'calibration'", "no.npz: there is no such file")),
        (f"{MODEL}plan = 'no.json'", ("'plan'", "no.json: there is no such file")),
        (f"{MODEL}candidate = 'no.onnx'", ("'candidate'", "no.onnx: there is no such file")),
        (f"{MODEL}candidate = 'b.onnx'\npreset = 'int8'", ("'preset'", "no say beside candidate")),
        (f"{MODEL}candidate = 'b.onnx'\ncalibration = 'data.npz'", ("data for the verdict is named evaluation",)),
        ("[models.a]\npath = 'no.onnx'", ("'path'", "no.onnx: there is no such file")),
        ("[models.a]\npath = 'no*.onnx'", ("the pattern 'no*.onnx'", "matches no file")),
        ("[models.a]\npath = 3", ("'path': must be a text, not 3",)),
    ],
)
def test_mistakes_are_named_with_file_table_and_key(folder, text, words):
    found = refusal(folder, text)
    assert str(folder / "onnxzip.toml") in found
    assert all(w in found for w in words), found


def test_pyproject_holds_the_same_tables(folder):
    project = write(folder, '[project]\nname = "x"\n[tool.onnxzip.models.a]\npath = "a.onnx"', "pyproject.toml")
    assert read(project)[0].path == folder / "a.onnx"
    write(folder, '[tool.onnxzip.models.a]\npath = "a.onnx"\nstrct = true', "pyproject.toml")
    with pytest.raises(
        UsageError, match=re.escape("[tool.onnxzip.models.a], key 'strct': is not known. Did you mean strict?")
    ):
        read(project)
    write(folder, "[project]\nname = 'x'", "pyproject.toml")
    with pytest.raises(UsageError, match=re.escape("there is no table [tool.onnxzip]")):
        read(project)


def test_the_nearest_file_is_found(folder):
    deep = folder / "zoo" / "deep"
    with pytest.raises(UsageError, match="onnxzip init MODEL"):
        find(deep)
    project = write(folder, "[tool.onnxzip]", "pyproject.toml")
    assert find(deep).samefile(project)
    write(folder / "zoo", "[tool.other]", "pyproject.toml")  # says nothing of onnxzip, so it is passed by
    assert find(deep).samefile(project)
    own = write(folder, "")
    assert find(deep).samefile(own)  # goes before pyproject.toml
    near = write(folder / "zoo", "")
    assert find(deep).samefile(near)


def test_a_file_that_cannot_be_read_is_said(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(UsageError, match="this is not TOML"):
        read(tmp_path / "latin.toml")


def test_models_are_chosen_by_name_table_or_path(folder):
    file = write(folder, f'{MODEL}[models.zoo]\npath = "zoo/**/*.onnx"')
    entries = read(file)
    names = lambda *wanted: [e.name for e in choose(entries, wanted, file)]  # noqa: E731
    assert names() == ["a", "zoo/c", "zoo/deep/d"]
    assert names("zoo/c", "a") == ["a", "zoo/c"]
    assert names("zoo") == ["zoo/c", "zoo/deep/d"]
    assert names(str(folder / "zoo/c.onnx")) == ["zoo/c"]
    with pytest.raises(UsageError, match=r"nix: .* has no model of this name or path. It has a \("):
        names("nix")


def test_one_table_says_how_to_optimize_a_model(folder):
    file = write(folder, f'{MODEL}[models.swap]\npath = "a.onnx"\ncandidate = "b.onnx"')
    assert of_model(read(file), folder / "a.onnx", file).name == "a"
    with pytest.raises(UsageError, match="no table that says how to optimize"):
        of_model(read(file), folder / "b.onnx", file)
    file = write(folder, f'{MODEL}[models.again]\npath = "a.onnx"')
    with pytest.raises(UsageError, match="several tables"):
        of_model(read(file), folder / "a.onnx", file)


def test_values_of_other_kinds_pass_as_the_field_asks(tmp_path):
    """Kinds that no field has today: a new field must not need new code."""
    kinds = {"limits": Mapping[str, float] | None, "anything": object}
    content = {"limits": {"y": 3}, "anything": [1]}
    assert Table(tmp_path, "t", content).values(kinds) == {"limits": {"y": 3}, "anything": (1,)}
    with pytest.raises(UsageError, match="must be a table"):
        Table(tmp_path, "t", {"limits": 3}).values(kinds)


def test_the_file_of_the_documentation_is_valid(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", (DOCS / "ci.md").read_text(), re.DOTALL)
    for name in re.findall(r'"([\w./]+\.(?:onnx|npz)|tests/\w+)"', block):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "small.onnx").touch()
    assert [e.name for e in models(tmp_path, block)] == ["digits", "zoo/small", "speech"]


def test_known_keys_are_the_fields():
    assert set(known_keys(Budget)) == {f.name for f in dataclasses.fields(Budget)}
