"""The page in a real Chromium, where Playwright and a Chromium are there: nothing overflows, nothing is fetched, everything opens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from onnxzip.report import Report
from tests.report.pages import bare, full, verdict

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("ONNXZIP_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

PAGES = {
    "full": lambda: full(),
    "bare": lambda: bare(),
    "failed": lambda: full(verdict=verdict(passed=False, reasons=("output 'y' is too far off",))),
}

TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.scroll') || e.closest('svg') || e.classList.contains('skip')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(e => e.tagName + '.' + e.className)"""

TEXTS_THAT_TOUCH = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]).filter(b => b[0].trim());
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([b, q]) =>
    p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2).map(([b, q]) => a + ' | ' + b));
})"""

FADED = """() => {
  const rgb = c => c.match(/[0-9.]+/g).map(Number);
  const light = c => { const [r, g, b] = rgb(c).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return getComputedStyle(e).backgroundColor; } return 'rgb(255, 255, 255)'; };
  return [...document.querySelectorAll('h1, h2, h3, p, th, td, dt, dd span, li, summary, a, caption, svg text')].filter(e => e.textContent.trim())
    .map(e => { const style = getComputedStyle(e), ink = e.closest('svg') ? style.fill : style.color;
      const [a, b] = [light(ink), light(ground(e))].sort((x, y) => y - x); return [(a + .05) / (b + .05), e.tagName, e.textContent.slice(0, 40)]; })
    .filter(x => x[0] < 4.5); }"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        (folder / f"{name}.html").write_text(Report(make()).to_html(), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_and_nothing_is_fetched(browser, files, name, width):
    page = browser.new_page(viewport={"width": width, "height": 800})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(files[name].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(TEXTS_THAT_TOUCH) == []
    captions = [c.bounding_box() for c in page.query_selector_all("caption span")]
    assert all(box["x"] + box["width"] <= width for box in captions)  # whole, also where their table scrolls
    assert asked == [files[name].as_uri()]
    assert errors == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(browser, files, scheme):
    page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    for file in files.values():
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate(FADED) == []
        dark = sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")))
        assert (dark < 300) == (scheme == "dark")
    page.close()


def test_sections_open_by_keyboard_and_links_lead_to_them(browser, files):
    page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page.goto(files["full"].as_uri())
    for summary in page.query_selector_all("summary"):
        table = summary.evaluate_handle("s => s.parentElement.lastElementChild").as_element()
        assert not table.is_visible()
        summary.focus()
        page.keyboard.press("Enter")
        assert table.is_visible()
    for link in page.query_selector_all("nav a"):
        link.click()
        target = page.query_selector(link.get_attribute("href"))
        page.wait_for_function("t => t.getBoundingClientRect().top < innerHeight", arg=target)
    page.close()


def test_a_screenshot_shows_a_page_and_paper_shows_what_is_folded(browser, files, tmp_path):
    page = browser.new_page(viewport={"width": 375, "height": 800})
    page.goto(files["full"].as_uri())
    picture = page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000
    box = page.query_selector("#chart-size-layer svg").bounding_box()
    assert box["width"] > 250
    page.emulate_media(media="print")
    assert page.query_selector("nav").is_hidden()
    assert page.query_selector("text=fold_constants").is_visible()
    page.close()
