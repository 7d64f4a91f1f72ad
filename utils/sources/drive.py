"""Google Drive: mount it in Colab; fetch and store single files through PyDrive2 without mounting.

PyDrive2 signs in and renews the token; its own file methods are not used: they neither retry nor resume.
No flush() here: Colab uploads by itself, and flush_and_unmount takes Drive away from the running notebook.
"""

import hashlib
import os
import re
import shutil
from http.client import HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import sleep

import httplib2
from googleapiclient.errors import HttpError
from googleapiclient.http import HttpRequest, MediaFileUpload
from oauth2client.client import AccessTokenRefreshError, GoogleCredentials
from pydrive2.auth import AuthError, GoogleAuth, LoadAuth
from pydrive2.drive import GoogleDrive
from tqdm.auto import tqdm

from ..workspace import DRIVE, check_connected, in_colab

CHUNK = 16 * 2**20  # bytes per request: all that is lost when the line drops, and all that memory holds
PAUSES = (1, 2, 4, 8, 16, 32, None)  # seconds before asking again; None: give up
SHARED = {"supportsAllDrives": True}
PAGE = re.compile(rb"\s*<(!doctype html|html)", re.I)  # where bytes or JSON should be
RESTART = "Choose Runtime > Disconnect and delete runtime, and run this notebook again."
ADVICE = {  # what a failure says: what to do; the first that fits
    "unsupported in|no module": "That works only in Colab (with its standard runtimes).",
    "client.secrets|non.interactive": "Simplest: download the file by hand and set CXR_DATA to its path.",
    "credential|rejected|insufficientPerm": "Run this cell again and tick every box of the permissions.",
    "timeout": "Try again; if My Drive holds thousands of files at its top, move them into a folder first.",
    "mount failed|already contain": f"Save what is there and not on Drive, if anything. {RESTART}",
    "storageQuota|no space|disk quota": "The disk or Drive is full. Delete files, also in the trash.",
    "web page|quota": "Too many downloads, or too big for a virus check: use a copy in your own Drive.",
    "read-only|permission denied|not permitted": "You may only read there. Choose another folder.",
    "no such|not connected|input/output|a directory": "Check the path; on Drive, run the Setup cell again.",
    "status 401|token": f"The sign-in has expired. {RESTART}",
    "domain policy|status 403": "Ask the owner to share it with you, or sign in with another Google account.",
    "status 404": "Is the link complete, and shared with the account you signed in with?",
    "": "Google or your connection does not work at the moment. Run this cell again: it goes on from here.",
}


class DriveError(RuntimeError):
    """Something on Google Drive did not work; the message says what to do."""


def _error(what, failure):
    advice = next(words for part, words in ADVICE.items() if re.search(part, str(failure), re.I))
    return DriveError(f"{what}. {advice} ({failure})")


def mount(timeout_s=300):
    """Mount Google Drive in Colab, in `timeout_s` seconds; returns My Drive's path. Raises DriveError."""
    for force in (False, True):
        try:
            from google.colab import drive as colab_drive

            colab_drive.mount(str(DRIVE.parent), force_remount=force, timeout_ms=int(timeout_s * 1000))
            return DRIVE.resolve(strict=True)
        except Exception as error:  # ImportError, ValueError, OSError, MessageError, pexpect's TIMEOUT
            failure = str(error).partition("\n")[0]
        if re.search("credential|unsupported|module", failure, re.I):  # refused, or not Colab: do not nag
            break
    raise _error("Drive is not mounted. To go on without it (files will vanish): USE_DRIVE = False", failure)


def sign_in():
    """A PyDrive2 GoogleDrive that stays signed in when its token expires (an hour). Raises DriveError."""
    try:
        auth = GoogleAuth(http_timeout=60)
        auth.settings = {**auth.settings, "get_refresh_token": True}
        if in_colab():
            from google.colab import auth as colab_auth

            colab_auth.authenticate_user()
            auth.credentials = GoogleCredentials.get_application_default()
            auth.LocalWebserverAuth = lambda: auth.credentials.refresh(httplib2.Http(timeout=60))
        else:
            auth.LocalWebserverAuth()
    except Exception as error:  # every step has its own errors, without a common base
        raise _error("No access to Google Drive", error) from None
    return GoogleDrive(auth)


def file_id(link):
    """The id in a share link such as https://drive.google.com/file/d/ID/view, or an id itself."""
    found = re.search(r"(?:/d/|id=|/folders/|^)([\w-]{10,})(?![^/?&#])", link.strip())
    if not found:
        raise DriveError(f"{link!r} is no Drive link or file id. In Drive: right-click > Copy link.")
    return found[1]


def _ask(drive, what, question):
    """question(files, http) with Drive's v2 files() and PyDrive2's http; patient while Google is busy."""
    session = LoadAuth(lambda drive: (drive.auth.service.files(), drive.http))  # renews the token first
    for pause in PAUSES:
        try:
            return question(*session(drive))
        except HttpError as error:
            reason = "a web page" if PAGE.match(error.content) else f"{error.reason} {error.error_details}"
            busy = error.resp.status in (408, 429, 500, 502, 503, 504) or "ateLimitExceeded" in reason
            failure = f"status {error.resp.status}" + f": {reason}" * (error.resp.status < 500)
        except (AuthError, AccessTokenRefreshError) as error:
            busy, failure = (getattr(error, "status", 0) or 0) >= 500, f"token: {error}"
        except (OSError, HTTPException, httplib2.HttpLib2Error, ValueError) as error:  # ValueError: not JSON
            busy, failure = True, f"connection: {error}"
            drive.auth.thread_local.http = None  # a broken connection is not used again
        if pause is None or not busy:
            raise _error(f"{what} on Google Drive", failure)
        sleep(pause)


