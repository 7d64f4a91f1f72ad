"""The public copies of the data set: resumed where they broke off, retried, checked."""

import shutil
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from ..data.formats import SUFFIXES
from ..workspace import write_whole

CHUNK = 2**20  # bytes read at a time
PAUSES = (1, 2, 4, 8, 16, 32)  # seconds before each further try
TIMEOUT = 60  # seconds without an answer


class DownloadError(RuntimeError):
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
    for pause in (*PAUSES, None):
        try:
            _go_on(address, partial)
            return partial.replace(target)
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429, 500, 502, 503, 504) or pause is None:
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
        if error.code == 416:  # more is there than the file has: begin again
            partial.unlink()
            raise ConnectionError("the part on disk does not fit") from None
        raise
    with answer:
        if answer.headers.get_content_type() == "text/html":
            raise DownloadError(
                f"{address} gives a web page instead of the file: a sign-in or quota page. Try again later."
            )
        if answer.status != 206:  # the server sends everything again
            have = 0
        size = have + int(answer.headers["Content-Length"])
        free = shutil.disk_usage(partial.parent).free
        if free < size - have:
            raise DownloadError(
                f"{partial.parent} has {free / 1e9:.1f} GB free, but {address} needs "
                f"{(size - have) / 1e9:.1f} GB. Free some space, or choose another folder with CXR_HOME."
            )
        with open(partial, "r+b" if have else "wb") as file:
            file.seek(have)
            with tqdm(
                total=size, initial=have, desc=partial.stem, unit="B", unit_scale=True, mininterval=1
            ) as bar:
                while piece := answer.read(CHUNK):
                    file.write(piece)
                    bar.update(len(piece))
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
        parts = [
            fetch(f"{address}/{split}/{what}.tfrec", records / split / what) for what in ("paths", "images")
        ]
        pairs = tf.data.Dataset.zip(*(tf.data.TFRecordDataset(str(part)) for part in parts))
        try:
            for path, image in pairs.as_numpy_iterator():
                label, name = PurePosixPath(path.decode()).parts[-2:]
                if name.lower().endswith(SUFFIXES):  # not .DS_Store
                    write_whole(folder / split / label / name, image)
        except tf.errors.DataLossError:
            shutil.rmtree(records)
            raise DownloadError(f"The records from {address} arrived damaged and were removed.") from None
    done.touch()
    shutil.rmtree(records)
    return folder


def from_kaggle(handle, folder=None):
    """Fetch Kaggle's copy; it stays where kagglehub keeps it, perhaps read-only, so `folder` is not used."""
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub has many kinds, without a common base
        raise DownloadError(f"Kaggle did not give {handle} ({type(error).__name__}: {error}).") from None
