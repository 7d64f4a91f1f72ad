"""Any radiograph file -> uint8 grey picture; its fingerprint; many files at once."""

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.fft
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm.auto import tqdm

from ..workspace import ExplainedError
from . import dicom

DECODED = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")  # by Pillow, whatever the file is called
SIDE = 224  # pixels; pictures are kept squashed to SIDE x SIDE, as the public copies are
ALIKE = 3  # bits of the fingerprint: copies of one picture differ by 0-2, the nearest other picture by 4
AHEAD = 128  # pictures read at a time
NO_IMAGE = "this is not an image file (JPEG, PNG, TIFF, BMP, GIF, WebP and DICOM can be read)"
# What Pillow has to say about a file is said here in our words, or does not matter.
warnings.filterwarnings("ignore", module=r"PIL\b")


def read(source, at_least=None):
    """One radiograph as uint8 grey [height, width].

    source: a path, or the file's bytes; for DICOM see `dicom.read`. Colour is averaged by luminance, EXIF
    rotation is applied, transparency is laid over black, and 16-bit or float pictures are scaled by the bit
    depth they use. at_least: pixels; a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both
    sides keep that many, which is faster. Raises ExplainedError if this is no picture that can be used.
    """
    raw = source if isinstance(source, bytes) else Path(source).read_bytes()
    if dicom.is_dicom(raw):
        return dicom.read(raw)
    try:
        picture = Image.open(io.BytesIO(raw), formats=DECODED)
        if getattr(picture, "is_animated", False) and picture.format != "MPO":  # MPO: a photo with previews
            raise ExplainedError("it is animated or has several pages; save the picture you mean by itself")
        if at_least and picture.mode in ("L", "RGB"):
            picture.draft("L", (at_least, at_least))
        return _grey(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError:
        raise ExplainedError(NO_IMAGE) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ExplainedError(f"the image is damaged, cut off or too large ({error})") from None


def _grey(picture):
    """A Pillow picture of any mode as uint8 grey [height, width]."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, dtype=np.float64)
        if not np.isfinite(values).all() or values.min() < 0:
            raise ExplainedError("its pixel values are negative or not numbers")
        if picture.mode == "F" and values.max() <= 1:  # a common way to store float pictures
            values = values * 255
        bits = max(8, int(np.ceil(np.log2(values.max() + 1))))
        return (values / 2 ** (bits - 8)).astype(np.uint8)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture)
    return np.asarray(picture.convert("L"))


def is_colour(raw):
    """Whether a file that `read` can read has visible colour; raw: its bytes."""
    if dicom.is_dicom(raw):
        return False
    picture = Image.open(io.BytesIO(raw))
    picture.draft("RGB", (64, 64))
    small = picture.resize((64, 64), Image.Resampling.NEAREST).convert("RGB")
    return bool(np.ptp(np.asarray(small).astype(int), axis=2).mean() > dicom.COLOURED)


def file_facts(raw):
    """What a file tells without its picture: width, height, bytes, luma_table_sum, exif (0 or 1).

    luma_table_sum: sum of a JPEG file's luminance quantisation table, which tells the encoder and its
    quality; 0 for other formats.
    """
    if dicom.is_dicom(raw):
        height, width = dicom.read(raw).shape
        return {"width": width, "height": height, "bytes": len(raw), "luma_table_sum": 0, "exif": 0}
    picture = Image.open(io.BytesIO(raw))
    tables = getattr(picture, "quantization", {})
    return {
        "width": picture.width,
        "height": picture.height,
        "bytes": len(raw),
        "luma_table_sum": sum(tables.get(0, [])),
        "exif": int(len(picture.getexif()) > 0),
    }


def squash(grey, side=SIDE):
    """Resize uint8 [height, width] to uint8 [side, side], antialiased; the aspect ratio is lost."""
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR))


def fingerprint(pictures):
    """64-bit perceptual hash of squashed pictures: uint8 [n, 224, 224] -> uint64 [n].

    As pHash (Zauner 2010): signs of low-frequency cosine coefficients against their median. We take the odd
    horizontal frequencies: all chests share the symmetric part, how left differs from right tells them apart.
    """
    block = SIDE // 32
    small = pictures.reshape(-1, 32, block, 32, block).mean((2, 4), dtype=np.float32)  # [n, 32, 32]
    waves = scipy.fft.dctn(small, axes=(1, 2))[:, :8, 1:16:2].reshape(-1, 64)
    bits = waves > np.median(waves, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def stretch(pictures):
    """How squashed each picture looks: uint8 [n, height, width] -> float [n].

    Mean grey-level difference from left to right, over that from top to bottom. A radiograph taken wide and
    squashed to a square changes faster from left to right, so the value tells the lost aspect ratio.
    """
    ratios = []
    for picture in pictures:
        grey = picture.astype(np.float32)
        across, down = np.abs(np.diff(grey, axis=1)).mean(), np.abs(np.diff(grey, axis=0)).mean()
        ratios.append(across / max(down, 1e-6))
    return np.array(ratios)


def distance(a, b):
    """Number of differing bits between fingerprints (uint64, broadcast): 0 to 64."""
    return np.bitwise_count(a ^ b)


def stored(fingerprints):
    """Fingerprints from a manifest, texts of 16 hexadecimal digits, as uint64 [n]."""
    return np.array([int(value, 16) for value in fingerprints], np.uint64)


def alike(fingerprints):
    """Pairs of pictures whose fingerprints differ by at most ALIKE bits: columns one, other, distance.

    fingerprints: texts of 16 hexadecimal digits. one and other are places in their order.
    """
    prints, pairs = stored(fingerprints), []
    for one in range(len(prints)):
        bits = distance(prints[one], prints[one + 1 :])
        pairs += [(one, one + 1 + later, bits[later]) for later in np.flatnonzero(bits <= ALIKE)]
    return pd.DataFrame(pairs, columns=["one", "other", "distance"], dtype=int)


def read_squashed(source):
    """A file, or its bytes, as a squashed picture, uint8 [224, 224]; raises ExplainedError."""
    return squash(read(source, at_least=2 * SIDE))


def read_many(readers, desc, make=read_squashed):
    """Read many radiographs in threads, in order, with a progress bar.

    readers: list of functions that return a file's bytes. make: what to do with them. Yields what `make`
    returns, or an ExplainedError instead of raising it, so that one bad file never stops the rest.
    """

    def one(reader):
        try:
            return make(reader())
        except ExplainedError as error:
            reason = str(error)
        except Exception as error:  # decoders have many ways to fail
            reason = f"the file cannot be opened ({error})"
        return ExplainedError(reason)  # a new one: that which was raised holds on to the file's bytes

    bar = tqdm(total=len(readers), desc=desc, unit=" images", mininterval=1)
    with ThreadPoolExecutor() as pool, bar:
        for start in range(0, len(readers), AHEAD):  # only so many at a time, so that memory stays small
            for result in pool.map(one, readers[start : start + AHEAD]):
                bar.update()
                yield result
