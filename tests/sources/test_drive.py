"""The real PyDrive2 and googleapiclient code against a local server that speaks Drive v2 and fails a lot.

Only the transport is replaced: an httplib2.Http that sends every request to 127.0.0.1.
"""

import errno
import hashlib
import json
import os
import random
import re
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httplib2
import pytest

from utils import workspace
from utils.sources import drive, mounting

FOLDER = "application/vnd.google-apps.folder"
PAGE = b"<!DOCTYPE html><html><title>Quota exceeded</title></html>"
KIB = 2**10
CHUNK = 256 * KIB
ERRORS = {  # fault: status, reason
    "rate": (403, "rateLimitExceeded"),
    "user rate": (403, "userRateLimitExceeded"),
    "forbidden": (403, "insufficientFilePermissions"),
    "quota": (403, "downloadQuotaExceeded"),
    "scope": (403, "insufficientPermissions"),
    "many": (429, "rateLimitExceeded"),
    "500": (500, "internalError"),
    "502": (502, None),
    "503": (503, "backendError"),
    "504": (504, None),
    "page 403": (403, None),
    "page": (200, None),
    "401": (401, "authError"),
}
PASSING = ("rate", "user rate", "many", "500", "502", "503", "504", "401", "drop", "cut", "short", "whole")


def content(seed, size):
    return random.Random(seed).randbytes(size)


def md5(data):
    return hashlib.md5(data).hexdigest()


