"""Trainings that start from a trained network, and networks of one's own."""

import re
import shutil

import nbformat
import numpy as np
import pytest
from conftest import make_workspace, run_cells

from utils import model, runs, saved_models, sources, workspace
from utils.backend import keras
from utils.evaluation import explain
from utils.sources import own_data
from utils.training import fit, recipes, transfer
from utils.workspace import ExplainedError

layers = keras.layers
MobileNetV2 = keras.applications.MobileNetV2


@pytest.fixture
def home(tmp_path, trained):
    """A workspace with one finished run in it."""
    shutil.copytree(trained.path, tmp_path / "runs" / trained.path.name)
    return make_workspace(tmp_path)


@pytest.fixture
def imagenet(monkeypatch):
    """The first blocks, with random weights, of what only the internet has with those from ImageNet."""

    def small(**settings):
        whole = MobileNetV2(**settings | {"weights": None})
        return keras.Model(whole.inputs, whole.get_layer("block_3_project_BN").output)

    monkeypatch.setattr(keras.applications, "MobileNetV2", small)


def bacterial_or_viral(radiographs, ws):
    """The folder with these two kinds of pneumonia as own data, made as notebook 1 says."""
    text = (workspace.PROJECT / "notebooks" / "01_mount_drive.ipynb").read_text()
    cells = "".join(cell.source for cell in nbformat.reads(text, as_version=4).cells)
    code = re.search(r"```python\n(from PIL .+?)```", cells, re.DOTALL)[1]
    names = {"radiographs": radiographs, "ws": ws, "own_data": own_data}
    exec(code, names)
    return names["kinds"]


def weights_of(network):
    return {layer.name: layer.get_weights() for layer in network.layers if layer.weights}


def unchanged(before, after):
    """Which layers with weights have the same ones in two networks of one recipe, in their order."""
    before, after = weights_of(before), weights_of(after)
    return [all(map(np.array_equal, before[name], after[name])) for name in before]


def test_the_first_half_of_a_trained_network_is_kept_and_the_rest_trained(home, trained, radiographs):
    folder = bacterial_or_viral(radiographs, home)
    two = sources.load(make_workspace(home.home / "two", folder))
    assert two.problems.empty
    chosen = recipes.recipe("fast", epochs=1, start_from=trained.name)
    run = fit.train(chosen, two, home)
    before, after = (saved_models.load(each.path / "model.keras") for each in (trained, run))
    assert unchanged(before, after) == [True] * 5 + [False] * 6
    digest = runs.file_digest(trained.path / "model.keras")
    assert run.card["started_from"] == f"run {trained.name}, network {digest}"
    assert run.card["changed"]["start_from"] == ["", trained.name]
    assert run.card["class_names"] == ["virus", "bacteria"]
    untouched = fit.build_network(chosen)
    transfer.start_from(run.name, untouched, home)  # a network that was itself started so
    assert unchanged(after, untouched) == [True] * 10 + [False]


@pytest.mark.parametrize(
    ("recipe", "start", "words"),
    [
        ("best_published", "best", "not the 'published' .* 150 pixels .*layer conv1"),
        ("compact", "best_published", "Choose a recipe with the same network"),
        ("fast", "imagenet", "not the 'compact'"),
        ("fast", "nowhere", "There is no run nowhere"),
        ("published", "published", "model.keras is missing"),
    ],
)
def test_a_start_that_cannot_be_gets_words_before_any_work(recipe, start, words, home, imagenet, radiographs):
    with pytest.raises(ExplainedError, match=words):
        fit.train(recipes.recipe(recipe, quick=True, start_from=start), radiographs, home)
    assert len(runs.own_runs(home)) == 1


def test_without_the_internet_a_start_from_imagenet_says_so(monkeypatch, radiographs, tmp_path):
    def offline(include_top, input_shape):
        raise Exception("URL fetch failure on https://storage: None -- Name or service not known")

    network = model.mobilenet(96)
    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(ExplainedError, match="Connect this computer to the internet"):
        transfer.start_from("imagenet", network, make_workspace(tmp_path))


def test_a_network_from_imagenet_is_trained_saved_and_explained(imagenet, radiographs, tmp_path):
    run = fit.train(recipes.recipe("pretrained", side=64, epochs=1), radiographs, make_workspace(tmp_path))
    network = explain.network_of(run)
    assert "ImageNet" in run.card["started_from"]
    pictures = radiographs.pixels[radiographs.table.index[:4]]
    maps = explain.grad_cam(network, pictures)
    assert maps.shape == pictures.shape and maps.max() == pytest.approx(1)
    blocks = explain.feature_maps(network, pictures[0])
    assert [len(each) for each in blocks.values()] == [32, 16, 8]


