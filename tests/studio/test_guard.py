"""The studio's doors, by real HTTP to a real server: hosts, origins, passwords, visitors, and what is too much."""

import base64
import contextlib
import http.client
import json
import os
import stat

import pytest

from tests.jobs.test_jobs import wait_for
from tests.web import Studio, Visitor
from underpaint.errors import UnderpaintError
from underpaint.jobs.job import Job, Order
from underpaint.studio.guesses import FREE, LONGEST, Guesses, address
from underpaint.studio.hosts import Host, Hosts, parse
from underpaint.studio.server import prefix
from underpaint.studio.visitors import Visitors, secret_of

pytest.importorskip("gradio")

PASSWORD = "röd"
RIGHT = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
NAMES = ("--host-name", "studio.example.org, 2001:DB8:0::7", "--host-name", "other.example:8443")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    made = Studio(tmp_path_factory.mktemp("guard") / "runs", *NAMES, "--owner", password=PASSWORD)
    yield made
    made.stop()


def ask(studio, path="/", method="GET", source="127.0.0.1", body=None, **headers):
    """Status, headers and body of a bare request, the path exactly as given."""
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60, source_address=(source, 0))
    named = {"Authorization": RIGHT} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named, body=b"{}" if method == "POST" and body is None else body)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Studio.Example.org.", Host("studio.example.org", None)),
        ("a:8080", Host("a", 8080)),
        ("[::1]", Host("[::1]", None)),
        ("[0:0::1]:80", Host("[::1]", 80)),
        ("[fe80::1%25eth0]:7860", Host("[fe80::1]", 7860)),
        ("::1", None),
        ("[::1", None),
        ("[1.2.3.4]", None),
        ("a:b", None),
        ("a:99999", None),
        ("a b", None),
        ("a/b", None),
        ("user@a", None),
        ("", None),
        ("ａ", None),
    ],
)
def test_hosts_as_they_are_spelt(text, wanted):
    assert parse(text) == wanted


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://a", "a", True),
        ("http://a:80", "a", True),
        ("https://a", "a:443", True),
        ("https://a", "a", True),
        ("http://a:8080", "a", False),  # another program on the same machine
        ("http://a:8080", "a:7860", False),
        ("https://p:8443", "p", True),  # told so: a proxy that leaves its port out
        ("https://p:9443", "p", False),
        ("http://[::1]:7860", "[0::1]:7860", True),
        ("http://[::1]:7861", "[::1]:7860", False),
        ("null", "a", False),
        ("http://[", "a", False),
        ("file://a", "a", False),
        ("http://a.evil", "a", False),
    ],
)
def test_origins(origin, host, same):
    assert Hosts(["a", "p:8443"]).same(origin, host) is same


def test_what_is_no_host_is_refused():
    for name in ("http://a", "a b", "[::1"):
        with pytest.raises(UnderpaintError, match="is no host"):
            Hosts([name])
    assert Hosts(["*"]).answers("anything")
    assert not Hosts(["*"]).answers("")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:1", 200),
        ("[::1]:7860", 200),
        ("STUDIO.example.org.", 200),
        ("[2001:db8::7]:80", 200),
        ("other.example", 200),
        ("other.example:8443", 200),
        ("evil.example", 403),
        ("studio.example.org.evil", 403),
        ("[2001:db8::8]", 403),
        ("127.0.0.1@evil", 403),
        ("", 403),
    ],
)
def test_it_answers_to_its_names_alone(studio, host, status):
    assert ask(studio, Host=host)[0] == status


JOIN = "/gradio_api/queue/join"


