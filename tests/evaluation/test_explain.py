"""Grad-CAM marks what speaks for the answer, and the checks can tell a map that does not."""

import numpy as np
import pytest

from utils import figures
from utils.backend import keras
from utils.evaluation import explain

layers = keras.layers


@pytest.fixture(scope="module")
def bright_is_ill():
    """A network that scores by how bright the picture is, through one convolution that copies it."""
    inputs = keras.Input((56, 56, 1))
    x = layers.Conv2D(1, 1, use_bias=False)(layers.Rescaling(1 / 255)(inputs))
    dense = layers.Dense(2, "softmax")
    network = keras.Model(inputs, dense(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))
    network.set_weights([np.ones((1, 1, 1, 1)), np.array([[-60.0, 60.0]]), np.array([3.0, -3.0])])
    return network


@pytest.fixture(scope="module")
def squares():
    """Dark pictures with one bright square each; and where it lies."""
    pictures, where = np.zeros((8, 224, 224), np.uint8), np.zeros((8, 224, 224), bool)
    for number, corner in enumerate(np.random.default_rng(0).integers(1, 9, (8, 2)) * 16):
        place = np.s_[number, corner[0] : corner[0] + 64, corner[1] : corner[1] + 64]
        pictures[place], where[place] = 255, True
    return pictures, where


def test_the_map_marks_what_speaks_for_the_answer(bright_is_ill, squares):
    pictures, where = squares
    maps = explain.grad_cam(bright_is_ill, pictures)
    assert maps.shape == pictures.shape and maps.min() >= 0 and maps.max() == pytest.approx(1)
    assert maps[where].mean() > 0.9 and maps[~where].mean() < 0.05


def test_a_convolution_in_a_model_inside_gives_the_same_map(bright_is_ill, squares):
    inputs = keras.Input((56, 56, 1))
    nested = keras.Model(inputs, keras.Sequential([keras.Input((56, 56, 1)), bright_is_ill])(inputs))
    nested.trainable = False  # as of a base that was not trained
    expected = explain.grad_cam(bright_is_ill, squares[0])
    np.testing.assert_allclose(explain.grad_cam(nested, squares[0]), expected, atol=1e-5)
    assert type(bright_is_ill.layers[3]).call is bright_is_ill.layers[3].call.__func__  # left as it was


@pytest.mark.parametrize(
    ("middle", "sizes"),
    [
        ([layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()], [54]),
        ([layers.Conv2D(2, 3, padding="same"), layers.Conv2D(2, 3, padding="same"), layers.Flatten()], [56]),
        ([layers.Flatten(), layers.Dense(2)], []),
    ],
)
def test_small_networks_have_maps_or_words(middle, sizes, squares, capsys):
    inputs = x = keras.Input((56, 56, 1))
    for layer in middle:
        x = layer(x)
    network = keras.Model(inputs, layers.Dense(2, "softmax")(x), name="mine")
    maps = explain.feature_maps(network, squares[0][0])
    assert [block.shape for block in maps.values()] == [(size, size, 2) for size in sizes]
    assert ("the network mine has no convolution" in capsys.readouterr().out) == (not sizes)
    assert len(figures.pictures.feature_maps(squares[0][0], maps).axes) == 7 * (1 + len(sizes))


def test_blanking_by_the_map_hurts_more_than_at_random(bright_is_ill, squares):
    pictures, where = squares
    found = explain.deletion(bright_is_ill, pictures, where.astype(float))
    assert found["by map"].iloc[0] == found["at random"].iloc[0] > 0.9
    assert found["by map"].iloc[1] < found["at random"].iloc[1] - 0.2
    wrong = explain.deletion(bright_is_ill, pictures, 1.0 - where)
    assert wrong["by map"].iloc[1] > found["by map"].iloc[1] + 0.2


def test_likeness_is_1_for_the_same_maps_and_none_for_empty_ones(squares):
    maps = np.random.default_rng(1).random((3, 224, 224))
    assert explain.likeness(maps, maps) == pytest.approx(1)
    assert abs(explain.likeness(maps, maps[:, ::-1])).max() < 0.5
    assert np.isnan(explain.likeness(maps, np.zeros_like(maps))).all()


def test_maps_of_our_network_change_when_it_forgets(trained, radiographs):
    network = explain.network_of(trained)
    pictures = radiographs.pixels[radiographs.table.index[:12]]
    maps = explain.grad_cam(network, pictures)
    fresh = explain.untrained(network)
    assert any((a != b).any() for a, b in zip(network.get_weights(), fresh.get_weights(), strict=True))
    assert np.nanmean(explain.likeness(maps, explain.grad_cam(fresh, pictures))) < 0.9
