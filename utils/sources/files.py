"""The files of a folder or of a zip archive, which is read in place without unpacking it."""

import filecmp
import os
import re
import threading
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..workspace import ExplainedError

MAX_BYTES = 250_000_000  # larger files are no radiographs
# Files that are no images, by their names. All others are tried: DICOM files often have no suffix, or any.
OTHER_FILES = re.compile(
    r"(^|/)DICOMDIR$|"
    r"\.(csv|tsv|txt|md|json|xml|ya?ml|xlsx?|docx?|pdf|html?|py|ipynb|zip|tar|gz|rar|7z|h5|keras|npy|db|ini)$",
    re.IGNORECASE,
)
# Folders whose pictures are no radiographs; those of OCT lie beside them in version 3 of the public archive.
OTHER_FOLDERS = re.compile(r"mask|^oct(2017)?$", re.IGNORECASE)
# One thread at a time reads from a zip: in Python 3.13.0 two threads can get each other's bytes.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class File:
    """One file of a folder or of a zip archive."""

    name: str  # relative to the folder or zip, with slashes
    size: int  # bytes
    version: str  # changes when the content does
    path: Path  # where the file, or the zip with it, lies
    archive: zipfile.ZipFile | None = None  # the opened zip
    member: zipfile.ZipInfo | None = None  # the file in it

    def read(self):
        """The file's bytes. Raises ExplainedError, which tells no name, because names can be hidden."""
        if self.size > MAX_BYTES:
            raise ExplainedError(f"the file is too large, {self.size / 1e6:,.0f} MB; no radiograph is")
        try:
            if self.archive is None:
                return self.path.read_bytes()
            with _one_at_a_time:
                return self.archive.read(self.member)
        except OSError as error:
            raise ExplainedError(f"the file cannot be opened ({error.strerror})") from None
        except Exception:  # zip archives have many ways to be damaged
            raise ExplainedError("the file is damaged in its archive, or locked by a password") from None


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
        listed = [_on_disk(place, place.name)]
    return {file.name: file for file in sorted(listed, key=lambda file: file.name) if not _is_hidden(file)}


def image_files(listed):
    """Divide {relative name: File} into (those that may be images, {relative name: why it is left out}).

    Some archives hold the whole data set twice, one folder deeper: files that agree in their content and,
    but for that folder, in their names count once.
    """
    chosen, left_out, first = {}, {}, {}
    for name, file in listed.items():
        *folders, _ = PurePosixPath(name).parts
        twin = first.setdefault((PurePosixPath(name).parts[-3:], file.size), file)
        if OTHER_FILES.search(name):
            left_out[name] = "no image, by its name"
        elif other := [folder for folder in folders if OTHER_FOLDERS.search(folder)]:
            left_out[name] = f"in a folder called {other[0]}"
        elif twin is not file and _is_deeper(twin, file) and _same_content(twin, file):
            left_out[name] = "a second copy of the same file"
        else:
            chosen[name] = file
    return chosen, left_out


def print_reasons(left_out):
    """Print for each reason in {name: reason} how many files are left out, and one of them."""
    examples = {reason: name for name, reason in left_out.items()}
    for reason, count in Counter(left_out.values()).items():
        print(f"  {count:,} left out: {reason}, such as {examples[reason]}")


def _is_deeper(one, other):
    """Whether the path of one of two files is that of the other, with more folders in it."""
    short, long = sorted((PurePosixPath(file.name).parts for file in (one, other)), key=len)
    rest = iter(long)
    return all(part in rest for part in short)


def _same_content(one, other):
    """Whether two files of the same size are equal; in a zip their checksums tell."""
    if one.archive:
        return one.version == other.version
    return filecmp.cmp(one.path, other.path, shallow=False)


def _in_folder(folder):
    """The files below a folder; says how many could not be entered or opened."""
    listed, left_out = [], []
    for place, folders, names in os.walk(folder, onerror=left_out.append):
        for path in (Path(place, name) for name in names + folders):
            if path.is_file():
                listed.append(_on_disk(path, path.relative_to(folder).as_posix()))
            elif path.is_symlink() or not path.is_dir():  # also a pipe, which would never end
                left_out.append(path)
    if left_out:
        print(f"Left out: {len(left_out)} links to folders, or files and folders that cannot be opened.")
    return listed


def _on_disk(path, name):
    facts = path.stat()
    return File(name, facts.st_size, str(facts.st_mtime_ns), path)


def _in_zip(path):
    """The files in a zip archive. Raises ExplainedError where there is none."""
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zip archives have many ways to be damaged
        raise ExplainedError(
            f"{path} is not a zip archive that can be read ({error}). Download it again: it may be cut off, "
            "or a web page saved under this name. A tar, rar or 7z archive: unpack it, and name its folder."
        ) from None
    # Some programs for Windows write backslashes.
    members = {member.filename.replace("\\", "/"): member for member in archive.infolist()}
    return [
        File(name, member.file_size, str(member.CRC), path, archive, member)
        for name, member in members.items()
        if not name.endswith("/")
    ]


def _is_hidden(file):
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(file.name).parts)
