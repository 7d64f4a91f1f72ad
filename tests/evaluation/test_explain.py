"""Grad-CAM marks what speaks for the answer, and the checks can tell a map that does not."""

import shutil

import numpy as np
import pytest
import tf_keras

from utils import figures, runs
from utils.backend import keras
from utils.evaluation import explain

layers = keras.layers


def scoring_brightness(library):
    """A network that scores by how bright the picture is, through one convolution that copies it."""
    layers = library.layers
    inputs = library.Input((56, 56, 1))
    x = layers.Conv2D(1, 1, use_bias=False)(layers.Rescaling(1 / 255)(inputs))
    dense = layers.Dense(2, "softmax")
    network = library.Model(inputs, dense(layers.GlobalAveragePooling2D()(layers.ReLU()(x))))
    network.set_weights([np.ones((1, 1, 1, 1)), np.array([[-60.0, 60.0]]), np.array([3.0, -3.0])])
    return network


@pytest.fixture(scope="module")
def bright_is_ill():
    return scoring_brightness(keras)


@pytest.fixture(scope="module")
def squares():
    """Dark pictures with one bright square each; and where it lies."""
    pictures, where = np.zeros((8, 224, 224), np.uint8), np.zeros((8, 224, 224), bool)
    for number, corner in enumerate(np.random.default_rng(0).integers(1, 9, (8, 2)) * 16):
        place = np.s_[number, corner[0] : corner[0] + 64, corner[1] : corner[1] + 64]
        pictures[place], where[place] = 255, True
    return pictures, where


@pytest.mark.parametrize("answer", ["ill", "well"])
def test_the_map_marks_what_speaks_for_the_answer(answer, squares):
    network, (pictures, where) = scoring_brightness(keras), squares
    if answer == "well":  # the brighter, the healthier
        network.set_weights([-value if value.shape[-1] == 2 else value for value in network.get_weights()])
    maps = explain.grad_cam(network, pictures)
    assert maps.shape == pictures.shape and maps.min() >= 0 and maps.max() == pytest.approx(1)
    assert maps[where].mean() > 0.9 and maps[~where].mean() < 0.05
    network.set_weights([-value if value.shape[-1] == 2 else value for value in network.get_weights()])
    network.layers[-1].bias.assign([-9.0, 9.0] if answer == "ill" else [9.0, -9.0])
    assert explain.grad_cam(network, pictures).max() == 0  # the squares speak against the answer


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_a_convolution_in_a_model_inside_gives_the_same_map(library, bright_is_ill, squares):
    layers, whole = library.layers, scoring_brightness(library)
    base = library.Model(whole.input, whole.layers[-3].output)  # up to its maps
    end = [layers.GlobalAveragePooling2D(), whole.layers[-1]]
    inputs = library.Input((56, 56, 1))
    turned = library.Sequential(
        [library.Input((56, 56, 1)), layers.RandomFlip(), layers.Rescaling(-1.0, 255)]
    )
    x = base(turned(layers.Rescaling(-1.0, 255)(inputs)), training=False)  # turned to negatives, and back
    for layer in end:
        x = layer(x)
    in_a_row = library.Model(inputs, x)
    in_a_row.trainable = False  # as of a base that was not trained
    chain = library.Sequential([library.Input((56, 56, 1)), layers.Dropout(0.5), base, *end])
    expected = explain.grad_cam(bright_is_ill, squares[0])
    for network in (in_a_row, chain, library.Model(inputs, library.Sequential([chain])(inputs))):
        np.testing.assert_allclose(explain.grad_cam(network, squares[0]), expected, atol=1e-5)


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


def test_a_damaged_network_beside_good_scores_is_left_out_in_one_sentence(trained, tmp_path, capsys):
    damaged = runs.Run(shutil.copytree(trained.path, tmp_path / "damaged"))
    (damaged.path / "model.keras").write_bytes((damaged.path / "model.keras").read_bytes()[:-9])
    assert explain.network_of(damaged) is None
    assert capsys.readouterr().out == "No maps for damaged: its weights are lost or damaged.\n"
    assert not damaged.has("model.keras") and len(damaged.scores("val"))


def test_maps_of_our_network_change_when_it_forgets(trained, radiographs):
    network = explain.network_of(trained)
    pictures = radiographs.pixels[radiographs.table.index[:12]]
    maps = explain.grad_cam(network, pictures)
    fresh = explain.untrained(network)
    assert any((a != b).any() for a, b in zip(network.get_weights(), fresh.get_weights(), strict=True))
    assert np.nanmean(explain.likeness(maps, explain.grad_cam(fresh, pictures))) < 0.9
