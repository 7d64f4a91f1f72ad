"""Saved models from elsewhere become runs, or are refused in words."""

import json
import zipfile

import h5py
import numpy as np
import pytest
from conftest import make_workspace

from utils import predict, runs, saved_models
from utils.backend import keras
from utils.data import manifest
from utils.evaluation import adapt

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
def pictures(radiographs):
    return np.asarray(radiographs.pixels[radiographs.table.index[:6]])


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


def test_wrong_settings_are_recognised(radiographs, tmp_path, capsys):
    ws = make_workspace(tmp_path)
    foreign(1, "one logit", "0-1").save(tmp_path / "logit.keras")
    with pytest.raises(saved_models.ModelError, match=r"scores go from .* Is the output a logit\?"):
        adapt.adopt(tmp_path / "logit.keras", ws, radiographs, pixels="0-255", output="one probability")
    constant = foreign(1, "two probabilities", "0-1")
    constant.set_weights([np.zeros_like(value) for value in constant.get_weights()])
    constant.save(tmp_path / "constant.keras")
    adapt.adopt(tmp_path / "constant.keras", ws, radiographs)
    assert "does not look at the picture" in capsys.readouterr().out
    for wrong, words in (
        ({"output": "one logit"}, r"returns \(None, 2\)"),
        ({"pixels": "0-2"}, "Choose PIXELS"),
    ):
        with pytest.raises(saved_models.ModelError, match=words):
            adapt.adopt(tmp_path / "constant.keras", ws, radiographs, **wrong)


def test_a_network_of_any_size_needs_a_side(pictures):
    inputs = keras.Input((None, None, 1))
    network = keras.Model(inputs, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(inputs)))
    with pytest.raises(saved_models.ModelError, match="add side="):
        adapt.adapt(network, "0-1", "two probabilities")
    adapted = adapt.adapt(network, "0-1", "two probabilities", side=299)
    assert predict.score_pictures(adapted, pictures).shape == (6,)


@pytest.mark.filterwarnings("ignore")
def test_code_in_a_saved_model_is_refused_by_name(tmp_path):
    inputs = keras.Input((8, 8, 1))
    network = keras.Model(inputs, layers.Lambda(lambda x: x)(inputs))
    network.save(tmp_path / "lambda.h5")
    with pytest.raises(saved_models.ModelError, match="Lambda"):
        saved_models.load(tmp_path / "lambda.h5")

    class Own(layers.Layer):
        def call(self, x):
            return x

    keras.Model(inputs, Own()(inputs)).save(tmp_path / "own.h5")
    with pytest.raises(saved_models.ModelError, match="Own"):
        saved_models.load(tmp_path / "own.h5")
    (tmp_path / "saved_model").mkdir()
    for name in ("saved_model", "model.pkl"):
        with pytest.raises(saved_models.ModelError, match=r"save it with model.save\('model.keras'\)"):
            saved_models.load(tmp_path / name)
    (tmp_path / "half.h5").write_bytes(b"half")
    with pytest.raises(saved_models.ModelError, match=r"not a complete \.h5 file"):
        saved_models.load(tmp_path / "half.h5")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_dataset("w", data=[1.0])
    with pytest.raises(saved_models.ModelError, match="holds weights only"):
        saved_models.load(tmp_path / "weights.h5")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.utils", "function"),
        ("keras", "__lambda__"),
        ("keras.layers", "Lambda"),
        ("keras.layers", "TFSMLayer"),
        ("keras.layers", "TorchModuleWrapper"),
        ("keras.config", "enable_unsafe_deserialization"),
        ("os", "Dense"),
        (None, "Mine"),
    ],
)
def test_whatever_could_run_code_is_refused_before_anything_is_built(module, name, tmp_path):
    part = {"module": module, "class_name": name, "config": {"x": 1}}
    config = {"module": "keras", "class_name": "Functional", "config": {"layers": [part]}}
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(saved_models.ModelError, match=f"may run code of their own: {name}"):
        saved_models.load(tmp_path / "bad.keras")


def test_a_network_with_slices_is_no_danger(pictures, tmp_path):
    inputs = keras.Input((64, 64, 3))
    x = layers.GlobalAveragePooling2D()(inputs[:, 4:-4, 4:-4, :] * 2.0)
    keras.Model(inputs, layers.Dense(2, "softmax")(x)).save(tmp_path / "slices.keras")
    adapted = adapt.adapt(saved_models.load(tmp_path / "slices.keras"), "0-1", "two probabilities")
    adapted.save(tmp_path / "adapted.keras")
    again = saved_models.load(tmp_path / "adapted.keras")
    expected = predict.score_pictures(adapted, pictures)
    np.testing.assert_allclose(predict.score_pictures(again, pictures), expected, atol=1e-6)