def test_mobilenet_sees_pixels_as_on_imagenet():
    chest = np.linspace(0, 255, 96 * 96, dtype="float32").reshape(1, 96, 96, 1)
    for per_image, ends in ((False, (-1, 1)), (True, (-0.866, 0.866))):
        network = model.mobilenet(96, per_image)
        taken = keras.Model(network.input, network.get_layer("grey_as_rgb").output)
        seen = np.asarray(taken(chest), np.float32)
        assert seen.shape == (1, 96, 96, 3) and np.array_equal(seen[..., 0], seen[..., 2])
        assert (seen.min(), seen.max()) == pytest.approx(ends, abs=0.01)


@pytest.fixture
def example(monkeypatch):
    """The example of notebook 03, as text; what it enters in NETWORKS is forgotten after the test."""
    monkeypatch.setattr(model, "NETWORKS", dict(model.NETWORKS))
    cells = nbformat.read(workspace.PROJECT / "notebooks" / "03_train.ipynb", as_version=4).cells
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(cell.source for cell in cells), re.DOTALL)
    (block,) = [block for block in blocks if "NETWORKS" in block]
    return block


def test_the_network_of_the_notebook_is_trained_evaluated_and_explained_like_ours(
    example, radiographs, tmp_path
):
    names = {"recipes": recipes, "ws": make_workspace(tmp_path), "RECIPE": "fast", "changed": {}}
    exec(example, names)
    run = fit.train(names["recipe"], radiographs, names["ws"])
    again = fit.build_network(names["recipe"])  # Keras gives its layers other names
    transfer.start_from(run.name, again, names["ws"])
    trained = saved_models.load(run.path / "model.keras")
    same = [np.array_equal(*pair) for pair in zip(trained.get_weights(), again.get_weights(), strict=True)]
    assert same == [True] * (len(same) - 2) + [False] * 2  # the weights and biases of the last layer
    assert recipes.title(run.card) == "recipe fast, network mine, epochs 2"
    maps = explain.feature_maps(explain.network_of(run), radiographs.pixels[radiographs.table.index[0]])
    assert [len(each) for each in maps.values()] == [48, 24, 12, 6]
    done = run_cells("04_evaluate.ipynb", tmp_path)  # in a process that does not know the function
    assert done.returncode == 0, done.stderr[-3000:]
    made = {path.name for path in run.path.rglob("*.*")}
    assert made >= {"scores_test.csv", "04_roc.pdf", "04_errors.pdf", "04_map_checks.pdf", "04_stress.pdf"}
    assert "A convolutional network (mine, " in (run.path / "report.tex").read_text()


def test_a_sequential_network_becomes_one_whose_layers_can_be_looked_at(monkeypatch, radiographs):
    def mine(side, per_image):
        parts = [layers.Conv2D(4, 3, 2), layers.GlobalMaxPooling2D(), layers.Dense(2, "softmax")]
        return keras.Sequential([keras.Input((side, side, 1)), *parts], name="mine")

    monkeypatch.setitem(model.NETWORKS, "mine", mine)
    network = fit.build_network(recipes.recipe("fast", network="mine"))
    maps = explain.feature_maps(network, radiographs.pixels[0])
    assert network.name == "mine" and [block.shape for block in maps.values()] == [(47, 47, 4)]


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("model.two_classes(x)", "layers.Dense(3, 'softmax')(x)", "two probabilities that sum to 1"),
        ("model.two_classes(x)", "layers.Dense(2)(x)", "two probabilities that sum to 1"),
        ("x = model.normalise(inputs, per_image)", "x = layers.Lambda(abs)(inputs)", "again.*Lambda"),
        ("x = model.normalise(inputs, per_image)", "x = Own()(inputs)", "again.*Own"),
        ('model.NETWORKS["mine"] = mine', "", "no network 'mine'.*run its cell again: Setup forgets it"),
    ],
)
def test_a_network_that_could_not_be_used_later_is_refused_before_the_training(
    line, instead, words, example, radiographs, tmp_path
):
    class Own(keras.layers.Layer):
        def call(self, x):
            return x / 255

    names = {"recipes": recipes, "ws": make_workspace(tmp_path), "RECIPE": "fast", "changed": {}, "Own": Own}
    exec(example.replace(line, instead), names)
    with pytest.raises(ExplainedError, match=words):
        fit.train(names["recipe"], radiographs, names["ws"])
    assert not list((tmp_path).glob("runs/*"))
