"""The studio as people meet it: a real server in a process of its own, a real browser."""

import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.browser import WIDTHS, Visit, pixels, serious, slide

pytest.importorskip("gradio")

WAIT = 90_000
"""Milliseconds: other tests run beside."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """`underpaint studio` in a process."""

    def __init__(self, runs, password=None):
        self.runs, self.port = runs, free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.environment = os.environ | ({"UNDERPAINT_PASSWORD": password} if password else {})
        self.begin()

    def begin(self):
        command = [sys.executable, "-m", "underpaint", "studio", "--port", self.port, "--runs", self.runs, "--device", "cpu"]
        self.process = subprocess.Popen(
            list(map(str, command)), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        end = time.monotonic() + 90
        while time.monotonic() < end:
            assert self.process.poll() is None, self.process.stdout.read().decode()
            try:
                urllib.request.urlopen(self.address, timeout=5)
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise AssertionError("the server did not come up")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, method, path, **headers):
        """Status of a bare request, the path exactly as given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named, body=b"{}" if method == "POST" else None)
        return connection.getresponse().status

    def folders(self):
        return sorted(path for path in self.runs.glob("2*") if (path / "order.json").exists())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("studio") / "runs")
    yield made
    made.process.terminate()
    assert made.process.wait(60) is not None


@pytest.fixture
def visit(chromium, server):
    found = Visit(chromium, server.address, viewport=WIDTHS["desktop"])
    yield found
    found.check()


def choose(tab, pair, size=64, preset="draft"):
    for name, path in zip(("content", "style"), pair, strict=True):
        tab.set_input_files(f"#{name} input[type=file]", str(path))
        tab.wait_for_selector(f"#{name} img", timeout=WAIT)
    number = tab.locator("#size input[type=number]")
    number.fill(str(size))
    number.press("Enter")
    tab.get_by_label(preset, exact=True).check()


def wait_for(condition, seconds=WAIT / 1000):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.1)


def state_of(folder):
    return json.loads((folder / "state.json").read_text())["state"]


def state(tab, *wanted, place="#status"):
    tab.wait_for_selector(", ".join(f"{place} [data-state={each}]" for each in wanted), timeout=WAIT)


def test_upload_paint_watch_and_keep(visit, server, pair):
    tab = visit.tab
    choose(tab, pair, size=160, preset="standard")
    tab.click("#start")
    state(tab, "running")
    versions = set()
    while not tab.locator("#status [data-state=finished]").count():
        image = tab.locator("#stage img")
        if image.count():
            versions.add(image.get_attribute("data-version"))
        tab.wait_for_timeout(100)
    assert len(versions) > 3, "the picture did not change while it grew"
    tab.wait_for_selector("#curves img", timeout=WAIT)
    assert tab.evaluate("() => document.querySelector('#curves img').decode().then(() => true)")
    folder = server.folders()[-1]
    with Image.open(folder / "result" / "pastiche.png") as image:
        assert image.size == (160, 120)
    assert json.loads((folder / "result" / "run.json").read_text())["inputs"][0]["name"] == "content.png"
    tab.get_by_role("tab", name="Keep").click()
    tab.wait_for_selector("#links a", timeout=WAIT)
    with tab.expect_download() as waiting:
        tab.get_by_role("link", name="pastiche.png").click()
    assert waiting.value.path().read_bytes() == (folder / "result" / "pastiche.png").read_bytes()
    for name in ("report.html", "figures.zip", "all.zip"):
        with tab.expect_download() as waiting:
            tab.get_by_role("link", name=name).click()
        assert waiting.value.path().stat().st_size > 10_000
    assert "underpaint stylize inputs/content.png inputs/style1.png --size 160" in tab.inner_text("body")


@pytest.mark.slow
def test_pause_reload_and_resume(visit, server, pair):
    tab = visit.tab
    choose(tab, pair, size=256, preset="fine")  # long enough not to end by itself
    tab.click("#start")
    tab.wait_for_selector("#stage img", timeout=WAIT)
    tab.click("#pause")
    state(tab, "paused")
    visit.reload()
    state(tab, "paused")
    assert (server.folders()[-1] / "result" / "pastiche.png").exists()
    tab.click("#resume")
    state(tab, "running")
    visit.reload()
    state(tab, "running")
    tab.click("#stop")
    state(tab, "stopped")
    assert "what there is is kept" in tab.inner_text("#status")


