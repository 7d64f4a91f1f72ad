"""Saved models from elsewhere become runs, or are refused in words."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import make_workspace

from utils import predict, runs, saved_models
from utils.backend import keras
from utils.data import manifest
from utils.evaluation import adapt, explain

layers = keras.layers


def foreign(channels, output, pixels, side=64):
    """A small network as somebody else might have made it; dark pictures score high."""
    scale = {"0-255": 1 / 255, "0-1": 1.0, "-1 to 1": 0.5}[pixels]
    inputs = keras.Input((side, side, channels))
    x = layers.GlobalAveragePooling2D()(inputs)
    units = 1 if output.startswith("one") else 2
    kernel = np.full((channels, units), -8 * scale / channels)
    bias = np.full(units, 4.0 if pixels != "-1 to 1" else 0.0)
    if units == 2:
        kernel[:, 0], bias[0] = 0, 0
    activation = {"one probability": "sigmoid", "two probabilities": "softmax"}.get(output)
    dense = layers.Dense(units, activation=activation)
    network = keras.Model(inputs, dense(x))
    dense.set_weights([kernel, bias])
    return network


@pytest.fixture(scope="module")
def radiographs(radiographs):
    """The phantom, taken for real radiographs."""
    return replace(radiographs, synthetic=False)


@pytest.fixture(scope="module")
def pictures(radiographs):
    return np.asarray(radiographs.pixels[radiographs.table.index[:6]])


def trained_on(*inside, channels=3, side=24, front=(), end=("sigmoid", 1)):
    """A network as tutorials make them, compiled: layers in front, a base, an end of (activation, units)."""
    base = [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), *inside]
    end = [layers.GlobalAveragePooling2D(), layers.Dense(end[1], activation=end[0])]
    network = keras.Sequential([keras.Input((side, side, channels)), *front, *base, *end])
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    network.optimizer.build(network.trainable_variables)
    return network


def transferred(end=("softmax", 2), preprocess=None):
    """A base inside, compiled by itself, called as in transfer learning; then an end, compiled."""
    base = trained_on(end=("relu", 3))
    inputs = x = keras.Input((24, 24, 3))
    x = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])(x)
    x = layers.Dropout(0.2)(base(preprocess(x) if preprocess else x, training=False))
    network = keras.Model(inputs, layers.Dense(end[1], activation=end[0])(x))
    network.compile("adam", "categorical_crossentropy")
    return network


def in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = transferred(end=(None, 2))
        last = layers.Activation("softmax", dtype="float32")
        return keras.Model(network.input, last(network.output))
    finally:
        keras.config.set_dtype_policy("float32")


def resnet(x):
    return keras.applications.resnet.preprocess_input(x)


def rescaled(scale, offset=0.0, **more):
    return trained_on(front=[layers.RandomZoom(0.1), layers.Rescaling(scale, offset)], **more)


# The habits: how to make the network, what its file tells of PIXELS and of OUTPUT.
HABITS = {
    "sequential, pixels scaled outside": (trained_on, None, "one probability"),
    "batch normalisation": (lambda: trained_on(layers.BatchNormalization()), None, "one probability"),
    "grey": (lambda: trained_on(channels=1), None, "one probability"),
    "pixels scaled inside": (lambda: rescaled(1 / 255), "0-255", "one probability"),
    "to -1 to 1 inside": (lambda: rescaled(1 / 127.5, -1), "0-255", "one probability"),
    "from 0-1 to -1 to 1 inside": (lambda: rescaled(2.0, -1), "0-1", "one probability"),
    "from 0-1 back to 0-255": (lambda: rescaled(255), "0-1", "one probability"),
    "one logit": (lambda: rescaled(1 / 255, end=(None, 1)), "0-255", "one logit"),
    "two logits": (lambda: trained_on(end=(None, 2)), None, "two logits"),
    "two sigmoids": (lambda: trained_on(end=("sigmoid", 2)), None, "two probabilities"),
    "a base inside": (transferred, None, "two probabilities"),
    "ReLU as the end": (lambda: trained_on(end=("relu", 1)), None, None),
    "mixed precision": (in_mixed_precision, None, "two probabilities"),
    "normalised by its data": (lambda: trained_on(front=[layers.Normalization()]), None, "one probability"),
}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("habit", HABITS)
def test_models_of_every_habit_open_and_tell_what_they_are(habit, suffix, pictures, tmp_path):
    make, pixels, output = HABITS[habit]
    theirs = make()
    theirs.save(tmp_path / f"theirs.{suffix}")
    loaded = saved_models.load(tmp_path / f"theirs.{suffix}")
    assert (adapt.pixels_of(loaded), adapt.output_of(loaded)) == (pixels, output)
    adapted = adapt.adapt(loaded, pixels or "0-255", output or "one probability")
    inputs = next(predict.batches(adapted, pictures))
    scale, offset = adapt.PIXELS[pixels or "0-255"]
    inputs = keras.ops.repeat(inputs * scale + offset, theirs.input_shape[-1], -1)
    given = np.asarray(theirs(inputs, training=False), np.float32)
    scores = predict.score_pictures(adapted, pictures)
    if output == "one logit":
        given = 1 / (1 + np.exp(-given))
    elif output == "two logits":
        given = np.exp(given - given.max(1, keepdims=True))
    expected = given[:, 0] if given.shape[1] == 1 else given[:, 1] / given.sum(1)
    np.testing.assert_allclose(scores, expected, atol=2e-2 if habit == "mixed precision" else 1e-5)
    assert adapted.compute_dtype == "float32" and explain.grad_cam(adapted, pictures).shape == pictures.shape


def test_arithmetic_of_keras_before_the_base_opens(pictures, tmp_path):
    theirs = transferred(preprocess=resnet)
    theirs.save(tmp_path / "theirs.keras")
    loaded = saved_models.load(tmp_path / "theirs.keras")
    noise = np.random.default_rng(0).random((2, 24, 24, 3), np.float32) * 255
    np.testing.assert_allclose(loaded(noise, training=False), theirs(noise, training=False), atol=1e-5)
    assert adapt.pixels_of(loaded) is None and adapt.output_of(loaded) == "two probabilities"


def test_what_the_file_tells_is_taken_and_said_and_a_contradiction_is_one_sentence(
    radiographs, tmp_path, capsys
):
    rescaled(1 / 255, channels=1).save(tmp_path / "all.keras")
    run = adapt.adopt(tmp_path / "all.keras", make_workspace(tmp_path), radiographs)
    assert (run.card["adapted"]["pixels"], run.card["adapted"]["output"]) == ("0-255", "one probability")
    said = "all.keras: PIXELS '0-255', OUTPUT 'one probability', as its layers say."
    assert said in capsys.readouterr().out
    assert "Whether test images influenced this model is not known" in run.card["recipe"]["remark"]
    assert "trained on" not in str(run) and "saved model all.keras from elsewhere" in str(run)
    network = saved_models.load(tmp_path / "all.keras")
    for wrong, words in (
        ({"pixels": "0-1"}, r"PIXELS is '0-1', but the layers of the file say '0-255'\. Set PIXELS"),
        ({"output": "one logit"}, "OUTPUT is 'one logit', but .* say 'one probability'"),
        ({"pixels": "0-2"}, r"Choose 'as saved', '0-255'"),
        ({"positive": 2}, "POSITIVE, 2, is not 0 or 1"),
    ):
        with pytest.raises(saved_models.ModelError, match=words):
            adapt.adapt(network, **({"pixels": adapt.AS_SAVED, "output": adapt.AS_SAVED} | wrong))
    with pytest.raises(saved_models.ModelError, match=r"do not tell PIXELS\. Set PIXELS to '0-1' if"):
        adapt.adapt(trained_on(), adapt.AS_SAVED, adapt.AS_SAVED)
    with pytest.raises(saved_models.ModelError, match="do not tell OUTPUT"):
        adapt.adapt(trained_on(end=("relu", 1)), "0-1", adapt.AS_SAVED)


def test_a_saved_model_is_not_scored_on_the_phantom(radiographs, tmp_path):
    phantom = replace(radiographs, synthetic=True)
    with pytest.raises(saved_models.ModelError, match=r"real radiographs only.*notebook 01"):
        adapt.adopt(tmp_path / "theirs.keras", make_workspace(tmp_path), phantom)
    assert not list(tmp_path.iterdir())


def test_networks_that_take_no_picture_or_give_no_answer_are_refused_in_words():
    inputs = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(inputs)
    age = keras.Input((1,))
    for network, words in (
        (keras.Model(inputs, [x, x]), r"returns \["),
        (keras.Model(inputs, layers.Dense(4, "softmax")(x)), r"returns \(None, 4\)"),
        (keras.Model([inputs, age], layers.Dense(1)(layers.Concatenate()([x, age]))), "not one picture"),
        (trained_on(channels=4), "takes 4 channels"),
        (trained_on(front=[layers.UpSampling2D(9999)]), "GB for one picture"),
    ):
        with pytest.raises(saved_models.ModelError, match=words):
            adapt.adapt(network, "0-1", "one logit" if len(network.outputs) > 1 else adapt.AS_SAVED)


def test_large_networks_get_fewer_pictures_at_a_time(pictures, monkeypatch):
    network = adapt.adapt(trained_on(), "0-1", "one probability")
    scores = predict.score_pictures(network, pictures)
    monkeypatch.setattr(predict, "MEMORY", 2 * predict.memory(network))
    assert [len(batch) for batch in predict.batches(network, pictures)] == [2, 2, 2]
    np.testing.assert_allclose(predict.score_pictures(network, pictures), scores, atol=1e-6)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("output", adapt.OUTPUTS)
@pytest.mark.parametrize(("channels", "pixels"), [(1, "0-1"), (3, "0-255"), (3, "-1 to 1")])
def test_every_kind_of_network_gives_the_same_scores(channels, pixels, output, suffix, pictures, tmp_path):
    foreign(channels, output, pixels).save(tmp_path / f"theirs.{suffix}")
    loaded = saved_models.load(tmp_path / f"theirs.{suffix}")
    scores = predict.score_pictures(adapt.adapt(loaded, pixels, output), pictures)
    mean = pictures.mean((1, 2)) / 255
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(8 * mean - 4)), atol=0.02)
    turned = predict.score_pictures(adapt.adapt(loaded, pixels, output, positive=0), pictures)
    np.testing.assert_allclose(turned, 1 - scores, atol=1e-5)


@pytest.mark.parametrize(("output", "positive"), [("one logit", 1), ("two probabilities", 0)])
def test_a_saved_model_becomes_a_run_that_opens_again(output, positive, radiographs, tmp_path):
    ws = make_workspace(tmp_path)
    foreign(3, output, "0-1").save(tmp_path / "theirs.h5")
    settings = {"pixels": "0-1", "output": output, "positive": positive}
    run = adapt.adopt(tmp_path / "theirs.h5", ws, radiographs, **settings)
    assert run.finished and not runs.faults(run, radiographs) and 0 < run.card["threshold"]["value"] < 1
    again = predict.score_table(
        saved_models.load(run.path / "model.keras"),
        radiographs.pixels,
        manifest.select(radiographs.table, "val"),
    )
    np.testing.assert_allclose(again.score, run.scores("val").score, atol=1e-6)
    assert adapt.adopt(tmp_path / "theirs.h5", ws, radiographs, **settings) == run
    assert len(predict.test_scores(run, radiographs)[0]) == (radiographs.table.split == "test").sum()


def test_scores_that_say_nothing_are_recognised(radiographs, tmp_path, capsys):
    ws = make_workspace(tmp_path)
    constant = foreign(1, "two probabilities", "0-1")
    constant.set_weights([np.zeros_like(value) for value in constant.get_weights()])
    constant.save(tmp_path / "constant.keras")
    adapt.adopt(tmp_path / "constant.keras", ws, radiographs, pixels="0-1")
    assert "does not look at the picture" in capsys.readouterr().out
    outside = trained_on(channels=1, end=("relu", 1))
    outside.set_weights([value + 1 for value in outside.get_weights()])
    outside.save(tmp_path / "outside.keras")
    with pytest.raises(saved_models.ModelError, match=r"scores go from .* Is the output a logit\?"):
        adapt.adopt(tmp_path / "outside.keras", ws, radiographs, pixels="0-1", output="one probability")


def test_a_network_of_any_size_needs_a_side(pictures):
    inputs = x = keras.Input((None, None, 1))
    network = keras.Model(inputs, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(saved_models.ModelError, match="add side="):
        adapt.adapt(network, "0-1", "two probabilities")
    adapted = adapt.adapt(network, "0-1", "two probabilities", side=299)
    assert predict.score_pictures(adapted, pictures).shape == (6,)
    x = layers.GlobalAveragePooling2D()(layers.Resizing(32, 32)(x))  # makes of any size what it needs
    network = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    assert adapt.adapt(network, "0-1", adapt.AS_SAVED).input_shape == (None, 224, 224, 1)


def test_a_network_with_slices_is_no_danger(pictures, tmp_path):
    inputs = keras.Input((64, 64, 3))
    x = layers.GlobalAveragePooling2D()(inputs[:, 4:-4, 4:-4, :] * 2.0)
    keras.Model(inputs, layers.Dense(2, "softmax")(x)).save(tmp_path / "slices.keras")
    adapted = adapt.adapt(saved_models.load(tmp_path / "slices.keras"), "0-1", "two probabilities")
    adapted.save(tmp_path / "adapted.keras")
    again = saved_models.load(tmp_path / "adapted.keras")
    expected = predict.score_pictures(adapted, pictures)
    np.testing.assert_allclose(predict.score_pictures(again, pictures), expected, atol=1e-6)
