"""Single files from Google Drive through PyDrive2, without mounting it.

PyDrive2 signs in and renews the token. It never tries again and cannot resume: that is here.
"""

import hashlib
import re
import shutil
from http.client import HTTPException
from pathlib import Path
from time import sleep

import httplib2
from googleapiclient.errors import HttpError
from oauth2client.client import AccessTokenRefreshError, GoogleCredentials
from pydrive2.auth import AuthError, GoogleAuth, LoadAuth
from pydrive2.drive import GoogleDrive
from pydrive2.files import ApiRequestError
from tqdm.auto import tqdm

from ..workspace import in_colab
from .mounting import DriveError, explained

PAUSES = (1, 2, 4, 8, 16, 32, None)  # seconds before asking again; None: give up
BUSY = (408, 429, 500, 502, 503, 504)  # answers of a server that may soon have a better one
CHUNK = 16 * 2**20  # bytes per request: all that is lost when the line drops, and all that memory holds
WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.I)  # where bytes or JSON should be


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
        raise explained("No access to Google Drive", error) from None
    return GoogleDrive(auth)


def file_id(link):
    """The id in a share link such as https://drive.google.com/file/d/ID/view, or an id itself."""
    found = re.search(r"(?:/d/|id=|/folders/|^)([\w-]{10,})(?![^/?&#])", link.strip())
    if not found:
        raise DriveError(f"{link!r} is no Drive link or file id. In Drive: right-click > Copy link.")
    return found[1]


def _ask(drive, what, question, *details):
    """The answer of question(*details), which asks Google; patient while it is busy. Raises DriveError."""
    for pause in PAUSES:
        try:
            return question(*details)
        except (HttpError, ApiRequestError) as error:
            refusal = error.args[0] if isinstance(error, ApiRequestError) else error  # PyDrive2 wraps it
            status = refusal.resp.status
            page = WEB_PAGE.match(refusal.content)
            reason = "a web page" if page else f"{refusal.reason} {refusal.error_details}"
            busy = status in BUSY or "ateLimitExceeded" in reason
            failure = f"status {status}: {reason}" if status < 500 else f"status {status}"
        except (AuthError, AccessTokenRefreshError) as error:
            busy, failure = (getattr(error, "status", 0) or 0) >= 500, f"token: {error}"
        except (OSError, HTTPException, httplib2.HttpLib2Error, ValueError) as error:  # ValueError: not JSON
            busy, failure = True, f"connection: {error}"
            drive.auth.thread_local.http = None  # a broken connection is not used again
        if pause is None or not busy:
            raise explained(f"{what} on Google Drive", failure)
        sleep(pause)


def _find(drive, key, hide_name=False):
    """The PyDrive2 file (a dictionary) with the id `key`. Raises DriveError if it cannot be downloaded."""
    file = drive.CreateFile({"id": key})
    _ask(drive, key, file.FetchMetadata)
    if hide_name:
        file["title"] = "The file"
    if file.get("labels", {}).get("trashed"):
        raise DriveError(
            f"{file['title']} is in the trash of Google Drive. Restore it there, and run this again."
        )
    if not {"downloadUrl", "fileSize", "md5Checksum"} <= file.keys():
        raise DriveError(
            f"{file['title']} is a folder, shortcut or Google document, or its owner forbids downloads. "
            "Copy the link of the zip file itself."
        )
    return file


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@LoadAuth  # PyDrive2 renews the token first where it has expired
def _piece(drive, file, first):
    """Bytes of a file, CHUNK of them from byte `first` on: (the place of the first one, bytes)."""
    size, wanted = int(file["fileSize"]), {"range": f"bytes={first}-{first + CHUNK - 1}"}
    answer, body = drive.http.request(file["downloadUrl"], headers=wanted)
    if answer.get("content-range") == f"bytes {first}-{first + len(body) - 1}/{size}":
        return first, body
    if answer.status == 200 and len(body) == size:  # all of it
        return 0, body
    if answer.status >= 300 or WEB_PAGE.match(body):
        raise HttpError(answer, body)
    raise ConnectionError("incomplete answer")


def _download(drive, file, partial):
    """Complete `partial`, going on from what an earlier attempt left there."""
    size, what = int(file["fileSize"]), file["title"]
    with open(partial, "ab") as out, tqdm(total=size, unit="B", unit_scale=True, desc=what) as bar:
        have = out.tell() if out.tell() <= size else 0
        if (free := shutil.disk_usage(partial.parent).free) < size - have:
            raise explained(f"{what} has {size / 1e6:,.0f} MB", f"no space: {free / 1e6:,.0f} MB are free")
        while have < size:
            have, body = _ask(drive, what, _piece, drive, file, have)
            out.truncate(have)
            have += out.write(body)
            bar.update(have - bar.n)


def fetch(link, target, drive=None, hide_name=False):
    """Download a file from Drive to `target`, whole and with the right MD5, or not at all; returns `target`.

    link: of the file, or its id. Broken off, it goes on from `target.part`; called again for a target that
    is right, it returns at once. drive: from `sign_in`. hide_name: its name is shown nowhere. Raises
    DriveError.
    """
    target, drive = Path(target), drive or sign_in()
    file = _find(drive, file_id(link), hide_name)
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
        raise explained(f"{target} cannot be written", error) from None
    raise DriveError(f"{file['title']} arrived damaged twice (its MD5 differs). Run this cell again.")
