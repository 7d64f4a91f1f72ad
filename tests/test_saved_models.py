"""Saved models of every version of Keras open and score as they did; files that bring code are refused.

tests/saved_models.zip holds one small network of the usual kind (a base inside, compiled), really saved
by older versions: TensorFlow 2.15 and 2.12 and with Keras 3.3.
"""

import json
import shutil
import sys
import zipfile

import h5py
import numpy as np
import pytest
import tf_keras

from utils import runs, saved_models, workspace
from utils.backend import keras
from utils.sources import drive
from utils.workspace import ExplainedError

layers = keras.layers
SAVED = workspace.PROJECT / "tests" / "saved_models.zip"
SCORES = {"2": [0.502973, 0.507369], "3": [0.497754, 0.503433]}  # what the version that saved them gave
RELEASED = {"best": 0.8816407, "best_published": 0.9506414, "compact_usual": 0.5851203}


@pytest.mark.parametrize("name", zipfile.ZipFile(SAVED).namelist())
def test_files_of_older_versions_give_the_scores_they_gave_there(name, tmp_path):
    ramp = np.linspace(0, 1, 256, dtype="float32").reshape(1, 16, 16, 1).repeat(3, 3)
    network = saved_models.load(zipfile.ZipFile(SAVED).extract(name, tmp_path))
    scores = network(np.concatenate([ramp, ramp[:, ::-1]]), training=False)
    assert network.output_shape == (None, 1)
    np.testing.assert_allclose(scores[:, 0], SCORES[name.partition("_")[2][0]], atol=2e-6)


@pytest.mark.parametrize("recipe", RELEASED)
def test_released_networks_open_with_keras_alone_in_every_supported_version(recipe):
    path = runs.released(recipe).path / "model.keras"
    wrote = json.loads(zipfile.ZipFile(path).read("metadata.json"))["keras_version"]
    assert [int(part) for part in wrote.split(".")] <= [3, 13, 2]  # the oldest in requirements.txt
    network = keras.saving.load_model(path)
    y, x = np.mgrid[-1 : 1 : network.input_shape[1] * 1j, -1 : 1 : network.input_shape[1] * 1j]
    picture = 128 + 100 * np.cos(5 * x) * np.cos(3 * y)
    score = network(picture.astype("float32")[None, ..., None], training=False)[0, 1]
    assert float(score) == pytest.approx(RELEASED[recipe], abs=1e-5)


def small(library, *more):
    """A network of two convolutions and two dense layers; more: layers at the front."""
    layers = library.layers
    parts = [layers.Conv2D(3, 3), layers.MaxPooling2D(), layers.Conv2D(2, 2), layers.Flatten()]
    ends = [layers.Dense(4), layers.Dense(2, "softmax")]
    inputs = x = library.Input((8, 8, 1))
    for layer in (*more, *parts, *ends):
        x = layer(x)
    return library.Model(inputs, x)


@pytest.fixture
def noise():
    return np.random.default_rng(0).random((2, 8, 8, 1), np.float32)


@pytest.fixture
def rewritten(tmp_path):
    """A function that saves a network, changes its configuration and weights, and gives the path."""

    def rewrite(suffix="keras", config=lambda config: None, weights=lambda file: None, network=None):
        path = tmp_path / f"rewritten.{suffix}"
        (network or small(keras)).save(path)
        if suffix == "h5":
            with h5py.File(path, "r+") as file:
                text = json.loads(file.attrs["model_config"])
                config(text)
                file.attrs["model_config"] = json.dumps(text)
                weights(file)
            return path
        with zipfile.ZipFile(path) as archive:
            text, metadata = json.loads(archive.read("config.json")), archive.read("metadata.json")
            archive.extract("model.weights.h5", tmp_path)
        config(text)
        with h5py.File(tmp_path / "model.weights.h5", "r+") as file:
            weights(file)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(text))
            archive.writestr("metadata.json", metadata)
            archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
        return path

    return rewrite


def test_the_numbering_of_tensorflow_2_13_is_read(rewritten, noise):
    """That version alone could open what it saved; ../shared/models had one, this imitates it."""

    def as_there(file):
        file.move("layers", "_layer_checkpoint_dependencies")
        for kind in ("conv2d", "dense"):
            file.move(f"_layer_checkpoint_dependencies/{kind}_1", f"_layer_checkpoint_dependencies/{kind}_2")

    network = small(tf_keras)
    opened = saved_models.load(rewritten(weights=as_there, network=network))
    np.testing.assert_array_equal(opened(noise, training=False), network(noise, training=False))


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_what_only_a_training_or_a_newer_version_needs_is_left_out(suffix, library, rewritten, noise):
    lambda_ = {"class_name": "__lambda__", "config": {"value": "x"}, "module": "builtins"}

    def newer(config):
        layer = config["config"]["layers"][1]["config"]
        config["compile_config"] = {"optimizer": lambda_}
        layer["kernel_regularizer"] = lambda_
        layer["setting_of_2031"] = None

    network = small(library)
    opened = saved_models.load(rewritten(suffix, newer, network=network))
    np.testing.assert_allclose(opened(noise), network(noise), atol=1e-6)


