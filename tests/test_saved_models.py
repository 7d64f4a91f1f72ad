"""Saved models as others make them open; files that ask for more than a network are refused in words.

tests/saved_models.zip holds one small network of the usual kind (a base inside, compiled), really saved
by older versions: TensorFlow 2.15 and 2.12 and with Keras 3.3.
"""

import json
import os
import shutil
import zipfile

import h5py
import numpy as np
import pytest

from utils import model_config, model_files, saved_models, workspace
from utils.backend import keras
from utils.saved_models import ModelError

layers = keras.layers
SAVED = workspace.PROJECT / "tests" / "saved_models.zip"
SCORES = {"2": [0.502973, 0.507369], "3": [0.497754, 0.503433]}  # what the version that saved them gave


@pytest.mark.parametrize("name", zipfile.ZipFile(SAVED).namelist())
def test_files_of_older_versions_give_the_scores_they_gave_there(name, tmp_path):
    ramp = np.linspace(0, 1, 256, dtype="float32").reshape(1, 16, 16, 1).repeat(3, 3)
    network = saved_models.load(zipfile.ZipFile(SAVED).extract(name, tmp_path))
    scores = network(np.concatenate([ramp, ramp[:, ::-1]]), training=False)
    assert network.output_shape == (None, 1)
    np.testing.assert_allclose(scores[:, 0], SCORES[name.partition("_")[2][0]], atol=2e-6)


@pytest.fixture
def network():
    inputs = keras.Input((8, 8, 1))
    outputs = layers.Dense(2, "softmax")(layers.Flatten()(layers.Conv2D(3, 3)(inputs)))
    return keras.Model(inputs, outputs)


@pytest.fixture
def rewritten(network, tmp_path):
    """A function that saves the network, as `suffix`, with its configuration changed by `change`."""

    def rewrite(change, suffix="keras"):
        path = tmp_path / f"rewritten.{suffix}"
        network.save(path)
        if suffix == "h5":
            with h5py.File(path, "r+") as file:
                config = json.loads(file.attrs["model_config"])
                file.attrs["model_config"] = json.dumps(change(config) or config)
            return path
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "new", "w") as new:
            config = json.loads(old.read("config.json"))
            new.writestr("config.json", json.dumps(change(config) or config))
            new.writestr("model.weights.h5", old.read("model.weights.h5"))
        return (tmp_path / "new").rename(path)

    return rewrite


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_one_output_in_a_list_is_one_output(suffix, rewritten):
    def nest(config):
        inside = config["config"]
        inside["output_layers"], inside["input_layers"] = [inside["output_layers"]], [inside["input_layers"]]

    network = saved_models.load(rewritten(nest, suffix))
    assert network.output_shape == (None, 2) and network(np.zeros((1, 8, 8, 1))).shape == (1, 2)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_what_only_a_training_needs_is_not_read(suffix, rewritten):
    """Neither at the top nor in a layer: there Keras would build it, even if not asked to compile."""
    lambda_ = {"class_name": "__lambda__", "config": {"value": "x"}, "module": "builtins"}

    def poison(config):
        config["compile_config"] = {"optimizer": lambda_}
        config["config"]["layers"][1]["compile_config"] = {"optimizer": lambda_}
        config["config"]["layers"][1]["config"]["regularizer_of_2031_regularizer"] = "L3"
        config["config"]["layers"][1]["config"]["setting_of_2031"] = None

    saved_models.load(rewritten(poison, suffix))


def test_a_setting_that_matters_and_is_not_known_is_refused(rewritten):
    def newer(config):
        config["config"]["layers"][1]["config"]["setting_of_2031"] = "circular"

    with pytest.raises(ModelError, match=r"cannot be opened with Keras .* Save it anew where it opens"):
        saved_models.load(rewritten(newer))


