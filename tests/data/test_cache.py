"""A packed file that is damaged, edited, or written by several processes at once is never used silently."""

import io
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from conftest import make_workspace
from PIL import Image

from utils import sources, workspace
from utils.data import cache, images, manifest
from utils.sources import files
from utils.workspace import ExplainedError


@pytest.fixture(scope="module")
def packed(phantom_folder, tmp_path_factory):
    """The bytes of a good packed file of the phantom."""
    path = tmp_path_factory.mktemp("packed") / "good.h5"
    readers = {name: file.read for name, file in files.image_files(files.every(phantom_folder))[0].items()}
    cache.write(readers, manifest.read(phantom_folder / "data_manifest.csv"), path, "here")
    return path.read_bytes()


def png(pixels):
    """A function that returns a picture, uint8 [height, width], as the bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue


@pytest.fixture
def six(radiographs):
    """Six rows of the phantom's manifest, their pictures, and {path: function that returns the bytes}."""
    table = radiographs.table.head(6).reset_index(drop=True)
    pixels = np.array(radiographs.pixels[radiographs.table.index[:6]])
    return table, pixels, dict(zip(table.path, map(png, pixels), strict=True))


def test_rows_are_those_of_the_manifest_and_problems_none(six, tmp_path):
    table, pixels, readers = six
    assert cache.write(dict(reversed(readers.items())), table, tmp_path / "p.h5", "here").empty
    mapped, again, present, problems, origin = cache.read(tmp_path / "p.h5")
    assert isinstance(mapped, np.memmap) and present.all() and origin == "here"
    np.testing.assert_array_equal(mapped, pixels)
    assert manifest.digest(again) == manifest.digest(table)
    assert problems.empty and cache.explain(problems).empty


def test_each_file_that_does_not_fit_is_named_with_its_problem(six, tmp_path):
    table, pixels, readers = six
    first, second, third, fourth, fifth, _ = readers
    readers[first] = readers.pop(second)  # another picture under this name, and none under its own
    readers[third] = lambda: b"<html></html>"
    readers["scan 7.png"] = readers["scan 7 again.png"] = readers.pop(fourth)
    other = manifest.CLASS_NAMES[table.label[4] == "NORMAL"]
    moved = f"train/{other}/{fifth.rpartition('/')[2]}"
    readers[moved] = readers.pop(fifth)
    readers["cat.png"] = png(np.add.outer(np.arange(100), np.arange(100)).astype(np.uint8))
    problems = cache.write(readers, table, tmp_path / "p.h5", "here")
    kinds = dict(zip(problems.path, problems.problem.str.partition(":")[0], strict=True))
    assert kinds == {
        first: "changed",
        second: "missing",
        third: "unreadable",
        "scan 7 again.png": "duplicate",
        moved: "wrong folder",
        "cat.png": "extra",
    }
    assert cache.explain(problems).files.sum() == 6
    mapped, _, present, _, _ = cache.read(tmp_path / "p.h5")
    assert present.tolist() == [False, False, False, True, True, True]
    np.testing.assert_array_equal(mapped[3:], pixels[3:])


def test_nothing_usable_leaves_an_earlier_file_alone(six, tmp_path):
    table, _, readers = six
    cache.write(readers, table, tmp_path / "p.h5", "good")
    cache.write({"a.png": lambda: b"nothing"}, table, tmp_path / "p.h5", "bad")
    assert cache.read(tmp_path / "p.h5")[4] == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["p.h5"]


def is_refused(path):
    try:
        cache.read(path)
    except ExplainedError as error:
        return str(path) in str(error)
    return False


def test_every_flipped_bit_and_every_truncation_is_found(packed, tmp_path):
    path, dice = tmp_path / "a.h5", np.random.default_rng(0)
    path.write_bytes(packed)
    assert not is_refused(path)
    with open(path, "r+b", buffering=0) as file:
        for at in [0, 3000, *dice.integers(0, len(packed), 60), len(packed) - 100, len(packed) - 1]:
            file.seek(at)
            file.write(bytes([packed[at] ^ (1 << dice.integers(8))]))
            assert is_refused(path), at
            file.seek(at)
            file.write(packed[at : at + 1])
    assert not is_refused(path)
    for size in [0, 1, 100, *dice.integers(0, len(packed), 20), len(packed) - 4096, len(packed) - 1]:
        path.write_bytes(packed[:size])
        assert is_refused(path), size


LOAD = """
import sys
from pathlib import Path
from utils import sources, workspace
home, data = map(Path, sys.argv[1:])
print(len(sources.load(workspace.Workspace(home=home, scratch=home, quick=False, data=data)).table))
"""


def start_loading(home, data):
    command = [sys.executable, "-c", LOAD, str(home), str(data)]
    return subprocess.Popen(command, cwd=workspace.PROJECT, stdout=subprocess.PIPE, text=True)


