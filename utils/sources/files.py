"""The image files of a folder or zip archive, which is read in place without unpacking it."""

import io
import zipfile
from functools import partial
from pathlib import PurePosixPath

from ..data import manifest
from ..data.formats import SUFFIXES, UnreadableImage

MAX_BYTES = 500_000_000  # larger files are no radiographs; a zip may hold such a one in a few bytes


class DataError(RuntimeError):
    """The radiographs cannot be used; the message says what was looked for, where, what to do."""


def gather(place):
    """The images of a folder or zip: ({relative name: reader}, stamps, its own manifest or None).

    A reader is a callable that returns the file's bytes. The stamps change when a file does.
    Raises DataError.
    """
    if not place.is_dir():
        _open_zip(place)  # says what is wrong with anything else
    found, images = every(place), {}
    for name in found:
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES:
            images.setdefault(path.parts[-3:], name)  # some archives hold the tree twice
    readers = {name: found[name][0] for name in images.values()}
    stamps = [f"{name} {found[name][1]}" for name in images.values()]
    return readers, stamps, _own_manifest(place, found)


def _own_manifest(place, found):
    """The manifest at a folder's top, or anywhere in a zip, as `manifest.read` takes it; or None."""
    if place.is_dir():
        return place / manifest.PUBLIC.name if manifest.PUBLIC.name in found else None
    for name, (reader, _) in found.items():
        if PurePosixPath(name).name == manifest.PUBLIC.name:
            try:
                return io.BytesIO(reader())
            except UnreadableImage as error:
                raise DataError(f"{name} in {place} cannot be used: {error}.") from None
    return None


def every(place):
    """Each file in a folder or zip, or one file: {relative name: (reader, stamp)}; hidden ones are left out.

    Whether a file is an image shows only when it is read: DICOM files often have no suffix. The
    stamp changes when the file does. Raises DataError for a damaged zip.
    """
    found = {}
    if place.suffix.lower() == ".zip" or (place.is_file() and zipfile.is_zipfile(place)):
        archive = _open_zip(place)
        for member in archive.infolist():
            if not member.is_dir():
                reader = partial(_read, partial(archive.read, member), member.file_size)
                found[member.filename] = reader, f"{member.file_size} {member.CRC}"
    else:
        base = place if place.is_dir() else place.parent
        for path in place.rglob("*") if place.is_dir() else [place]:
            if path.is_file():
                facts = path.stat()
                reader = partial(_read, path.read_bytes, facts.st_size)
                found[path.relative_to(base).as_posix()] = reader, f"{facts.st_size} {facts.st_mtime_ns}"
    return {name: found[name] for name in sorted(found) if not _is_hidden(name)}


def _read(read, size):
    """The bytes that `read` gives, unless there are too many of them."""
    if size > MAX_BYTES:
        raise UnreadableImage(f"the file is too large, {size / 1e9:.1f} GB; no radiograph is")
    return read()


def _is_hidden(name):
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _open_zip(path):
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            web_page = b"<" in file.read(16)
        hint = "a web page saved under this name" if web_page else "perhaps cut off while downloading"
        raise DataError(f"{path} is not a zip archive ({hint}). Download it again.")
    return zipfile.ZipFile(path)
