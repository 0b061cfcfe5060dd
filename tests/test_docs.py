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