@pytest.mark.filterwarnings("ignore")
def test_code_and_strangers_layers_are_refused_by_name(tmp_path):
    class Own(layers.Layer):
        def call(self, x):
            return x

    inputs = keras.Input((8, 8, 1))
    for part, suffix in ((layers.Lambda(abs), "keras"), (layers.Lambda(lambda x: x), "h5"), (Own(), "h5")):
        keras.Model(inputs, part(inputs)).save(tmp_path / f"bad.{suffix}")
        with pytest.raises(ModelError, match=f"{type(part).__name__}.*Rescaling.*new.save"):
            saved_models.load(tmp_path / f"bad.{suffix}")


@pytest.mark.parametrize(
    ("module", "name", "called"),
    [
        ("keras.utils", "function", "function"),
        ("keras", "__lambda__", "__lambda__"),
        ("keras.layers", "Lambda", "Lambda"),
        ("keras.layers", "TFSMLayer", "TFSMLayer"),
        ("keras.layers", "TorchModuleWrapper", "TorchModuleWrapper"),
        ("keras.layers", "StringLookup", "StringLookup"),  # reads a file of words
        ("keras.config", "enable_unsafe_deserialization", "enable_unsafe"),
        ("keras.layers", "TFOpLambda", "arithmetic of TensorFlow"),
        ("os", "Dense", "Dense"),
        (None, "Mine", "Mine"),
        (None, "Attention", "Attention"),  # a stranger's, with a name that Keras has, too
    ],
)
def test_whatever_could_run_code_is_refused_before_anything_is_built(module, name, called, rewritten):
    def replace(config):
        config["config"]["layers"][1] |= {"module": module, "class_name": name, "config": {"x": 1}}

    with pytest.raises(ModelError, match=f"may run code of their own: {called}"):
        saved_models.load(rewritten(replace))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: {"class_name": "Dense", "config": {}}, "no network"),
        (lambda config: ["no network"], "no network"),
        (lambda config: {"class_name": ["Dense"]}, "may run code"),
        (lambda config: config["config"]["layers"].pop(1) and None, "not connected"),
        (lambda config: config["config"]["layers"][2].update(class_name="Dense", config={}), "be opened"),
        (lambda config: config["config"].update(layers=None), "not a complete"),
        (
            lambda config: config["config"]["layers"][3]["config"].update(units=10**10),
            r"be opened.* \d{11}|be opened.*1 objects",
        ),
        (lambda config: config["config"].update(name="x" * int(model_files.LONGEST)), "more than 16 MB"),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_configurations_that_are_no_network_are_refused_in_words(change, words, suffix, rewritten):
    with pytest.raises(ModelError, match=words):
        saved_models.load(rewritten(change, suffix))


def test_layers_in_a_circle_are_refused(rewritten):
    """Keras 3.13 would look for a beginning for ever."""

    def close(config):
        first, last = config["config"]["layers"][1], config["config"]["layers"][3]
        first["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = last["name"]

    with pytest.raises(ModelError, match="not connected"):
        saved_models.load(rewritten(close))


def test_a_configuration_nested_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "deep.keras", "w") as archive:
        archive.writestr("config.json", "[" * 100_000 + "]" * 100_000)
    with pytest.raises(ModelError, match="nested too deeply"):
        saved_models.load(tmp_path / "deep.keras")


def external_link(file, tmp_path):
    file["model_weights/secret"] = h5py.ExternalLink(tmp_path / "secret.h5", "/x")


def soft_link(file, tmp_path):
    file["model_weights/secret"] = h5py.SoftLink("/model_weights")


def external_data(file, tmp_path):
    file.create_dataset("secret", (4,), "u1", external=[(tmp_path / "secret.h5", 0, 4)])


def virtual_data(file, tmp_path):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", (4,))
    file.create_virtual_dataset("secret", layout)


def texts(file, tmp_path):
    file.create_dataset("secret", (4,), h5py.string_dtype())


def enormous(file, tmp_path):
    file.create_dataset("secret", (10**12,), chunks=(10**6,), compression="gzip")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("trap", [external_link, soft_link, external_data, virtual_data, texts, enormous])
