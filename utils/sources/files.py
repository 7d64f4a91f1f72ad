"""The files of a folder or of a zip archive, which is read in place without unpacking it."""

import os
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..data.images import SUFFIXES
from ..workspace import ExplainedError

MAX_BYTES = 250_000_000  # larger files are no radiographs
# One thread at a time reads from a zip: in Python 3.13.0 two threads can get each other's bytes.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class File:
    """One file of a folder or of a zip archive.

    name: relative to the folder or zip, with slashes. size: bytes. version: a text that changes when the
    content does. path: where the file, or the zip with it, lies. archive: the opened zip, or None.
    """

    name: str
    size: int
    version: str
    path: Path
    archive: zipfile.ZipFile | None = None

    def read(self):
        """The file's bytes. Raises ExplainedError, which tells no name, because names can be hidden."""
        if self.size > MAX_BYTES:
            raise ExplainedError(f"the file is too large, {self.size / 1e6:,.0f} MB; no radiograph is")
        try:
            if self.archive is None:
                return self.path.read_bytes()
            with _one_at_a_time:
                return self.archive.read(self.name)
        except OSError as error:
            raise ExplainedError(f"the file cannot be opened ({error.strerror})") from None
        except Exception:  # zip archives have many ways to be damaged
            raise ExplainedError("the file is damaged in its archive") from None


def every(place):
    """All files in a folder or zip, or a single file: {relative name: File}, sorted by name.

    Hidden files are left out. Links to folders are not followed. Whether a file is an image shows only
    when it is read: DICOM files often have no suffix. Raises ExplainedError for a zip that cannot be read.
    """
    if place.is_dir():
        listed = _in_folder(place)
    elif place.suffix.lower() == ".zip" or zipfile.is_zipfile(place):
        listed = _in_zip(place)
    else:
        listed = {place.name: _on_disk(place, place.name)}
    return {name: listed[name] for name in sorted(listed) if not _is_hidden(name)}


def image_files(listed):
    """Those of {relative name: File} whose names end as an image's does.

    Some archives hold the whole data set twice, one folder deeper: files that agree in size and in the last
    three parts of their names count once.
    """
    chosen = {}
    for name, file in listed.items():
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES:
            chosen.setdefault((path.parts[-3:], file.size), file)
    return {file.name: file for file in chosen.values()}


def _in_folder(folder):
    """{relative name: File} of all files below a folder; says how many could not be entered or opened."""
    listed, left_out = {}, []
    for place, folders, names in os.walk(folder, onerror=left_out.append):
        left_out += [name for name in folders if Path(place, name).is_symlink()]
        for path in (Path(place, name) for name in names):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                listed[name] = _on_disk(path, name)
            else:  # a pipe, which would never end, or a link that leads nowhere
                left_out.append(path)
    if left_out:
        print(f"Left out: {len(left_out)} links to folders, or files and folders that cannot be opened.")
    return listed


def _on_disk(path, name):
    facts = path.stat()
    return File(name, facts.st_size, str(facts.st_mtime_ns), path)


def _in_zip(path):
    """{relative name: File} of all files in a zip archive. Raises ExplainedError where there is none."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zip archives have many ways to be damaged
        advice = "Download it again. A tar, rar or 7z archive: unpack it, and name its folder."
        with open(path, "rb") as file:
            if file.read(300).lstrip().startswith(b"<"):
                advice = "It is a web page saved under this name: download the archive again."
        raise ExplainedError(f"{path} is not a zip archive that can be read ({error}). {advice}") from None
    members = [member for member in archive.infolist() if not member.is_dir()]
    if any(member.flag_bits & 1 for member in members):
        raise ExplainedError(f"{path} is locked by a password. Unpack it, and name its folder.")
    return {
        member.filename: File(member.filename, member.file_size, str(member.CRC), path, archive)
        for member in members
    }


def _is_hidden(name):
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)
