"""The studio over bare HTTP: a server in a process of its own, and a visitor without a browser."""

import html
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import requests


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Studio:
    """`underpaint studio` in a process, with further options."""

    def __init__(self, runs, *options, password=None, host="127.0.0.1", **environment):
        self.runs, self.port = runs, free_port()
        self.address = f"http://{host}:{self.port}/"
        own = {"UNDERPAINT_PASSWORD": password} if password else {}
        command = [
            sys.executable,
            "-m",
            "underpaint",
            "studio",
            "--port",
            self.port,
            "--runs",
            runs,
            "--device",
            "cpu",
            *options,
        ]
        self.log = runs.parent / f"{runs.name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), env=os.environ | own | environment, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + 120
        while True:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the server did not come up"
            try:
                urllib.request.urlopen(self.address, timeout=30).close()
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.1)
            else:
                break

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def memory(self, what="VmRSS"):
        """Of the server's own process, MB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) / 1000 for line in file if line.startswith(what))


class Visitor:
    """Does what the page does, by the same requests; keeps its cookies."""

    def __init__(self, address, **given):
        self.address, self.web = address, requests.Session()
        for name, value in given.items():
            setattr(self.web, name, value)
        self.session = uuid.uuid4().hex
        answer = self.web.get(address, timeout=60)
        assert answer.status_code == 200, answer.text
        self.config = self.web.get(address + "config", timeout=60).json()
        self.api = self.config["root"].rstrip("/") + "/gradio_api/"

    def component(self, wanted):
        """By its element's id, its label or its type."""
        return next(
            c for c in self.config["components"] if wanted in (c["props"].get("elem_id"), c["props"].get("label"), c["type"])
        )

    def upload(self, path):
        """A file, as the page's widgets have it then."""
        with open(path, "rb") as file:
            answer = self.web.post(self.api + "upload", files={"files": (path.name, file)}, timeout=120)
        answer.raise_for_status()
        return {"path": answer.json()[0], "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def press(self, button, event="click", **values):
        """What a button's event returns; `values` by element's id or label in place of what the page begins with.

        Raises:
            AssertionError: with the words of the studio's error.
        """
        own = self.component(button)["id"]
        asked = next(d for d in self.config["dependencies"] if [own, event] in d["targets"])
        known = {c["id"]: c for c in self.config["components"]}
        given = {self.component(name)["id"]: value for name, value in values.items()}
        data = [given.get(i, known[i]["props"].get("value")) for i in asked["inputs"]]
        body = {"data": data, "fn_index": asked["id"], "session_hash": self.session, "trigger_id": own}
        if asked["queue"] is False:
            answer = self.web.post(self.api + "run/predict", json=body, timeout=300).json()
            assert "error" not in answer, answer
            return answer["data"]
        self.web.post(self.api + "queue/join", json=body, timeout=60).raise_for_status()
        with self.web.get(self.api + f"queue/data?session_hash={self.session}", stream=True, timeout=300) as events:
            for line in events.iter_lines():
                told = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if told.get("msg") == "process_completed":
                    assert told["success"], html.unescape(told["output"]["error"])  # as a page shows it
                    return told["output"]["data"]
        raise AssertionError("no answer")
