"""Google Drive: mount it in Colab, or fetch a single file by its link, without mounting.

PyDrive2 signs in; Google's own client downloads. Both are imported where they are used, because Colab's TPU
runtimes lack PyDrive2.
"""

import hashlib
import re
from http.client import IncompleteRead
from pathlib import Path

from tqdm.auto import tqdm

from ..workspace import DRIVE, ExplainedError, whole

CHUNK = 16 * 2**20  # bytes per request: all that is lost when the connection drops, and all that memory holds
RETRIES = 6  # of one request, after longer and longer pauses: about a minute in all
BUSY = "Google or your connection does not work at the moment. Run this cell again."
ADVICE = {  # words of a failure: what to do; the first that fits
    "HttpError 5": BUSY,
    "no module named '(pydrive2|oauth2client|googleapiclient)": (
        "Run this in a cell of its own, and then this cell again: %pip install pydrive2"
    ),
    "unsupported in|no module": (
        "That works in Colab only, on a CPU or GPU. Elsewhere, download the file by hand, and give its path."
    ),
    "timeout": "Try again; if My Drive holds thousands of files at its top, move them into a folder first.",
    "credential|rejected|insufficientPerm|HttpError 401|token|invalid_grant|mount failed|already contain": (
        "Save what this runtime alone holds. Then choose Runtime > Disconnect and delete runtime, run this "
        "notebook again, and tick every box of the permissions."
    ),
    "no space|disk quota": "The disk is full. Delete files, also in the trash.",
    "abusive|quota|html|another size": (
        "Google does not give this file away: too many downloads, too big for a virus check, or taken for "
        "harmful. Use a copy in your own Drive."
    ),
    "HttpError 40[34]|domain policy": (
        "Is the link complete? Ask for access for the Google account that you signed in with, or use another."
    ),
    "": BUSY,
}


def mount():
    """Mount Google Drive in Colab; returns My Drive's path. Raises ExplainedError."""
    try:
        from google.colab import drive as colab_drive

        colab_drive.mount(str(DRIVE.parent), timeout_ms=300_000)
        return DRIVE.resolve(strict=True)
    except Exception as error:  # ImportError, ValueError, OSError, Colab's MessageError, pexpect's TIMEOUT
        what = "Drive is not mounted. To go on without it (files will vanish): USE_DRIVE = False"
        raise _explained(what, error) from None


def file_id(link):
    """The id in a share link such as https://drive.google.com/file/d/ID/view, or an id itself."""
    match = re.search(r"(?:/d/|id=|/folders/|^)([\w-]{10,})(?![^/?&#])", link.strip())
    if not match:
        raise ExplainedError(f"{link!r} is no Drive link or file id. In Drive: right-click > Copy link.")
    return match[1]


def fetch(link, target):
    """Download a file from Drive to `target`, whole and with the right MD5, or not at all; returns `target`.

    link: of the file, or its id. A target that is right already is not fetched again. The file's name is
    shown nowhere, because names can be hidden. Raises ExplainedError.
    """
    key, target = file_id(link), Path(target)
    try:
        files = _sign_in().service.files()
        wanted = {"fileId": key, "supportsAllDrives": True}
        facts = files.get(**wanted, fields="fileSize,md5Checksum").execute(num_retries=RETRIES)
        md5 = facts.get("md5Checksum")
        if not md5:
            raise ExplainedError("A folder, shortcut or Google document: copy the link of the file itself.")
        if not (target.is_file() and _md5(target) == md5):
            with whole(target) as partial:
                _download(files.get_media(**wanted), int(facts["fileSize"]), partial)
                if _md5(partial) != md5:
                    raise OSError("it arrived damaged: its MD5 differs")
        return target
    except ExplainedError:
        raise
    except Exception as error:  # of Google's client, PyDrive2, oauth2client, the connection or the disk
        raise _explained(f"{key} could not be fetched from Google Drive", error) from None


def _sign_in():
    """PyDrive2's GoogleAuth, signed in as the user of this notebook; its `service` is Google's client."""
    from google.colab import auth as colab_auth
    from oauth2client.client import GoogleCredentials
    from pydrive2.auth import GoogleAuth

    colab_auth.authenticate_user()
    auth = GoogleAuth(http_timeout=60)
    auth.credentials = GoogleCredentials.get_application_default()
    auth.Authorize()
    return auth


def _download(request, size, path):
    """Write what `request` gives, `size` bytes, to `path`. Goes on where the connection drops."""
    from googleapiclient.http import MediaIoBaseDownload

    done, broken_off = False, 0
    with open(path, "wb") as out, tqdm(total=size, unit="B", unit_scale=True) as bar:
        chunks = MediaIoBaseDownload(out, request, chunksize=CHUNK)
        while not done:
            try:
                status, done = chunks.next_chunk(num_retries=RETRIES)
            except IncompleteRead:  # the only drop after which Google's client does not ask again
                broken_off += 1
                if broken_off > RETRIES:
                    raise
                continue
            if status.total_size != size:  # a web page that says why there is no file
                raise OSError(f"something of another size came, {status.total_size} bytes")
            bar.update(out.tell() - bar.n)


def _md5(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _explained(what, error):
    """What failed, what to do about it, and the failure's own words, shortened."""
    advice = next(words for pattern, words in ADVICE.items() if re.search(pattern, str(error), re.IGNORECASE))
    return ExplainedError(f"{what}. {advice} ({str(error).partition(chr(10))[0][:200]})")
