"""The image files of a folder or zip archive, which is read in place without unpacking it."""

import io
import os
import stat
import threading
import zipfile
from functools import partial
from pathlib import Path, PurePosixPath

from ..data import manifest
from ..data.formats import SUFFIXES, DataError, UnreadableImage

MAX_BYTES = 250_000_000  # larger files are no radiographs
TIGHTEST = 200  # times its size in a zip, and 50 MB: a member that is larger is nearly empty
OTHER_ARCHIVES = {  # how they begin
    "7z": b"7z\xbc\xaf\x27\x1c",
    "rar": b"Rar!\x1a\x07",
    "gzip (tar.gz)": b"\x1f\x8b",
    "xz": b"\xfd7zXZ",
    "bzip2": b"BZh",
}


def gather(place):
    """The images of a folder or zip: ({relative name: reader}, stamps, its own manifest or None).

    A reader is a callable that returns the file's bytes. The stamps change when a file does.
    Raises DataError.
    """
    if not place.is_dir():
        _open_zip(place)  # says what is wrong with anything else
    found, images = every(place), {}
    for name, (_, stamp) in found.items():
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES:  # some archives hold the tree twice: the same end and size
            images.setdefault((path.parts[-3:], stamp.split()[0]), name)
    readers = {name: found[name][0] for name in images.values()}
    stamps = [f"{name} {found[name][1]}" for name in images.values()]
    return readers, stamps, _own_manifest(place, found)


def _own_manifest(place, found):
    """The manifest at a folder's top, or anywhere in a zip, as `manifest.read` takes it; or None."""
    if place.is_dir():
        return place / manifest.PUBLIC.name if manifest.PUBLIC.name in found else None
    for name in found:
        if PurePosixPath(name).name == manifest.PUBLIC.name:
            text = io.BytesIO(found[name][0]())
            text.name = f"{name} in {place}"  # for messages
            return text
    return None


def every(place, hide_names=False):
    """Each file in a folder or zip, or one file: {relative name: (reader, stamp)}; hidden ones are left out.

    Whether a file is an image shows only when it is read: DICOM files often have no suffix. The
    stamp changes when the file does. hide_names: print none. Raises DataError for a damaged zip.
    """
    found, left_out = {}, []
    if place.suffix.lower() == ".zip" or (place.is_file() and zipfile.is_zipfile(place)):
        archive, alone = _open_zip(place), threading.Lock()
        for member in archive.infolist():
            if not member.is_dir():
                size = member.file_size
                reader = partial(_read, partial(_member, archive, member, alone), size, member.compress_size)
                found[member.filename] = reader, f"{size} {member.CRC}"
    else:
        base = place if place.is_dir() else place.parent
        for path in _walk(place, left_out) if place.is_dir() else [place]:
            try:
                facts = path.stat()
            except OSError as error:  # such as a link that leads nowhere
                left_out.append(f"{path} cannot be opened ({error.strerror})")
                continue
            if stat.S_ISREG(facts.st_mode):  # not a pipe or a device
                reader = partial(_read, path.read_bytes, facts.st_size)
                found[path.relative_to(base).as_posix()] = reader, f"{facts.st_size} {facts.st_mtime_ns}"
    if left_out:
        first = "" if hide_names else f" The first: {left_out[0]}."
        print(f"Left out: {len(left_out)} links and folders.{first}")
    return {name: found[name] for name in sorted(found) if not _is_hidden(name)}


def _walk(folder, left_out):
    """The paths of the files below a folder; what cannot be entered is added to left_out, in words."""

    def cannot_enter(error):
        left_out.append(f"{error.filename} cannot be opened ({error.strerror})")

    for place, folders, names in os.walk(folder, onerror=cannot_enter):
        links = [name for name in folders if Path(place, name).is_symlink()]
        left_out += [f"{Path(place, name)} is a link to a folder" for name in links]
        yield from (Path(place, name) for name in names)


def _read(read, size, packed=None):
    """The bytes that `read` gives, unless there are too many of them. packed: their size in a zip."""
    if size > MAX_BYTES or (packed is not None and size > TIGHTEST * max(packed, 250_000)):
        raise UnreadableImage(f"the file is too large, {size / 1e6:,.0f} MB; no radiograph is")
    return read()


def _member(archive, member, alone):
    """The bytes of a member of a zip. One thread at a time: in Python 3.13.0 two can read each other's."""
    with alone:
        return archive.read(member)


def _is_hidden(name):
    return any(part.startswith((".", "__MACOSX")) and part != ".." for part in PurePosixPath(name).parts)


def _open_zip(path):
    """The opened zip archive at a path. Raises DataError, in words, for anything else."""
    with open(path, "rb") as file:
        start = file.read(300)
    kind = next((name for name, mark in OTHER_ARCHIVES.items() if start.startswith(mark)), None)
    if kind or start[257:262] == b"ustar":
        raise DataError(
            f"{path} is a {kind or 'tar'} archive, which is not read here. Unpack it, and use the folder, or "
            "make a zip of it."
        )
    if not zipfile.is_zipfile(path):
        hint = (
            "a web page saved under this name" if b"<" in start[:16] else "perhaps cut off while downloading"
        )
        raise DataError(f"{path} is not a zip archive ({hint}). Download it again.")
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zip archives have many ways to be damaged
        raise DataError(f"{path} is a damaged zip archive ({error}). Download it again.") from None
    if any(member.flag_bits & 1 for member in archive.infolist()):
        raise DataError(f"{path} is locked by a password. Unpack it, and use the folder.")
    return archive