@pytest.mark.parametrize(
    ("path", "method", "headers", "refused"),
    [
        (JOIN, "POST", {"Origin": "http://evil.example"}, True),
        (JOIN, "POST", {"Origin": "null"}, True),
        (JOIN, "POST", {"Sec_Fetch_Site": "cross-site"}, True),
        (JOIN, "POST", {"Sec_Fetch_Site": "same-site"}, True),
        (JOIN, "POST", {"Origin": "http://127.0.0.1"}, True),
        (JOIN, "POST", {"Host": "other.example", "Origin": "https://other.example:8443"}, False),
        (JOIN, "POST", {"Sec_Fetch_Site": "same-origin"}, False),
        (JOIN, "POST", {}, False),
        ("/download/x/figures.zip", "GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}, True),
        ("/", "GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}, False),
        ("/", "DELETE", {"Origin": "http://evil.example"}, True),
    ],
)
def test_other_sites_cannot_drive_it(studio, path, method, headers, refused):
    assert (ask(studio, path, method, **headers)[0] == 403) is refused


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/deep_link?session_hash=x",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/gradio_api/runs",
        "/gradio_api/openapi.json",
        "/gradio_api/stream/x/1/1/playlist.m3u8",
        "/gradio_api/vibe-code/",
        "/gradio_api/profiling/summary",
        "/monitoring",
        "/monitoring/summary",
        "/docs",
        "/openapi.json",
        "/login",
        "/../etc/passwd",
        "//etc/passwd",
        "/download/../../etc/passwd",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/x",
        "/gradio_api/file=.key",
        "/static/../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_other_doors_are_shut(studio, path):
    assert ask(studio, path)[0] in (400, 403, 404)
    assert ask(studio, path, "POST")[0] in (400, 403, 404, 405)


def test_secrets_are_their_owners_alone(studio):
    path = studio.runs / ".key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for each in (path, studio.runs.parent / "runs.log"):
        assert ask(studio, f"/gradio_api/file={each}")[0] in (400, 403, 404)
    # Gradio tells pages what it was given: neither what cookies are signed with nor what makes an owner may be in it.
    visitors = Visitors(path.read_text(), owned=True)
    told = b"".join(ask(studio, page)[2] for page in ("/", "/config"))
    assert visitors.told.encode() in told
    assert visitors.key.encode() not in told
    assert path.read_bytes() not in told


def test_a_link_from_elsewhere_makes_nobody_a_stranger(studio):
    """Browsers send a cookie along with what is followed from a letter, unless it is `Strict`: and then a new one came."""
    _, headers, _ = ask(studio, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    assert "SameSite=Lax" in headers["set-cookie"]
    own = headers["set-cookie"].partition(";")[0]
    assert "set-cookie" not in ask(studio, Cookie=f"other=1; {own}")[1]
    assert "set-cookie" not in ask(studio, "/nothing")[1]  # who is refused is nobody


def test_a_secret_that_others_could_read_is_mended(tmp_path):
    secret = secret_of(tmp_path)
    os.chmod(tmp_path / ".key", 0o644)
    assert secret_of(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / ".key").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "short", "ä" * 32, "0" * 31 + "\n"])
def test_a_damaged_secret_signs_nothing(tmp_path, text):
    (tmp_path / ".key").write_text(text)
    with pytest.raises(UnderpaintError, match=r"\.key: is damaged"):
        secret_of(tmp_path)


def test_bodies_that_are_too_long(studio):
    assert ask(studio, JOIN, "POST", body=b"x" * 1_100_000)[0] == 413
    assert ask(studio, JOIN, "POST", body=b"", Content_Length="1e3")[0] in (400, 413)
    assert ask(studio, "/gradio_api/upload", "POST", body=b"", Content_Length=str(1 << 40))[0] == 413
    # Without a length: cut off as soon as it is too long, and never kept.
    before = studio.memory("VmHWM")
    endless = (b"x" * 65536 for _ in range(3000))
    with contextlib.suppress(OSError):  # it hung up
        assert ask(studio, JOIN, "POST", body=endless)[0] >= 400
    assert studio.memory("VmHWM") - before < 50


def test_wrong_passwords_slow_an_address_down_and_no_other(studio):
    def guess(text, source="127.0.0.9", **more):
        given = "Basic " + base64.b64encode(f"me:{text}".encode()).decode()
        return ask(studio, source=source, Authorization=given, **more)

    status, headers, _ = guess(PASSWORD)
    assert status == 200
    cookie = headers["set-cookie"].partition(";")[0]
    assert [guess("left open", source="127.0.0.8")[0] for _ in range(3 * FREE)] == [401] * 3 * FREE
    assert guess(PASSWORD, source="127.0.0.8")[0] == 200
    assert [guess(f"wrong{n}")[0] for n in range(FREE)] == [401] * FREE
    # How long it takes from here on doubles: no guess comes through in that time, the right one included.
    for n in range(FREE, FREE + 3):
        wait_for(lambda n=n: guess(f"wrong{n}")[0] == 401)
    status, headers, text = guess(PASSWORD)
    assert status == 429
    assert int(headers["retry-after"]) >= 1
    assert b"wait" in text
    assert guess(PASSWORD, source="127.0.0.10")[0] == 200
    assert guess(PASSWORD, Cookie=cookie)[0] == 200  # who was in before


def test_guesses_by_the_clock():
    now = [0.0]
    guesses = Guesses("right", clock=lambda: now[0])
    waits = []
    for n in range(FREE + 10):
        assert not guesses.right("a", f"{n}".encode())
        waits.append(guesses.wait("a"))
        now[0] += waits[-1]
    assert waits[: FREE - 1] == [0.0] * (FREE - 1)
    assert waits[FREE - 1 : FREE + 4] == [1, 2, 4, 8, 16]
    assert waits[-1] == LONGEST
    assert guesses.wait("b") == 0
    assert guesses.right("a", b"right")
    assert guesses.wait("a") == 0
    for n in range(20_000):
        guesses.right(f"{n}", b"wrong")
    assert len(guesses._known) <= 10_000


def test_whom_a_guess_counts_against():
    assert address(("10.0.0.7", 1)) == address(("::ffff:10.0.0.7", 2)) == "10.0.0.7"
    assert address(("2001:db8::1", 1)) == address(("2001:db8::ffff", 2))
    assert address(("2001:db8::1", 1)) != address(("2001:db8:0:1::1", 1))
    assert address(None) == ""


def visiting(studio, address=None):
    return Visitor(address or studio.address, auth=("me", PASSWORD.encode()))


def names(studio):
    return sorted(path.parent.name for path in studio.runs.glob("2*/order.json"))


def test_only_who_asked_for_a_run_and_the_owner_may_end_it(studio, pair):
    mine, other = visiting(studio), visiting(studio)
    content, style = (mine.upload(path) for path in pair)
    (name,) = mine.press("start", content=content, style=style, size=1024, **{"How much time to spend": "fine"})
    state = studio.runs / name / "state.json"
    wait_for(lambda: "running" in state.read_text())

    def refused(visitor, button, **values):
        with pytest.raises(AssertionError, match="somebody else's"):
            visitor.press(button, **values)

    def remove(visitor):
        visitor.press("Keep", "select")
        visitor.press("remove", run=name, sure=True)

    for button in ("pause", "stop"):
        refused(other, button, browserstate=name)
    # A header that says so is no proof; nor is a cookie that somebody else signed, or none.
    name_of_mine = json.loads((state.parent / "order.json").read_text())["visitor"]
    other.web.headers.update({"x-underpaint-visitor": name_of_mine, "x-underpaint-owner": "1"})
    refused(other, "stop", browserstate=name)
    forged = Visitors("another secret", owned=True)
    own = mine.web.cookies.get_dict()
    (cookie,) = own
    somebody = forged.of("")._replace(name=own[cookie].partition(".")[0])
    other.web.cookies.set(cookie, forged.cookie(somebody)[1])
    refused(other, "stop", browserstate=name)
    assert "running" in state.read_text()
    mine.press("stop", browserstate=name)
    wait_for(lambda: "stopped" in state.read_text())
    other = visiting(studio)
    refused(other, "resume", browserstate=name)
    other.press("Keep", "select")
    with pytest.raises(AssertionError, match="somebody else's"):
        other.press("remove", run=name, sure=True)
    assert name in names(studio)
    wrong = other.web.get(studio.address + "?owner=" + "0" * 32, timeout=60)
    assert wrong.history == []
    line = next(line for line in studio.log.read_text().splitlines() if "?owner=" in line)
    link = next(word for word in line.split() if "?owner=" in word)
    came = other.web.get(link, timeout=60)
    assert [answer.status_code for answer in came.history] == [303]
    assert came.url == studio.address  # the key does not stay where others see it
    remove(other)
    assert name not in names(studio)


def test_what_the_oldest_are_is_told_of_ones_own(studio):
    one, two = visiting(studio), visiting(studio)
    (cookie,) = one.web.cookies.get_dict().values()
    Job.create(studio.runs, Order(kind="stylize", visitor=cookie.partition(".")[0]), {}).change("finished")
    assert "No run has to go" in str(two.press("most", "change", most=0))
    assert "The oldest 1 would go" in str(one.press("most", "change", most=0))


@pytest.mark.parametrize(
    ("given", "wanted"), [("", ""), ("/", ""), ("/studio", "/studio"), ("a/b/", "/a/b"), ("/~me/x.y", "/~me/x.y")]
)
def test_prefixes(given, wanted):
    assert prefix(given) == wanted


@pytest.mark.parametrize("given", ["http://a/b", "/a b", "/a//b/../c", "/..", "/a?b", "/ä"])
def test_what_is_no_prefix_is_refused(given):
    with pytest.raises(UnderpaintError, match="is no path"):
        prefix(given)


@pytest.mark.parametrize("given", ["live", "/gradio_api/x", "/config"])
def test_a_prefix_that_could_be_a_page_is_refused(given):
    """Nobody could tell whether a proxy took it off."""
    with pytest.raises(UnderpaintError, match="address of the studio's own"):
        prefix(given)