@pytest.mark.slow
def test_explain_and_take_paint_away(visit, server, pair):
    tab = visit.tab
    choose(tab, pair)
    tab.click("#explain")
    tab.get_by_role("tab", name="Understand").click()
    tab.wait_for_selector("#why figure img", timeout=WAIT)  # the coalitions, as they come
    frame = tab.wait_for_selector("#why iframe", timeout=4 * WAIT).content_frame()
    frame.wait_for_selector("#canvas[data-ready=true]", timeout=WAIT)
    whole = pixels(frame, "canvas")
    slide(frame, "style/relu3_1", 0)
    with np.load(server.folders()[-1] / "result" / "ledger.npz") as ledger:
        wanted = np.clip(ledger["pastiche"] - ledger["style/relu3_1"], 0, 1).transpose(1, 2, 0) * 255
        assert np.abs(whole - np.clip(ledger["pastiche"], 0, 1).transpose(1, 2, 0) * 255).max() <= 1
    taken = pixels(frame, "canvas")
    assert np.abs(taken - wanted).mean() < 0.5 * np.abs(taken - whole).mean()
    assert "In plain words" in frame.inner_text("body")


def test_samples_can_be_clicked(visit, server):
    tab = visit.tab
    for place, name in ((1, "content"), (4, "style")):
        tab.locator("button.gallery-item").nth(place).click()
        tab.wait_for_selector(f"#{name} img", timeout=WAIT)
    number = tab.locator("#size input[type=number]")
    number.fill("64")
    number.press("Enter")
    tab.get_by_label("draft", exact=True).check()
    tab.click("#start")
    state(tab, "finished")
    assert json.loads((server.folders()[-1] / "order.json").read_text())["names"] == {
        "content": "chelsea.png",
        "style1": "dunes.jpg",
    }


def unfold(tab, pictures):
    """Fills in what lies under *More*."""
    tab.get_by_role("button", name="More").click()
    for name, path in pictures.items():
        tab.set_input_files(f"#{name} input[type=file]", str(path))
        tab.wait_for_selector(f"#{name} img", timeout=WAIT)


def test_two_paintings_with_shares_and_a_layer_left_out(visit, server, pair):
    tab = visit.tab
    choose(tab, pair)
    unfold(tab, {"style2": pair[0]})
    for number, share in ((1, "3"), (2, "1")):
        tab.get_by_label(f"Share of painting {number}").fill(share)
    weight = tab.get_by_label("number input for Weight of relu3_1")
    weight.fill("0")
    weight.press("Enter")
    tab.click("#start")
    state(tab, "finished")
    result = server.folders()[-1] / "result"
    recipe = json.loads((result / "run.json").read_text())["recipe"]
    assert recipe["style_weights"] == [3, 1]
    assert set(recipe["style_layers"]) == {"relu1_1", "relu2_1", "relu4_1", "relu5_1"}
    history = (result / "history.csv").read_text()
    assert "style1/relu1_1" in history
    assert "style2/relu1_1" in history
    assert "relu3_1" not in history


def test_masks(visit, server, pair, tmp_path):
    grey = np.zeros((48, 64), np.uint8)
    grey[:, 32:] = 255
    Image.fromarray(grey).save(tmp_path / "halves.png")
    before = len(server.folders())
    tab = visit.tab
    choose(tab, pair)
    unfold(tab, {"content_mask": tmp_path / "halves.png", "protect": tmp_path / "halves.png"})
    tab.click("#start")
    tab.get_by_text("masks: one is missing").wait_for(timeout=WAIT)
    tab.set_input_files("#style_mask input[type=file]", str(tmp_path / "halves.png"))
    tab.wait_for_selector("#style_mask img", timeout=WAIT)
    tab.click("#explain")
    tab.get_by_text("takes one style and no masks").wait_for(timeout=WAIT)
    assert len(server.folders()) == before
    tab.click("#start")
    state(tab, "finished")
    roles = json.loads((server.folders()[-1] / "order.json").read_text())["pictures"]
    assert set(roles) == {"content", "style1", "content_mask", "style_mask", "protect"}
    inputs = json.loads((server.folders()[-1] / "result" / "run.json").read_text())["inputs"]
    assert {entry["role"] for entry in inputs} == set(roles)


