"""A packed file that was damaged, edited, or written by several processes at once is never used silently."""

import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from conftest import make_workspace

from utils import sources, workspace
from utils.data import cache, images, manifest
from utils.sources import files


@pytest.fixture(scope="module")
def packed(phantom_folder, tmp_path_factory):
    """The bytes of a good packed file of the phantom."""
    path = tmp_path_factory.mktemp("packed") / "good.h5"
    readers, _, own = files.gather(phantom_folder)
    cache.write(readers, manifest.read(own), path, "here")
    return path.read_bytes()


def is_found_damaged(path):
    try:
        cache.check(path)
    except manifest.DataError as error:
        return str(path) in str(error)
    return False


def test_every_flipped_bit_and_every_truncation_is_found(packed, tmp_path):
    path, dice = tmp_path / "a.h5", np.random.default_rng(0)
    path.write_bytes(packed)
    assert not is_found_damaged(path)
    missed = []
    with open(path, "r+b", buffering=0) as file:
        for at in dice.integers(0, len(packed), 300):
            file.seek(at)
            file.write(bytes([packed[at] ^ (1 << dice.integers(8))]))
            if not is_found_damaged(path):
                missed.append(at)
            file.seek(at)
            file.write(packed[at : at + 1])
    assert not missed and not is_found_damaged(path)
    for size in [0, 1, 100, *dice.integers(0, len(packed), 40), len(packed) - 1]:
        path.write_bytes(packed[:size])
        assert is_found_damaged(path), size


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace(file, name, values, **settings):
    del file[name]
    file.create_dataset(name, data=values, **settings)


EDITS = {
    "half of the pixels zeroed": lambda file: file["pixels"].write_direct(
        np.zeros_like(file["pixels"][: len(file["pixels"]) // 2]), dest_sel=np.s_[: len(file["pixels"]) // 2]
    ),
    "fewer rows": lambda file: replace(file, "pixels", file["pixels"][:-1]),
    "compressed pixels": lambda file: replace(file, "pixels", file["pixels"][:], compression="gzip"),
    "pixels of another kind": lambda file: replace(file, "pixels", file["pixels"][:].astype("int16")),
    "an edited label": lambda file: replace(
        file, "manifest", file["manifest"].asstr()[()].replace("NORMAL", "PNEUMONIA", 1)
    ),
    "no manifest": lambda file: file.__delitem__("manifest"),
}


@pytest.mark.parametrize("edited", EDITS)
def test_what_somebody_edited_is_found(packed, tmp_path, edited):
    path = tmp_path / "a.h5"
    path.write_bytes(packed)
    cache.check(path)
    edit(path, EDITS[edited])
    assert is_found_damaged(path)


def test_a_file_of_an_earlier_version_opens_unless_its_pictures_are_wrong(packed, tmp_path):
    old = tmp_path / "old.h5"
    old.write_bytes(packed[: -cache.SEAL_SIZE])
    edit(old, lambda file: file.attrs.__delitem__("sealed"))
    cache.check(old)
    with h5py.File(old, "r+") as file:  # as two processes left it that packed at once
        file["pixels"][3] = 0
    assert is_found_damaged(old)


def test_a_file_replaced_while_it_is_open_is_found_or_does_no_harm(packed, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(packed)
    cache.check(path)
    pixels = cache.read(path)[0]
    before = pixels[:].copy()
    workspace.write_whole(path, packed[:-1])  # under its name, as this project writes: another file
    assert (pixels == before).all() and is_found_damaged(path)
    path.write_bytes(packed)
    cache.check(path)
    with open(path, "r+b") as file:  # in place, as other programs write
        file.seek(len(packed) // 2)
        file.write(b"another picture")
    os.utime(path, ns=(0, 0))
    assert is_found_damaged(path)


def test_a_damaged_file_is_named_and_passed_over_for_a_good_one(packed, phantom_folder, tmp_path, capsys):
    home = tmp_path / "home"
    ws = workspace.Workspace(home=home, scratch=tmp_path / "scratch", quick=False, data=None)
    (home / "cache").mkdir(parents=True)
    (home / "cache/good.h5").write_bytes(packed)
    os.utime(home / "cache/good.h5", (1, 1))  # the older one
    (home / "cache/bad.h5").write_bytes(packed[:-5000])
    found = sources.load(ws)
    assert len(found.table) == len(manifest.read(phantom_folder / "data_manifest.csv"))
    said = capsys.readouterr().out
    assert "bad.h5" in said and "Going on without it" in said
    (home / "cache/good.h5").unlink()
    with pytest.raises(files.DataError, match=r"bad\.h5 .* Delete this file and run notebook 01"):
        sources.load(ws)  # the phantom is no answer where radiographs were meant


LOAD = """
import sys
from pathlib import Path
from utils import sources, workspace
home, data = map(Path, sys.argv[1:])
print(len(sources.load(workspace.Workspace(home=home, scratch=home, quick=False, data=data)).table))
"""


@pytest.mark.parametrize("apart", [0, 0.4])
def test_processes_that_pack_at_once_lose_no_picture(phantom_folder, tmp_path, apart):
    command = [sys.executable, "-c", LOAD, str(tmp_path), str(phantom_folder)]
    running = []
    for _ in range(3):
        running.append(subprocess.Popen(command, cwd=workspace.PROJECT, stdout=subprocess.PIPE, text=True))
        time.sleep(apart)
    images_each = [process.communicate()[0].splitlines()[-1] for process in running]
    table = manifest.read(phantom_folder / "data_manifest.csv")
    assert images_each == [str(len(table))] * 3
    (packed,) = (tmp_path / "cache").glob("*.h5")
    assert list((tmp_path / "cache").iterdir()) == [packed]
    pixels, _, present, _, _ = cache.read(packed)
    found = images.fingerprint(np.asarray(pixels))
    expected = np.array([int(value, 16) for value in table.fingerprint], np.uint64)
    assert present.all() and (found == expected).all()


def test_a_full_disk_is_said_in_words_and_leaves_nothing_half(phantom_folder, tmp_path, monkeypatch):
    ws = make_workspace(tmp_path, phantom_folder, quick=False)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache.h5py, "File", full)
        with pytest.raises(
            files.DataError, match=r"packed file, about \d+ MB, cannot be written.*Free some space"
        ):
            sources.load(ws)
    assert not list((tmp_path / "cache").iterdir())
    assert len(sources.load(ws).table)
