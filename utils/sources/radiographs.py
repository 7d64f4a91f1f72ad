"""Finds the radiographs, and packs them into one file that is checked against the manifest.

What CXR_DATA or a notebook's DATA names is used, and nothing else. Where nothing is named, these places are
tried in order: the packed file of an earlier session; a folder or zip in the folder of results, in the
project or at the top of My Drive; in Colab the public copy on Kaggle, except in quick mode, which never
downloads; the phantom, which is synthetic.
"""

import io
import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from .. import workspace
from ..data import cache, manifest
from ..workspace import DRIVE, PROJECT, ExplainedError
from . import files
from .phantom import MARK, write_phantom

KAGGLE = "paultimothymooney/chest-xray-pneumonia"  # the files of Kermany et al. 2018, about 1.2 GB
FOLDERS = ("chest_xray", "ChestXRay2017")
ARCHIVES = ("chest_xray.zip", "ChestXRay2017.zip", "chest-xray-pneumonia.zip", "archive.zip")
EXPECTED = (
    "Expected is a folder or a zip (unpack other archives first) with images as in "
    "chest_xray/train/NORMAL/IM-0115-0001.jpeg. Radiographs of your own, also in folders called NORMAL and "
    "PNEUMONIA: describe them first with own_data.describe, see notebook 01."
)


@dataclass(frozen=True)
class Radiographs:
    """The radiographs in use."""

    pixels: np.ndarray  # uint8 [rows, 224, 224], memory-mapped
    table: pd.DataFrame  # one manifest row for each usable image; its index is the row in `pixels`
    listed: pd.DataFrame  # the whole manifest
    problems: pd.DataFrame  # columns path and problem, see `cache.PROBLEMS`
    digest: str  # of the manifest, so that a run knows its data
    origin: str  # where they come from
    synthetic: bool  # True for the phantom

    def __str__(self):
        what = "SYNTHETIC PHANTOM radiographs" if self.synthetic else "radiographs"
        text = f"{len(self.table):,} {what} of {self.table.patient.nunique():,} patients from {self.origin}"
        if len(self.problems):
            kinds = cache.explain(self.problems).files
            text += "; to look at: " + ", ".join(f"{n:,} {kind}" for kind, n in kinds.items())
        return text


@dataclass(frozen=True)
class Source:
    """One place that radiographs can come from."""

    kind: str  # cache, folder, zip, download or phantom
    where: Path | str
    words: str  # what notebooks say about it

    def __str__(self):
        return self.words


def choose(ws, data):
    """The workspace with the radiographs that a notebook's DATA names. Prints which.

    data: a folder, a zip, a link to a zip on Google Drive, "kaggle" for the public data set, or "", which
    changes nothing. Raises ExplainedError if it cannot be fetched or is not there.
    """
    if not data:
        return ws
    if data == "kaggle":
        data = _from_kaggle()
    elif data.startswith("https://"):
        from . import drive  # brings Google's client, which is not in every runtime

        data = drive.fetch(data, ws.scratch / "incoming" / f"{drive.file_id(data)}.zip")
    ws = replace(ws, data=Path(data).expanduser().resolve())
    print("images   ", find(ws))
    return ws


def find(ws):
    """The first Source of radiographs, without opening it. Raises ExplainedError if DATA names nothing."""
    return next(_places(ws))


def load(ws):
    """The Radiographs in use; they are packed first where that has not been done yet.

    A download that fails, or a packed file that is damaged, is explained, and the next place tried. Raises
    ExplainedError if there is nothing usable in a place, or nowhere.
    """
    for source in _places(ws):
        try:
            return _load(source, ws)
        except ExplainedError as error:
            if source.kind not in ("cache", "download"):
                raise
            print(f"{error} Going on without it.")
    raise ExplainedError(f"Nothing usable is left. Delete {ws.home / 'cache'}, and run notebook 01 again.")


def at_hand(ws):
    """The Radiographs in use, or None where they would have to be downloaded first."""
    return None if find(ws).kind == "download" else load(ws)


def open_files(ws):
    """{relative name: function that returns the bytes} of the image files in use.

    Empty where there is no folder or zip: for a packed file, a download still to come, and the phantom.
    """
    source = find(ws)
    listed = files.every(source.where) if source.kind in ("folder", "zip") else {}
    return {name: file.read for name, file in files.image_files(listed)[0].items()}


def _places(ws):
    """Each Source in the order of preference.

    The last is the phantom, unless the user names a place, or had real radiographs in an earlier session.
    """
    if ws.data:
        if not ws.data.exists():
            raise ExplainedError(f"There is nothing at {ws.data}. Correct DATA (or CXR_DATA), or empty it.")
        yield _files_at(ws.data)
        return
    # Hidden ones are still being written, or were cut off.
    packed = [path for home in ws.homes for path in (home / "cache").glob("[!.]*.h5")]
    for path in sorted(packed, key=lambda path: path.stat().st_mtime, reverse=True):  # the newest first
        yield Source("cache", path, f"packed in an earlier session, {path}")
    homes = [*ws.homes, PROJECT] + [DRIVE] * ws.on_drive
    for path in [home / name for names in (FOLDERS, ARCHIVES) for home in homes for name in names]:
        if path.exists():
            yield _files_at(path)
    if workspace.in_colab() and not ws.quick:
        yield Source("download", KAGGLE, "none yet; the public data set will be downloaded, about 1.2 GB")
    if not packed:
        folder = ws.scratch / ("phantom-quick" if ws.quick else "phantom")
        yield Source("phantom", folder, "none found; the SYNTHETIC PHANTOM will be used")


