"""Ways to get the radiographs; all end in the same packed cache, checked against the manifest.

Order, when nothing is set: CXR_DATA or a notebook's DATA; the packed cache of an earlier session; a
folder or zip in the folder of results or of the project, or at the top of My Drive; in Colab the public
copy on Kaggle; the phantom.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data import cache, manifest
from ..data.formats import SUFFIXES, DataError
from ..workspace import DRIVE, PROJECT, in_colab
from . import files, packing
from .phantom import MARK, write_phantom

ROUTES = ("cache", "folder", "zip", "download")  # then the phantom
KAGGLE = "paultimothymooney/chest-xray-pneumonia"  # the files of Kermany et al. 2018, about 1.2 GB
FOLDERS = ("chest_xray", "ChestXRay2017")
ARCHIVES = ("chest_xray.zip", "ChestXRay2017.zip", "chest-xray-pneumonia.zip", "archive.zip")
HOW_TO_GET_IMAGES = (
    "to use real radiographs, put the folder chest_xray or the file chest_xray.zip "
    "(doi 10.17632/rscbjbr9sj) into {home}, or set DATA to where it lies."
)


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
        if self.kind == "download":
            return "none yet; the public data set will be downloaded, about 1.2 GB"
        if self.kind == "phantom":
            return "none found; the SYNTHETIC PHANTOM will be used"
        return f"{self.kind} {self.where}"


def choose(ws, data):
    """The workspace with the images that a notebook's DATA names: a folder, a zip, or a link to one on Drive.

    An empty DATA changes nothing. Says which images will be used. Raises DataError, also where Drive fails.
    """
    if not data:
        return ws
    if data.startswith("https://"):
        from . import drive  # brings PyDrive2, which is not in every runtime

        data = drive.fetch(data, ws.scratch / "incoming" / f"{drive.file_id(data)}.zip")
    ws = replace(ws, data=Path(data).expanduser().resolve())
    print("images   ", find(ws))
    return ws


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
            raise DataError(f"There is nothing at {ws.data}. Correct DATA (or CXR_DATA), or leave it empty.")
        if ws.data.suffix.lower() in SUFFIXES:
            raise DataError(f"{ws.data} is one image; DATA must be a folder or a zip. {packing.EXPECTED}")
        yield Source("folder" if ws.data.is_dir() else "zip", ws.data)
        return
    packs = (ws.home / "cache").glob("[!.]*.h5")  # hidden ones are still being written, or were cut off
    homes = [ws.home, PROJECT] + [DRIVE] * ws.on_drive
    online = tuple(routes) != ROUTES or (in_colab() and not ws.quick)  # where asked for, or in Colab
    places = {
        "cache": sorted(packs, key=lambda path: path.stat().st_mtime, reverse=True),  # the newest first
        "folder": [path for home in homes for name in FOLDERS if (path := home / name).is_dir()],
        "zip": [path for home in homes for name in ARCHIVES if (path := home / name).is_file()],
        "download": [KAGGLE] if online else [],
    }
    yield from (Source(route, where) for route in routes for where in places[route])
    yield Source("phantom", ws.scratch / "phantom")


def load(ws, routes=ROUTES):
    """Return the Radiographs in use, packing them first where that has not been done yet.

    routes: the places to try, in order, from ROUTES; CXR_DATA, where set, is the only one. A
    download that fails or a damaged packed file is explained, and the next place tried. The packed
    cache is named after the files it came from, so changed files are packed anew and an earlier cache
    is never overwritten. Raises DataError if nothing usable is found.
    """
    damaged = None
    for source in _places(ws, routes):
        if source.kind == "phantom" and damaged:
            raise damaged  # real radiographs were meant
        try:
            return _load(source, ws)
        except DataError as error:
            if source.kind not in ("download", "cache"):
                raise
            if source.kind == "cache":
                damaged = error
            print(f"{error} Going on without it.")


def _load(source, ws):
    if source.kind == "cache":
        packed = packing.copy_once(source.where, ws.scratch / "cache")
    else:
        folder = _folder(source, ws)
        where = folder if source.kind == "phantom" else ws.scratch / "cache"
        packed = packing.pack(folder, where, source.where)
        if source.kind != "phantom":
            packing.keep(packed, ws.home / "cache")
    cache.check(packed)
    pixels, table, present, problems, origin = cache.read(packed)
    synthetic = bool(table.patient.str.startswith(MARK).all())
    usable = table[present]
    if ws.quick:
        usable = manifest.sample(usable, per_group=12)  # test images are all kept
    return Radiographs(pixels, usable, table, problems, manifest.digest(table), origin, synthetic)


def at_hand(ws):
    """The Radiographs in use, or None where they would have to be downloaded first."""
    return None if find(ws).kind == "download" else load(ws)


def open_files(ws):
    """{relative name: reader} of the files in use; empty where only a packed cache is at hand."""
    source = find(ws)
    return files.gather(source.where)[0] if source.kind in ("folder", "zip") else {}


def _folder(source, ws):
    """The folder or zip with the image files of a source; downloaded or made where they are not there yet."""
    if source.kind == "download":
        return _from_kaggle()
    if source.kind == "phantom":
        print(f"NOTE: using the SYNTHETIC PHANTOM; {HOW_TO_GET_IMAGES.format(home=ws.home)}")
        folder = source.where.with_name("phantom-quick") if ws.quick else source.where
        if not (folder / manifest.PUBLIC.name).exists():
            write_phantom(folder, patients=160 if ws.quick else 480)
        return folder
    return source.where


def _from_kaggle():
    """The folder with the public data set, where kagglehub keeps it (in Colab perhaps read-only).

    What broke off goes on when it is asked for again. Raises DataError.
    """
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(KAGGLE))
    except Exception as error:  # kagglehub has many kinds, without a common base
        why = "no connection" if isinstance(error, OSError) else f"{error}"
        raise DataError(
            f"The public data set could not be downloaded from Kaggle ({why}). Run this cell again later: "
            "the download goes on from where it stopped."
        ) from None