def test_no_face_is_told_before_anything_starts(visit, server, pair):
    before, tab = len(server.folders()), visit.tab
    choose(tab, pair)
    unfold(tab, {})
    tab.check("#faces input")
    tab.click("#start")
    tab.get_by_text("no face found").wait_for(timeout=WAIT)
    assert len(server.folders()) == before


def test_time_and_memory_are_told_before_anything_starts(visit, server, pair):
    tab = visit.tab
    choose(tab, pair)
    words = tab.get_by_text("GiB; explained, about")
    words.wait_for(timeout=WAIT)
    small = words.inner_text()
    number = tab.locator("#size input[type=number]")
    number.fill("1024")  # typed: no pointer lets a slider go
    number.press("Enter")
    wait_for(lambda: words.inner_text() != small)


@pytest.mark.slow
def test_the_oldest_runs_go_with_consent_alone(chromium, pair, tmp_path):
    server = Server(tmp_path / "runs")
    found = Visit(chromium, server.address, viewport=WIDTHS["desktop"])
    tab = found.tab
    try:
        choose(tab, pair)
        for number in (1, 2):
            tab.click("#start")
            wait_for(lambda number=number: sum(state_of(f) == "finished" for f in server.folders()) == number)
        old, new = server.folders()
        (old / "result" / "ballast").write_bytes(bytes(5_000_000))
        tab.get_by_role("tab", name="Keep").click()
        tab.get_by_role("button", name="Make room").click()
        tab.locator("#most input[type=number]").fill("4")
        tab.locator("#most input[type=number]").press("Enter")
        tab.get_by_text("The oldest 1 would go").wait_for(timeout=WAIT)
        tab.click("#clear")
        tab.get_by_text("tick that these runs may be deleted").wait_for(timeout=WAIT)
        assert server.folders() == [old, new]
        tab.get_by_label("Yes, delete these runs and all their files").check()
        tab.click("#clear")
        tab.get_by_text("No run has to go").wait_for(timeout=WAIT)
        assert server.folders() == [new]
        assert tab.locator("#gallery figure").count() == 1
        found.check()
    finally:
        server.kill()


