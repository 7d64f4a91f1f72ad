"""From image files to the packed cache: written by one process at a time, checked, and kept.

Locks hold on one machine. Two Colab sessions that pack at once write files of their own, which are
equal; the last one stays.
"""

import re
import shutil
from pathlib import PurePosixPath

from filelock import Timeout

from .. import workspace
from ..data import cache, images, manifest
from ..data.formats import DataError
from . import files

EXPECTED = "Expected are the folders NORMAL and PNEUMONIA, as in chest_xray/train/NORMAL/IM-0115-0001.jpeg."
OWN = "For two classes of your own, describe them once: see notebook 01."


def pack(place, where, origin):
    """The packed cache of the image files in a folder or zip, written into the folder `where` if need be.

    Its name tells which files it holds. origin: what is said of where they come from. Raises DataError.
    """
    readers, stamps, own = files.gather(place)
    if not readers:
        raise DataError(f"There is no image file in {place}. {EXPECTED}")
    if not own and not any(set(PurePosixPath(name).parts) & set(manifest.CLASS_NAMES) for name in readers):
        tops = sorted({PurePosixPath(name).parent.name or name for name in readers})[:5]
        raise DataError(
            f"No folder NORMAL or PNEUMONIA in {place}; found: {', '.join(tops)}. {EXPECTED} {OWN}"
        )
    table = manifest.read(own or manifest.PUBLIC)  # a manifest beside the images wins
    name = workspace.digest("\n".join([manifest.digest(table), *stamps]))
    packed = where / f"{name}.h5"
    with _alone(packed):
        if not _is_whole(packed):
            try:
                problems = cache.write(readers, table, packed, origin)
            except (OSError, RuntimeError) as error:  # HDF5 has its own words for a full disk
                reason = re.search("error message = '(.*?)'", str(error)) or [error, error]
                raise DataError(
                    f"The packed file, about {len(table) * images.SIDE**2 / 1e6:,.0f} MB, cannot be written "
                    f"to {packed.parent} ({reason[1]}). Free some space, or name another folder: CXR_HOME."
                ) from None
            if not packed.exists():
                first = problems[problems.problem != "missing"].iloc[0]
                raise DataError(
                    f"None of the {len(readers):,} images in {place} is a radiograph of the manifest in use. "
                    f"The first, {first.path}: {first.problem}. {EXPECTED}"
                )
    return packed


def _alone(path):
    """A context: while it is open, no other notebook on this machine writes this file."""
    lock = workspace.lock(path)
    try:
        return lock.acquire(timeout=1)
    except Timeout:
        print(f"Another notebook is writing {path}; this one waits for it.", flush=True)
        return lock.acquire()


def _is_whole(packed):
    """Whether this packed file is there as it was written; says so if it is not."""
    try:
        return packed.exists() and cache.check(packed) is None
    except DataError:
        print(f"{packed} is damaged or of another version. It is written again.")
        return False


def copy_once(path, folder):
    """The packed file `path` in `folder`: copied there, whole or not at all, unless it is there already."""
    target = folder / path.name
    with _alone(target):
        if not _is_whole(target):
            print(f"Copying {path.name} ({path.stat().st_size / 1e6:,.0f} MB) to {folder}")
            with workspace.whole(target) as partial:
                shutil.copyfile(path, partial)
    return target


def keep(packed, folder):
    """Keep a packed file where it outlives the session. It is checked when a session takes it from there."""
    target = folder / packed.name
    try:
        if not (target.exists() and target.stat().st_size == packed.stat().st_size):
            workspace.check_connected(folder)
            copy_once(packed, folder)
    except OSError as error:  # Drive is full or gone; the local copy is good
        print(f"The packed file could not be kept in {folder} ({error}); it will be made again.")
