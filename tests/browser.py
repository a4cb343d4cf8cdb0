"""A real browser for tests: pages that are opened with an ear for what they complain of and ask for."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api")

QUIET = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
CLOSING = ("Method not implemented.", "AbortError: BodyStreamBuffer was aborted")
"""What Gradio's own streams say when a page that is left closes them."""

WIDTHS = {"desktop": {"width": 1200, "height": 900}, "phone": {"width": 390, "height": 800}}


def launch(engine):
    """A browser of this machine, or Playwright's own; without one the tests are skipped."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    try:
        return engine.chromium.launch(executable_path=found, args=list(QUIET))
    except playwright.Error as error:
        pytest.skip(f"needs Chromium: {str(error).splitlines()[0]}")


class Visit:
    """A page that was opened; `home` is all that it may ask for."""

    def __init__(self, browser, address, home=None, **options):
        self.complaints, self.requests = [], []
        self.address, self.home = address, home or address
        self.context = browser.new_context(**options)
        self.tab = self.context.new_page()
        self.tab.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("request", lambda r: None if r.url.startswith(("data:", "blob:")) else self.requests.append(r.url))
        self.tab.goto(address)

    def reload(self):
        """Leaves the page and comes back; what its open streams say of being cut off is no complaint."""
        before = len(self.complaints)
        self.tab.reload()
        del self.complaints[before:]

    def overflow(self):
        return self.tab.evaluate("() => document.documentElement.scrollWidth - innerWidth")

    def check(self):
        """Nothing was complained of, and nothing asked of another host."""
        complaints = [line for line in self.complaints if not line.startswith(CLOSING)]
        assert complaints == [], complaints
        assert [url for url in self.requests if not url.startswith(self.home)] == []
        self.context.close()


def pixels(frame, name):
    """(H, W, 3), 0..255, of a canvas."""
    address = frame.evaluate(f"() => document.getElementById('{name}').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(float)


def slide(frame, column, value):
    """Moves a slider of *recompose*."""
    frame.evaluate(
        """([column, value]) => {
          const input = document.querySelector(`input[data-column="${column}"]`);
          input.value = value;
          input.dispatchEvent(new Event("input"));
        }""",
        [column, value],
    )


def serious(tab):
    """What axe-core finds that is serious: (rule, where)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    violations = axe.run(tab).response["violations"]
    return [(v["id"], n["html"][:200]) for v in violations if v["impact"] in ("serious", "critical") for n in v["nodes"]]
