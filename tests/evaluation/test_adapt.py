"""Saved models from elsewhere become runs that score as those models do, or are refused in words."""

from dataclasses import replace

import numpy as np
import pytest
import tf_keras
from conftest import make_workspace

from utils import predict, runs, saved_models
from utils.backend import keras
from utils.data import manifest
from utils.evaluation import adapt, explain
from utils.workspace import ExplainedError

layers = keras.layers
FORMS = {"Keras 3 .keras": (keras, "keras"), "Keras 3 .h5": (keras, "h5"), "Keras 2 .h5": (tf_keras, "h5")}


@pytest.fixture(scope="module")
def radiographs(radiographs):
    """The phantom, taken for real radiographs."""
    return replace(radiographs, synthetic=False)


@pytest.fixture(scope="module")
def pictures(radiographs):
    return np.asarray(radiographs.pixels[radiographs.table.index[:6]])


def trained_on(*inside, library=keras, channels=3, side=24, front=(), end=("sigmoid", 1)):
    """A network as tutorials make them, compiled: layers in front, a base, an end of (activation, units)."""
    layers = library.layers
    base = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), *inside]
    end = [layers.GlobalAveragePooling2D(), layers.Dense(end[1], activation=end[0])]
    network = library.Sequential([library.Input((side, side, channels)), *front, *base, *end])
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return network


def transferred(library=keras, end=("softmax", 2), preprocess=None):
    """A base inside, called as in transfer learning; then an end, compiled."""
    layers = library.layers
    base = trained_on(library=library, end=("relu", 3))
    inputs = x = library.Input((24, 24, 3))
    x = library.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])(x)
    x = layers.Dropout(0.2)(base(preprocess(x) if preprocess else x, training=False))
    network = library.Model([inputs], [layers.Dense(end[1], activation=end[0])(x)])
    network.compile("adam", "categorical_crossentropy")
    return network


def in_mixed_precision(library):
    layers = library.layers
    return trained_on(layers.Conv2D(8, 3, dtype="mixed_float16"), library=library, end=("softmax", 2))


def rescaled(library, scale, offset=0.0, **more):
    front = [library.layers.RandomZoom(0.1), library.layers.Rescaling(scale, offset)]
    return trained_on(library=library, front=front, **more)


# The habits: how to make the network, what its file tells of PIXELS and of OUTPUT.
HABITS = {
    "pixels scaled outside": (lambda lib: trained_on(library=lib), None, "one probability"),
    "grey": (lambda lib: trained_on(library=lib, channels=1), None, "one probability"),
    "pixels scaled inside": (lambda lib: rescaled(lib, 1 / 255), "0-255", "one probability"),
    "to -1 to 1 inside": (lambda lib: rescaled(lib, 1 / 127.5, -1), "0-255", "one probability"),
    "from 0-1 to -1 to 1 inside": (lambda lib: rescaled(lib, 2.0, -1), "0-1", "one probability"),
    "from 0-1 back to 0-255": (lambda lib: rescaled(lib, 255), "0-1", "one probability"),
    "one logit": (lambda lib: rescaled(lib, 1 / 255, end=(None, 1)), "0-255", "one logit"),
    "two logits": (lambda lib: trained_on(library=lib, end=(None, 2)), None, "two logits"),
    "two sigmoids": (lambda lib: trained_on(library=lib, end=("sigmoid", 2)), None, "two probabilities"),
    "a base inside": (transferred, None, "two probabilities"),
    "mixed precision": (in_mixed_precision, None, "two probabilities"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("habit", HABITS)
def test_models_of_every_habit_open_tell_what_they_are_and_score_as_before(habit, form, pictures, tmp_path):
    (make, pixels, output), (library, suffix) = HABITS[habit], FORMS[form]
    theirs = make(library)
    theirs.save(tmp_path / f"theirs.{suffix}")
    loaded = saved_models.load(tmp_path / f"theirs.{suffix}")
    assert (adapt.pixels_of(loaded), adapt.output_of(loaded)) == (pixels, output)
    pixels = pixels or "-1 to 1"
    network = adapt.wrap(loaded, pixels)
    inputs = np.concatenate(list(predict.batches(network, pictures)))  # [6, 24, 24, 1] in 0-255
    inputs = {"0-255": inputs, "0-1": inputs / 255, "-1 to 1": inputs / 127.5 - 1}[pixels]
    given = np.asarray(theirs(inputs.repeat(theirs.input_shape[-1], -1), training=False), float)
    if output == "one logit":
        given = 1 / (1 + np.exp(-given))
    if output == "two logits":
        given = np.exp(given) / np.exp(given).sum(1, keepdims=True)
    ill = given[:, 0] if given.shape[1] == 1 else (1 + given[:, 1] - given[:, 0]) / 2
    exact = 2e-3 if habit == "mixed precision" else 1e-5
    np.testing.assert_allclose(predict.score_pictures(network, pictures), ill, atol=exact)
    turned = predict.score_pictures(adapt.wrap(loaded, pixels, positive=0), pictures)
    np.testing.assert_allclose(turned, 1 - ill, atol=exact)
    assert all(layer.compute_dtype == "float32" for layer in loaded.layers)
    assert explain.grad_cam(network, pictures).shape == pictures.shape


@pytest.mark.parametrize(
    "preprocess", [lambda x: keras.applications.resnet.preprocess_input(x), lambda x: x[..., ::-1] * 2.0 - 1]
)
def test_arithmetic_of_keras_before_the_base_opens(preprocess, tmp_path):
    theirs = transferred(end=(None, 2), preprocess=preprocess)
    theirs.save(tmp_path / "theirs.keras")
    loaded = saved_models.load(tmp_path / "theirs.keras")
    noise = np.random.default_rng(0).random((2, 24, 24, 3), np.float32) * 255
    np.testing.assert_allclose(loaded(noise, training=False), theirs(noise, training=False), rtol=1e-4)
    assert adapt.pixels_of(loaded) is None


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_becomes_a_run_that_opens_again_and_is_made_once(form, radiographs, tmp_path, capsys):
    library, suffix = FORMS[form]
    path, ws = tmp_path / f"theirs.{suffix}", make_workspace(tmp_path)
    rescaled(library, 1 / 255).save(path)
    run = adapt.run_of_file(path, ws, radiographs, positive=0)
    said = f"{path.name} is used with PIXELS '0-255', OUTPUT 'one probability', POSITIVE 0"
    assert said in capsys.readouterr().out
    assert run.finished and not runs.faults(run, radiographs) and 0 < run.card["threshold"]["value"] < 1
    assert "Whether test images influenced this model is not known" in run.card["recipe"]["remark"]
    assert "trained on" not in str(run) and f"saved model {path.name} from elsewhere" in str(run)
    network = explain.network_of(run)
    validation = manifest.select(radiographs.table, "val")
    again = predict.score_table(network, radiographs.pixels, validation)
    np.testing.assert_allclose(again.score, run.scores("val").score, atol=1e-6)
    assert explain.grad_cam(network, radiographs.pixels[:2]).max() == pytest.approx(1)
    assert adapt.run_of_file(path, ws, radiographs, "0-255", positive=0) == run
    assert adapt.run_of_file(path, ws, radiographs, positive=1) != run
    assert len(predict.test_scores(run, radiographs)[0]) == (radiographs.table.split == "test").sum()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pixels": "0-1"}, r"PIXELS is '0-1', but the layers of the file say '0-255'\. Set PIXELS"),
        ({"output": "one logit"}, "OUTPUT is 'one logit', but .* say 'one probability'"),
        ({"pixels": "0-2"}, r"Choose 'as saved', '0-255'"),
        ({"positive": 2}, "POSITIVE, 2, is not 0 or 1"),
    ],
)
def test_a_setting_that_the_file_contradicts_is_one_sentence(settings, words):
    with pytest.raises(ExplainedError, match=words):
        adapt.wrap(rescaled(keras, 1 / 255), **settings)


