import dataclasses
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace
from sklearn.metrics import log_loss

from utils import metrics, predict, runs, saved_models, workspace
from utils.backend import keras
from utils.data import manifest
from utils.training import fit, recipes
from utils.workspace import ExplainedError


def test_a_run_folder_is_complete_and_explains_itself(trained, radiographs):
    run = trained
    card = run.card
    assert {path.name for path in run.path.iterdir()} >= {
        "model.keras",
        "card.json",
        "history.csv",
        "scores_val.csv",
    }
    assert run.finished and card["synthetic"] and card["manifest"] == radiographs.digest
    assert card["recipe"]["epochs"] == 2 and card["changed"] == {"epochs": [8, 2]}
    assert len(run.history()) == 2 and card["epochs_done"] == 2 and not runs.faults(run, radiographs)
    assert card["counts"]["train"] + card["counts"]["val"] == (radiographs.table.split != "test").sum()


def test_validation_is_fold_0_and_shares_no_patient_with_training(trained, radiographs):
    scores = trained.scores("val")
    train = manifest.select(radiographs.table, "train")
    assert sorted(scores.path) == sorted(radiographs.table.path[radiographs.table.fold == 0])
    assert not set(scores.patient) & set(train.patient)


def test_the_threshold_comes_from_the_validation_scores(trained):
    scores = trained.scores("val")
    expected = metrics.choose_threshold(scores)
    assert trained.card["threshold"]["value"] == pytest.approx(expected, abs=1e-5)


def test_the_saved_network_gives_the_stored_scores_and_the_last_epochs_auc(trained, radiographs):
    saved = saved_models.load(trained.path / "model.keras")
    validation = manifest.select(radiographs.table, "val")
    again = predict.score_table(saved, radiographs.pixels, validation)
    np.testing.assert_allclose(again.score, trained.scores("val").score, atol=1e-5)
    assert metrics.measure(again, 0.5).auc == pytest.approx(trained.history().val_auc.iloc[-1], abs=0.05)


def test_the_same_seed_trains_the_same_network(trained, radiographs, tmp_path):
    again = fit.train(recipes.recipe("fast", quick=True), radiographs, make_workspace(tmp_path))
    other = fit.train(recipes.recipe("fast", quick=True), radiographs, make_workspace(tmp_path), seed=1)
    weights = [saved_models.load(run.path / "model.keras").get_weights() for run in (trained, again, other)]
    for first, second in zip(*weights[:2], strict=True):
        np.testing.assert_array_equal(first, second)
    assert any((first != third).any() for first, third in zip(weights[0], weights[2], strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"network": "resnet"}, "no network 'resnet'"),
        ({"side": 45}, "choose 46 to 224 pixels"),
    ],
)
def test_bad_settings_get_words_before_any_work(changes, words, radiographs, tmp_path):
    with pytest.raises(ExplainedError, match=words):
        fit.train(recipes.recipe("compact", **changes), radiographs, make_workspace(tmp_path))
    assert not list(tmp_path.iterdir())


def test_radiographs_of_one_class_alone_are_refused(radiographs, tmp_path):
    ill = radiographs.table[radiographs.table.label == "PNEUMONIA"]
    with pytest.raises(ExplainedError, match="training images hold 1 of the 2 classes"):
        fit.train(
            recipes.recipe("fast"), dataclasses.replace(radiographs, table=ill), make_workspace(tmp_path)
        )


def test_unknown_recipe_and_field_list_the_known_ones():
    with pytest.raises(ExplainedError, match="compact"):
        recipes.recipe("densenet")
    with pytest.raises(ExplainedError, match="batch_size"):
        recipes.recipe("compact", batchsize=3)


def test_test_images_are_scored_once(trained, radiographs, tmp_path):
    run = runs.Run(shutil.copytree(trained.path, tmp_path / trained.name))
    test = radiographs.table[radiographs.table.split == "test"]
    partial = dataclasses.replace(radiographs, table=radiographs.table.drop(test.index[0]))
    scores, sentence = predict.test_scores(run, partial)
    assert len(scores) == len(test) - 1 and "not kept" in sentence and run.scores("test") is None
    first, sentence = predict.test_scores(run, radiographs)
    assert "Scored" in sentence and len(first) == (radiographs.table.split == "test").sum()
    again, sentence = predict.test_scores(run, radiographs)
    assert "stored" in sentence
    pd.testing.assert_frame_equal(first, again)


def test_a_real_network_is_never_scored_on_the_phantom(radiographs, tmp_path):
    card = {"manifest": "real", "synthetic": False, "recipe": {"name": "compact"}, "seed": 0}
    real = runs.create(make_workspace(tmp_path), card)
    real.update_card(finished=True)
    with pytest.raises(ExplainedError, match="not scored"):
        predict.test_scores(real, radiographs)


