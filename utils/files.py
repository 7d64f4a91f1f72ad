"""The image files of a folder or zip archive, which is read in place without unpacking it."""

import zipfile
from pathlib import Path, PurePosixPath

from . import manifest
from .images import SUFFIXES, UnreadableImage

MAX_BYTES = 500_000_000  # larger members of a zip are no radiographs


class DataError(RuntimeError):
    """The radiographs cannot be used; the message says what was looked for, where, what to do."""


def gather(place):
    """What a folder or zip holds: ({relative name: reader}, stamps, its own manifest or None).

    A reader is a callable that returns the file's bytes. The stamps change when a file does.
    Raises DataError.
    """
    return _folder(place) if place.is_dir() else _zip(place)


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


def _is_image(name):
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not _is_hidden(name)


def _folder(folder):
    """({relative name: reader}, [what changes if a file does], its own manifest or None) of a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if _is_image(name) and path.is_file():
            found.setdefault(path.parts[-3:], (name, path))  # some archives hold the tree twice
    readers = {name: path.read_bytes for name, path in found.values()}
    stamps = [f"{name} {(s := path.stat()).st_size} {s.st_mtime_ns}" for name, path in found.values()]
    own = folder / manifest.PUBLIC.name
    return readers, stamps, own if own.is_file() else None


def _zip(path):
    """The same for a zip archive, read in place without unpacking it."""
    archive, found = _open_zip(path), {}
    for info in archive.infolist():
        if _is_image(info.filename):
            if info.file_size > MAX_BYTES:
                raise DataError(
                    f"{info.filename} in {path} unpacks to {info.file_size / 1e9:.1f} GB; no image does."
                )
            found.setdefault(PurePosixPath(info.filename).parts[-3:], info)
    readers = {info.filename: (lambda info=info: archive.read(info)) for info in found.values()}
    stamps = [f"{info.filename} {info.file_size} {info.CRC}" for info in found.values()]
    own = [name for name in archive.namelist() if PurePosixPath(name).name == manifest.PUBLIC.name]
    return readers, stamps, archive.open(own[0]) if own else None


def _open_zip(path):
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            start = file.read(64)
        hint = (
            "a web page saved under this name" if b"<" in start[:16] else "perhaps cut off while downloading"
        )
        raise DataError(f"{path} is not a zip archive ({hint}). Download it again.")
    return zipfile.ZipFile(path)