def _files_at(path):
    kind = "folder" if path.is_dir() else "zip"
    return Source(kind, path, f"{kind} {path}")


def _load(source, ws):
    """The Radiographs of one Source. Raises ExplainedError."""
    if source.kind == "cache":
        packed = _copy(source.where, ws.scratch / "cache")
    elif source.kind == "phantom":
        _write_phantom(source.where, ws)
        packed = _pack(source.where, folder=source.where, origin=source.where)
    else:
        place = _from_kaggle() if source.kind == "download" else source.where
        packed = _pack(place, folder=ws.scratch / "cache", origin=source.where)
        try:
            workspace.check_connected(ws.home)
            _copy(packed, ws.home / "cache")
        except OSError as error:  # Drive is full or gone; the local copy is good
            print(f"The packed file could not be kept in {ws.home} ({error}); it will be made again.")
    pixels, table, present, problems, origin = cache.read(packed)
    synthetic = bool(table.patient.str.startswith(MARK).all())
    usable = table[present]
    if ws.quick:
        usable = manifest.sample(usable, per_group=12)  # test images are all kept
    return Radiographs(pixels, usable, table, problems, manifest.digest(table), origin, synthetic)


def _from_kaggle():
    """The folder with the public data set, where kagglehub keeps it. Raises ExplainedError."""
    try:
        import kagglehub

        return Path(kagglehub.dataset_download(KAGGLE))
    except Exception as error:  # kagglehub has many kinds, without a common base
        raise ExplainedError(
            f"The public data set could not be downloaded from Kaggle ({error}). Run this cell again later: "
            "the download goes on from where it stopped."
        ) from None


def _write_phantom(folder, ws):
    """Say that the phantom is used, and write it into `folder` unless it is there."""
    print(
        "NOTE: using the SYNTHETIC PHANTOM; to use real radiographs, put the folder chest_xray or the file "
        f"chest_xray.zip (doi 10.17632/rscbjbr9sj) into {ws.home}, or set DATA to where it lies, "
        'or to "kaggle" to download the public data set.'
    )
    if not (folder / manifest.PUBLIC.name).exists():
        write_phantom(folder, patients=160 if ws.quick else 480)


def _pack(place, folder, origin):
    """The packed file of the radiographs in a folder or zip; written into `folder` unless it is there.

    It is named after the files, so that changed files are packed anew beside it. origin: what is said of
    where they come from. Raises ExplainedError if there are none.
    """
    listed = files.every(place)
    image_files, left_out = files.image_files(listed)
    if not image_files:
        raise ExplainedError(f"There is no image file in {place}. {EXPECTED}")
    table = _manifest_for(listed, place)
    versions = [f"{name} {file.size} {file.version}" for name, file in image_files.items()]
    packed = folder / (workspace.digest("\n".join([manifest.digest(table), *versions])) + ".h5")
    with workspace.lock(packed):  # a second notebook waits, instead of doing the same work
        if not _is_usable(packed):
            if packed.exists():
                print(f"{packed} is damaged, or of another version. It is written again.")
            print(f"{len(listed):,} files = {len(image_files):,} images to read + {len(left_out):,} left out")
            files.print_reasons(left_out)
            readers = {name: file.read for name, file in image_files.items()}
            problems = cache.write(readers, table, packed, origin)
            extra = problems[problems.problem.str.startswith("extra")]
            if not packed.exists() or len(extra) > len(image_files) / 2:
                packed.unlink(missing_ok=True)
                name, problem = (problems if extra.empty else extra).iloc[0]
                raise ExplainedError(
                    f"Most of the {len(image_files):,} images in {place} cannot be read, or are not in the "
                    f"manifest. The first, {name}: {problem}. {EXPECTED}"
                )
    return packed


def _manifest_for(listed, place):
    """The manifest that lies beside the images, or else that of the public data set."""
    names = [name for name in listed if PurePosixPath(name).name == manifest.PUBLIC.name]
    if not names:
        return manifest.read()
    name = min(names, key=len)  # the one nearest to the top
    file = io.BytesIO(listed[name].read())
    file.name = f"{name} in {place}"  # for messages
    return manifest.read(file)


def _is_usable(packed):
    """Whether this packed file is there, whole, and of this version."""
    if not packed.exists():
        return False
    try:
        cache.read(packed)
    except ExplainedError:
        return False
    return True


def _copy(packed, folder):
    """The packed file in another folder, where it is copied to unless it is there already."""
    target = folder / packed.name
    if not _is_usable(target):
        cache.read(packed)  # raises ExplainedError if it is damaged
        print(f"Copying {packed.name} ({packed.stat().st_size / 1e6:,.0f} MB) to {folder}")
        with workspace.whole(target) as partial:
            shutil.copyfile(packed, partial)
    return target
