import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from utils import model, saved_models
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


def test_published_network_is_as_published():
    kinds = [type(layer).__name__ for layer in model.published().layers]
    assert kinds.count("Conv2D") == kinds.count("MaxPooling2D") == 4 and kinds.count("Dropout") == 2
    network = model.published()
    assert [layer.units for layer in network.layers if hasattr(layer, "units")] == [512, 512, 2]
    filters = [layer.filters for layer in network.layers if hasattr(layer, "filters")]
    assert filters == sorted(filters)
    published = recipes.RECIPES["published"]
    assert (published.epochs, published.batch_size, published.side) == (300, 80, 150)
    trainer = fit.compile_network(network, published, steps_per_epoch=59)
    assert type(trainer.optimizer) is keras.optimizers.Adam and trainer.optimizer.weight_decay is None
    assert isinstance(trainer.loss, keras.losses.CategoricalCrossentropy)


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


@pytest.mark.parametrize("name", PARAMETERS)
def test_files_of_a_newer_keras_still_open(name, noise, tmp_path):
    """Newer versions add settings that older ones refuse; ours are rebuilt, others are explained."""
    network = model.NETWORKS[name]()
    network.save(tmp_path / "now.keras")
    for new_name, outcome in ((name, "opens"), ("stranger", "refused")):
        with (
            zipfile.ZipFile(tmp_path / "now.keras") as old,
            zipfile.ZipFile(tmp_path / f"{outcome}.keras", "w") as new,
        ):
            for entry in old.namelist():
                content = old.read(entry)
                if entry == "config.json":
                    config = json.loads(content)
                    config["config"]["name"] = new_name
                    config["config"]["layers"][2]["config"]["setting_of_2031"] = True
                    content = json.dumps(config)
                new.writestr(entry, content)
    np.testing.assert_allclose(saved_models.load(tmp_path / "opens.keras")(noise), network(noise), atol=1e-6)
    with pytest.raises(saved_models.ModelError, match="cannot be opened with Keras"):
        saved_models.load(tmp_path / "refused.keras")


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


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_augmentation_is_random_seeded_and_in_range(name, chests):
    chosen = recipes.RECIPES[name]
    first, second, other = (
        np.asarray(fit.augmentation(chosen, seed)(chests, training=True)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).mean() > 1
    assert first.shape == (6, chosen.side, chosen.side, 1) and first.min() >= 0 and first.max() <= 255
    again = fit.augmentation(chosen, 1)
    again(chests, training=True)
    assert np.abs(np.asarray(again(chests, training=True)) - first).mean() > 1  # each batch differs


def test_random_aspect_changes_the_shape_of_what_is_seen():
    """A centred disc becomes an ellipse: wide in some draws, tall in others."""
    y, x = np.mgrid[-1:1:224j, -1:1:224j]
    disc = (255 * (x**2 + y**2 < 0.15)).astype(np.uint8)
    layer = Augment(150, area=(0.8, 0.8), aspect=(2 / 3, 3 / 2), seed=3)
    seen = np.asarray(layer(np.repeat(disc[None], 64, 0), training=True))[..., 0] > 128
    ratio = seen.any(1).sum(1) / seen.any(2).sum(1)
    assert ratio.min() < 0.8 and ratio.max() > 1.25


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


def test_exchanged_tones_lie_between_those_of_the_two_pictures():
    rng = np.random.default_rng(0)
    pair = np.stack([rng.integers(0, 100, (224, 224)), rng.integers(150, 256, (224, 224))]).astype(np.uint8)
    plain, seen = (
        np.asarray(Augment(96, exchange=share, seed=2)(pair, training=True))[..., 0] for share in (0.0, 1.0)
    )
    low, high = (np.quantile(picture, [0.1, 0.5, 0.9]) for picture in plain)
    for picture, own, other in zip(seen, (low, high), (high, low), strict=True):
        share = (np.quantile(picture, [0.1, 0.5, 0.9]) - own) / (other - own)
        assert 0.02 < share[1] <= 1 and share == pytest.approx(share[1], abs=0.1)


def test_rotation_turns_about_the_centre():
    dot = np.zeros((1, 224, 224), np.uint8)
    dot[0, 20:40, 100:124] = 255
    layer = Augment(150, rotation=90.0, seed=0)
    turned = np.asarray(layer(np.repeat(dot, 32, 0), training=True))[..., 0]
    y, x = np.mgrid[0:150, 0:150]
    for picture in turned:
        at = (picture * y).sum() / picture.sum() - 74.5, (picture * x).sum() / picture.sum() - 74.5
        assert np.hypot(*at) == pytest.approx(55, abs=2)
    assert turned.std(0).max() > 50
