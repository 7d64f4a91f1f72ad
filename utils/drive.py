"""Google Drive through PyDrive2: fetch one shared file, by link or id, without mounting."""

import hashlib
import re
from pathlib import Path

from .workspace import in_colab


class DriveError(RuntimeError):
    """Something on Google Drive did not work; the message says what to do."""


def file_id(link):
    """The id in a share link such as https://drive.google.com/file/d/ID/view, or an id itself."""
    found = re.search(r"(?:/d/|id=|/folders/)([\w-]{10,})", link) or re.fullmatch(
        r"([\w-]{10,})", link.strip()
    )
    if not found:
        raise DriveError(
            f"{link!r} is neither a Drive link nor a file id. In Drive: right-click > Copy link."
        )
    return found[1]


def sign_in():
    """A PyDrive2 GoogleDrive, signed in: by Colab's dialog there, elsewhere by client_secrets.json."""
    from pydrive2.auth import GoogleAuth
    from pydrive2.drive import GoogleDrive

    if not in_colab():
        auth = GoogleAuth()
        auth.LocalWebserverAuth()
        return GoogleDrive(auth)
    import httplib2
    from google.colab import auth as colab_auth
    from oauth2client.client import GoogleCredentials

    class ColabAuth(GoogleAuth):
        def LocalWebserverAuth(self, *args, **kwargs):  # called when the token expires, after an hour
            self.credentials.refresh(httplib2.Http())

    colab_auth.authenticate_user()
    auth = ColabAuth()
    auth.credentials = GoogleCredentials.get_application_default()
    return GoogleDrive(auth)


def fetch(link, target, drive=None):
    """Download one file from Drive to `target`, checked by size and MD5, whole or not at all.

    drive: a signed-in GoogleDrive; without it, `sign_in` is called. Raises DriveError.
    """
    from pydrive2.files import ApiRequestError, FileNotDownloadableError

    target = Path(target)
    file = (drive or sign_in()).CreateFile({"id": file_id(link)})
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    try:
        file.FetchMetadata(fields="title,fileSize,md5Checksum")
        print(f"Fetching {file['title']}, {int(file['fileSize']) / 1e6:,.0f} MB")
        file.GetContentFile(str(partial))
    except (ApiRequestError, FileNotDownloadableError, KeyError) as error:
        partial.unlink(missing_ok=True)
        raise DriveError(
            f"Drive did not give the file {file_id(link)} ({error}). Is it shared with the account "
            "you signed in with, and is it a file rather than a folder?"
        ) from None
    with open(partial, "rb") as content:
        digest = hashlib.file_digest(content, "md5").hexdigest()
    if digest != file["md5Checksum"]:
        partial.unlink()
        raise DriveError(f"{file['title']} arrived damaged (its MD5 differs). Run this cell again.")
    partial.replace(target)
    return target