def test_a_setting_that_matters_and_is_not_known_is_refused(rewritten):
    def newer(config):
        config["config"]["layers"][1]["config"]["setting_of_2031"] = "circular"

    with pytest.raises(ExplainedError, match=r"cannot be opened: .* save it anew where it opens"):
        saved_models.load(rewritten(config=newer))


def own_layer(library):
    class Own(library.layers.Layer):
        def call(self, x):
            return x

    return Own()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_and_strangers_layers_are_refused_by_name(suffix, library, tmp_path):
    path = tmp_path / f"theirs.{suffix}"
    for part, name in (
        (library.layers.Lambda(lambda x: x), "Lambda"),
        (library.layers.Activation(abs_of), "function abs_of"),
        (own_layer(library), "Own"),
    ):
        small(library, part).save(path)
        with pytest.raises(ExplainedError, match=rf"theirs.* is not opened. It holds code.*{name}"):
            saved_models.load(path)


def abs_of(x):
    return abs(x)


def test_arithmetic_of_tensorflow_between_the_layers_is_refused(tmp_path):
    inputs = tf_keras.Input((8, 8, 1))
    tf_keras.Model(inputs, tf_keras.layers.Flatten()(inputs[:, 1:] / 255)).save(tmp_path / "theirs.h5")
    with pytest.raises(ExplainedError, match=r"SlicingOpLambda, TFOpLambda.*build the network again"):
        saved_models.load(tmp_path / "theirs.h5")


@pytest.mark.parametrize(
    ("module", "name"),
    [("keras.layers", "TFSMLayer"), ("keras", "__lambda__"), ("os", "Dense"), (None, "Attention")],
)
def test_whatever_could_run_code_is_refused_before_anything_is_built(module, name, rewritten):
    def replace(config):
        config["config"]["layers"][1] |= {"module": module, "class_name": name, "config": {"x": 1}}

    with pytest.raises(ExplainedError, match=rf"not Keras' own \({name}\)"):
        saved_models.load(rewritten(config=replace))


def external_link(file):
    file["vars/secret"] = h5py.ExternalLink("secret.h5", "/x")


def soft_link(file):
    file["vars/secret"] = h5py.SoftLink("/elsewhere")


def external_data(file):
    file.create_dataset("secret", (4,), "u1", external=[("secret.h5", 0, 4)])


def virtual_data(file):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("secret.h5", "x", (4,))
    file.create_virtual_dataset("secret", layout)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("lead_away", [external_link, soft_link, external_data, virtual_data])
def test_weights_that_lie_in_other_files_are_refused(lead_away, suffix, rewritten):
    with pytest.raises(ExplainedError, match=r"^rewritten\.\w+ is not opened. It leads to another file"):
        saved_models.load(rewritten(suffix, weights=lead_away))


def test_layers_of_keras_applications_and_arithmetic_open_in_both_formats(tmp_path, noise):
    """ConvNeXt and MobileNetV3 are built of them; Keras alone does not open such an .h5 file."""
    inputs = keras.Input((8, 8, 1))
    x = keras.src.applications.convnext.LayerScale(0.5, 1)(inputs / 2) + inputs
    network = keras.Model(inputs, layers.Flatten()(layers.Add()([x * 0.3, inputs])))
    for suffix in ("keras", "h5"):
        network.save(tmp_path / f"theirs.{suffix}")
        np.testing.assert_allclose(saved_models.load(tmp_path / f"theirs.{suffix}")(noise), network(noise))


def unpacked(network, folder):
    network.save(folder.parent / "theirs.keras")
    zipfile.ZipFile(folder.parent / "theirs.keras").extractall(folder)
    return folder


def as_teachable_machine(network, folder):
    network.save(folder / "keras_model.h5")
    (folder / "labels.txt").write_text("0 NORMAL\n1 PNEUMONIA\n")
    return shutil.make_archive(folder.parent / "converted_keras", "zip", folder)


def as_a_data_set(network, folder):
    network.save(folder / "best.keras")
    return f"'{shutil.make_archive(folder.parent / 'archive', 'zip', folder.parent, folder.name)}' "


def json_and_weights(network, folder, name="model.weights.h5"):
    (folder / "model.json").write_text(network.to_json())
    (folder / "classes.json").write_text('["NORMAL", "PNEUMONIA"]')
    network.save_weights(folder / name)
    return f'"{folder / "model.json"}"'


