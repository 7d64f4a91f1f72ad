"""Each kind of augmentation changes what its name says, as far as its setting allows, and nothing else."""

import numpy as np
import pytest

from utils.training import fit, recipes
from utils.training.augment import Augment

N = 400  # pictures, so that the largest changes come close to their limits


def seen(picture, n=N, **settings):
    """What a network of 96 pixels gets to see of one picture [224, 224], n times: [n, 96, 96]."""
    pictures = np.repeat(np.asarray(picture, np.float32)[None], n, axis=0)
    return np.asarray(Augment(96, **settings, seed=1)(pictures, training=True))[..., 0]


def flat(grey):
    return np.full((224, 224), grey)


def halves():
    """Dark on the left, bright on the right."""
    return np.where(np.arange(224) < 112, 60.0, 160.0) * np.ones((224, 1))


def disc():
    y, x = np.mgrid[-1:1:224j, -1:1:224j]
    return 255.0 * (x**2 + y**2 < 0.1)


def extent(pictures):
    """Height, width, and the place of the middle, of what is bright, in pixels: four arrays [n]."""
    bright = pictures > 128
    at = np.arange(96)
    rows, columns = bright.any(2), bright.any(1)
    middles = [(part * at).sum(1) / part.sum(1) for part in (rows, columns)]
    return rows.sum(1), columns.sum(1), *middles


def test_the_crop_has_the_area_and_the_aspect_that_are_set():
    plain = extent(seen(disc(), 1))[0][0] ** 2
    height, width, *_ = extent(seen(disc(), area=(0.5, 1.0)))
    shown = plain / (height * width)  # share of the picture that fills the square
    assert height == pytest.approx(width, abs=1)
    assert 0.45 < shown.min() < 0.55 and 0.93 < shown.max() < 1.05
    height, width, *_ = extent(seen(disc(), area=(0.5, 0.5), aspect=(1 / 2, 2.0)))
    ratio = height / width  # a crop that is wide makes the disc tall
    assert 0.45 < ratio.min() < 0.56 and 1.8 < ratio.max() < 2.2
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.05)


def test_the_crop_stays_inside_the_picture_unless_it_is_shifted():
    across = extent(seen(disc(), 1))[1]
    assert (extent(seen(disc(), 20, area=(0.9, 0.9), aspect=(2.0, 2.0)))[1] == across).all()
    assert (extent(seen(disc(), 20, area=(0.9, 1.1), aspect=(2.0, 2.0)))[1] < across).all()
    *_, down, across = extent(seen(disc(), shift=0.1))
    for moved in (down - 47.5, across - 47.5):
        assert -10.1 <= moved.min() < -8.5 and 8.5 < moved.max() <= 10.1
    *_, down, across = extent(seen(disc(), area=(0.64, 0.64)))
    assert 10 < max(abs(down - 47.5)) < 12.5 and abs(np.corrcoef(down, across)[0, 1]) < 0.2


def test_rotation_is_up_to_the_degrees_that_are_set():
    turned = seen(halves(), rotation=10.0)[:, [12, 83]]
    edges = (turned < 110).sum(2)  # where dark ends, near the top and near the bottom
    degrees = np.degrees(np.arctan((edges[:, 1] - edges[:, 0]) / 71))
    assert -10.9 < degrees.min() < -9 and 9 < degrees.max() < 10.9 and abs(degrees.mean()) < 1


def test_blur_widens_edges_up_to_its_factor():
    def slope(pictures):
        return np.abs(np.diff(pictures[:, 48], axis=1)).max(1)

    sharp, soft = slope(seen(halves(), 1))[0], slope(seen(halves(), blur=1.0))
    assert soft.max() == pytest.approx(sharp, rel=0.05) and 0.45 < soft.min() / sharp < 0.65


def test_noise_is_drawn_for_each_picture_up_to_its_deviation():
    deviations = seen(flat(128), noise=12.0).std((1, 2))
    assert deviations.min() < 0.3 and 11.5 < deviations.max() < 12.3
    assert deviations.mean() == pytest.approx(6, abs=0.7)


def test_contrast_and_brightness_change_as_much_as_they_say():
    changed = seen(halves(), contrast=0.3)
    factor = (changed[:, 48, 90] - changed[:, 48, 5]) / 100
    assert 0.7 <= factor.min() < 0.72 and 1.28 < factor.max() <= 1.301
    middle = changed[:, 48, 90] - 32.5 * factor  # grey of 127.5 stays
    assert middle == pytest.approx(127.5, abs=0.01)
    moved = seen(flat(128), brightness=0.15)[:, 48, 48] - 128
    assert -38.3 < moved.min() < -37 and 37 < moved.max() < 38.3
    assert seen(flat(250), 50, brightness=0.25).max() == 255 and seen(flat(5), 50, brightness=0.25).min() == 0


def test_exchange_goes_up_to_its_share_of_the_way_to_the_neighbour():
    ramps = np.linspace(0, 1, 224 * 224).reshape(224, 224)
    pair = np.tile(np.stack([20 + 60 * ramps, 150 + 90 * ramps]), (100, 1, 1)).astype(np.float32)
    for share in (0.5, 1.0):
        pictures = np.asarray(Augment(96, exchange=share, seed=1)(pair, training=True))[..., 0]
        moved = (np.median(pictures[::2], axis=(1, 2)) - 50) / (195 - 50)
        assert 0 <= moved.min() < 0.05 * share and 0.95 * share < moved.max() <= share + 0.01


def test_unevenness_is_slow_and_up_to_its_share_of_the_range():
    field = seen(flat(128), unevenness=0.3) - 128
    largest = np.abs(field).max((1, 2))
    assert largest.min() < 3 and 74 < largest.max() <= 76.6
    assert np.abs(np.diff(field, axis=1)).max() < 8 and np.abs(field.std((1, 2))).max() > 15


def test_sharpening_adds_lost_detail_up_to_its_amount():
    def overshoot(pictures):
        return pictures[:, 48].max(1) - 160

    once = overshoot(seen(halves(), sharpening=1.0)).max()
    assert 10 < once < 60
    assert overshoot(seen(halves(), sharpening=2.0)).max() == pytest.approx(2 * once, rel=0.1)
    assert overshoot(seen(halves(), sharpening=2.0)).min() < 0.1 * once


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_same_seed_gives_the_same_pictures_and_each_batch_others(name, radiographs):
    pictures = radiographs.pixels[:4]
    first, again, other = (fit.augmentation(recipes.RECIPES[name], seed) for seed in (1, 1, 2))
    one, two, three = (np.asarray(layer(pictures, training=True)) for layer in (first, again, other))
    np.testing.assert_array_equal(one, two)
    assert one.shape == (4, recipes.RECIPES[name].side, recipes.RECIPES[name].side, 1)
    assert one.min() >= 0 and one.max() <= 255
    for different in (three, np.asarray(first(pictures, training=True))):
        assert np.abs(one - different).mean() > 1
