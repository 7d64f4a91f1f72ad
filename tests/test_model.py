"""The networks are those that were released, take what they say, and need Keras alone."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from utils import model, runs, saved_models
from utils.backend import keras
from utils.training import fit, recipes
from utils.training.augment import Augment

PARAMETERS = {"published": 3_715_714, "compact": 515_898, "mobilenet": 2_260_546}


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (5, 150, 150, 1)).astype("float32")


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_stated_shape(name, noise):
    network = model.NETWORKS[name]()
    assert network.input_shape == (None, 150, 150, 1) and network.count_params() == PARAMETERS[name]
    output = np.asarray(network(noise))
    assert output.shape == (5, 2) and np.allclose(output.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("recipe", ["best", "best_published"])
def test_networks_are_layer_by_layer_those_that_were_released(recipe):
    run = runs.released(recipe)
    chosen = run.card["recipe"]
    ours = model.NETWORKS[chosen["network"]](chosen["side"], chosen["per_image"])
    released = saved_models.load(run.path / "model.keras")
    assert [layer.get_config() for layer in ours.layers] == [layer.get_config() for layer in released.layers]


def test_published_network_is_as_published():
    network = model.published()
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds.count("Conv2D") == kinds.count("MaxPooling2D") == 4 and kinds.count("Dropout") == 2
    assert [layer.units for layer in network.layers if hasattr(layer, "units")] == [512, 512, 2]
    filters = [layer.filters for layer in network.layers if hasattr(layer, "filters")]
    assert filters == sorted(filters)


@pytest.mark.parametrize("name", ["compact", "mobilenet"])
def test_running_means_follow_a_short_training(name):
    norms = [layer for layer in model.NETWORKS[name]().layers if hasattr(layer, "momentum")]
    assert norms and {layer.momentum for layer in norms} == {0.9}


def test_compact_ignores_exposure(noise):
    network = model.compact()
    np.testing.assert_allclose(network(noise), network(noise * 0.5 + 30), atol=1e-4)


@pytest.mark.parametrize("name", PARAMETERS)
def test_saved_networks_give_the_same_scores_with_keras_alone(name, noise, tmp_path):
    network = model.NETWORKS[name]()
    network.save(tmp_path / "model.keras")
    np.testing.assert_allclose(saved_models.load(tmp_path / "model.keras")(noise), network(noise), atol=1e-6)
    config = json.loads(zipfile.ZipFile(tmp_path / "model.keras").read("config.json"))
    assert "utils" not in json.dumps(config)


def test_float32_copy_keeps_the_weights(noise):
    keras.config.set_dtype_policy("mixed_bfloat16")
    trained = model.compact()
    keras.config.set_dtype_policy("float32")
    copy = model.in_float32(trained)
    assert all(layer.compute_dtype == "float32" for layer in copy.layers)
    np.testing.assert_allclose(copy(noise), trained(noise), atol=0.02)


@pytest.fixture
def chests(radiographs):
    return np.asarray(radiographs.pixels[radiographs.table.index[:6]])


def test_augmentation_at_rest_is_pillows_resize(chests):
    resized = np.asarray(Augment(150)(chests))[..., 0]
    expected = [
        np.asarray(Image.fromarray(c).resize((150, 150), Image.Resampling.BILINEAR), float) for c in chests
    ]
    assert np.abs(resized - np.stack(expected)).max() <= 1  # Pillow rounds twice


def test_keras_is_told_where_xla_cannot_be_used():
    """With jit_compile='auto', as on GPUs, Keras asks every layer."""
    from keras.src.trainers.trainer import model_supports_jit

    for name, possible in (("published", False), ("compact", True)):
        inputs = keras.Input((224, 224), dtype="uint8")
        trainer = keras.Model(inputs, fit.augmentation(recipes.RECIPES[name])(inputs))
        assert model_supports_jit(trainer) is possible


def standardised(pictures):
    mean, deviation = (f(pictures, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    return (pictures - mean) / deviation


@pytest.mark.parametrize(
    "changed, undone",
    [
        ({"contrast": 0.2, "brightness": 0.01}, True),
        ({"exchange": 1.0}, False),
        ({"unevenness": 0.3}, False),
        ({"sharpening": 2.5}, False),
    ],
)
def test_standardising_undoes_brightness_and_contrast_but_no_other_tones(changed, undone, chests):
    chests = (30 + 0.76 * chests).astype(np.uint8)  # nothing is clipped
    plain, seen = (
        np.asarray(Augment(96, **options, seed=0)(chests, training=True))[..., 0] for options in ({}, changed)
    )
    moved = np.abs(standardised(seen) - standardised(plain)).mean()
    assert moved < 0.001 if undone else moved > 0.01