def json_and_old_weights(network, folder):
    json_and_weights(network, folder, "model.h5" if network.__module__.startswith("tf_") else "m.weights.h5")
    return next(folder.glob("*.h5"))


KEPT = [unpacked, as_teachable_machine, as_a_data_set, json_and_weights, json_and_old_weights]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("keep", KEPT)
def test_a_model_opens_however_it_was_kept(keep, library, tmp_path, noise):
    (tmp_path / "folder").mkdir()
    network = small(library)
    opened = saved_models.load(keep(network, tmp_path / "folder"))
    np.testing.assert_allclose(opened(noise, training=False), network(noise, training=False), atol=1e-6)


def test_a_model_on_drive_is_fetched_by_its_link(monkeypatch, tmp_path):
    monkeypatch.setattr(drive, "fetch", lambda link, target: (link, target.name))
    link = "https://drive.google.com/file/d/1AbcdefghIJKLmnop/view?usp=sharing"
    assert saved_models.find(link) == (link, "model_1AbcdefghIJKLmnop")


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_layers_of_one_name_and_weights_that_are_no_numbers_are_refused(suffix, rewritten):
    def same_name(config):
        for layer in config["config"]["layers"][1:3]:
            layer["config"]["name"] = "same"

    with pytest.raises(ExplainedError, match=r"Two of its layers have one name \(same\)"):
        saved_models.load(rewritten(suffix, same_name))
    network = small(keras)
    network.layers[-1].bias.assign([0.0, np.nan])
    with pytest.raises(ExplainedError, match="not numbers"):
        saved_models.load(rewritten(suffix, network=network))


NO_MODELS = {  # file: its content, and what is said
    "pointer.keras": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "Git LFS pointer"),
    "page.h5": (b"\r\n<!DOCTYPE html><html>", "web page"),
    "best.pt": (b"PK\x03\x04", r'"file": files, "score": scores(.|\n)*SCORES = "scores.csv"'),
    "export.pkl": (b"\x80\x04", "Make a table of scores"),
    "forest.h5": (b"\x80\x04", "Make a table of scores"),
    "saved_model.pb": (b"\x08\x01", r"tf_keras.models.load_model\(folder\).save\('model.h5'\)"),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_is_told_what_to_do(name, tmp_path):
    content, sentence = NO_MODELS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ExplainedError, match=rf"{name} is not opened. (.|\n)*{sentence}"):
        saved_models.load(tmp_path / name)
    if name == "saved_model.pb":
        assert saved_models.find(tmp_path) == tmp_path / name


def test_what_is_no_file_or_no_model_is_refused_in_words(tmp_path):
    (tmp_path / "drive" / "models").mkdir(parents=True)
    small(keras).save(tmp_path / "drive" / "models" / "best.keras")
    for name in ("models/bets.keras", "gone/x/best.h5"):
        with pytest.raises(
            ExplainedError, match=r"No saved model at .*\('model.keras'\).* lie: .*best.keras"
        ):
            saved_models.load(tmp_path / "drive" / name)
    small(keras).save(tmp_path / "whole.keras")
    whole = (tmp_path / "whole.keras").read_bytes()
    for suffix in ("h5", "keras"):
        for content in (b"half", whole[:-100], whole[:99] + b"?" * 99 + whole[198:], b""):
            (tmp_path / f"half.{suffix}").write_bytes(content)
            with pytest.raises(ExplainedError, match=rf"half\.{suffix} cannot be opened: .*Copy it again"):
                saved_models.load(tmp_path / f"half.{suffix}")
    small(keras).save_weights(tmp_path / "my.weights.h5")
    with pytest.raises(ExplainedError, match="It holds weights only"):
        saved_models.load(tmp_path / "my.weights.h5")


def test_a_model_is_left_as_it_is_and_a_link_to_it_followed(tmp_path, noise):
    network = small(keras)
    network.save(tmp_path / "theirs.h5")
    before = (tmp_path / "theirs.h5").read_bytes()
    (tmp_path / "link.h5").symlink_to(tmp_path / "theirs.h5")
    np.testing.assert_allclose(saved_models.load(tmp_path / "link.h5")(noise), network(noise), atol=1e-6)
    assert (tmp_path / "theirs.h5").read_bytes() == before


def test_without_tf_keras_a_file_of_keras_2_names_what_to_install(monkeypatch, tmp_path):
    path = shutil.move(zipfile.ZipFile(SAVED).extract("keras_2.15.h5", tmp_path), tmp_path / "theirs.h5")
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    with pytest.raises(ExplainedError, match=r"theirs.h5 .*Keras 2\.\d+\.\d saved it.*pip install tf_keras"):
        saved_models.load(path)
