"""The page in a real browser: it asks nobody for anything, and its sliders change the pixels that they should."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image

import underpaint
from underpaint.report import page

playwright = pytest.importorskip("playwright.sync_api")

QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
WIDTHS = {"desktop": {"width": 1200, "height": 900}, "phone": {"width": 390, "height": 800}}
LEVEL = 1 / 255


@pytest.fixture(scope="module")
def chromium():
    """A browser of this machine, or Playwright's own."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    with playwright.sync_playwright() as engine:
        try:
            browser = engine.chromium.launch(executable_path=found, args=list(QUIET))
        except playwright.Error as error:
            pytest.skip(f"needs Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


class Visit:
    """A page that was opened, with what it complained of and asked for."""

    def __init__(self, browser, path, **options):
        self.complaints, self.requests = [], []
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda r: self.requests.append(r.url) if not r.url.startswith("data:") else None)
        self.address = path.as_uri()
        self.tab.goto(self.address)

    def canvas(self, name):
        """(H, W, 3), 0..255."""
        address = self.tab.evaluate(f"() => document.getElementById('{name}').toDataURL()")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(float)

    def slide(self, column, value):
        self.tab.evaluate(
            """([column, value]) => {
              const input = document.querySelector(`input[data-column="${column}"]`);
              input.value = value;
              input.dispatchEvent(new Event("input"));
            }""",
            [column, value],
        )

    def overflow(self):
        return self.tab.evaluate("() => document.documentElement.scrollWidth - innerWidth")

    def check(self):
        assert self.complaints == []
        assert self.requests == [self.address]
        self.context.close()


@pytest.fixture(params=WIDTHS)
def visit(request, chromium, compact_explained):
    found = Visit(chromium, compact_explained.folder / "report.html", viewport=WIDTHS[request.param])
    found.tab.wait_for_selector("#canvas[data-ready=true]")
    yield found
    found.check()


def picture(rgb):
    return np.clip(rgb, 0, 1).transpose(1, 2, 0) * 255


def test_at_ones_the_canvas_is_the_pastiche(visit, compact_explained):
    assert np.abs(visit.canvas("canvas") - picture(compact_explained.ledger()["pastiche"])).max() <= 1
    assert visit.overflow() <= 0


@pytest.mark.parametrize(("layer", "weight"), [("relu1_1", 0), ("relu4_1", 0), ("relu4_1", 1.5)])
def test_a_slider_takes_its_column_and_no_other(visit, compact_explained, layer, weight):
    ledger = compact_explained.ledger()
    column = ledger[f"style/{layer}"]
    visit.slide(f"style/{layer}", weight)
    shown, wanted = visit.canvas("canvas"), picture(ledger["pastiche"] + (weight - 1) * column)
    # Columns are kept as lossy 8-bit pictures: within a few hundredths of their own reach.
    reach = 255 * float(np.abs(column).max())
    assert np.abs(shown - wanted).mean() < 1 + 0.03 * abs(weight - 1) * reach
    assert np.abs(shown - picture(ledger["pastiche"])).mean() > 2 * np.abs(shown - wanted).mean()
    assert layer in visit.tab.inner_text("#canvas-caption")
    assert f"without {layer}" in visit.tab.inner_text("#left-out-caption")
    visit.tab.click("#reset")
    assert np.abs(visit.canvas("canvas") - picture(ledger["pastiche"])).max() <= 1


def test_taking_away_and_putting_back_by_keyboard(visit, compact_explained):
    before = visit.canvas("canvas")
    button = visit.tab.locator("button[data-toggle='style/relu3_1']")
    button.focus()
    visit.tab.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert visit.tab.locator("input[data-column='style/relu3_1']").input_value() == "0"
    assert np.abs(visit.canvas("canvas") - before).max() > 5
    visit.tab.keyboard.press("Enter")
    assert (visit.canvas("canvas") == before).all()


def test_two_cards_are_compared_and_a_place_is_pointed_at(visit):
    cards = visit.tab.locator(".card")
    for place in (0, 2, 3):
        cards.nth(place).focus()
        visit.tab.keyboard.press("Enter")
    assert visit.tab.locator("#chosen figure").count() == 2
    assert [cards.nth(i).get_attribute("aria-pressed") for i in (0, 2, 3)] == ["false", "true", "true"]
    assert ": J " in visit.tab.locator("#chosen figcaption").first.inner_text()
    visit.tab.wait_for_function("() => document.getElementById('legend').textContent.includes('relu5_1')")
    before, legend = visit.canvas("here"), visit.tab.inner_text("#legend")
    visit.tab.focus("#here")
    for _ in range(6):
        visit.tab.keyboard.press("ArrowRight")
    assert np.abs(visit.canvas("here") - before).max() > 5
    assert visit.tab.inner_text("#legend") != legend
    visit.tab.locator("#before-after").fill("25")
    assert "75%" in visit.tab.evaluate("() => document.querySelector('.over').style.clipPath")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, compact_explained, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = Visit(chromium, compact_explained.folder / "report.html", viewport=WIDTHS["desktop"], color_scheme=scheme)
    found.tab.wait_for_selector("#canvas[data-ready=true]")
    violations = axe.run(found.tab).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in violations if v["impact"] in ("serious", "critical")]
    assert serious == []
    found.check()


def test_without_javascript_it_can_be_read(chromium, compact_explained):
    found = Visit(chromium, compact_explained.folder / "report.html", java_script_enabled=False)
    for title in ("In plain words", "Ablation", "Checks"):
        assert found.tab.get_by_role("heading", name=title, exact=True).is_visible()
    assert found.tab.get_by_alt_text("The pastiche", exact=True).first.is_visible()
    assert not found.tab.locator("#sliders").is_visible()
    assert "paint removed is from the run without it" in found.tab.inner_text("main")
    found.check()


def test_printed_it_has_all_its_pictures_and_no_sliders(chromium, compact_explained):
    found = Visit(chromium, compact_explained.folder / "report.html")
    found.tab.emulate_media(media="print")
    assert not found.tab.locator("#sliders").is_visible()
    assert found.tab.locator(".card").first.is_visible()
    assert found.tab.pdf()[:5] == b"%PDF-"
    found.check()


def test_the_page_of_a_run_and_of_a_damaged_folder(chromium, pair, tmp_path):
    run = underpaint.stylize(*pair, out=tmp_path / "run", size=64, preset="draft")
    (run.folder / "history.csv").unlink()
    found = Visit(chromium, page.build(run.folder), viewport=WIDTHS["phone"])
    assert "history.csv" in found.tab.inner_text("[role=note]")
    assert found.overflow() <= 0
    found.check()