def huge(path):
    """A header that claims 200 megapixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20000, 10000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


def test_bad_uploads_get_a_clear_word_and_the_server_lives(visit, server, pair, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(pair[0].read_bytes()[:300])
    before = len(server.folders())
    tab = visit.tab
    tab.set_input_files("#style input[type=file]", str(pair[1]))
    tab.wait_for_selector("#style img", timeout=WAIT)
    tab.click("#start")
    tab.get_by_text("content: choose a picture").wait_for(timeout=WAIT)
    for path, says in ((broken, "broken.png: is damaged"), (huge(tmp_path / "huge.png"), "huge.png: is too large")):
        tab.set_input_files("#content input[type=file]", str(path))
        tab.wait_for_function(f"() => document.querySelector('#content img')?.src.includes('{path.name}')", timeout=WAIT)
        tab.click("#start")
        tab.get_by_text(says).wait_for(timeout=WAIT)
        assert str(tmp_path) not in tab.inner_text("body")
        visit.reload()
        tab.set_input_files("#style input[type=file]", str(pair[1]))
        tab.wait_for_selector("#style img", timeout=WAIT)
    assert len(server.folders()) == before
    assert server.ask("GET", "/") == 200


@pytest.mark.slow
def test_two_visitors_at_once(chromium, server, pair):
    first, second = (Visit(chromium, server.address, viewport=WIDTHS[kind]) for kind in WIDTHS)
    for each in (first, second):
        choose(each.tab, pair, size=96, preset="standard")
        each.tab.click("#start")
    for each in (first, second):
        state(each.tab, "running", "queued", "finished")
    for each in (first, second):
        state(each.tab, "finished")
        each.check()
    orders = [json.loads((folder / "order.json").read_text()) for folder in server.folders()[-2:]]
    assert orders[0]["visitor"] != orders[1]["visitor"]
    assert all(order["visitor"] for order in orders)


@pytest.mark.slow
def test_killed_in_mid_run_the_next_server_has_the_run(chromium, pair, tmp_path):
    server = Server(tmp_path / "runs")
    found = Visit(chromium, server.address, viewport=WIDTHS["desktop"])
    try:
        choose(found.tab, pair, size=192, preset="standard")
        found.tab.click("#start")
        found.tab.wait_for_selector("#stage img", timeout=WAIT)
        server.kill()
        run = server.folders()[-1] / "result" / "run.json"
        end = time.monotonic() + 60
        while json.loads(run.read_text())["status"] == "running":
            assert time.monotonic() < end, "the child outlived its server"
            time.sleep(0.1)
        server.begin()
        found.tab.goto(server.address)
        state(found.tab, "stopped")
        found.tab.click("#resume")
        state(found.tab, "finished")
    finally:
        server.kill()
        found.context.close()


@pytest.mark.parametrize(("kind", "scheme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "light")])
def test_every_tab_fits_and_axe_finds_nothing_serious(chromium, server, pair, kind, scheme):
    """The whole page with a finished run, Gradio's own widgets included."""
    found = Visit(chromium, server.address, viewport=WIDTHS[kind], color_scheme=scheme)
    tab = found.tab
    choose(tab, pair)
    tab.click("#start")
    state(tab, "finished")
    tab.wait_for_selector("#curves img", timeout=WAIT)
    for name, place in (("Make", "#start"), ("Understand", "#ask"), ("Keep", "#gallery a")):
        tab.get_by_role("tab", name=name).click()
        tab.locator(place).first.wait_for(timeout=WAIT)
        if name == "Keep":
            tab.get_by_text("underpaint stylize").wait_for(timeout=WAIT)
            tab.get_by_role("button", name="Make room").click()
            tab.get_by_text("No run has to go").wait_for(timeout=WAIT)
        assert found.overflow() <= 0, name
        assert serious(tab) == [], name
    found.check()


@pytest.mark.slow
def test_a_card_opens_its_run_and_its_address_can_be_passed_on(visit, chromium, server, pair):
    tab, before = visit.tab, len(server.folders())
    for place, size in enumerate((64, 80), before):
        choose(tab, pair, size=size)
        tab.click("#start")
        wait_for(lambda place=place: len(server.folders()) > place and state_of(server.folders()[place]) == "finished")
    first, second = server.folders()[-2:]
    tab.get_by_role("tab", name="Keep").click()
    tab.locator(f"#gallery a[href*='{first.name}']").click()
    tab.wait_for_selector(f"#stage img[src*='{first.name}']", timeout=WAIT)
    other = Visit(chromium, f"{server.address}?run={second.name}", home=server.address)
    other.tab.wait_for_selector(f"#stage img[src*='{second.name}']", timeout=WAIT)
    other.tab.goto(f"{server.address}?run=../../etc")
    other.tab.wait_for_selector(f"#stage img[src*='{second.name}']", timeout=WAIT)  # the one that it remembers
    other.check()


def test_by_keyboard_alone(visit, pair):
    tab = visit.tab
    choose(tab, pair)
    tab.focus("#size input[type=number]")
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("() => document.activeElement.id") == "start":
            break
    assert tab.evaluate("() => document.activeElement.id") == "start"
    tab.keyboard.press("Enter")
    state(tab, "running", "finished")
    state(tab, "finished")


@pytest.mark.parametrize(
    "path",
    [
        "/report/../../etc/passwd",
        "/report/..%2f..%2f..%2fetc%2fpasswd",
        "/download/..%2f..%2fetc/passwd",
        "/live/%2e%2e",
        "/coalition/..%2f..%2f/0",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/file=/etc/passwd",
    ],
)
def test_no_path_from_outside_is_served(server, path):
    assert server.ask("GET", path) in (400, 403, 404)