def run_python(code, *arguments, **environment):
    """Run a Python process that knows this project and its tests."""
    path = os.pathsep.join([str(workspace.PROJECT), str(workspace.PROJECT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


TWO_DEVICES = """
import contextlib
import sys
from conftest import make_workspace, thumbnail
from utils import backend, model, sources
from utils.training import fit, recipes
import tensorflow as tf

parts = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)

model.NETWORKS["compact"] = thumbnail  # dropout and batch normalisation differ where a batch is divided
rested = {"area": (1, 1), "aspect": (1, 1), "blur": 0.0, "noise": 0.0, "contrast": 0.0, "brightness": 0.0}
chosen = recipes.recipe("compact", epochs=5, batch_size=16, **rested)
radiographs = sources.load(make_workspace(sys.argv[1]))
fit.train(chosen, radiographs, make_workspace(sys.argv[3]))
backend.on_all_devices = contextlib.nullcontext
fit.train(chosen, radiographs, make_workspace(sys.argv[2]))
"""


def test_two_devices_train_with_the_same_loss_curve_as_one(ws, radiographs, tmp_path):
    run_python(TWO_DEVICES, ws.home, tmp_path / "1", tmp_path / "2")
    curves = []
    for devices in (1, 2):
        (run,) = runs.own_runs(make_workspace(tmp_path / str(devices)))
        assert run.card["devices"] == devices
        curves.append(run.history())
    one, two = curves
    assert one.loss.iloc[-1] < 0.9 * one.loss.iloc[0], "a flat curve would prove nothing"
    np.testing.assert_allclose(two.loss, one.loss, rtol=0.01)
    np.testing.assert_allclose(two.val_loss, one.val_loss, rtol=0.01)


class At(keras.callbacks.Callback):
    """Do something once, after the first batch of an epoch, counted from 1."""

    def __init__(self, epoch, action):
        super().__init__()
        self.epoch, self.action = epoch, action

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch + 1 == self.epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.now:
            self.now = False
            self.action(self.model)


def fit_with(action, epoch, radiographs, folder, **changes):
    chosen = recipes.recipe("compact", epochs=4, **changes)
    return fit.train(chosen, radiographs, make_workspace(folder), callbacks=lambda run: [At(epoch, action)])


def interrupt(_):
    signal.raise_signal(signal.SIGINT)  # what the stop button of a notebook sends


def test_a_stop_in_a_notebook_keeps_the_best_network_so_far(radiographs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workspace, "in_notebook", lambda: True)

    def spoil(model):
        for variable in model.layers[-1].trainable_variables:
            variable.assign(variable * 3)

    chosen = recipes.recipe("compact", epochs=4)
    ats = [At(3, spoil), At(4, interrupt)]  # so that the third epoch is not the best
    run = fit.train(chosen, radiographs, make_workspace(tmp_path), callbacks=lambda run: ats)
    history = run.history()
    best = history.loc[history.val_loss.idxmin()]
    assert run.finished and len(history) == 3 and best.epoch < 3 and not (run.path / "resume").exists()
    assert run.card["kept"].startswith(f"epoch {best.epoch:.0f}, which has the lowest validation loss")
    assert f"Stopped after epoch 3 of 4. Kept is epoch {best.epoch:.0f}" in capsys.readouterr().out
    scores = run.scores("val")
    loss = log_loss(manifest.positives(scores), scores.score)
    assert loss == pytest.approx(best.val_loss, abs=0.02)
    assert abs(loss - history.val_loss.iloc[-1]) > 0.04, "the last network would pass as well"


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_process_leaves_an_unfinished_run(epoch, radiographs, tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "in_notebook", lambda: epoch == 1)  # where no epoch was completed
    with pytest.raises(KeyboardInterrupt):
        fit_with(interrupt, epoch, radiographs, tmp_path)
    (run,) = runs.own_runs(make_workspace(tmp_path))
    assert not run.finished


def test_a_loss_that_is_nan_is_explained_and_the_last_good_state_kept(radiographs, tmp_path):
    def explode(model):
        model.optimizer.learning_rate = 1e30

    with pytest.raises(ExplainedError, match=r"In epoch 3 the network broke down.* = 0.001"):
        fit_with(explode, 3, radiographs, tmp_path, cosine=False)
    (run,) = runs.own_runs(make_workspace(tmp_path))
    assert not run.finished and run.history().epoch.tolist() == [1, 2]
    assert sorted(path.name for path in (run.path / "resume").iterdir()) == ["state_a.npz", "state_b.npz"]


def test_lack_of_memory_names_a_batch_size_to_try(radiographs, tmp_path):
    from tensorflow.errors import ResourceExhaustedError

    def exhaust(_):
        raise ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,75,75,48]")

    with pytest.raises(ExplainedError, match=r"batches of 64 images.*batch_size\"\] = 32"):
        fit_with(exhaust, 1, radiographs, tmp_path)


JAX_TRAINING = """
import sys
from conftest import make_workspace
from utils import backend, sources
from utils.training import fit, recipes
ws = make_workspace(sys.argv[1])
fit.train(recipes.recipe("fast", epochs=1), sources.load(ws), ws)
print(backend.keras.backend.backend())
"""


@pytest.mark.slow
def test_a_network_trained_with_jax_gives_the_same_scores_in_tensorflow(radiographs, tmp_path):
    assert run_python(JAX_TRAINING, tmp_path, KERAS_BACKEND="jax").endswith("jax\n")
    run = runs.own_runs(make_workspace(tmp_path))[0]
    validation = manifest.select(radiographs.table, "val")
    scores = predict.score_table(saved_models.load(run.path / "model.keras"), radiographs.pixels, validation)
    np.testing.assert_allclose(scores.score, run.scores("val").score, atol=1e-5)
