"""Any radiograph file -> uint8 grey picture; and the packed cache, one file for a whole data set."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd
import scipy.fft
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm.auto import tqdm

from . import manifest as manifests

SIDE = 224  # pixels; pictures are kept squashed to SIDE x SIDE, as the public copies are
PREPROCESSING = "grey, exif-rotated, squashed to 224x224 by antialiased bilinear resizing; v1"
SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
MAX_PIXELS = 100_000_000  # larger files are refused before they are decoded
TOO_LARGE = f"it has too many pixels, more than {MAX_PIXELS / 1e6:.0f} million"
# Bits of the fingerprint: copies of one picture differ by 0-2, the nearest other picture by 4.
SAME_PICTURE = 6  # under its own name
RECOGNISED = 3  # under an unknown name
PROBLEMS = {
    "missing": "listed in the manifest, but there is no file. Harmless, but there is less to learn from.",
    "unreadable": "damaged or not an image, and left out. Copy or download these files again.",
    "changed": "not the picture that belongs to this name, and left out. Copy these files again.",
    "duplicate": "a second copy of a picture under another name, and left out.",
    "extra": "no radiograph of this data set, and left out.",
    "wrong folder": "in the folder of the other class. Used, with the label of the manifest.",
}


class UnreadableImage(ValueError):
    """One file that cannot be read as a radiograph; the message is the reason, in plain words."""


def read(source, at_least=None):
    """One radiograph as uint8 grey [height, width].

    source: a path, or the file's bytes. Colour is averaged by luminance, EXIF rotation is
    applied, transparency is laid over black, and 16-bit or float pictures are scaled by the
    bit depth they use. at_least: pixels; a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as
    long as both sides keep that many, which is faster. Raises UnreadableImage with a reason a
    user can act on.
    """
    try:
        raw = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise UnreadableImage(f"the file cannot be opened ({error.strerror})") from None
    if not raw:
        raise UnreadableImage("the file is empty")
    if raw[:512].lstrip()[:1] == b"<" and b"<html" in raw[:2048].lower():
        raise UnreadableImage("this is a web page saved under an image's name; download it again")
    if raw[128:132] == b"DICM":
        raise UnreadableImage("DICOM files cannot be read yet; export the image as PNG or JPEG")
    try:
        picture = Image.open(io.BytesIO(raw))
        if picture.width * picture.height > MAX_PIXELS:
            raise UnreadableImage(TOO_LARGE)
        if at_least and picture.mode in ("L", "RGB"):
            picture.draft("L", (at_least, at_least))
        return _grey(ImageOps.exif_transpose(picture))
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("this is not an image file") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(TOO_LARGE) from None
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableImage(f"the image is damaged or cut off ({error})") from None


def _grey(picture):
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, dtype=np.float64)
        if not np.isfinite(values).all() or values.min() < 0:
            raise UnreadableImage("its pixel values are negative or not numbers")
        if picture.mode == "F" and values.max() <= 1:  # a common way to store float pictures
            values = values * 255
        bits = max(8, int(np.ceil(np.log2(values.max() + 1))))
        return (values / 2 ** (bits - 8)).astype(np.uint8)
    if picture.mode in ("P", "PA", "LA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    return np.asarray(picture.convert("L"))


def squash(grey, side=SIDE):
    """Resize uint8 [height, width] to uint8 [side, side], antialiased; the aspect ratio is lost."""
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR))


def fingerprint(pictures):
    """64-bit perceptual hash of squashed pictures: uint8 [n, 224, 224] -> uint64 [n].

    As pHash (Zauner 2010): signs of low-frequency cosine coefficients against their median.
    We take the odd horizontal frequencies, which describe how left differs from right: all
    chests share the symmetric part, so the rest tells patients apart better.
    """
    block = SIDE // 32
    small = pictures.reshape(-1, 32, block, 32, block).mean((2, 4), dtype=np.float32)
    waves = scipy.fft.dctn(small, axes=(1, 2))[:, :8, 1:16:2].reshape(-1, 64)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def stretch(pictures):
    """How squashed each picture looks: uint8 [n, height, width] -> float [n].

    Mean horizontal over mean vertical grey-level difference. A radiograph taken wide and squashed
    to a square changes faster from left to right, so the value tells the lost aspect ratio.
    """

    def step(picture, axis):
        return np.abs(np.diff(picture.astype(np.float32), axis=axis)).mean()

    return np.array([step(picture, 1) / max(step(picture, 0), 1e-6) for picture in pictures])


def distance(a, b):
    """Number of differing bits between fingerprints (uint64, broadcast): 0 to 64."""
    return np.bitwise_count(np.bitwise_xor(a, b))


def read_many(readers, desc):
    """Read and squash many radiographs in threads, in order, with a progress bar.

    readers: callables that return a file's bytes. Yields uint8 [224, 224], or the
    UnreadableImage instead of raising it, so that one bad file never stops the rest.
    """

    def one(reader):
        try:
            return squash(read(reader(), at_least=2 * SIDE))
        except UnreadableImage as error:
            return error
        except OSError as error:
            return UnreadableImage(f"the file cannot be opened ({error.strerror or error})")

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(total=len(readers), desc=desc, unit=" images", mininterval=1) as bar,
    ):
        for first in range(0, len(readers), 256):  # in parts, so that memory stays small
            for picture in pool.map(one, readers[first : first + 256]):
                yield picture
                bar.update()


def pack(readers, table, target, origin):
    """Write the packed cache of a data set and return a table of problems (path, problem).

    readers: {name in the source: callable returning the file's bytes}. A file belongs to the
    manifest row of the same file name; one with an unknown name is recognised by its
    fingerprint. The problems are those of PROBLEMS; nothing is dropped silently.
    The cache is HDF5 with one contiguous uint8 array [n, 224, 224], row i = manifest row i;
    it appears under its name only when complete, and not at all if no image is usable.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    row_of = _rows_by_name(table.path)
    expected = np.array([int(value, 16) for value in table.fingerprint], dtype=np.uint64)
    present = np.zeros(len(table), bool)
    labels = {*manifests.CLASS_NAMES, *table.label}
    problems = []
    with h5py.File(partial, "w") as file:
        shape = (len(table), SIDE, SIDE)
        pixels = file.create_dataset("pixels", shape, np.uint8, fill_time="never")
        pictures = read_many(list(readers.values()), "Reading radiographs")
        for name, picture in zip(readers, pictures, strict=True):
            row = next((row_of[end] for end in _ends(name) if row_of.get(end) is not None), None)
            if isinstance(picture, UnreadableImage):
                problems.append((name, f"unreadable: {picture}"))
                continue
            away = distance(expected, fingerprint(picture[None])[0])
            if row is None:
                free = np.where(present, 64, away)  # of exact duplicates, the next free row
                row = int(free.argmin()) if free.min() <= RECOGNISED else None
            folder = PurePosixPath(name).parent.name
            if row is None and away.min() <= RECOGNISED:
                problems.append((name, f"duplicate: the same picture as {table.path[away.argmin()]}"))
            elif row is None:
                problems.append((name, "extra: the manifest has no such radiograph"))
            elif away[row] > SAME_PICTURE:
                problems.append((name, "changed: not the picture the manifest describes"))
            else:
                pixels[row] = picture
                present[row] = True
                if folder in labels and folder != table.label[row]:
                    problems.append((name, f"wrong folder: it is used as {table.label[row]}"))
        named = {end for name, _ in problems for end in _ends(name)}
        problems += [(path, "missing") for path in table.path[~present] if not named & set(_ends(path))]
        problems = pd.DataFrame(problems, columns=["path", "problem"])
        file["present"] = present
        file["manifest"] = manifests.to_csv(table)
        file["problems"] = problems.to_csv(index=False)
        file.attrs["preprocessing"] = PREPROCESSING
        file.attrs["origin"] = str(origin)
    if present.any():
        partial.replace(target)
    else:
        partial.unlink()
    return problems


def _ends(path):
    """The ends of a path that may name a radiograph, the longest first: a/b/c.png, b/c.png, c.png."""
    parts = PurePosixPath(path).parts
    return ["/".join(parts[-length:]) for length in range(len(parts), 0, -1)]


def _rows_by_name(paths):
    """{end of a path: its row}, None where several rows end so."""
    rows = {}
    for row, path in enumerate(paths):
        for end in _ends(path):
            rows[end] = None if end in rows else row
    return rows


def explain(problems):
    """One row per kind of problem: how many files, and what it means."""
    counts = problems.problem.astype(str).str.split(":").str[0].value_counts()
    return pd.DataFrame({"files": counts, "meaning": [PROBLEMS[kind] for kind in counts.index]})


def open_pack(path):
    """Open a packed cache: (pixels, table, present, problems, origin).

    pixels: uint8 [n, 224, 224], memory-mapped, so only the rows in use take memory.
    table: the whole manifest, n rows. present: bool [n], which rows hold a picture.
    Raises UnreadableImage if the file is not a packed cache of this version.
    """
    try:
        with h5py.File(path) as file:
            if file.attrs["preprocessing"] != PREPROCESSING:
                raise UnreadableImage(f"{path} was packed by another version of this project")
            table = manifests.from_csv(file["manifest"].asstr()[()])
            problems = pd.read_csv(io.StringIO(file["problems"].asstr()[()]))
            dataset = file["pixels"]
            pixels = np.memmap(path, np.uint8, "r", dataset.id.get_offset(), dataset.shape)
            return pixels, table, file["present"][:], problems, file.attrs["origin"]
    except (OSError, KeyError) as error:
        raise UnreadableImage(f"{path} is not a packed cache of radiographs ({error})") from None