def test_what_the_layers_do_not_tell_is_asked_for():
    with pytest.raises(ExplainedError, match=r"do not tell PIXELS\. Set it to one of '0-255', '0-1'"):
        adapt.wrap(trained_on())
    with pytest.raises(ExplainedError, match="do not tell OUTPUT"):
        adapt.wrap(trained_on(end=("relu", 1)), "0-1")
    adapt.wrap(trained_on(end=("relu", 1)), "0-1", "one probability")


def test_a_saved_model_is_not_scored_on_the_phantom(radiographs, tmp_path):
    phantom = replace(radiographs, synthetic=True)
    with pytest.raises(ExplainedError, match=r"real radiographs only.*notebook 01"):
        adapt.run_of_file(tmp_path / "theirs.keras", make_workspace(tmp_path), phantom)
    assert not list(tmp_path.iterdir())


def test_networks_that_take_no_picture_or_give_no_answer_are_refused_in_words():
    inputs = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(inputs)
    age = keras.Input((1,))
    fixed = keras.Input(batch_shape=(16, 24, 24, 3))
    for network, words in (
        (keras.Model(inputs, [x, x]), r"returns \["),
        (keras.Model(inputs, layers.Dense(4, "softmax")(x)), r"returns \(None, 4\)"),
        (keras.Model([inputs, age], layers.Dense(1)(layers.Concatenate()([x, age]))), "It must take"),
        (keras.Model(fixed, layers.Dense(1)(layers.GlobalAveragePooling2D()(fixed))), r"takes \(16, 24"),
        (trained_on(channels=4), "24, 24, 4"),
    ):
        with pytest.raises(ExplainedError, match=words):
            adapt.wrap(network, "0-1")


def test_a_network_of_any_size_gets_pictures_as_they_are_packed(pictures):
    network = trained_on(side=None)
    assert adapt.wrap(network, "0-1").input_shape == (None, 224, 224, 1)
    assert predict.score_pictures(adapt.wrap(network, "0-1"), pictures).shape == (6,)


def test_scores_that_say_nothing_are_recognised(radiographs, tmp_path, capsys):
    ws, network = make_workspace(tmp_path), trained_on(channels=1)
    network.set_weights([np.zeros_like(value) for value in network.get_weights()])
    network.save(tmp_path / "constant.keras")
    adapt.run_of_file(tmp_path / "constant.keras", ws, radiographs, "0-1")
    printed = capsys.readouterr().out
    assert "does not look at the picture" in printed and "validation AUC is 0.50, near guessing" in printed
    outside = trained_on(channels=1, end=("relu", 1))
    outside.set_weights([value + 1 for value in outside.get_weights()])
    outside.save(tmp_path / "outside.keras")
    with pytest.raises(ExplainedError, match="not between 0 and 1"):
        adapt.run_of_file(tmp_path / "outside.keras", ws, radiographs, "0-1", "one probability")
