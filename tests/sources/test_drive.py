"""The real PyDrive2 and googleapiclient code against a local server that speaks Drive v2 and fails a lot.

Only the transport is replaced: an httplib2.Http that sends every request to 127.0.0.1.
"""

import hashlib
import json
import random
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import googleapiclient.http
import httplib2
import pytest

from utils.sources import drive
from utils.workspace import ExplainedError

PAGE = b"<!DOCTYPE html><html><title>Quota exceeded</title></html>"
CHUNK = 2**18
DATA = random.Random(1).randbytes(3 * CHUNK + 5)
ERRORS = {  # fault: status, reason; without a reason the answer is a web page
    "rate": (403, "rateLimitExceeded"),
    "many": (429, "rateLimitExceeded"),
    "500": (500, "internalError"),
    "503": (503, None),
    "forbidden": (403, "insufficientFilePermissions"),
    "quota": (403, "downloadQuotaExceeded"),
    "scope": (403, "insufficientPermissions"),
    "page 403": (403, None),
    "page": (200, None),
    "401": (401, "authError"),
}
PASSING = ("rate", "many", "500", "503", "401", "drop", "cut", "short")


class Drive(ThreadingHTTPServer):
    """What is on Drive, what was asked for, and the faults still to come, one for each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.downloads, self.faults, self.pauses = {}, [], [], []
        self.tokens, self.revoked = 0, False

    def add(self, data=DATA, **facts):
        key = f"id-{len(self.files):08d}"
        checks = {"fileSize": str(len(data)), "md5Checksum": hashlib.md5(data).hexdigest()}
        self.files[key] = {"title": "x.zip", "data": data} | (facts or checks)
        return key


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize, disable_nagle_algorithm = -1, True  # otherwise every answer waits 40 ms

    def log_message(self, *_):
        pass

    def answer(self, status, body, cut=False, **headers):
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

    def do_POST(self):
        """Give a new token."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.revoked:
            return self.answer(400, {"error": "invalid_grant", "error_description": "revoked"})
        self.server.tokens += 1
        return self.answer(200, {"access_token": f"token{self.server.tokens}", "expires_in": 3600})

    def do_GET(self):
        """Describe a file, or give a piece of it, or fail."""
        server, url = self.server, urlsplit(self.path)
        fault = server.faults.pop(0) if server.faults else None
        if fault == "401":
            server.tokens += 1  # the token is refused from now on
        if self.headers["Authorization"] != f"Bearer token{server.tokens}":
            fault = "401"
        if fault == "drop":
            self.close_connection = True
            return None
        if fault in ERRORS:
            status, reason = ERRORS[fault]
            error = {"code": status, "message": f"said {fault}", "errors": [{"reason": reason}]}
            return self.answer(status, {"error": error} if reason else PAGE)
        file = server.files.get(url.path.split("/")[-1])
        if not file:
            return self.answer(404, {"error": {"code": 404, "message": "File not found"}})
        if parse_qs(url.query)["alt"] != ["media"]:
            return self.answer(200, {key: file[key] for key in file.keys() - {"data"}}, fault == "cut")
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        server.downloads.append(first)
        piece, size = file["data"][first : last + 1], len(file["data"])
        piece = piece[: len(piece) // 2] if fault == "short" else piece
        place = f"bytes {first}-{first + len(piece) - 1}/{size}"
        return self.answer(206, piece, fault == "cut", Content_Range=place)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """The local Drive; every httplib2.Http leads there, pauses take no time, Colab is a stand-in."""
    local = Drive()
    threading.Thread(target=local.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    class Redirected(httplib2.Http):
        def request(self, uri, *args, **kwargs):
            here = re.sub(r"^https?://[^/]+", f"http://127.0.0.1:{local.server_port}", uri)
            return super().request(here, *args, **kwargs)

    monkeypatch.setattr(httplib2, "Http", Redirected)
    monkeypatch.setattr(googleapiclient.http, "time", SimpleNamespace(sleep=local.pauses.append))
    monkeypatch.setattr(drive, "CHUNK", CHUNK)
    account = {"type": "authorized_user", "client_id": "me", "client_secret": "x", "refresh_token": "y"}
    (tmp_path / "adc.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    stand_in(monkeypatch, auth={"authenticate_user": lambda: None})
    yield local
    local.shutdown()
    local.server_close()


def stand_in(monkeypatch, **modules):
    """google.colab with these submodules."""
    colab = ModuleType("google.colab")
    for name, functions in modules.items():
        setattr(colab, name, SimpleNamespace(**functions))
    monkeypatch.setitem(sys.modules, "google.colab", colab)


def test_links_and_ids_are_understood():
    for link in (
        "https://drive.google.com/file/d/0123456789abcdef/view?usp=sharing",
        "https://drive.google.com/open?id=0123456789abcdef",
        "https://drive.google.com/drive/folders/0123456789abcdef?usp=drive_link",
        " 0123456789abcdef\n",
    ):
        assert drive.file_id(link) == "0123456789abcdef"
    for other in ("my file", "", "https://example.org/", "chest_xray.zip in My Drive"):
        with pytest.raises(ExplainedError, match="Copy link"):
            drive.file_id(other)


def test_a_file_arrives_whole_and_the_second_time_at_once(server, tmp_path, capfd):
    key, target = server.add(), tmp_path / "new" / "y.zip"
    assert drive.fetch(f"https://drive.google.com/file/d/{key}/view", target) == target
    assert target.read_bytes() == DATA and list(target.parent.iterdir()) == [target]
    assert drive.fetch(key, target) == target and server.downloads == [0, CHUNK, 2 * CHUNK, 3 * CHUNK]
    target.write_bytes(b"another")
    drive.fetch(key, target)
    said = capfd.readouterr().err
    assert target.read_bytes() == DATA and "100%" in said and "x.zip" not in said  # a name can be a patient's


@pytest.mark.parametrize("fault", PASSING)
def test_each_passing_fault_is_survived(server, tmp_path, fault):
    server.faults = [None if fault in ("cut", "short") else fault, fault, None, fault, fault]
    assert drive.fetch(server.add(), tmp_path / "x.zip").read_bytes() == DATA
    assert not server.faults


def test_google_is_asked_again_after_longer_and_longer_pauses_and_the_old_file_stays(server, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"old")
    server.faults = [None, None, *["503"] * (drive.RETRIES + 1)]
    with pytest.raises(ExplainedError, match=r"does not work at the moment.*503"):
        drive.fetch(server.add(), tmp_path / "x.zip")
    assert len(server.pauses) == drive.RETRIES and max(server.pauses) < 2**drive.RETRIES
    assert (tmp_path / "x.zip").read_bytes() == b"old" and len(list(tmp_path.glob("*x.zip*"))) == 1
    server.faults = [None, *["cut"] * (drive.RETRIES + 1)]
    with pytest.raises(ExplainedError, match="does not work at the moment"):
        drive.fetch(server.add(), tmp_path / "x.zip")


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        (["forbidden"], "Ask for access"),
        (["quota"], "Use a copy in your own Drive"),
        (["page 403"], "Use a copy in your own Drive"),
        ([None, "page"], "Use a copy in your own Drive"),
        ([None, None, "page"], "Use a copy in your own Drive"),
        (["scope"], "tick every box"),
        (["page"], "does not work at the moment"),
    ],
)
def test_a_refusal_gets_words_at_once_and_leaves_the_old_file(server, tmp_path, faults, words):
    (tmp_path / "x.zip").write_bytes(b"old")
    server.faults = faults
    with pytest.raises(ExplainedError, match=words) as caught:
        drive.fetch(server.add(), tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == b"old" and not server.pauses
    assert len(str(caught.value)) < 500 and len(list(tmp_path.iterdir())) == 2


def test_what_is_not_there_not_a_file_or_not_allowed_any_more_gets_words(server, tmp_path):
    with pytest.raises(ExplainedError, match="Is the link complete"):
        drive.fetch("no-such-file-1", tmp_path / "x.zip")
    with pytest.raises(ExplainedError, match="A folder, shortcut or Google document"):
        drive.fetch(server.add(title="data"), tmp_path / "x.zip")
    server.revoked = True
    with pytest.raises(ExplainedError, match=r"tick every box.*invalid_grant"):
        drive.fetch(server.add(), tmp_path / "x.zip")


def test_a_damaged_file_is_not_kept(server, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"old")
    key = server.add(fileSize=str(len(DATA)), md5Checksum="0" * 32)
    with pytest.raises(ExplainedError, match="arrived damaged"):
        drive.fetch(key, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == b"old" and len(list(tmp_path.glob("*x.zip*"))) == 1


def test_without_a_way_to_sign_in_the_next_click_is_named(server, tmp_path, monkeypatch):
    def refuse():
        raise MessageError("Error: credential propagation was unsuccessful")

    stand_in(monkeypatch, auth={"authenticate_user": refuse})
    with pytest.raises(ExplainedError, match="tick every box"):
        drive.fetch("no-such-file-1", tmp_path / "x.zip")
    monkeypatch.delitem(sys.modules, "google.colab")
    with pytest.raises(ExplainedError, match="download the file by hand"):
        drive.fetch("no-such-file-1", tmp_path / "x.zip")


class MessageError(Exception):
    """As google.colab raises it."""


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (NotImplementedError("google.colab.drive is unsupported in this environment."), "in Colab only"),
        (ValueError("Mountpoint must not already contain files"), "Save what this runtime"),
        (ValueError("mount failed"), "Disconnect and delete runtime"),
        (ValueError("mount failed: timeout during initial read of root folder"), "thousands"),
        (type("TIMEOUT", (Exception,), {})("Timeout exceeded.\n<pexpect>"), "thousands"),
        (ValueError("The domain policy has disabled Drive File Stream"), "or use another"),
        (MessageError("Error: credential propagation was unsuccessful"), "tick every box"),
        (None, "Run this cell again"),  # it says that it is mounted, and nothing is there
    ],
)
def test_each_failure_to_mount_gets_words(monkeypatch, tmp_path, failure, words):
    calls = []

    def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
        calls.append(timeout_ms)
        if failure:
            raise failure

    stand_in(monkeypatch, drive={"mount": mount})
    monkeypatch.setattr(drive, "DRIVE", tmp_path / "drive" / "MyDrive")
    with pytest.raises(ExplainedError, match=words) as caught:
        drive.mount()
    assert calls == [300_000] and "USE_DRIVE = False" in str(caught.value)
    failure = None
    drive.DRIVE.mkdir(parents=True)
    assert drive.mount() == drive.DRIVE