def _list(drive, query, what, token=None):
    """All files that a Drive v2 query finds, from the page `token` on: dictionaries."""
    ask = {"q": query, "pageToken": token, "maxResults": 1000, "includeItemsFromAllDrives": True, **SHARED}
    page = _ask(drive, what, lambda files, http: files.list(**ask).execute(http=http))
    more = page.get("nextPageToken")
    return page["items"] + (_list(drive, query, what, more) if more else [])


def _find(drive, key):
    """Metadata of the file with the id `key`, or of the newest zip in the folder with that id."""
    file = _ask(drive, key, lambda files, http: files.get(fileId=key, **SHARED).execute(http=http))
    if file["mimeType"].endswith(".folder"):
        folder, inside = file["title"], _list(drive, f"'{key}' in parents and trashed = false", file["title"])
        zips = [x for x in inside if x["title"].lower().endswith(".zip")]
        if not zips:
            names = ", ".join(sorted(x["title"] for x in inside)[:8]) or "nothing"
            raise DriveError(f"The Drive folder {folder} has no zip, but {names} ({len(inside)} files).")
        file = max(zips, key=lambda x: x["modifiedDate"])
    if not {"downloadUrl", "fileSize", "md5Checksum"} <= file.keys():
        raise DriveError(f"{file['title']} is a shortcut or Google document, or its owner forbids downloads.")
    return file


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _download(drive, file, partial):
    """Complete `partial`, going on from what an earlier attempt left there."""
    size, what = int(file["fileSize"]), file["title"]

    def piece(_, http):  # -> where it belongs, bytes
        wanted = {"range": f"bytes={have}-{min(have + CHUNK, size) - 1}"}
        answer, body = HttpRequest(http, lambda *x: x, file["downloadUrl"], headers=wanted).execute()
        if answer.get("content-range") == f"bytes {have}-{have + len(body) - 1}/{size}":
            return have, body
        if answer.status == 200 and len(body) == size:  # the range was not honoured
            return 0, body
        raise HttpError(answer, body) if PAGE.match(body) else ConnectionError("incomplete answer")

    with open(partial, "ab") as out, tqdm(total=size, unit="B", unit_scale=True, desc=what) as bar:
        have = out.tell() if out.tell() <= size else 0
        if (free := shutil.disk_usage(partial.parent).free) < size - have:
            raise _error(f"{what} has {size / 1e6:,.0f} MB", f"no space: {free / 1e6:,.0f} MB are free")
        while have < size:
            have, body = _ask(drive, what, piece)
            out.truncate(have)
            have += out.write(body)
            bar.update(have - bar.n)


def fetch(link, target, drive=None):
    """Download a file from Drive to `target`, whole and with the right MD5, or not at all; returns `target`.

    link: of the file, or of a folder for its newest zip. Broken off, it goes on from `target.part`; called
    again for a target that is right, it returns at once. drive: from `sign_in`. Raises DriveError.
    """
    target, drive = Path(target), drive or sign_in()
    file = _find(drive, file_id(link))
    partial = target.with_name(target.name + ".part")
    try:
        if target.is_file() and _md5(target) == file["md5Checksum"]:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):  # again from nothing, for the .part may be that of another file
            _download(drive, file, partial)
            if _md5(partial) == file["md5Checksum"]:
                return partial.replace(target)
            partial.unlink()
    except OSError as error:
        raise _error(f"{target} cannot be written", error) from None
    raise DriveError(f"{file['title']} arrived damaged twice (its MD5 differs). Run this cell again.")


def store(path, folder_id="root", drive=None):
    """Upload a file into a Drive folder, in place of the one with its name there; returns its id.

    folder_id: id or link; "root" is My Drive. drive: from `sign_in`. Raises DriveError.
    """
    path, name = Path(path), Path(path).name
    if not path.is_file():
        raise DriveError(f"There is no file {path} to store on Google Drive.")
    drive, md5 = drive or sign_in(), _md5(path)
    folder = folder_id if folder_id == "root" else file_id(folder_id)
    title = re.sub(r"([\\'])", r"\\\1", name)
    found = _list(drive, f"title = '{title}' and '{folder}' in parents and trashed = false", name)
    found = [x for x in found if x["title"] == name and "md5Checksum" in x]  # a folder may have the name too
    done = next((x for x in found if x["md5Checksum"] == md5), None)
    media = MediaFileUpload(path, chunksize=CHUNK, resumable=True)
    media.has_stream = lambda: False  # a stream would be sent empty where the token expires in mid-chunk
    call = {"media_body": media, "fields": "id,md5Checksum", **SHARED}
    call |= {"fileId": found[0]["id"]} if found else {"body": {"title": name, "parents": [{"id": folder}]}}
    request = _ask(drive, name, lambda files, _: (files.update if found else files.insert)(**call))
    while done is None:
        done = _ask(drive, name, lambda _, http: request.next_chunk(http=http)[1])
    if done["md5Checksum"] != md5:
        raise DriveError(f"{name} arrived damaged on Drive (its MD5 differs). Run this cell again.")
    return done["id"]


def prove_writable(folder):
    """Write, read back and delete a small file in `folder`; raises DriveError in words if that fails."""
    try:
        check_connected(folder)
        with NamedTemporaryFile(dir=folder, prefix=".write-test-", buffering=0) as file:
            file.write(b"test")
            os.fsync(file.fileno())
            if Path(file.name).read_bytes() != b"test":
                raise OSError("input/output error: something else was read back")
    except OSError as error:
        raise _error(f"{folder} cannot be written", error) from None
