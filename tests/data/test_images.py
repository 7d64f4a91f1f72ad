import io

import numpy as np
import pytest
from PIL import Image

from utils.data import cache, formats, images, manifest


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!doctype html><html>Too many downloads</html>", "web page"),
        (b"just text", "not an image"),
        (bytes(128) + b"DICM", "DICOM"),
        (encoded(Image.fromarray(gradient(400, 400)), "JPEG")[:2000], "damaged or cut off"),
        (encoded(Image.fromarray(gradient(400, 400)))[:500], "damaged or cut off"),
        (encoded(Image.new("1", (11_000, 11_000))), "too many pixels"),
        (encoded(Image.new("1", (20_000, 20_000))), "too many pixels"),
    ],
    ids=["empty", "web page", "text", "DICOM", "half a JPEG", "half a PNG", "large", "bomb"],
)
def test_unreadable_files_get_a_reason(content, reason):
    with pytest.raises(images.UnreadableImage, match=reason):
        images.read(content)


def test_missing_file_gets_a_reason(tmp_path):
    with pytest.raises(images.UnreadableImage, match="No such file"):
        images.read(tmp_path / "none.png")


def test_fingerprint_survives_size_and_compression_but_not_another_picture(radiographs):
    rows = radiographs.table.index[:20]
    pictures = radiographs.pixels[rows]
    prints = images.fingerprint(pictures)
    for row, picture in enumerate(pictures):
        big = Image.fromarray(picture).resize((900, 700), Image.Resampling.BICUBIC)
        copy = images.squash(images.read(encoded(big, "JPEG", quality=60)))
        away = images.distance(prints, images.fingerprint(copy[None])[0])
        assert away[row] <= cache.RECOGNISED and away[row] == away.min()


def test_stretch_tells_a_squashed_picture():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64), np.uint8))
    wide = np.asarray(noise.resize((64, 256), Image.Resampling.BILINEAR))[:64]
    tall = wide.T
    assert images.stretch(wide[None])[0] > 1.5 and images.stretch(tall[None])[0] < 0.7


@pytest.fixture
def small(radiographs):
    """Six rows of the phantom with a reader for each picture, under its own name."""
    table = radiographs.table.head(6).reset_index(drop=True)
    pixels = radiographs.pixels[radiographs.table.index[:6]]
    readers = {
        path: (lambda p=p: encoded(Image.fromarray(p))) for path, p in zip(table.path, pixels, strict=True)
    }
    return table, pixels, readers


def test_pack_keeps_rows_in_manifest_order(tmp_path, small):
    table, pixels, readers = small
    backwards = dict(reversed(readers.items()))
    assert cache.write(backwards, table, tmp_path / "p.h5", "here").empty
    mapped, again, present, problems, origin = cache.read(tmp_path / "p.h5")
    assert isinstance(mapped, np.memmap) and present.all() and problems.empty and origin == "here"
    np.testing.assert_array_equal(mapped, pixels)
    assert manifest.digest(again) == manifest.digest(table)


def test_pack_reports_what_does_not_fit(tmp_path, small):
    table, pixels, readers = small
    first, second, third, fourth, *_ = readers
    readers[first] = readers[second]  # another picture under this name
    readers[third] = lambda: b"<html></html>"
    renamed = readers.pop(fourth)
    del readers[second]
    readers |= {"scan 7.png": renamed, "cat.png": lambda: encoded(Image.fromarray(gradient(300, 300)))}
    readers["scan 7 again.png"] = renamed
    moved = readers.pop(last := list(readers)[2])
    other = manifest.CLASS_NAMES[table.label[5] == "NORMAL"]
    readers[f"train/{other}/{last.rpartition('/')[2]}"] = moved
    problems = cache.write(readers, table, tmp_path / "p.h5", "here").set_index("path").problem
    assert problems[first].startswith("changed") and problems[third].startswith("unreadable")
    assert problems[second] == "missing" and problems["cat.png"].startswith("extra")
    assert problems["scan 7 again.png"] == f"duplicate: the same picture as {fourth}"
    assert problems[f"train/{other}/{last.rpartition('/')[2]}"].startswith("wrong folder")
    assert len(problems) == 6
    assert cache.explain(problems.reset_index()).files.sum() == 6
    mapped, _, present, _, _ = cache.read(tmp_path / "p.h5")
    np.testing.assert_array_equal(mapped[3], pixels[3])  # recognised although it was renamed
    assert present.tolist() == [False, False, False, True, True, True]


def test_no_problems_need_no_explanation(tmp_path, small):
    table, _, readers = small
    problems = cache.write(readers, table, tmp_path / "p.h5", "here")
    assert cache.explain(problems).empty and cache.explain(cache.read(tmp_path / "p.h5")[3]).empty


def test_nothing_usable_leaves_an_existing_pack_alone(tmp_path, small):
    table, _, readers = small
    cache.write(readers, table, tmp_path / "p.h5", "good")
    cache.write({"a.png": lambda: b"nothing"}, table, tmp_path / "p.h5", "bad")
    assert cache.read(tmp_path / "p.h5")[4] == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["p.h5"]


def test_a_file_that_is_no_pack_is_refused(tmp_path):
    (tmp_path / "p.h5").write_bytes(b"half a file")
    with pytest.raises(formats.DataError, match="not a packed cache"):
        cache.read(tmp_path / "p.h5")