class Drive(ThreadingHTTPServer):
    """What is on Drive, what was asked for, and the faults still to come (one for each request)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.faults = {}, [], []
        self.injected, self.tokens, self.lifetime, self.page = Counter(), 0, 3600, 2
        self.revoked, self.dice, self.lock = False, None, threading.Lock()

    def add(self, title, data=b"", parent="root", **more):
        key = f"id-{len(self.files):08d}"
        self.files[key] = {"id": key, "title": title, "parents": [{"id": parent}], "data": data}
        self.files[key] |= {
            "mimeType": "application/zip",
            "modifiedDate": f"2026-01-01T{len(self.files):06d}",
        }
        self.files[key] |= more
        return key

    def next_fault(self):
        if self.dice:
            return self.dice.choice(PASSING) if self.dice.random() < 0.4 else None
        return self.faults.pop(0) if self.faults else None

    def asked(self, start):
        return [x for x in self.requests if x.startswith(start)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # seconds for a request to arrive whole
    wbufsize, disable_nagle_algorithm = -1, True  # otherwise every answer waits 40 ms

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        kind = "text/html" if body.startswith(b"<") else "application/json"
        cut, self.cut = self.cut, False
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        self.close_connection |= cut

    def describe(self, file):
        facts = {k: v for k, v in file.items() if k not in ("data", "wrong")}
        if not file["mimeType"].startswith("application/vnd.google-apps"):
            size, digest = str(len(file["data"])), file.get("wrong") or md5(file["data"])
            url = f"https://content.googleapis.com/download/{file['id']}?alt=media"
            facts |= {"fileSize": size, "md5Checksum": digest, "downloadUrl": url}
        return facts

    def serve(self):
        drive, url = self.server, urlsplit(self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))  # what is sent for a token
        self.cut, query = False, {k: v[0] for k, v in parse_qs(url.query).items()}
        with drive.lock:
            if url.path == "/token":
                if drive.revoked:
                    return self.answer(400, {"error": "invalid_grant", "error_description": "revoked"})
                drive.tokens += 1
                return self.answer(
                    200, {"access_token": f"token{drive.tokens}", "expires_in": drive.lifetime}
                )
            drive.requests.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
            fault = drive.next_fault()
            download = url.path.startswith("/download")
            if fault in ("short", "whole") and not download:
                fault = None
            drive.injected.update([fault] if fault else [])
            if fault == "401":
                drive.tokens += 1  # the token is refused from now on
            if self.headers.get("Authorization") != f"Bearer token{drive.tokens}":
                fault = "401"
            if fault == "drop":
                self.close_connection = True
                return None
            if fault in ERRORS:
                status, reason = ERRORS[fault]
                error = {"code": status, "message": f"said {fault}", "errors": [{"reason": reason}]}
                return self.answer(status, {"error": error} if reason else PAGE)
            self.cut = fault == "cut"
            if download:
                return self.download(drive.files[url.path.split("/")[-1]]["data"], fault)
            if url.path == "/drive/v2/files":
                return self.list(query)
            file = drive.files.get(url.path.split("/")[-1])
            if not file:
                error = {"code": 404, "message": "File not found", "errors": [{"reason": "notFound"}]}
                return self.answer(404, {"error": error})
            return self.answer(200, self.describe(file))

    do_GET = do_POST = serve

    def list(self, query):
        asked = re.fullmatch(r"'([\w-]+)' in parents and trashed = false", query["q"])
        assert asked, query
        found = [self.describe(f) for f in self.server.files.values() if f["parents"][0]["id"] == asked[1]]
        at = int(query.get("pageToken", 0))
        page = {"items": found[at : at + self.server.page]}
        if at + self.server.page < len(found):
            page["nextPageToken"] = str(at + self.server.page)
        self.answer(200, page)

    def download(self, data, fault):
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"]).groups())
        if fault == "whole":
            return self.answer(200, data)
        if fault == "short":
            last = (first + last) // 2
        piece = data[first : last + 1]
        return self.answer(206, piece, Content_Range=f"bytes {first}-{first + len(piece) - 1}/{len(data)}")


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
    local.pauses = []
    monkeypatch.setattr(drive, "sleep", local.pauses.append)
    monkeypatch.setattr(drive, "CHUNK", CHUNK)
    monkeypatch.setenv("GDRIVE_NON_INTERACTIVE", "1")
    account = {"type": "authorized_user", "client_id": "me", "client_secret": "x", "refresh_token": "y"}
    (tmp_path / "adc.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    yield local
    local.shutdown()
    local.server_close()


def stand_in(monkeypatch, **modules):
    """google.colab with these submodules."""
    colab = ModuleType("google.colab")
    for name, functions in modules.items():
        module = SimpleNamespace(**functions)
        setattr(colab, name, module)
        monkeypatch.setitem(sys.modules, f"google.colab.{name}", module)
    monkeypatch.setitem(sys.modules, "google.colab", colab)


@pytest.fixture
def google(server, monkeypatch):
    """A GoogleDrive, signed in as in Colab."""
    stand_in(monkeypatch, auth={"authenticate_user": lambda clear_output=True: None})
    return drive.sign_in()


@pytest.mark.parametrize(
    "link",
    [
        "https://drive.google.com/file/d/0123456789abcdef/view?usp=sharing",
        "https://drive.google.com/open?id=0123456789abcdef",
        "https://drive.google.com/drive/folders/0123456789abcdef?usp=drive_link",
        " 0123456789abcdef\n",
    ],
)
def test_links_and_ids_are_understood(link):
    assert drive.file_id(link) == "0123456789abcdef"


@pytest.mark.parametrize("link", ["my file", "", "https://example.org/", "chest_xray.zip in My Drive"])
def test_something_else_is_refused(link):
    with pytest.raises(drive.DriveError, match="Copy link"):
        drive.file_id(link)


def test_a_file_arrives_whole_and_the_second_time_at_once(server, google, tmp_path):
    data = content(1, 3 * CHUNK + 5)
    key = server.add("chest_xray.zip", data)
    path = drive.fetch(key, tmp_path / "new" / "x.zip", google)
    assert path.read_bytes() == data and [p.name for p in path.parent.iterdir()] == ["x.zip"]
    assert len(server.asked("GET /download")) == 4
    assert drive.fetch(key, path, google) == path and len(server.asked("GET /download")) == 4


def test_an_empty_file_arrives(server, google, tmp_path):
    assert drive.fetch(server.add("x.zip"), tmp_path / "x", google).read_bytes() == b""


@pytest.mark.parametrize(("left", "first"), [(CHUNK, CHUNK), (CHUNK + 7, CHUNK + 7)])
def test_a_broken_off_download_goes_on(server, google, tmp_path, left, first):
    data = content(2, 3 * CHUNK)
    (tmp_path / "x.zip.part").write_bytes(data[:left])
    path = drive.fetch(server.add("x.zip", data), tmp_path / "x.zip", google)
    ranges = [int(re.search(r"bytes=(\d+)", x)[1]) for x in server.asked("GET /download")]
    assert path.read_bytes() == data and ranges[0] == first and len(ranges) == 2


@pytest.mark.parametrize("size", [CHUNK + 7, 3 * CHUNK, 9 * CHUNK])
def test_the_rest_of_another_file_does_no_harm(server, google, tmp_path, size):
    data = content(2, 3 * CHUNK)
    (tmp_path / "x.zip.part").write_bytes(content(3, size))
    assert drive.fetch(server.add("x.zip", data), tmp_path / "x.zip", google).read_bytes() == data


@pytest.mark.parametrize("fault", PASSING)
def test_each_passing_fault_is_survived(server, google, tmp_path, fault):
    data = content(4, 3 * CHUNK + 1)
    key = server.add("x.zip", data)
    server.faults = [None, None, fault]
    assert drive.fetch(key, tmp_path / "x.zip", google).read_bytes() == data
    assert server.injected[fault] == 1
    server.faults = [fault, None, fault, None, fault]  # also of the first request, for the metadata
    assert drive.fetch(key, tmp_path / "y.zip", google).read_bytes() == data
    assert server.injected[fault] >= (2 if fault == "whole" else 3)  # one whole answer ends the download
    assert not server.pauses or fault not in ("401", "short", "whole")


def test_a_server_that_gives_everything_instead_of_the_rest_is_understood(server, google, tmp_path):
    data = content(2, 3 * CHUNK)
    (tmp_path / "x.zip.part").write_bytes(data[: CHUNK + 7])
    server.faults = [None, "whole"]
    assert drive.fetch(server.add("x.zip", data), tmp_path / "x.zip", google).read_bytes() == data
    assert len(server.asked("GET /download")) == 1


def test_the_pauses_grow_and_the_next_call_goes_on(server, google, tmp_path):
    data = content(5, 3 * CHUNK)
    key = server.add("x.zip", data)
    server.faults = [None, None, *["503"] * len(drive.PAUSES)]
    with pytest.raises(drive.DriveError, match=r"x\.zip on Google Drive.*goes on from here.*503"):
        drive.fetch(key, tmp_path / "x.zip", google)
    assert server.pauses == [1, 2, 4, 8, 16, 32]
    assert (tmp_path / "x.zip.part").stat().st_size == CHUNK and not (tmp_path / "x.zip").exists()
    assert drive.fetch(key, tmp_path / "x.zip", google).read_bytes() == data
    assert len(server.asked("GET /download")) == 1 + 7 + 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("forbidden", "Ask the owner to share"),
        ("quota", "Too many downloads"),
        ("page 403", "Too many downloads"),
        ("page", "Too many downloads"),
        ("scope", "tick every box"),
    ],
)
def test_a_refusal_gets_words_at_once_and_leaves_the_old_file(server, google, tmp_path, fault, words):
    (tmp_path / "x.zip").write_bytes(b"old")
    server.faults = [None, fault]
    with pytest.raises(drive.DriveError, match=words):
        drive.fetch(server.add("x.zip", content(6, CHUNK)), tmp_path / "x.zip", google)
    assert (tmp_path / "x.zip").read_bytes() == b"old" and not server.pauses


def test_what_is_not_there_or_not_a_file_gets_words(server, google, tmp_path):
    with pytest.raises(drive.DriveError, match="shared with the account"):
        drive.fetch("no-such-file-1", tmp_path / "x.zip", google)
    document = server.add("Notes", mimeType="application/vnd.google-apps.document")
    with pytest.raises(drive.DriveError, match="Notes is a folder, shortcut or Google document"):
        drive.fetch(document, tmp_path / "x.zip", google)
    assert not (tmp_path / "x.zip.part").exists()


def test_a_damaged_file_is_tried_twice_and_not_kept(server, google, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"old")
    key = server.add("x.zip", content(7, CHUNK), wrong="0" * 32)
    with pytest.raises(drive.DriveError, match="arrived damaged"):
        drive.fetch(key, tmp_path / "x.zip", google)
    assert (tmp_path / "x.zip").read_bytes() == b"old" and not (tmp_path / "x.zip.part").exists()
    assert len(server.asked("GET /download")) == 2


def test_a_full_disk_is_noticed_before_the_download(server, google, tmp_path, monkeypatch):
    monkeypatch.setattr(drive.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(drive.DriveError, match=r"0 MB\. The disk.*Delete files.*no space"):
        drive.fetch(server.add("x.zip", content(8, CHUNK)), tmp_path / "x.zip", google)
    assert not server.asked("GET /download")


def test_a_link_to_a_folder_gets_words(server, google, tmp_path):
    folder = server.add("data", mimeType=FOLDER)
    with pytest.raises(drive.DriveError, match=r"data is a folder.*Copy the link of the zip file itself"):
        drive.fetch(f"https://drive.google.com/drive/folders/{folder}", tmp_path / "x.zip", google)
    assert not server.asked("GET /download")


def test_signing_in_lasts_when_the_token_expires(server, google, tmp_path):
    server.lifetime = 0  # expired on arrival: PyDrive2 asks LocalWebserverAuth before every request
    data = content(9, 2 * CHUNK)
    assert drive.fetch(server.add("x.zip", data), tmp_path / "x.zip", google).read_bytes() == data
    assert server.tokens >= 3


def test_a_withdrawn_permission_gets_words(server, google, tmp_path):
    server.revoked = True
    with pytest.raises(drive.DriveError, match=r"sign-in has expired.*invalid_grant"):
        drive.fetch(server.add("x.zip", b"x"), tmp_path / "x.zip", google)
    assert not server.pauses


def test_nothing_is_lost_in_a_storm_of_faults(server, google, tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "PAUSES", (*range(60), None))  # patience is tested above
    dice = random.Random(20261122)
    server.dice = random.Random(1)
    rounds, lost = 300, 0
    for i in range(rounds):
        data = dice.randbytes(dice.randrange(5 * CHUNK))
        target = tmp_path / f"{i}.zip"
        if i % 3 == 0:  # an earlier download of it broke off
            target.with_name(f"{i}.zip.part").write_bytes(data[: dice.randrange(1 + len(data))])
        key = server.add(target.name, data)
        lost += drive.fetch(key, target, google).read_bytes() != data
        target.unlink()
    faults = sum(server.injected.values())
    print(f"\n{rounds} downloads, {faults} faults, {lost} lost: {dict(server.injected)}")
    assert faults > 500 and set(server.injected) >= set(PASSING)
    assert lost == 0 and not list(tmp_path.glob("*.part"))


def test_outside_colab_without_client_secrets(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(drive, "in_colab", lambda: False)
    with pytest.raises(drive.DriveError, match=r"CXR_DATA.*client_secrets\.json"):
        drive.sign_in()
    secrets = dict.fromkeys(("client_id", "client_secret", "auth_uri", "token_uri"), "x") | {
        "redirect_uris": ["http://localhost"]
    }
    (tmp_path / "client_secrets.json").write_text(json.dumps({"installed": secrets}))
    with pytest.raises(drive.DriveError, match="Non interactive mode"):  # there it would open the browser
        drive.sign_in()


def test_a_refused_sign_in_in_colab_gets_words(server, monkeypatch):
    def refuse(clear_output=True):
        raise MessageError("Error: credential propagation was unsuccessful")

    stand_in(monkeypatch, auth={"authenticate_user": refuse})
    with pytest.raises(drive.DriveError, match="tick every box"):
        drive.sign_in()


class MessageError(Exception):
    """As google.colab raises it."""


def colab_mount(monkeypatch, tmp_path, *failures):
    """A google.colab.drive that fails in these ways, then mounts; returns the calls it gets."""
    calls, failures = [], list(failures)
    monkeypatch.setattr(mounting, "DRIVE", tmp_path / "drive" / "MyDrive")

    def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
        calls.append((mountpoint, force_remount, timeout_ms))
        if failures:
            failure = failures.pop(0)
            if failure:
                raise failure
        else:
            mounting.DRIVE.mkdir(parents=True)

    stand_in(monkeypatch, drive={"mount": mount})
    return calls


@pytest.mark.parametrize("failures", [(), (ValueError("mount failed"),), (None,)])
def test_mounting_is_tried_twice(monkeypatch, tmp_path, failures):
    calls = colab_mount(monkeypatch, tmp_path, *failures)
    assert mounting.mount(timeout_s=200) == tmp_path / "drive" / "MyDrive"
    place = str(tmp_path / "drive")
    assert calls == [(place, False, 200_000), (place, True, 200_000)][: len(failures) + 1]


@pytest.mark.parametrize(
    ("failure", "tries", "words"),
    [
        (NotImplementedError("google.colab.drive is unsupported in this environment."), 1, "only in Colab"),
        (ValueError("Mountpoint must not already contain files"), 2, "Save what is there"),
        (ValueError("mount failed"), 2, "Disconnect and delete runtime"),
        (ValueError("mount failed: timeout during initial read of root folder"), 2, "thousands"),
        (type("TIMEOUT", (Exception,), {})("Timeout exceeded.\n<pexpect>"), 2, "thousands"),
        (ValueError("The domain policy has disabled Drive File Stream"), 2, "another Google account"),
        (MessageError("Error: credential propagation was unsuccessful"), 1, "tick every box"),
        (None, 2, "run the Setup cell again"),
    ],
)
def test_each_failure_to_mount_gets_words(monkeypatch, tmp_path, failure, tries, words):
    calls = colab_mount(monkeypatch, tmp_path, failure, failure)
    with pytest.raises(drive.DriveError, match=words) as caught:
        mounting.mount()
    assert len(calls) == tries and "USE_DRIVE = False" in str(caught.value)


def test_off_colab_there_is_nothing_to_mount(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    with pytest.raises(drive.DriveError, match=r"USE_DRIVE = False.*only in Colab"):
        mounting.mount()


def test_a_writable_folder_is_proven_and_left_as_it_was(tmp_path):
    mounting.prove_writable(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EROFS, "only read"),
        (errno.EACCES, "only read"),
        (errno.ENOSPC, "in the trash"),
        (errno.EDQUOT, "in the trash"),
        (errno.ENOTCONN, "run the Setup cell again"),
        (errno.EIO, "run the Setup cell again"),
    ],
)
def test_a_folder_that_cannot_be_written_gets_words(tmp_path, monkeypatch, code, words):
    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(drive.DriveError, match=words):
        mounting.prove_writable(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_on_a_drive_that_dropped_out_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "DRIVE", tmp_path)
    with pytest.raises(drive.DriveError, match="run the Setup cell again"):
        mounting.prove_writable(tmp_path)
    with pytest.raises(drive.DriveError, match="run the Setup cell again"):
        mounting.prove_writable(Path(__file__) / "nowhere")
