from functools import partial

import numpy as np
import pandas as pd
import pytest

from utils.evaluation import stress


def ramp():
    return np.repeat(np.linspace(0, 223, 224)[:, None], 224, 1).astype(np.uint8)


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_cropping_keeps_the_middle(kept):
    pictures = np.stack([ramp(), ramp().T])
    rows, columns = stress.crop(pictures, height=kept)
    assert rows.mean() == pytest.approx(111.5, abs=1)
    assert np.ptp(rows.astype(int)) == pytest.approx(223 * kept, abs=2)
    assert np.array_equal(columns, ramp().T)
    assert np.ptp(stress.crop(pictures, width=kept)[1].astype(int)) == pytest.approx(223 * kept, abs=2)


def test_narrowing_loses_nothing_and_masking_stretches_nothing():
    columns = ramp().T[None]
    narrowed = stress.narrow(columns, 0.7)[0].astype(int)
    assert narrowed.min() <= 1 and narrowed.max() >= 222 and np.diff(narrowed).max() <= 2
    assert (narrowed[:, :30] == narrowed[:, :1]).all()
    masked = stress.mask(ramp()[None], 0.8)[0]
    assert np.array_equal(masked[22:-22], ramp()[22:-22]) and set(masked[:22].ravel()) == {111}


def test_unchanged_where_nothing_is_asked_for():
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224), dtype=np.uint8)
    for same in (
        stress.crop(noise),
        stress.narrow(noise, 1.0),
        stress.mask(noise, 1.0),
        stress.expose(noise),
        stress.rotate(noise, 0),
    ):
        assert np.array_equal(same, noise)
    assert stress.through(noise, 112, antialias=True).std() < stress.through(noise, 112, False).std()
    errors = [np.abs(stress.reencode(noise, q).astype(int) - noise).mean() for q in (30, 95)]
    assert errors[0] > 2 * errors[1] > 0
    assert stress.crop(noise[:0], 0.5).shape == (0, 224, 224)


def test_effects_tell_how_far_scores_move_and_how_many_answers_flip():
    pictures = np.stack([np.full((224, 224), grey, np.uint8) for grey in (100, 120, 140, 160)])
    table = pd.DataFrame({"patient": list("abcd"), "label": ["NORMAL", "NORMAL", "PNEUMONIA", "PNEUMONIA"]})
    brighter = {"same": np.copy, "brighter": partial(stress.expose, brightness=0.1)}
    found = stress.effects(lambda shown: shown.mean((1, 2)) / 255, pictures, table, 0.5, brighter, 100)
    same, moved = found.itertuples()
    assert (same.shift, same.flips, same.largest) == (0, 0, 0)
    assert moved.shift == pytest.approx(26 / 255, abs=0.01) and moved.median == pytest.approx(moved.shift)
    assert moved.called == 0.75 and same.called == 0.5
    assert moved.flips == 0.25 and moved.flips_low == 0 and moved.flips_high == 0.5


def test_full_size_files_are_compared_with_the_copies_in_use(radiographs, phantom_folder):
    rows, shown = stress.full_size(phantom_folder, radiographs.table[radiographs.table.split == "test"])
    assert set(rows.split) == {"test"} and len(shown) == 3
    copies = radiographs.pixels[rows.index.to_numpy()]
    for way in shown.values():
        assert np.abs(way(copies).astype(int) - copies).mean() < 5