def test_weights_that_lead_to_other_files_or_fill_the_memory_are_refused(trap, suffix, network, tmp_path):
    (tmp_path / "secret.h5").write_bytes(b"secret")
    path = tmp_path / f"trap.{suffix}"
    network.save(path)
    weights = path
    if suffix == "keras":
        with zipfile.ZipFile(path) as archive:
            config, weights = archive.read("config.json"), archive.extract("model.weights.h5", tmp_path)
    with h5py.File(weights, "r+") as file:
        file.require_group("model_weights")
        trap(file, tmp_path)
    if suffix == "keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.write(weights, "model.weights.h5")
    with pytest.raises(ModelError, match=r"^trap\.\w+ .*No ordinary network is saved so"):
        saved_models.load(path)


def test_a_zip_that_unpacks_to_far_more_is_refused_before_it_is_unpacked(network, tmp_path, monkeypatch):
    network.save(tmp_path / "bomb.keras")
    with zipfile.ZipFile(tmp_path / "bomb.keras") as archive:
        config = archive.read("config.json")
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", bytes(10**7))
    with pytest.raises(ModelError, match="unpacks to far more"):
        saved_models.load(tmp_path / "bomb.keras")
    monkeypatch.setattr(model_files, "LONGEST", 100)
    with pytest.raises(ModelError, match="too many members"):
        saved_models.load(tmp_path / "bomb.keras")


def test_what_is_no_file_or_no_model_is_refused_in_words(network, tmp_path):
    (tmp_path / "saved_model").mkdir()
    for name in ("saved_model", "model.pkl"):
        with pytest.raises(ModelError, match=r"save it with model.save\('model.keras'\)"):
            saved_models.load(tmp_path / name)
    with pytest.raises(ModelError, match="Notebook 03"):
        saved_models.load(tmp_path / "none.keras")
    network.save(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    for content in (
        b"half",
        whole[:-100],
        whole[: len(whole) // 2],
        whole[:99] + b"?" * 99 + whole[198:],
        b"",
    ):
        for suffix in ("h5", "keras"):
            (tmp_path / f"half.{suffix}").write_bytes(content)
            with pytest.raises(ModelError, match=rf"not a complete \.{suffix} file.*Copy it again"):
                saved_models.load(tmp_path / f"half.{suffix}")
    network.save_weights(tmp_path / "my.weights.h5")
    with pytest.raises(ModelError, match="holds weights only"):
        saved_models.load(tmp_path / "my.weights.h5")
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(ModelError, match="not an ordinary file"):
        saved_models.load(tmp_path / "pipe.keras")
    os.truncate(shutil.copy(tmp_path / "whole.keras", tmp_path / "huge.keras"), int(model_files.LARGEST) + 1)
    with pytest.raises(ModelError, match=r"5\.0 GB.*without the optimizer"):
        saved_models.load(tmp_path / "huge.keras")


def test_a_link_to_a_model_is_followed_and_the_model_left_as_it_is(network, tmp_path):
    network.save(tmp_path / "theirs.h5")
    before = (tmp_path / "theirs.h5").read_bytes()
    (tmp_path / "link.h5").symlink_to(tmp_path / "theirs.h5")
    noise = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    np.testing.assert_allclose(saved_models.load(tmp_path / "link.h5")(noise), network(noise), atol=1e-6)
    assert (tmp_path / "theirs.h5").read_bytes() == before


def test_ordinary_settings_survive_the_cleaning(network):
    """Nothing is left out of what this Keras itself has written, but what only a training needs."""
    before = json.loads(network.to_json())["config"]["layers"][1]["config"] | {"dtype": "float32"}
    after = model_config.cleaned(json.loads(network.to_json()))["config"]["layers"][1]["config"]
    left_out = ("kernel", "bias", "activity")
    assert after == {name: value for name, value in before.items() if name.split("_")[0] not in left_out} | {
        "kernel_size": [3, 3]
    }