def test_a_file_that_ends_in_zeros_stops_nothing_and_is_made_again(phantom_folder, tmp_path):
    """HDF5 never returns from opening such a file, which a disk leaves that was switched off."""
    ws = make_workspace(tmp_path, phantom_folder, quick=False)
    before = sources.load(ws)
    (path,) = (tmp_path / "cache").glob("*.h5")
    content = path.read_bytes()
    path.write_bytes(content[:-4096] + bytes(4096))
    assert sources.find(make_workspace(tmp_path)).where == path  # as each notebook's setup does
    said = start_loading(tmp_path, phantom_folder).communicate(timeout=100)[0].splitlines()
    assert said[0] == f"{path} is damaged, or of another version. It is written again."
    assert said[-1] == str(len(before.table))
    assert path.read_bytes() == content


def test_a_file_of_version_0_2_opens(packed, tmp_path):
    """Written as that version did, without any code of this one."""
    (tmp_path / "new.h5").write_bytes(packed)
    pixels, table, _, _, _ = cache.read(tmp_path / "new.h5")
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.create_dataset("pixels", pixels.shape, np.uint8, fill_time="never")[:] = pixels
        file["present"] = np.arange(len(table)) > 0
        file["manifest"] = manifest.to_csv(table)
        file["problems"] = "path,problem\nx.jpg,missing\n"
        file.attrs["preprocessing"] = cache.PREPROCESSING
        file.attrs["origin"] = "chest_xray.zip"
        file.attrs["sealed"] = True
    content = (tmp_path / "old.h5").read_bytes()
    (tmp_path / "old.h5").write_bytes(content + cache.SEAL + cache._digest(content))
    mapped, again, present, problems, origin = cache.read(tmp_path / "old.h5")
    assert isinstance(mapped, np.memmap) and manifest.digest(again) == manifest.digest(table)
    np.testing.assert_array_equal(mapped, pixels)
    assert present.sum() == len(table) - 1 and problems.path.tolist() == ["x.jpg"]
    assert origin == "chest_xray.zip"


def test_a_file_without_a_seal_or_of_another_version_is_refused(packed, tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    path.write_bytes(packed[: -cache.SEAL_SIZE])
    assert is_refused(path)
    path.write_bytes(packed)
    monkeypatch.setattr(cache, "PREPROCESSING", "cropped to 256x256; v2")
    assert is_refused(path)


def test_a_file_replaced_while_it_is_open_does_no_harm_and_is_found(packed, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(packed)
    pixels = cache.read(path)[0]
    before = pixels[:].copy()
    workspace.write_whole(path, packed[:-1])  # as this project writes: another file under its name
    assert (pixels == before).all() and is_refused(path)


def test_a_damaged_file_is_named_and_passed_over(packed, phantom_folder, tmp_path, capsys):
    """Results and scratch are different disks, as in Colab."""
    home = tmp_path / "home"
    ws = workspace.Workspace(home=home, scratch=tmp_path / "scratch", quick=False, data=None)
    (home / "cache").mkdir(parents=True)
    (home / "cache/good.h5").write_bytes(packed)
    os.utime(home / "cache/good.h5", (1, 1))  # the older one
    (home / "cache/bad.h5").write_bytes(packed[:-5000])
    count = len(manifest.read(phantom_folder / "data_manifest.csv"))
    assert len(sources.load(ws).table) == count
    assert f"{home}/cache/bad.h5 is damaged" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "scratch/cache").iterdir()] == ["good.h5"]
    (home / "cache/good.h5").unlink()
    with pytest.raises(ExplainedError, match="Nothing usable is left"):
        sources.load(ws)  # the phantom is no answer where radiographs were meant
    shutil.copytree(phantom_folder, home / "chest_xray")
    assert len(sources.load(ws).table) == count


def test_the_copy_that_is_kept_is_replaced_where_it_is_damaged(phantom_folder, tmp_path):
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    ws = workspace.Workspace(home=home, scratch=scratch, quick=False, data=phantom_folder)
    sources.load(ws)
    (kept,) = (home / "cache").iterdir()
    content = kept.read_bytes()
    kept.write_bytes(bytes(len(content)))
    sources.load(ws)
    assert kept.read_bytes() == content == (scratch / "cache" / kept.name).read_bytes()


def test_processes_that_pack_at_once_lose_no_picture(phantom_folder, tmp_path):
    running = [start_loading(tmp_path, phantom_folder) for _ in range(3)]
    counts = [process.communicate(timeout=100)[0].splitlines()[-1] for process in running]
    table = manifest.read(phantom_folder / "data_manifest.csv")
    assert counts == [str(len(table))] * 3
    (packed,) = (tmp_path / "cache").iterdir()
    pixels, _, present, _, _ = cache.read(packed)
    assert (
        present.all() and (images.fingerprint(np.asarray(pixels)) == images.stored(table.fingerprint)).all()
    )
