"""Saved models from elsewhere become runs that score as those models do, or are refused in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tf_keras
from conftest import make_workspace
from sklearn.linear_model import LogisticRegression

from utils import predict, runs, saved_models
from utils.backend import keras
from utils.data import manifest
from utils.evaluation import adapt, explain
from utils.resample import resize
from utils.training import recipes
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
    size = side if isinstance(side, tuple) else (side, side)
    network = library.Sequential([library.Input((*size, channels)), *front, *base, *end])
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


def named(library):
    theirs = trained_on(library=library)
    return library.Model(theirs.inputs, {"ill": theirs.outputs[0]})


def rescaled(library, scale, offset=0.0, **more):
    front = [library.layers.RandomZoom(0.1), library.layers.Rescaling(scale, offset)]
    return trained_on(library=library, front=front, **more)


# The habits: how to make the network, what a layer of it says of PIXELS, what it returns.
HABITS = {
    "pixels scaled outside": (lambda lib: trained_on(library=lib), None, "probabilities"),
    "grey": (lambda lib: trained_on(library=lib, channels=1), None, "probabilities"),
    "pixels scaled inside": (lambda lib: rescaled(lib, 1 / 255), "0-255", "probabilities"),
    "to -1 to 1 inside": (lambda lib: rescaled(lib, 1 / 127.5, -1), "0-255", "probabilities"),
    "from 0-1 to -1 to 1 inside": (lambda lib: rescaled(lib, 2.0, -1), "0-1", "probabilities"),
    "from 0-1 back to 0-255": (lambda lib: rescaled(lib, 255), "0-1", "probabilities"),
    "one logit": (lambda lib: rescaled(lib, 1 / 255, end=(None, 1)), "0-255", "logits"),
    "two logits": (lambda lib: trained_on(library=lib, end=(None, 2)), None, "logits"),
    "two sigmoids": (lambda lib: trained_on(library=lib, end=("sigmoid", 2)), None, "probabilities"),
    "three classes": (lambda lib: trained_on(library=lib, end=("softmax", 3)), None, "probabilities"),
    "not square": (lambda lib: trained_on(library=lib, side=(20, 30)), None, "probabilities"),
    "a dictionary": (named, None, "probabilities"),
    "a base inside": (transferred, None, "probabilities"),
    "mixed precision": (in_mixed_precision, None, "probabilities"),
}
OUTSIDE = {  # what strangers do with the pixels before the model, float [n, height, width, 3] in 0-255
    "0-255": lambda x: x,
    "0-1": lambda x: x / 255,
    "-1 to 1": lambda x: keras.applications.mobilenet_v2.preprocess_input(x.copy()),
    "caffe": lambda x: keras.applications.vgg16.preprocess_input(x.copy()),
    "torch": lambda x: keras.applications.densenet.preprocess_input(x.copy()),
    "standardised": lambda x: (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True),
}


def probability(given, output, normal):
    """P(pneumonia) of what a model returned, as its author would work it out."""
    if output == "logits":
        given = 1 / (1 + np.exp(-given)) if given.shape[1] == 1 else np.exp(given)
        given = given / given.sum(1, keepdims=True) if given.shape[1] > 1 else given
    if given.shape[1] == 1:
        given = np.hstack([1 - given, given])
    return (1 + given[:, 1 - normal] - given[:, normal]) / 2 if given.shape[1] == 2 else 1 - given[:, normal]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("habit", HABITS)
def test_models_of_every_habit_open_and_score_as_before(habit, form, pictures, tmp_path):
    (make, told, output), (library, suffix) = HABITS[habit], FORMS[form]
    theirs = make(library)
    theirs.save(tmp_path / f"theirs.{suffix}")
    loaded = adapt.plain(saved_models.load(tmp_path / f"theirs.{suffix}"))
    assert adapt.pixels_of(loaded) == told
    network = adapt.wrap(loaded, "-1 to 1", 0, output)
    inputs = np.concatenate(list(predict.batches(network, pictures)))  # [6, 24, 24, 1] in 0-255
    given = theirs((inputs / 127.5 - 1).repeat(theirs.input_shape[-1], -1), training=False)
    given = np.asarray(given["ill"] if isinstance(given, dict) else given, float)
    exact = 2e-3 if habit == "mixed precision" else 1e-5
    for normal in range(max(2, given.shape[1])):
        scores = predict.score_pictures(adapt.wrap(loaded, "-1 to 1", normal, output), pictures)
        np.testing.assert_allclose(scores, probability(given, output, normal), atol=exact)
    assert all(layer.compute_dtype == "float32" for layer in loaded.layers)
    assert explain.grad_cam(network, pictures).shape == pictures.shape


@pytest.mark.parametrize("library", [keras, tf_keras])
@pytest.mark.parametrize("pixels", OUTSIDE)
def test_pixels_are_prepared_as_their_authors_do(pixels, library, pictures, tmp_path):
    theirs = trained_on(library=library, end=(None, 1))
    last = theirs.layers[-1]
    last.set_weights([values / 100 for values in last.get_weights()])  # so that no probability is near 0 or 1
    network = adapt.wrap(theirs, pixels, 0, "logits")
    inputs = np.concatenate(list(predict.batches(network, pictures))).repeat(3, -1)
    expected = probability(np.asarray(theirs(OUTSIDE[pixels](inputs), training=False), float), "logits", 0)
    np.testing.assert_allclose(predict.score_pictures(network, pictures), expected, atol=1e-5)


@pytest.mark.parametrize("how", ["nearest", "bilinear"])
def test_pictures_are_resized_as_keras_does_it(how, pictures):
    theirs = trained_on(end=(None, 1))
    grey = pictures[..., None].astype(np.float32)
    small = np.asarray(keras.ops.image.resize(grey, (24, 24), interpolation=how)).repeat(3, -1)
    scores = predict.score_pictures(adapt.wrap(theirs, "0-1", 0, "logits", how), pictures)
    expected = probability(np.asarray(theirs(small / 255), float), "logits", 0)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


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


@pytest.fixture(scope="module")
def spots(radiographs):
    """1,000 made pictures, half of them validation: the ill ones are brighter in the middle."""
    rng, n = np.random.default_rng(0), 1000
    ill = np.arange(n) % 4 < 2
    blocks = rng.normal(60, 2, (n, 1, 1)) + rng.normal(0, 15, (n, 8, 8))
    blocks[:, 3:5, 3:5] += 30 * ill[:, None, None]
    pixels = blocks.clip(0, 255).astype(np.uint8).repeat(28, 1).repeat(28, 2)
    table = pd.DataFrame({"path": [f"{number}.png" for number in range(n)], "split": "train"})
    table = table.assign(patient=table.path, label=np.where(ill, "PNEUMONIA", "NORMAL"), subtype="none")
    table["fold"] = np.arange(n) % 2
    return replace(radiographs, pixels=pixels, table=table)


def sees(spots, pixels="0-1", front=(), channels=3, classes=1, turned=False):
    """A network that tells `spots` whose pixels were prepared outside, and knows how bright they are."""
    training = manifest.select(spots.table, "train")
    inputs = OUTSIDE[pixels](np.array(resize(spots.pixels[training.index], 8)).repeat(channels, -1))
    network = keras.Sequential([keras.Input((8, 8, channels)), *front, layers.Flatten()])
    features = np.asarray(network(inputs), float)
    middle = np.zeros((8, 8, channels))
    middle[3:5, 3:5] = 1
    contrast = (middle / middle.sum() - 1 / middle.size).ravel() / features.std()
    fitted = LogisticRegression(C=100).fit(features @ contrast[:, None], manifest.positives(training))
    brightness = 1 / middle.size / features.std()
    weights = (fitted.coef_[0] * contrast + brightness)[:, None] * (-1 if turned else 1)
    bias = (fitted.intercept_ - brightness * features.sum(1).mean()) * (-1 if turned else 1)
    network.add(layers.Dense(classes, activation="sigmoid" if classes == 1 else "softmax"))
    if classes > 1:  # the last one is normal; the others share illness
        weights = np.hstack([weights] * (classes - 1) + [0 * weights])
        bias = np.append(np.repeat(bias - np.log(classes - 1), classes - 1), 0)
    network.layers[-1].set_weights([weights, bias])
    return network


def used(table):
    (row,) = table[table.used].itertuples()
    return row.PIXELS, row.NORMAL


@pytest.mark.parametrize("pixels", OUTSIDE)
def test_the_log_loss_finds_how_a_model_was_trained(pixels, spots):
    table = adapt.readings(sees(spots, pixels), spots)
    assert used(table) == (pixels, 0) and table[table.used].says.item() == "the log loss"
    assert table["log loss"].idxmin() == table.used.idxmax()


def test_the_log_loss_finds_the_normal_class(spots):
    assert used(adapt.readings(sees(spots, turned=True), spots)) == ("0-1", 1)
    assert used(adapt.readings(sees(spots, classes=2), spots)) == ("0-1", 1)
    assert used(adapt.readings(sees(spots, classes=3), spots)) == ("0-1", 2)
    assert set(adapt.readings(sees(spots, channels=1), spots).PIXELS).isdisjoint({"caffe", "torch"})


def test_a_layer_in_front_is_a_voice_and_not_a_law(spots):
    twice = sees(spots, "-1 to 1", front=[layers.Rescaling(1 / 255)])
    table = adapt.readings(twice, spots).set_index(["PIXELS", "NORMAL"])
    assert table.says["-1 to 1", 0] == "the log loss" and table.used["-1 to 1", 0]
    assert table.says["0-255", 0] == "the file"
    once = adapt.readings(sees(spots, "0-255", front=[layers.Rescaling(1 / 255)]), spots)
    assert once[once.used].says.item() == "the log loss, the file"


def test_what_standardises_inside_may_be_given_any_pixels(spots):
    inside = layers.LayerNormalization(axis=(1, 2, 3), center=False, scale=False, epsilon=1e-9)
    table = adapt.readings(sees(spots, front=[inside], channels=1), spots).set_index(["PIXELS", "NORMAL"])
    assert table.used["0-255", 0] and "the log loss" in table.says["-1 to 1", 0]


def test_what_the_user_says_is_used_and_a_contradiction_is_a_doubt(spots, tmp_path, capsys):
    ws, path = make_workspace(tmp_path), tmp_path / "best.keras"
    sees(spots, "caffe").save(path)
    run = adapt.run_of_file(path, ws, spots, "0-1", 0)
    doubt = "PIXELS 'caffe' with NORMAL 0 fits the validation images clearly better."
    assert run.card["doubt"] == doubt and doubt in str(run) and doubt in run.card["recipe"]["remark"]
    assert f"Used: PIXELS '0-1', NORMAL 0, decided by you. {doubt}" in capsys.readouterr().out
    assert runs.find(ws) == runs.released("best") and runs.find(ws, run.name) == run
    right = adapt.run_of_file(path, ws, spots)
    assert "doubt" not in right.card and runs.find(ws, radiographs=spots) == right
    assert "decided by the log loss" in right.card["recipe"]["remark"]
    assert recipes.title(right.card) == "model from elsewhere"
    turned = adapt.run_of_file(path, ws, spots, "caffe", "1")
    assert "with NORMAL 0 fits" in turned.card["doubt"] and runs.find(ws, radiographs=spots) == right


def test_what_validation_does_not_tell_is_asked_before_anything_is_kept(spots, radiographs, tmp_path):
    ws, path = make_workspace(tmp_path), tmp_path / "theirs.keras"
    trained_on(channels=1).save(path)
    with pytest.raises(ExplainedError, match=r"Set PIXELS and NORMAL to what its training had"):
        adapt.run_of_file(path, ws, spots)
    assert not runs.own_runs(ws)
    run = adapt.run_of_file(path, ws, spots, "0-1", 0)
    assert run.finished and "doubt" in run.card


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_model_becomes_a_run_that_opens_again_and_is_made_once(form, radiographs, tmp_path, capsys):
    library, suffix = FORMS[form]
    path, ws = tmp_path / f"theirs.{suffix}", make_workspace(tmp_path)
    rescaled(library, 1 / 255).save(path)
    run = adapt.run_of_file(path, ws, radiographs, "0-255", 1)
    assert "Used: PIXELS '0-255', NORMAL 1, decided by" in capsys.readouterr().out
    assert "only the usual ones were tried: 0-255, 0-1, " in run.card["recipe"]["remark"]
    assert run.finished and not runs.faults(run, radiographs) and 0 < run.card["threshold"]["value"] < 1
    assert "Whether test images influenced this model is not known" in run.card["recipe"]["remark"]
    assert "trained on" not in str(run) and f"saved model {path.name} from elsewhere" in str(run)
    network = explain.network_of(run)
    validation = manifest.select(radiographs.table, "val")
    again = predict.score_table(network, radiographs.pixels, validation)
    np.testing.assert_allclose(again.score, run.scores("val").score, atol=1e-6)
    assert explain.grad_cam(network, radiographs.pixels[:2]).max() == pytest.approx(1)
    assert adapt.run_of_file(path, ws, radiographs, "0-255", 1) == run
    assert "How theirs" in capsys.readouterr().out
    assert adapt.run_of_file(path, ws, radiographs, "0-255", 0) != run
    assert len(predict.test_scores(run, radiographs)[0]) == (radiographs.table.split == "test").sum()


def test_a_saved_model_is_not_scored_on_the_phantom(radiographs, tmp_path):
    phantom = replace(radiographs, synthetic=True)
    with pytest.raises(ExplainedError, match=r"real radiographs only.*notebook 01"):
        adapt.run_of_file(tmp_path / "theirs.keras", make_workspace(tmp_path), phantom)
    assert not list(tmp_path.iterdir())


def test_networks_that_take_no_picture_or_give_no_answer_are_refused_in_words():
    inputs = keras.Input((24, 24, 3))
    x = layers.GlobalAveragePooling2D()(inputs)
    age = keras.Input((1,))
    for network, words in (
        (keras.Model(inputs, [x, x]), r"returns \["),
        (keras.Model(inputs, {"ill": layers.Dense(1)(x), "age": x}), r"returns \[.*3\), \(None, 1"),
        (keras.Model(inputs, layers.Dense(5, "softmax")(x)), r"returns \(None, 5\)"),
        (keras.Model([inputs, age], layers.Dense(1)(layers.Concatenate()([x, age]))), "It must take"),
        (trained_on(channels=4), "24, 24, 4"),
    ):
        with pytest.raises(ExplainedError, match=words):
            adapt.size_of(network)


def test_a_network_of_any_size_gets_pictures_as_they_are_packed(pictures):
    network = trained_on(side=None)
    network = adapt.wrap(network, "0-1", 0, "probabilities")
    assert network.input_shape == (None, 224, 224, 1)
    assert predict.score_pictures(network, pictures).shape == (6,)


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_a_model_of_a_fixed_batch_size_takes_any_number(library, pictures, tmp_path):
    layers = library.layers
    fixed = library.Input(batch_shape=(16, 24, 24, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(fixed))
    theirs = library.Model(fixed, layers.Dense(1, "sigmoid")(x))
    theirs.save(tmp_path / "theirs.h5")
    network = adapt.plain(saved_models.load(tmp_path / "theirs.h5"))
    some = np.random.default_rng(0).random((16, 24, 24, 3), np.float32)
    np.testing.assert_allclose(network(some[:3]), np.asarray(theirs(some))[:3], rtol=1e-5)
    assert len(predict.score_pictures(adapt.wrap(network, "0-1", 0, "probabilities"), pictures)) == 6


def test_scores_that_say_nothing_are_one_sentence(spots):
    always = trained_on(channels=1, end=("softmax", 1))
    damaged = trained_on(channels=1)
    damaged.set_weights([np.full_like(value, np.nan) for value in damaged.get_weights()])
    for network, words in ((always, "same answer"), (damaged, "weights are damaged")):
        with pytest.raises(ExplainedError, match=words):
            adapt.readings(network, spots)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pixels": "0-2"}, "PIXELS may be automatic, 0-255, 0-1"),
        ({"pixels": "caffe"}, "which takes 1 channels"),
        ({"resize": "cubic"}, "RESIZE antialiased, nearest"),
        ({"normal": 2}, "NORMAL is 2. Choose 'automatic', or a class of 0 to 1"),
    ],
)
def test_a_setting_that_does_not_exist_is_one_sentence(settings, words, spots):
    with pytest.raises(ExplainedError, match=words):
        adapt.readings(trained_on(channels=1), spots, **settings)
