"""Downloads from a local server that fails in every way a real one does."""

import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from utils.sources import download

CONTENT = random.Random(0).randbytes(300_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `faults` are taken one a request: a status, 'cut', 'html' or 'no range'."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests = [], []
        self.files = {"/file": CONTENT}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/file"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.headers["Range"])
        fault = self.server.faults.pop(0) if self.server.faults else None
        content = self.server.files.get(self.path)
        if content is None or isinstance(fault, int):
            return self.send_error(fault or 404)
        if fault == "html":
            return self.answer(200, b"<html>quota</html>", "text/html")
        begin = int(self.headers["Range"][6:-1]) if self.headers["Range"] and fault != "no range" else 0
        if begin > len(content) or (begin and begin == len(content)):
            return self.send_error(416)
        self.answer(206 if begin else 200, content[begin:], cut=fault == "cut")

    def answer(self, status, body, kind="application/octet-stream", cut=False):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (*[0.01] * 6, None))
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_file_arrives_whole_and_a_second_call_asks_nobody(server, tmp_path):
    path = download.fetch(server.address, tmp_path / "new" / "file")
    assert path.read_bytes() == CONTENT and [p.name for p in path.parent.iterdir()] == ["file"]
    download.fetch(server.address, path)
    assert len(server.requests) == 1


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.faults = ["cut", "cut", 503]
    assert download.fetch(server.address, tmp_path / "file").read_bytes() == CONTENT
    assert server.requests == [None, "bytes=150000-", "bytes=225000-", "bytes=225000-"]


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.faults = ["cut", "no range"]
    assert download.fetch(server.address, tmp_path / "file").read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    (tmp_path / "file.part").write_bytes(bytes(400_000))
    assert download.fetch(server.address, tmp_path / "file").read_bytes() == CONTENT


def test_many_random_faults_lose_nothing(server, tmp_path):
    rng, injected = random.Random(1), 0
    for number in range(40):
        server.faults = [rng.choice([429, 500, 503, "cut", "no range"]) for _ in range(rng.randrange(6))]
        injected += len(server.faults)
        assert download.fetch(server.address, tmp_path / str(number)).read_bytes() == CONTENT
    assert injected > 80 and len(list(tmp_path.iterdir())) == 40


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([403], "answers 403"),
        (["html"], "sign-in or quota page"),
        ([500] * 9, "answers 500"),
        (["cut"] * 9, "goes on"),
    ],
)
def test_what_cannot_be_fetched_gets_words_and_leaves_no_file(server, tmp_path, faults, words):
    server.faults = faults
    with pytest.raises(download.DownloadError, match=words):
        download.fetch(server.address, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_full_disk_is_noticed_before_writing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(download.DownloadError, match=r"GB free, but .* needs"):
        download.fetch(server.address, tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_records_are_unpacked_whatever_else_is_in_them(server, tmp_path):
    import tensorflow as tf

    expected = {}
    for split in ("train", "test"):
        for what in ("images", "paths"):
            with tf.io.TFRecordWriter(str(tmp_path / "written")) as out:
                out.write(b"junk" if what == "images" else f"gs://x/{split}/.DS_Store".encode())
                for number in range(3):
                    name, content = f"{split}/NORMAL/IM-{number}-0001.jpeg", f"{split}{number}".encode()
                    expected[name] = content
                    out.write(content if what == "images" else f"gs://x/chest_xray/{name}".encode())
            server.files[f"/file/{split}/{what}.tfrec"] = (tmp_path / "written").read_bytes()
    folder = download.from_records(server.address, tmp_path / "unpacked")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpeg")}
    assert found == expected and not (tmp_path / "download").exists()
    asked = len(server.requests)
    download.from_records(server.address, folder)
    assert len(server.requests) == asked
    damaged = bytearray(server.files["/file/test/images.tfrec"])
    damaged[-5] ^= 255
    server.files["/file/test/images.tfrec"] = bytes(damaged)
    with pytest.raises(download.DownloadError, match="arrived damaged and were removed"):
        download.from_records(server.address, tmp_path / "again")


def test_kagglehub_gives_its_cached_copy_without_a_connection(tmp_path, monkeypatch):
    """The real kagglehub with a prepared cache, as in Colab, where the data set may be mounted."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    cached = tmp_path / "datasets/paultimothymooney/chest-xray-pneumonia/versions/2"
    (cached / "chest_xray/train/NORMAL").mkdir(parents=True)
    (cached.parent.parent / "2.complete").touch()
    folder = download.from_kaggle("paultimothymooney/chest-xray-pneumonia/versions/2")
    assert folder == cached


def test_kaggle_without_a_connection_gets_words(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(download.DownloadError, match="Kaggle did not give"):
        download.from_kaggle("paultimothymooney/chest-xray-pneumonia")
