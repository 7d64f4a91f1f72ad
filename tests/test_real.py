"""With the real data set: the manifest recognises every copy, and a short training learns."""

import dataclasses

import numpy as np
import pytest
from conftest import make_workspace

from utils import metrics, sources
from utils.data import images, manifest, shortcuts
from utils.sources import files
from utils.training import fit, recipes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory):
    return sources.load(
        make_workspace(tmp_path_factory.mktemp("real"), real_data / "chest_xray", quick=False)
    )


def readers_of(folder):
    """{name: function that returns the bytes} of the image files in a folder."""
    return {name: file.read for name, file in files.image_files(files.every(folder))[0].items()}


def closest_rows(readers, table, duplicates):
    """Names of files whose own row is not the closest one, exact duplicates apart."""
    expected = np.array([int(value, 16) for value in table.fingerprint], dtype=np.uint64)
    names = [path.rpartition("/")[2] for path in table.path]
    row_of = {name: row for row, name in enumerate(names)}
    wrong = []
    for name, picture in zip(readers, images.read_many(list(readers.values()), "Reading"), strict=True):
        away = images.distance(expected, images.fingerprint(picture[None])[0])
        own = name.rpartition("/")[2]
        assert away[row_of[own]] <= 2, "notebook 01 says so"
        rivals = {names[row] for row in np.flatnonzero(away <= away[row_of[own]])} - {own}
        if away[row_of[own]] > images.ALIKE or rivals - duplicates.get(own, set()):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize(("folder", "count"), [("chest_xray", 5856), ("originals", 168)])
def test_every_copy_is_closest_to_its_own_row(real_data, folder, count):
    lines = (real_data / "exact_duplicates.tsv").read_text().splitlines()
    groups = [set(line.split("\t")[2:]) for line in lines if "\t" in line]
    duplicates = {name: group for group in groups for name in group}
    readers = readers_of(real_data / folder)
    assert len(readers) == count
    assert closest_rows(readers, manifest.read(), duplicates) == []


def test_different_pictures_are_at_least_4_bits_apart(real, real_data):
    """As notebook 01 says; exact duplicates apart."""
    prints = np.array([int(value, 16) for value in real.table.fingerprint], dtype=np.uint64)
    close = [
        (row, other)
        for row in range(len(prints))
        for other in np.flatnonzero(images.distance(prints[row + 1 :], prints[row]) < 4) + row + 1
    ]
    assert all((real.pixels[row] == real.pixels[other]).all() for row, other in close) and len(close) == 34


def test_all_real_radiographs_are_usable(real):
    assert len(real.table) == 5856 and real.problems.empty and not real.synthetic
    assert real.digest == manifest.digest(manifest.read())


def test_a_short_training_learns(real, tmp_path):
    """Three epochs of `compact` on half of the training patients."""
    kept = real.table[(real.table.fold < 6) & (real.table.split != "test")]
    part = dataclasses.replace(real, table=kept)
    run = fit.train(recipes.recipe("compact", epochs=3), part, make_workspace(tmp_path))
    assert metrics.measure(run.scores("val"), 0.5).auc >= 0.95


def test_measured_file_facts_are_those_that_ship_with_the_project(real_data):
    readers = readers_of(real_data / "originals")
    measured, sentence = shortcuts.read_file_facts(readers, manifest.read())
    assert sentence == "File facts measured on your 168 original files."
    shipped, _ = shortcuts.read_file_facts({}, manifest.read())
    both = measured.merge(shipped, on="path", suffixes=("", "_shipped"))
    assert len(both) == 168
    for name in ("width", "height", "bytes", "luma_table_sum", "exif"):
        assert (both[name] == both[f"{name}_shipped"]).all(), name
    readers = readers_of(real_data / "chest_xray")
    assert "measured for this project" in shortcuts.read_file_facts(readers, manifest.read())[1]
