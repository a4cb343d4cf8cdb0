"""The page in a real browser: it asks nobody for anything, and its sliders change the pixels that they should."""

import numpy as np
import pytest

import underpaint
from tests.browser import WIDTHS, Visit, pixels, serious, slide
from underpaint.report import page


def opened(chromium, path, **options):
    return Visit(chromium, path.as_uri(), **options)


@pytest.fixture(params=WIDTHS)
def visit(request, chromium, compact_explained):
    found = opened(chromium, compact_explained.folder / "report.html", viewport=WIDTHS[request.param])
    found.tab.wait_for_selector("#canvas[data-ready=true]")
    yield found
    found.check()


def picture(rgb):
    return np.clip(rgb, 0, 1).transpose(1, 2, 0) * 255


def test_at_ones_the_canvas_is_the_pastiche(visit, compact_explained):
    assert np.abs(pixels(visit.tab, "canvas") - picture(compact_explained.ledger()["pastiche"])).max() <= 1
    assert visit.overflow() <= 0


@pytest.mark.parametrize(("layer", "weight"), [("relu1_1", 0), ("relu4_1", 0), ("relu4_1", 2)])
def test_a_slider_takes_its_column_and_no_other(visit, compact_explained, layer, weight):
    ledger = compact_explained.ledger()
    column = ledger[f"style/{layer}"]
    slide(visit.tab, f"style/{layer}", weight)
    shown, wanted = pixels(visit.tab, "canvas"), picture(ledger["pastiche"] + (weight - 1) * column)
    # Columns are kept as lossy 8-bit pictures: within a few hundredths of their own reach.
    reach = 255 * float(np.abs(column).max())
    assert np.abs(shown - wanted).mean() < 1 + 0.03 * abs(weight - 1) * reach
    assert np.abs(shown - picture(ledger["pastiche"])).mean() > 2 * np.abs(shown - wanted).mean()
    assert layer in visit.tab.inner_text("#canvas-caption")
    assert f"without {layer}" in visit.tab.inner_text("#left-out-caption")
    visit.tab.click("#reset")
    assert np.abs(pixels(visit.tab, "canvas") - picture(ledger["pastiche"])).max() <= 1


def test_taking_away_and_putting_back_by_keyboard(visit, compact_explained):
    before = pixels(visit.tab, "canvas")
    button = visit.tab.locator("button[data-toggle='style/relu3_1']")
    button.focus()
    visit.tab.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert visit.tab.locator("input[data-column='style/relu3_1']").input_value() == "0"
    assert np.abs(pixels(visit.tab, "canvas") - before).max() > 5
    visit.tab.keyboard.press("Enter")
    assert (pixels(visit.tab, "canvas") == before).all()


def test_two_cards_are_compared_and_a_place_is_pointed_at(visit):
    cards = visit.tab.locator(".card")
    for place in (0, 2, 3):
        cards.nth(place).focus()
        visit.tab.keyboard.press("Enter")
    assert visit.tab.locator("#chosen figure").count() == 2
    assert [cards.nth(i).get_attribute("aria-pressed") for i in (0, 2, 3)] == ["false", "true", "true"]
    assert ": J " in visit.tab.locator("#chosen figcaption").first.inner_text()
    visit.tab.wait_for_function("() => document.getElementById('legend').textContent.includes('relu5_1')")
    before, legend = pixels(visit.tab, "here"), visit.tab.inner_text("#legend")
    visit.tab.focus("#here")
    for _ in range(6):
        visit.tab.keyboard.press("ArrowRight")
    assert np.abs(pixels(visit.tab, "here") - before).max() > 5
    assert visit.tab.inner_text("#legend") != legend
    visit.tab.locator("#before-after").fill("25")
    assert "75%" in visit.tab.evaluate("() => document.querySelector('.over').style.clipPath")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, compact_explained, scheme):
    found = opened(chromium, compact_explained.folder / "report.html", viewport=WIDTHS["desktop"], color_scheme=scheme)
    found.tab.wait_for_selector("#canvas[data-ready=true]")
    assert serious(found.tab) == []
    found.check()


def test_without_javascript_it_can_be_read(chromium, compact_explained):
    found = opened(chromium, compact_explained.folder / "report.html", java_script_enabled=False)
    for title in ("In plain words", "Ablation", "Checks"):
        assert found.tab.get_by_role("heading", name=title, exact=True).is_visible()
    assert found.tab.get_by_alt_text("The pastiche", exact=True).first.is_visible()
    assert not found.tab.locator("#sliders").is_visible()
    assert "paint removed is from the run without it" in found.tab.inner_text("main")
    found.check()


def test_printed_it_has_all_its_pictures_and_no_sliders(chromium, compact_explained):
    found = opened(chromium, compact_explained.folder / "report.html")
    found.tab.emulate_media(media="print")
    assert not found.tab.locator("#sliders").is_visible()
    assert found.tab.locator(".card").first.is_visible()
    assert found.tab.pdf()[:5] == b"%PDF-"
    found.check()


def test_the_page_of_a_run_and_of_a_damaged_folder(chromium, pair, tmp_path):
    run = underpaint.stylize(*pair, out=tmp_path / "run", size=64, preset="draft")
    (run.folder / "history.csv").unlink()
    found = opened(chromium, page.build(run.folder), viewport=WIDTHS["phone"])
    assert "history.csv" in found.tab.inner_text("[role=note]")
    assert found.overflow() <= 0
    found.check()
