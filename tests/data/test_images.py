"""Any file that a reader may bring becomes the right grey picture, or a reason."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils import workspace
from utils.data import images, manifest
from utils.workspace import ExplainedError


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def gradient(height=40, width=60):
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_every_mode_gives_the_same_grey(mode):
    picture = Image.fromarray(gradient()).convert(mode)
    assert np.abs(images.read(encoded(picture)).astype(int) - gradient()).max() <= 1


def test_cmyk_jpeg_is_read():
    picture = Image.fromarray(gradient()).convert("RGB").convert("CMYK")
    grey = images.read(encoded(picture, "JPEG", quality=95))
    assert grey.shape == (40, 60) and np.abs(grey.astype(int) - gradient()).mean() < 3


def test_transparency_is_laid_over_black():
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    assert images.read(encoded(picture)).max() == 0


def test_float_pictures_from_0_to_1_keep_their_grey_levels():
    values = Image.fromarray(gradient().astype(np.float32) / 255)
    assert np.abs(images.read(encoded(values, "TIFF")).astype(int) - gradient()).max() <= 1


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_deep_pictures_are_scaled_by_the_bits_they_use(bits):
    values = np.linspace(0, 2**bits - 1, 2400).reshape(40, 60).astype(np.uint16)
    grey = images.read(encoded(Image.fromarray(values)))
    assert grey.min() == 0 and grey.max() == 255
    assert np.abs(grey.astype(int) - gradient()).max() <= 1


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert images.read(encoded(Image.fromarray(gradient()), "JPEG", exif=exif)).shape == (60, 40)


def test_large_jpegs_are_decoded_small_but_not_too_small():
    raw = encoded(Image.fromarray(gradient(1000, 1500)), "JPEG")
    assert images.read(raw, at_least=448).shape == (500, 750) and images.read(raw).shape == (1000, 1500)


def frames(kind):
    return encoded(
        Image.fromarray(gradient()), kind, save_all=True, append_images=[Image.fromarray(gradient().T)]
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<!doctype html><html>Too many downloads</html>", "not an image"),
        (bytes(128) + b"DICM", "DICOM"),
        (encoded(Image.fromarray(gradient(400, 400)), "JPEG")[:2000], "damaged"),
        (encoded(Image.fromarray(gradient(400, 400)))[:500], "damaged"),
        (encoded(Image.new("1", (20_000, 20_000))), "too large"),
        (encoded(Image.fromarray(-gradient().astype(np.float32)), "TIFF"), "negative"),
        (frames("GIF"), "several pages"),
        (frames("TIFF"), "several pages"),
    ],
    ids=["web page", "DICOM", "half a JPEG", "half a PNG", "bomb", "negative", "animated", "pages"],
)
def test_what_cannot_be_used_gets_a_reason(content, reason):
    with pytest.raises(ExplainedError, match=reason):
        images.read(content)
    (answer,) = images.read_many([lambda: content], "Reading")
    assert isinstance(answer, ExplainedError) and reason in str(answer)


def test_many_pictures_come_in_order_and_bad_ones_stop_nothing():
    good = [encoded(Image.new("L", (9, 9), shade)) for shade in range(200)]
    readers = [lambda raw=raw: raw for raw in good]
    readers[70] = lambda: 1 / 0  # archives have many ways to be damaged
    pictures = list(images.read_many(readers, "Reading"))
    assert "cannot be opened" in str(pictures.pop(70))
    assert [picture[0, 0] for picture in pictures] == [shade for shade in range(200) if shade != 70]


@pytest.mark.parametrize(("mode", "seen"), [("RGB", True), ("P", True), ("L", False), ("I;16", False)])
def test_colour_is_seen(mode, seen):
    hues = Image.fromarray(np.stack([gradient(), gradient()[::-1], gradient()], axis=2))
    picture = Image.fromarray(gradient().astype(np.uint16)) if mode == "I;16" else hues.convert(mode)
    assert images.is_colour(encoded(picture)) == seen
    assert not images.is_colour(encoded(Image.fromarray(gradient()).convert("RGB")))


def test_copies_of_public_radiographs_are_recognised_by_their_fingerprints():
    table = manifest.read()
    for file in sorted((workspace.PROJECT / "examples/radiographs").glob("*.png")):
        picture = images.read_squashed(file)
        away = images.distance(images.stored(table.fingerprint), images.fingerprint(picture[None]))
        assert Path(table.path[away.argmin()]).stem == file.stem and away.min() == 0
        big = Image.fromarray(picture).resize((900, 700), Image.Resampling.BICUBIC)
        copy = images.read_squashed(encoded(big, "JPEG", quality=60))
        again = images.distance(images.stored(table.fingerprint), images.fingerprint(copy[None]))
        assert again.argmin() == away.argmin() and again.min() <= images.ALIKE


def test_pictures_that_are_nearly_alike_are_paired():
    pairs = images.alike(["0" * 16, "f" * 16, "0" * 15 + "7", "f" * 16, "0" * 15 + "f"])
    assert pairs.values.tolist() == [[0, 2, 3], [1, 3, 0], [2, 4, 1]]


def test_stretch_tells_a_squashed_picture():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8))
    wide = np.asarray(noise.resize((64, 256), Image.Resampling.BILINEAR))[:64]
    assert images.stretch(wide[None])[0] > 1.5 and images.stretch(wide.T[None])[0] < 0.7
