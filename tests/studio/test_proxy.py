"""The studio under a path, behind a real proxy that takes it off or leaves it on."""

import contextlib
import http.client
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urljoin

import pytest

from tests.browser import WIDTHS, Visit
from tests.jobs.test_jobs import wait_for
from tests.web import Studio, Visitor

pytest.importorskip("gradio")

ROOT = "/studio"


@contextlib.contextmanager
def proxy(port, strips):
    """In front of a studio: passes on what comes under ROOT, and knows nothing else."""

    outside: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self):
            bare = self.path.partition("?")[0] == ROOT
            if not bare and not self.path.startswith(ROOT + "/"):
                outside.append(self.path)
                self.send_error(418, "not under the path")
                return
            if bare and strips:  # as nginx does at `location /studio/`
                self.send_response(301)
                self.send_header("Location", ROOT + "/" + self.path.removeprefix(ROOT))
                self.end_headers()
                return
            path = self.path.removeprefix(ROOT) if strips else self.path
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            backend = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
            own = {"X-Forwarded-For": self.client_address[0], "X-Forwarded-Proto": "http", "Connection": "close"}
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            backend.request(self.command, path, body=body, headers=headers | own)
            answer = backend.getresponse()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # a page that is left
                while data := answer.read1(65536):
                    self.wfile.write(data)
                    self.wfile.flush()
            backend.close()

        do_GET = do_POST = do_HEAD = pass_on

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a browser that hangs up
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", outside
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    made = Studio(tmp_path_factory.mktemp("proxy") / "runs", "--root-path", ROOT)
    yield made
    made.stop()


def links(html, base):
    """Every address in a piece of the page, as a browser finds it."""
    return [urljoin(base, found) for found in re.findall(r'(?:src|href)="([^"]+)"', html)]


@pytest.mark.parametrize("strips", [True, False])
def test_pages_events_and_links_under_a_path(studio, pair, strips):
    with proxy(studio.port, strips) as (outside, _):
        visitor = Visitor(f"{outside}{ROOT}/")
        assert visitor.config["root"] == outside + ROOT
        assert visitor.web.cookies.list_paths() == [ROOT]
        content, style = (visitor.upload(path) for path in pair)
        (name,) = visitor.press("start", content=content, style=style, size=64, **{"How much time to spend": "draft"})
        wait_for(lambda: json.loads((studio.runs / name / "state.json").read_text())["state"] == "finished", 240)
        visitor.press("Keep", "select")
        (cards, *_) = visitor.press("refresh")
        (found, *_) = visitor.press("run", "change", run=name)
        wanted = links(cards, visitor.address) + links(found, visitor.address)
        wanted += [f"{visitor.address}{what}/{name}" for what in ("live", "curves", "report")]
        page = visitor.web.get(visitor.address, timeout=60).text
        wanted += [address for address in links(page, visitor.address) if address.startswith(outside)]
        assert len(wanted) > 10
        for address in wanted:
            assert address.startswith(visitor.address), address
            assert visitor.web.get(address, timeout=120).status_code == 200, address
        bare = visitor.web.get(f"{outside}{ROOT}?run={name}", timeout=60)
        assert bare.url == f"{visitor.address}?run={name}"
        assert visitor.web.get(f"{outside}/config", timeout=60).status_code == 418, "the proxy lets all through"


def test_a_browser_asks_for_nothing_outside_the_path(chromium, studio):
    with proxy(studio.port, True) as (outside, strayed):
        found = Visit(chromium, f"{outside}{ROOT}/", viewport=WIDTHS["desktop"])
        tab = found.tab
        for place, name in ((1, "content"), (4, "style")):
            tab.locator("button.gallery-item").nth(place).click()
            tab.wait_for_selector(f"#{name} img", timeout=90_000)
        number = tab.locator("#size input[type=number]")
        number.fill("64")
        number.press("Enter")
        tab.get_by_label("draft", exact=True).check()
        tab.click("#start")
        tab.wait_for_selector("#status [data-state=finished]", timeout=240_000)
        tab.wait_for_selector("#stage img", timeout=90_000)
        assert tab.evaluate("() => document.querySelector('#stage img').decode().then(() => true)")
        tab.get_by_role("tab", name="Keep").click()
        with tab.expect_download() as waiting:
            tab.get_by_role("link", name="pastiche.png").click()
        assert waiting.value.path().read_bytes()[:4] == b"\x89PNG"
        assert strayed == [], strayed
        found.check()
