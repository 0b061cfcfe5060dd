"""The page: whole, closed, safe and legible, whatever the names are."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from onnxzip.errors import UsageError
from onnxzip.report import Report
from tests.report.pages import HOSTILE, bare, details, full, verdict

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

VOID = {"meta", "wbr", "br", "img"}


class Tree(HTMLParser):
    """Checks that elements close in order, and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.seen if t in tags]


@pytest.fixture(scope="module")
def page() -> str:
    return Report(full()).to_html()


def test_every_part_is_there_verdict_first(page):
    words = (
        ">Passed<", ">Size<", ">Outputs<", "Where bytes and time go", "Size by operator", "Size by layer", "Latency by operator",
        "What it cost", "Error through the depth", "Sensitivity by layer", "Activation ranges", "Channels that did nothing",
        "What was done", "fold_constants", "Passes that were taken back", "Settings and digests", "SHA-256 0123456789abcdef", "min_agreement",
    )  # fmt: skip
    for word in words:
        assert word in page
    assert page.index(">Passed<") < page.index(">Outputs<") < page.index("What was done") < page.index("All 3 settings")


def test_what_a_run_has_not_is_left_out():
    page = Report(bare()).to_html()
    assert "Passed in structure only" in page
    assert "No numbers were compared" in page
    for word in ("Where bytes and time go", "What it cost", "Channels that", "Worst samples", "<figure"):
        assert word not in page


def test_tensors_with_a_scale_each_and_a_depth_that_was_not_seen_are_said():
    some = dataclasses.replace(details(), ranges=(), layers=(), per_token=24, unseen="it does not run")
    page = Report(full(details=some)).to_html()
    assert "24 quantized activations have a scale for each token" in page
    assert "could not be looked at: it does not run" in page
    assert "Activation ranges" not in page


def test_names_are_text_and_never_markup(page):
    tree = Tree(page)
    assert not tree.all("script", "link", "iframe", "object", "embed", "base", "form")
    assert "alert('x')" in "".join(tree.text)
    assert not [name for _, attrs in tree.seen for name in attrs if name.startswith("on")]


def test_nothing_is_fetched_from_anywhere(page):
    without = page.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1999/xlink", "")
    assert not re.search(r"https?:|src=|@import|url\((?!#)|//[a-z]", without)
    assert "default-src 'none'" in page


def test_identifiers_are_unique_and_links_lead_somewhere(page):
    tree = Tree(page)
    ids = [i for _, a in tree.seen if (i := a.get("id"))]
    assert len(ids) == len(set(ids))
    inside = re.findall(r'(?:href="|url\()#([^")]+)', page)
    assert set(inside) <= set(ids)
    named = [i for _, a in tree.seen for i in (a.get("aria-labelledby") or "").split()]
    assert set(named) <= set(ids)


def test_a_screen_reader_finds_its_way(page):
    tree = Tree(page)
    levels = [int(t[1]) for t, _ in tree.seen if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    charts, tables = tree.all("svg"), tree.all("table")
    assert len(charts) == 7
    assert all(a.get("role") == "img" and a.get("aria-labelledby") for a in charts)
    assert len(tree.all("title")) == len(tree.all("desc")) + 1 == len(charts) + 1
    assert len(tables) == len(tree.all("caption"))
    assert all(a.get("scope") for a in tree.all("th"))
    assert tree.all("html")[0]["lang"] == "en"


def test_two_pages_of_one_run_are_the_same_bytes(page):
    assert Report(full()).to_html() == page


def test_a_failure_says_why_and_what_is_returned_instead():
    missed = verdict(passed=False, reasons=(f"output {HOSTILE} is too far off",))
    text = "".join(Tree(Report(full(verdict=missed)).to_html()).text)
    assert "Failed" in text
    assert f"output {HOSTILE} is too far off" in text
    assert "was taken back" in text
    assert "What was asked for" in text


def test_the_worst_samples_are_shown_where_they_were_kept():
    from onnxzip.report.html import worst_table

    sample = SimpleNamespace(index=1234, batch=2, row=7, disagreement=1.0, error=0.04, errors={}, lost=True)
    outputs = (SimpleNamespace(agreement=None), SimpleNamespace(agreement=0.9))
    table = worst_table(SimpleNamespace(worst=(sample,), outputs=outputs))
    assert table.rows == (("1,234", "2", "7", "100.0 %", "20 %", "yes"),)
    unlabelled = SimpleNamespace(**{**vars(sample), "lost": None, "error": math.inf})
    seen = worst_table(SimpleNamespace(worst=(unlabelled,), outputs=outputs))
    assert seen.rows == (("1,234", "2", "7", "100.0 %", "inf %"),)
    undecided = worst_table(SimpleNamespace(worst=(unlabelled,), outputs=outputs[:1]))  # no output takes decisions
    assert undecided.columns == ("sample", "batch", "row", "relative error")
    assert undecided.rows == (("1,234", "2", "7", "inf %"),)
    assert worst_table(SimpleNamespace(worst=())) is None


def test_labels_and_what_is_not_settled_are_shown_where_there_are_some():
    from onnxzip.report.figures import cards, state_of

    accuracy = SimpleNamespace(output="y", original=0.95, candidate=0.94, decisions=450)
    known = SimpleNamespace(outputs=(), speed=None, accuracy=(accuracy,))
    shown = {c.label: (c.value, c.below) for c in cards(SimpleNamespace(**{**vars(full()), "result": known}))}
    assert shown["Accuracy"] == ("94.0 %", "was 95.0 % · by 450 labels")
    open_question = verdict(passed=False, undecided=("give more data",))
    assert state_of(open_question) == "undecided"
    assert "give more data" in Report(full(verdict=open_question)).to_html()


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    for name in ("jinja2", "matplotlib"):
        with monkeypatch.context() as patched:
            patched.setitem(__import__("sys").modules, name, None)
            with pytest.raises(UsageError, match=r"pip install 'onnxzip\[report\]'"):
                Report(full()).to_html()


def test_columns_are_of_about_the_same_height():
    from onnxzip.report.sections import sections

    columns = sections(full())[0].columns
    assert [[c.key for c in column] for column in columns] == [["size-operator", "latency"], ["size-layer"]]


# Colours


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_charts_stand_out_from_their_ground(page, scheme):
    ink = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", re.findall(r":root \{(.*?)\}", page, re.DOTALL)[scheme]))
    text = [(i, g) for i in ("ink", "muted", "link") for g in ("ground", "card")]
    text += [(i, f"{i}-ground") for i in ("good", "bad", "warn")]
    for i, ground in text:
        assert contrast(ink[i], ink[ground]) >= 4.5, (i, ground)
    for i in ("after", "lost"):
        assert contrast(ink[i], ink["card"]) >= 3, i
    assert contrast(ink["after"], ink["before"]) >= 1.8