def test_a_job_and_what_lies_beside_it(server, visit, pair):
    choose(visit.tab, pair)
    visit.tab.click("#start")
    state(visit.tab, "finished")
    name = server.folders()[-1].name
    assert server.ask("GET", f"/download/{name}/pastiche.png") == 200
    for other in ("order.json", "..%2forder.json", "inputs%2fcontent.png"):
        assert server.ask("GET", f"/download/{name}/{other}") == 404
    assert server.ask("GET", f"/gradio_api/file={server.folders()[-1] / 'order.json'}") in (400, 403, 404)


def test_a_picture_that_is_replaced_while_it_is_asked_for_arrives_whole(tmp_path):
    """The job writes a new one twice a second; what is sent is one of them from its first byte to its last."""
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from underpaint.jobs.runner import Runner
    from underpaint.storage.files import write_bytes
    from underpaint.studio import routes

    folder = tmp_path / "20260101-000000-0123abcd"
    (folder / "result").mkdir(parents=True)
    (folder / "order.json").write_text("{}")
    small, large = b"s" * 2_000, b"l" * 3_000_000
    write_bytes(folder / "live.webp", small)
    over = threading.Event()

    def paint():
        while not over.is_set():
            write_bytes(folder / "live.webp", large)
            write_bytes(folder / "live.webp", small)

    runner, painter, app = Runner(tmp_path), threading.Thread(target=paint), FastAPI()
    routes.add(app, runner)
    painter.start()
    try:
        client = TestClient(app)
        for _ in range(200):
            answer = client.get(f"/live/{folder.name}")
            assert answer.status_code == 200
            assert len(answer.content) == int(answer.headers["content-length"])
            assert answer.content in (small, large)
    finally:
        over.set()
        painter.join()
        runner.close()


def test_foreign_pages_cannot_drive_it(server):
    join = "/gradio_api/queue/join"
    own = f"127.0.0.1:{server.port}"
    assert server.ask("POST", join, Content_Type="application/json", Origin="http://evil.example") == 403
    assert server.ask("POST", join, Content_Type="application/json", Sec_Fetch_Site="cross-site") == 403
    assert server.ask("POST", join, Content_Type="application/json", Origin="null") == 403
    assert server.ask("POST", join, Content_Type="application/json", Origin=f"http://{own}") != 403
    assert server.ask("GET", "/", Host="evil.example") == 403
    assert server.ask("GET", "/", Host=f"localhost:{server.port}") == 200


def test_with_a_password(tmp_path):
    server = Server(tmp_path / "runs", password="röd")
    try:
        assert server.ask("GET", "/") == 401
        assert server.ask("GET", "/live/x") == 401
        assert server.ask("GET", "/", Authorization="Basic " + base64.b64encode(b"me:wrong").decode()) == 401
        assert server.ask("GET", "/", Authorization="Basic !") == 401
        assert server.ask("GET", "/", Authorization="Basic " + base64.b64encode("me:röd".encode()).decode()) == 200
    finally:
        server.kill()


def test_other_machines_only_with_a_password(tmp_path):
    command = [sys.executable, "-m", "underpaint", "studio", "--host", "0.0.0.0", "--runs", str(tmp_path / "runs")]
    plain = {name: value for name, value in os.environ.items() if name != "UNDERPAINT_PASSWORD"}
    told = subprocess.run(command, env=plain, capture_output=True, text=True, check=False, timeout=120)
    assert told.returncode == 2
    assert "set UNDERPAINT_PASSWORD" in told.stderr
    assert not (tmp_path / "runs").exists()


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        words = ["studio", "--port", str(other.getsockname()[1]), "--runs", str(tmp_path / "runs")]
        command = [sys.executable, "-m", "underpaint", *words]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert told.returncode == 2
    assert "choose another with --port" in told.stderr
    assert "Traceback" not in told.stderr
