"""What a newcomer reads is true: pages are followed, word for word, and the site builds without a warning."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onnxzip
from onnxzip.passes import PASSES
from tests.helpers.pages import blocks, follow

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FOLLOWED = [DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]


@pytest.mark.parametrize("name", [p.__name__ for p in PASSES])
def test_every_pass_stands_in_the_architecture(name):
    assert f"`{name}`" in (DOCS / "architecture.md").read_text()


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda p: p.stem)
def test_page_works_word_for_word(page, tmp_path):
    follow(page.read_text(), tmp_path)


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda p: p.stem)
def test_commands_stand_where_they_are_run(page):
    """A fence inside of a note is not run, and a language that is not known to `follow` would not be either."""
    text = page.read_text()
    assert "```" not in "".join(line for line in text.splitlines() if line.startswith("    "))
    assert {b.language for b in blocks(text)} <= {"bash", "python", "text", "toml", "yaml"}


def test_what_is_shown_and_not_printed_is_found(tmp_path):
    with pytest.raises(AssertionError, match="line 5 shows"):
        follow("```bash\necho right\n```\n\n```text\nwrong\n```\n", tmp_path)


def test_a_command_that_fails_is_found(tmp_path):
    with pytest.raises(AssertionError, match="line 1 ends with 1"):
        follow("```bash\nfalse\necho done\n```\n", tmp_path)


def test_a_file_that_is_not_made_is_found(tmp_path):
    with pytest.raises(AssertionError, match="line 2 does not make"):
        follow("<!-- needs: json; makes: a.onnx -->\n```python\nprint()\n```\n", tmp_path)


def test_a_missing_module_gives_way_to_a_stand_in(tmp_path):
    follow("<!-- needs: no_such_module; makes: a.onnx -->\n```python\nimport no_such_module\n```\n", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_figures_and_frames_may_differ_and_words_may_not(tmp_path):
    page = "```bash\nprintf '┃ size │ 12 kB │ -3.5 %%\\nmore\\nend\\n'\n```\n\n```text\n│ size ┃ 7 kB ┃ +1 %\n...\nend\n```\n"
    follow(page, tmp_path)
    with pytest.raises(AssertionError, match="line 5 shows"):
        follow(page.replace("┃ 7 kB", "┃ 7 MB"), tmp_path)


def rows(text):
    return {" ".join(line.split()) for line in text.splitlines() if line.startswith("| ")}


def test_figures_of_the_readme_stand_beside_the_script_that_prints_them():
    measured = (ROOT / "README.md").read_text().partition("## Measured")[2].partition("\n## ")[0]
    assert rows(measured) <= rows((DOCS / "benchmarks.md").read_text())


def test_scripts_that_print_figures_are_there_with_their_options():
    found = re.findall(r"^python (tools/\w+\.py)(.*)$", (DOCS / "benchmarks.md").read_text(), re.MULTILINE)
    assert len(found) >= 8
    for script, arguments in found:
        text = (ROOT / script).read_text() + (ROOT / "tools" / "benchmark_data.py").read_text()
        assert [o for o in re.findall(r"--[\w-]+", arguments) if f'"{o}"' not in text] == [], script


@pytest.mark.parametrize("name", onnxzip.__all__)
def test_python_reference_has_every_public_name(name):
    assert re.search(rf"^::: onnxzip\.{name}$", (DOCS / "reference" / "api.md").read_text(), re.MULTILINE)


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed (extra docs)")
def test_site_builds_strictly_and_asks_no_other_host(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(FOLLOWED)
    loaded = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?(?:https?:)?//[^">]+')
    assert not [m for p in pages for m in loaded.findall(p.read_text()) if 'rel="canonical"' not in m]
