"""A packed file keeps every picture in its row, and says of each file that does not fit why not."""

import io

import numpy as np
import pytest
from PIL import Image

from utils.data import cache, manifest
from utils.workspace import ExplainedError


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def small(radiographs):
    """Six rows of the phantom with a reader for each picture, under its own name."""
    table = radiographs.table.head(6).reset_index(drop=True)
    pixels = radiographs.pixels[radiographs.table.index[:6]]
    readers = {path: (lambda p=p: png(p)) for path, p in zip(table.path, pixels, strict=True)}
    return table, pixels, readers


def test_pack_keeps_rows_in_manifest_order(tmp_path, small):
    table, pixels, readers = small
    backwards = dict(reversed(readers.items()))
    assert cache.write(backwards, table, tmp_path / "p.h5", "here").empty
    mapped, again, present, problems, origin = cache.read(tmp_path / "p.h5")
    assert isinstance(mapped, np.memmap) and present.all() and origin == "here"
    assert problems.empty and cache.explain(problems).empty
    np.testing.assert_array_equal(mapped, pixels)
    assert manifest.digest(again) == manifest.digest(table)


def test_pack_reports_what_does_not_fit(tmp_path, small):
    table, pixels, readers = small
    first, second, third, fourth, *_ = readers
    readers[first] = readers[second]  # another picture under this name
    readers[third] = lambda: b"<html></html>"
    renamed = readers.pop(fourth)
    del readers[second]
    gradient = np.linspace(0, 255, 300 * 300).reshape(300, 300).astype(np.uint8)
    readers |= {"scan 7.png": renamed, "cat.png": lambda: png(gradient)}
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


def test_nothing_usable_leaves_an_existing_pack_alone(tmp_path, small):
    table, _, readers = small
    cache.write(readers, table, tmp_path / "p.h5", "good")
    cache.write({"a.png": lambda: b"nothing"}, table, tmp_path / "p.h5", "bad")
    assert cache.read(tmp_path / "p.h5")[4] == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["p.h5"]


def test_a_file_that_is_no_pack_is_refused(tmp_path):
    (tmp_path / "p.h5").write_bytes(b"half a file")
    with pytest.raises(ExplainedError, match="not a packed cache"):
        cache.read(tmp_path / "p.h5")
