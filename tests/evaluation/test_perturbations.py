import itertools

import numpy as np
import pytest

from utils.evaluation import perturbations
from utils.evaluation.perturbations import CHANGES, KEPT, LEFT, MIDDLE

EVERY = [(kind, name) for kind, changes in CHANGES.items() for name in changes]


def ramp():
    return np.repeat(np.linspace(0, 223, 224)[:, None], 224, 1).astype(np.uint8)


def noise(n=2):
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_change_gives_pictures_of_the_same_kind_and_leaves_its_input_alone(kind, name):
    pictures = noise()
    changed = CHANGES[kind][name](pictures)
    assert changed.dtype == np.uint8 and changed.shape == pictures.shape
    assert (changed != pictures).mean() > 0.002 and np.array_equal(pictures, noise())
    assert np.array_equal(CHANGES[kind][name](pictures[:1]), changed[:1])  # whatever else is in the batch
    assert CHANGES[kind][name](pictures[:0]).shape == (0, 224, 224)


def test_names_are_unique():
    assert len({name for _, name in EVERY}) == len(EVERY)


@pytest.mark.parametrize("name", CHANGES["framing"])
def test_framings_keep_equal_areas(name):
    """Of the picture's content what is seen, times what it fills of the frame."""
    down, across = CHANGES["framing"][name](np.stack([ramp(), ramp().T])).astype(int)
    seen = np.ptp(down[:, 112]) / 223 * np.ptp(across[112]) / 223
    filler = [(np.diff(down[:, 112]) == 0).mean(), (np.diff(across[112]) == 0).mean()]
    if name == "blanked at top and bottom":
        seen = (len(set(down[:, 112])) - 1) / 224
    elif name == "squeezed in width":
        seen = 1 - filler[1]
    assert seen == pytest.approx(KEPT, abs=0.02)


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_cropping_keeps_the_middle(kept):
    pictures = np.stack([ramp(), ramp().T])
    rows, columns = perturbations.crop(pictures, height=kept)
    assert rows.mean() == pytest.approx(111.5, abs=1)
    assert np.ptp(rows.astype(int)) == pytest.approx(223 * kept, abs=2)
    assert np.array_equal(columns, ramp().T)
    assert np.ptp(perturbations.crop(pictures, width=kept)[1].astype(int)) == pytest.approx(223 * kept, abs=2)


def test_squeezing_loses_nothing_and_blanking_stretches_nothing():
    columns = ramp().T[None]
    narrowed = perturbations.squeeze(columns, width=0.7)[0].astype(int)
    assert narrowed.min() <= 1 and narrowed.max() >= 222 and np.diff(narrowed).max() <= 2
    assert (narrowed[:, :30] == narrowed[:, :1]).all()
    framed = perturbations.squeeze(columns + 9, 0.9, 0.9, fill="constant")[0]
    assert (framed[0] == 0).all() and (framed[:, -1] == 0).all() and framed[112, 112] > 0
    blanked = perturbations.blank(ramp()[None], height=0.8)[0]
    assert np.array_equal(blanked[22:-22], ramp()[22:-22]) and set(blanked[:22].ravel()) == {111}


def test_the_middle_and_what_is_around_it_make_up_the_picture():
    inside, around = (change(noise()) for change in CHANGES[LEFT].values())
    unchanged = [np.equal(changed, noise()).mean() for changed in (inside, around)]
    assert unchanged == pytest.approx([1 - MIDDLE, MIDDLE], abs=0.02)
    assert ((inside == noise()) | (around == noise())).all()


def test_a_blanked_middle_does_not_tell_what_was_there():
    change = CHANGES[LEFT]["blanked in the middle"]
    dark, light = noise(), noise()
    dark[:, 60:160, 60:160], light[:, 60:160, 60:160] = 0, 255
    assert np.array_equal(change(dark), change(light))


def test_tones_do_what_their_names_say():
    grey, tone = np.full((1, 224, 224), 100, np.uint8), CHANGES["tone"]
    assert tone["darkened (gamma 1.5)"](grey).max() < 100 < tone["lightened (gamma 0.67)"](grey).min()
    assert tone["brightened by 15 %"](grey).mean() == pytest.approx(138, abs=1)
    assert tone["inverted"](tone["inverted"](noise())).tolist() == noise().tolist()
    assert tone["lowered in contrast by 30 %"](noise()).std() == pytest.approx(0.7 * noise().std(), rel=0.01)
    assert tone["given a steeper curve"](ramp()[None]).std() > ramp().std()
    sides = tone["lighter on one side"](grey)[0].mean(0)
    assert sides[0] == 70 and sides[-1] == 130 and (np.diff(sides) >= 0).all()
    soft, sharp = (
        np.abs(np.diff(tone[name](noise()).astype(int))).mean() for name in ("softened", "sharpened")
    )
    assert soft < np.abs(np.diff(noise().astype(int))).mean() < sharp


def test_files_change_little_and_less_with_better_quality():
    errors = [np.abs(perturbations.reencode(noise(), q).astype(int) - noise()).mean() for q in (30, 95)]
    assert errors[0] > 2 * errors[1] > 0
    antialiased, not_antialiased = (perturbations.through(noise(), 112, way) for way in (True, False))
    assert antialiased.std() < not_antialiased.std()
    for first, second in itertools.pairwise(perturbations.rotate(noise(), degrees) for degrees in (0, 0)):
        assert np.array_equal(first, second) and np.array_equal(first, noise())
