"""The real PyDrive2 and googleapiclient code against canned answers of the Drive API."""

import hashlib
import json

import httplib2
import pytest

from utils import drive

CONTENT = b"PK zip content" * 100
ID = "0123456789abcdef"


class Transport:
    """Stands where httplib2.Http stands and answers like Drive v2."""

    def __init__(self, md5, status=200):
        self.md5, self.status = md5, status

    def request(self, uri, method="GET", body=None, headers=None, **_):
        if self.status != 200:
            error = {
                "error": {
                    "code": self.status,
                    "message": "File not found",
                    "errors": [{"reason": "notFound"}],
                }
            }
            return httplib2.Response({"status": str(self.status)}), json.dumps(error).encode()
        if "alt=media" in uri:
            headers = {"status": "200", "content-length": str(len(CONTENT))}
            return httplib2.Response(headers), CONTENT
        metadata = {
            "id": ID,
            "title": "chest_xray.zip",
            "fileSize": str(len(CONTENT)),
            "md5Checksum": self.md5,
        }
        metadata |= {"mimeType": "application/zip", "downloadUrl": "https://drive/x"}
        return httplib2.Response({"status": "200", "content-type": "application/json"}), json.dumps(
            metadata
        ).encode()


@pytest.fixture
def signed_in(monkeypatch):
    """A GoogleDrive whose credentials are always valid and whose network is the given transport."""
    from googleapiclient.discovery import build
    from pydrive2.auth import GoogleAuth
    from pydrive2.drive import GoogleDrive

    class Valid:
        access_token_expired = False

    def make(transport):
        auth = GoogleAuth()
        auth.credentials = Valid()
        monkeypatch.setattr(auth, "Get_Http_Object", lambda: transport)
        auth.service = build("drive", "v2", http=transport, static_discovery=True)
        return GoogleDrive(auth)

    return make


@pytest.mark.parametrize(
    "link",
    [
        f"https://drive.google.com/file/d/{ID}/view?usp=sharing",
        f"https://drive.google.com/open?id={ID}",
        ID,
        f" {ID}\n",
    ],
)
def test_links_and_ids_are_understood(link):
    assert drive.file_id(link) == ID


def test_something_else_is_refused():
    with pytest.raises(drive.DriveError, match="Copy link"):
        drive.file_id("my file")


def test_a_file_arrives_whole(signed_in, tmp_path):
    source = signed_in(Transport(hashlib.md5(CONTENT).hexdigest()))
    path = drive.fetch(ID, tmp_path / "new" / "x.zip", source)
    assert path.read_bytes() == CONTENT and [p.name for p in path.parent.iterdir()] == ["x.zip"]


@pytest.mark.parametrize(
    ("transport", "words"),
    [(Transport("other"), "arrived damaged"), (Transport("", 404), "Is it shared with the account")],
)
def test_a_failure_gets_words_and_leaves_the_old_file(signed_in, tmp_path, transport, words):
    (tmp_path / "x.zip").write_bytes(b"old")
    with pytest.raises(drive.DriveError, match=words):
        drive.fetch(ID, tmp_path / "x.zip", signed_in(transport))
    assert (tmp_path / "x.zip").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
