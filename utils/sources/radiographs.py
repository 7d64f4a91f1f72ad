"""Ways to get the radiographs; all end in the same packed cache, checked against the manifest.

Order, when nothing is set: CXR_DATA; the packed cache of an earlier session; a folder or zip in
the project's home (on Drive in Colab); in Colab Google's public copy, then Kaggle's; the phantom.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ..data import cache, formats, images, manifest
from ..workspace import digest, in_colab
from . import download, files
from .files import DataError
from .phantom import MARK, write_phantom

ROUTES = ("cache", "folder", "zip", "download", "kaggle")  # then the phantom
ADDRESSES = {  # both give the files of Kermany et al. 2018, about 1.2 GB
    "download": "https://storage.googleapis.com/download.tensorflow.org/data/ChestXRay2017",
    "kaggle": "paultimothymooney/chest-xray-pneumonia",
}
FOLDERS = ("chest_xray", "ChestXRay2017")
ARCHIVES = ("chest_xray.zip", "ChestXRay2017.zip", "chest-xray-pneumonia.zip", "archive.zip")
FETCHERS = {"download": download.from_records, "kaggle": download.from_kaggle}
EXPECTED = "Expected are the folders NORMAL and PNEUMONIA, as in chest_xray/train/NORMAL/IM-0115-0001.jpeg."
HOW_TO_GET_IMAGES = (
    "to use real radiographs from elsewhere, put the folder chest_xray or the file chest_xray.zip "
    "(doi 10.17632/rscbjbr9sj) into {home}, or set CXR_DATA to where it lies."
)


OWN = "For two classes of your own, describe them once: see notebook 01."
REPACK = "Delete this file and run notebook 01 again."


@dataclass(frozen=True)
class Radiographs:
    """The radiographs in use.

    pixels: uint8 [rows, 224, 224], memory-mapped. table: one manifest row per usable image;
    its index is the row in `pixels`. listed: the whole manifest. problems: columns path and
    problem. digest: names the manifest, so that a run knows its data. synthetic: True for the
    phantom.
    """

    pixels: np.ndarray
    table: pd.DataFrame
    listed: pd.DataFrame
    problems: pd.DataFrame
    digest: str
    origin: str
    synthetic: bool

    def __str__(self):
        what = "SYNTHETIC PHANTOM radiographs" if self.synthetic else "radiographs"
        text = f"{len(self.table):,} {what} of {self.table.patient.nunique():,} patients from {self.origin}"
        if len(self.problems):
            kinds = cache.explain(self.problems).files
            text += "; to look at: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
        return text


@dataclass(frozen=True)
class Source:
    """One place with radiographs: kind (a route, or phantom) and where."""

    kind: str
    where: Path | str

    def __str__(self):
        if self.kind == "cache":
            _, table, present, _, origin = cache.read(self.where)
            return f"packed before, {present.sum():,} of {len(table):,} radiographs, from {origin}"
        if self.kind in ADDRESSES:
            return "none yet; the public data set will be downloaded, about 1.2 GB"
        if self.kind == "phantom":
            return "none found; the SYNTHETIC PHANTOM will be used"
        return f"{self.kind} {self.where}"


def find(ws, routes=ROUTES):
    """The first place where the radiographs could come from, without reading them. Raises DataError."""
    return next(_places(ws, routes))


def _places(ws, routes):
    """Every place that the routes offer here, in order. The phantom is always the last."""
    unknown = set(routes) - set(ROUTES)
    if unknown:
        raise DataError(f"Unknown routes: {', '.join(sorted(unknown))}. Choose from {', '.join(ROUTES)}.")
    if ws.data:  # the user's word: nothing else is tried
        if not ws.data.exists():
            raise DataError(f"CXR_DATA is {ws.data}, but nothing is there. Correct the path or unset it.")
        if ws.data.suffix.lower() in formats.SUFFIXES:
            raise DataError(f"CXR_DATA is one image, {ws.data}; it must be a folder or a zip. {EXPECTED}")
        yield Source("folder" if ws.data.is_dir() else "zip", ws.data)
        return
    for route in routes:
        if route == "cache":
            packs = (ws.home / "cache").glob("*.h5")
            found = sorted(packs, key=lambda path: path.stat().st_mtime)[-1:]
        elif route == "folder":
            found = [ws.home / name for name in FOLDERS if (ws.home / name).is_dir()]
        elif route == "zip":
            found = [ws.home / name for name in ARCHIVES if (ws.home / name).is_file()]
        else:  # from elsewhere: by itself only in Colab, or where the routes are named
            named = tuple(routes) != ROUTES  # then the user asks for it
            found = [ADDRESSES[route]] if named or (in_colab() and not ws.quick) else []
        yield from (Source(route, where) for where in found)
    yield Source("phantom", ws.scratch / "phantom")


def load(ws, routes=ROUTES):
    """Return the Radiographs in use, packing them first where that has not been done yet.

    routes: the places to try, in order, from ROUTES; CXR_DATA, where set, is the only one. A
    download that fails is explained, and the next route tried. The packed cache is named after
    the files it came from, so changed files are packed anew and an earlier cache is never
    overwritten. Raises DataError if nothing usable is found.
    """
    for source in _places(ws, routes):
        try:
            return _load(source, ws)
        except DataError as error:
            if source.kind not in ADDRESSES:
                raise
            print(f"{error} Going on without it.")


def _load(source, ws):
    if source.kind == "cache":
        packed = _copy_once(source.where, ws.scratch / "cache")
    else:
        packed = _pack(source, ws)
        if source.kind != "phantom":
            try:
                _copy_once(packed, ws.home / "cache")
            except OSError as error:  # Drive is full or gone; the local copy is good
                print(f"The packed file could not be kept in {ws.home} ({error}); it will be made again.")
    try:
        pixels, table, present, problems, origin = cache.read(packed)
    except images.UnreadableImage as error:
        raise DataError(f"{error}. {REPACK}") from None
    synthetic = bool(table.patient.str.startswith(MARK).all())
    usable = table[present]
    if ws.quick:
        usable = manifest.sample(usable, per_group=12)  # test images are all kept
    return Radiographs(pixels, usable, table, problems, manifest.digest(table), origin, synthetic)


def at_hand(ws):
    """The Radiographs in use, or None where they would have to be downloaded first."""
    return None if find(ws).kind in ADDRESSES else load(ws)


def open_files(ws):
    """{relative name: reader} of the files in use; empty where only a packed cache is at hand."""
    source = find(ws)
    if source.kind not in ("folder", "zip"):
        return {}
    return files.gather(source.where)[0]


def _pack(source, ws):
    folder = source.where
    if source.kind in ADDRESSES:
        try:
            folder = FETCHERS[source.kind](source.where, ws.scratch / "chest_xray")
        except download.DownloadError as error:
            raise DataError(str(error)) from None
    if source.kind == "phantom":
        folder = folder.with_name("phantom-quick" if ws.quick else "phantom")
        print(f"NOTE: using the SYNTHETIC PHANTOM; {HOW_TO_GET_IMAGES.format(home=ws.home)}")
        if not (folder / manifest.PUBLIC.name).exists():
            write_phantom(folder, patients=160 if ws.quick else 480)
    readers, stamps, own = files.gather(folder)
    if not readers:
        raise DataError(f"There is no image file in {folder}. {EXPECTED}")
    if not own and not any(
        part in manifest.CLASS_NAMES for name in readers for part in PurePosixPath(name).parts
    ):
        tops = sorted({PurePosixPath(name).parent.name or name for name in readers})[:5]
        raise DataError(
            f"No folder NORMAL or PNEUMONIA in {folder}; found: {', '.join(tops)}. {EXPECTED} {OWN}"
        )
    try:
        table = manifest.read(own or manifest.PUBLIC)  # a manifest beside the images wins
    except manifest.ManifestError as error:
        raise DataError(str(error)) from None
    name = digest("\n".join([manifest.digest(table), *stamps]))
    packed = (folder if source.kind == "phantom" else ws.scratch / "cache") / f"{name}.h5"
    if not packed.exists():
        problems = cache.write(readers, table, packed, origin=source.where)
        if not packed.exists():
            first = problems[problems.problem != "missing"].iloc[0]
            raise DataError(
                f"None of the {len(readers):,} images in {folder} is a radiograph of the manifest in use. "
                f"The first, {first.path}: {first.problem}. {EXPECTED}"
            )
    return packed


def _copy_once(path, folder):
    """`path` in `folder`: copied there, whole or not at all, unless it is there already."""
    target = folder / path.name
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"Copying {path.name} ({path.stat().st_size / 1e6:,.0f} MB) to {folder}")
        partial = target.with_name(target.name + ".part")
        shutil.copyfile(path, partial)
        partial.replace(target)
    return target
