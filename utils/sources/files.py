"""The image files of a folder or zip archive, which is read in place without unpacking it."""

import io
import zipfile
from pathlib import Path, PurePosixPath

from ..data import manifest
from ..data.formats import SUFFIXES, UnreadableImage

MAX_BYTES = 500_000_000  # larger members of a zip are no radiographs


class DataError(RuntimeError):
    """The radiographs cannot be used; the message says what was looked for, where, what to do."""


def gather(place):
    """The images of a folder or zip: ({relative name: reader}, stamps, its own manifest or None).

    A reader is a callable that returns the file's bytes. The stamps change when a file does.
    Raises DataError.
    """
    if not place.is_dir():
        _open_zip(place)  # says what is wrong with anything else
    found, pictures = every(place), {}
    for name, (reader, stamp) in found.items():
        if PurePosixPath(name).suffix.lower() in SUFFIXES:  # some archives hold the tree twice
            pictures.setdefault(PurePosixPath(name).parts[-3:], (name, reader, f"{name} {stamp}"))
    readers = {name: reader for name, reader, _ in pictures.values()}
    own = [name for name in found if PurePosixPath(name).name == manifest.PUBLIC.name]
    if own and place.is_dir():
        own = [place / own[0]] if own[0] == manifest.PUBLIC.name else []
    elif own:
        try:
            own = [io.BytesIO(found[own[0]][0]())]
        except UnreadableImage as error:
            raise DataError(f"{own[0]} in {place} cannot be used: {error}.") from None
    return readers, [stamp for _, _, stamp in pictures.values()], own[0] if own else None


def every(place):
    """Each file in a folder or zip, or one file: {relative name: (reader, stamp)}; hidden ones are left out.

    Whether a file is an image shows only when it is read: DICOM files often have no suffix. The
    stamp changes when the file does. Raises DataError for a damaged zip.
    """
    if place.suffix.lower() == ".zip" or (place.is_file() and zipfile.is_zipfile(place)):
        archive = _open_zip(place)
        members = [info for info in archive.infolist() if not info.is_dir()]
        found = {i.filename: (archive.read, i, i.file_size, f"{i.file_size} {i.CRC}") for i in members}
    else:
        paths = sorted(place.rglob("*")) if place.is_dir() else [place]
        base = place if place.is_dir() else place.parent
        found = {}
        for path in filter(Path.is_file, paths):
            size, changed = path.stat().st_size, path.stat().st_mtime_ns
            found[path.relative_to(base).as_posix()] = Path.read_bytes, path, size, f"{size} {changed}"
    return {
        name: ((lambda file=file: _whole(*file)), stamp)
        for name, (*file, stamp) in sorted(found.items())
        if not _is_hidden(name)
    }


def _whole(read, file, size):
    if size > MAX_BYTES:
        raise UnreadableImage(f"the file is too large, {size / 1e9:.1f} GB; no radiograph is")
    return read(file)


def _is_hidden(name):
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _open_zip(path):
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            start = file.read(64)
        hint = (
            "a web page saved under this name" if b"<" in start[:16] else "perhaps cut off while downloading"
        )
        raise DataError(f"{path} is not a zip archive ({hint}). Download it again.")
    return zipfile.ZipFile(path)
