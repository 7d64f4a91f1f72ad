"""The public copies of the data set: resumed where they broke off, retried, checked."""

import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from ..data.formats import SUFFIXES, DataError
from ..workspace import write_whole

CHUNK = 2**20  # bytes read at a time
PAUSES = (1, 2, 4, 8, 16, 32, None)  # seconds before trying again; None: give up
BUSY = (408, 429, 500, 502, 503, 504)  # answers of a server that may soon have a better one
TIMEOUT = 60  # seconds without an answer


class DownloadError(DataError):
    """A file that could not be downloaded; the message says why and what to do."""


def fetch(address, target):
    """Download `address` to `target` and return it; instant if it is there already.

    A download that breaks off goes on from `target.part`, now or the next time. Raises
    DownloadError if there is no such file, too little disk, a web page instead of a file, or
    no connection after several tries.
    """
    target = Path(target)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    for pause in PAUSES:
        try:
            _go_on(address, partial)
            return partial.replace(target)
        except urllib.error.HTTPError as error:
            if error.code not in BUSY or pause is None:
                raise DownloadError(f"{address} answers {error.code} {error.reason}.") from None
        except (OSError, HTTPException) as error:  # no connection, or it broke off
            if pause is None:
                raise DownloadError(
                    f"{address} cannot be reached ({error}). Check the connection and run this cell again: "
                    "the download goes on from where it stopped."
                ) from None
        time.sleep(pause)


def _go_on(address, partial):
    """Append to `partial` what is missing. Raises an OSError if the file is not complete afterwards."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        partial.unlink()  # more is there than the file has: begin again
        raise ConnectionError("the part on disk does not fit") from None
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise DownloadError(
                f"{address} gives a web page instead of the file: a sign-in or quota page. Try again later."
            )
        if answer.status != 206:  # the server sends everything again
            have = 0
        missing = int(answer.headers["Content-Length"])
        free = shutil.disk_usage(partial.parent).free
        if free < missing:
            raise DownloadError(
                f"{partial.parent} has {free / 1e9:.1f} GB free, but {address} needs "
                f"{missing / 1e9:.1f} GB. Free some space, or choose another folder with CXR_HOME."
            )
        size = have + missing
        watched = tqdm.wrapattr(answer, "read", size, initial=have, desc=partial.stem, mininterval=1)
        with watched as body, open(partial, "ab" if have else "wb") as file:
            shutil.copyfileobj(body, file, CHUNK)
    if partial.stat().st_size != size:
        raise ConnectionError(f"{partial.stat().st_size:,} of {size:,} bytes arrived")


def from_records(address, folder):
    """Unpack Google's public copy into `folder`: TFRecords of the original JPEG bytes and their paths."""
    done = folder / "complete"
    if done.exists():
        return folder
    import tensorflow as tf

    records = folder.parent / "download"
    for split in ("train", "test"):
        paths = fetch(f"{address}/{split}/paths.tfrec", records / split / "paths")
        contents = fetch(f"{address}/{split}/images.tfrec", records / split / "images")
        pairs = tf.data.Dataset.zip(*(tf.data.TFRecordDataset(str(file)) for file in (paths, contents)))
        try:
            for path, content in pairs.as_numpy_iterator():
                label, name = PurePosixPath(path.decode()).parts[-2:]
                if name.lower().endswith(SUFFIXES):  # not .DS_Store
                    write_whole(folder / split / label / name, content)
        except tf.errors.DataLossError:
            shutil.rmtree(records)
            raise DownloadError(f"The records from {address} arrived damaged and were removed.") from None
    done.touch()
    shutil.rmtree(records)
    return folder


def from_kaggle(handle):
    """Fetch Kaggle's copy and return its folder: where kagglehub keeps it, perhaps read-only."""
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub has many kinds, without a common base
        raise DownloadError(f"Kaggle did not give {handle} ({type(error).__name__}: {error}).") from None
