"""What decides a training: each setting of a recipe reaches the steps that it names."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace, thumbnail

from utils import backend, model, saved_models
from utils.backend import keras
from utils.data import manifest
from utils.training import fit, recipes

AT_REST = {"area": (1, 1), "aspect": (1, 1), "blur": 0.0, "noise": 0.0, "contrast": 0.0, "brightness": 0.0}
AUGMENTED = ["area", "aspect", "shift", "rotation", "blur", "noise", "contrast", "brightness"]
AUGMENTED += ["exchange", "unevenness", "sharpening"]


def test_class_weights_balance_the_classes():
    table = pd.DataFrame({"label": ["NORMAL"] * 10 + ["PNEUMONIA"] * 30})
    assert fit.class_weights(table) == {0: 2.0, 1: pytest.approx(2 / 3)}


def test_batches_hold_every_image_once_an_epoch_in_an_order_of_seed_and_epoch(radiographs):
    train = manifest.select(radiographs.table, "train")
    batches = fit.Batches(radiographs.pixels, train, 32, seed=7)
    for epoch in range(3):
        order = np.random.default_rng([7, epoch]).permutation(len(train))
        pictures, targets = zip(*(batches[step] for step in range(len(batches))), strict=True)
        assert [len(part) for part in pictures] == [32] * (len(train) // 32) + [len(train) % 32]
        np.testing.assert_array_equal(np.concatenate(pictures), radiographs.pixels[train.index[order]])
        positive = manifest.positives(train)[order]
        np.testing.assert_array_equal(np.concatenate(targets), np.stack([1 - positive, positive], axis=1))
        batches.on_epoch_end()
    batches.go_to(1)
    np.testing.assert_array_equal(batches.order, np.random.default_rng([7, 1]).permutation(len(train)))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_a_compiled_trainer_learns_as_its_recipe_says(name, monkeypatch):
    monkeypatch.setattr(fit, "build_network", lambda recipe: thumbnail(recipe.side, recipe.per_image))
    recipe, steps = recipes.RECIPES[name], 50
    trainer = fit.compile_network(fit.build_network(recipe), recipe, steps, seed=3)
    assert type(trainer.optimizer) is keras.optimizers.Adam
    assert trainer.optimizer.weight_decay == (recipe.weight_decay or None)
    assert isinstance(trainer.loss, keras.losses.CategoricalCrossentropy)
    assert trainer.loss.label_smoothing == recipe.label_smoothing
    rate, peak = trainer.optimizer._learning_rate, recipe.learning_rate
    if recipe.cosine:
        expected = {0: peak / 100, 25: peak * 0.505, 50: peak, 50 * recipe.epochs: 0}
        expected[25 * (recipe.epochs + 1)] = peak / 2  # half way from the end of the first epoch to the end
        assert [float(rate(step)) for step in expected] == pytest.approx(list(expected.values()), abs=1e-9)
    else:
        assert float(trainer.optimizer.learning_rate) == pytest.approx(peak)
    (augment,) = [layer for layer in trainer.layers if isinstance(layer, fit.Augment)]
    for field in ["side", *AUGMENTED]:
        assert getattr(augment, field) == getattr(recipe, field), field
    assert augment.random.get_config()["seed"] == 3


def test_few_epochs_warm_up_for_a_quarter_of_the_steps(small_network):
    recipe = recipes.recipe("best", epochs=2)
    rate = fit.compile_network(fit.build_network(recipe), recipe, 50).optimizer._learning_rate
    assert [float(rate(step)) for step in (25, 100)] == pytest.approx([0.002, 0])


@pytest.mark.parametrize("name", ["published", "compact", "mobilenet"])
def test_side_and_standardisation_reach_the_network(name):
    pictures = np.random.default_rng(0).uniform(50, 200, (2, 96, 96, 1)).astype(np.float32)
    for per_image in (True, False):
        network = fit.build_network(recipes.recipe("fast", network=name, per_image=per_image))
        assert network.input_shape == (None, 96, 96, 1)
        first = keras.Model(network.input, network.layers[1].output)
        difference = np.abs(np.asarray(first(pictures)) - np.asarray(first(pictures * 0.5))).max()
        assert difference < 0.001 if per_image else difference > 0.1


def by_hand(weights, batches, recipe, balance):
    """Weights and biases of one dense layer behind 8x8 mean-pooling after some epochs, by the formulas.

    Cross-entropy with smoothed targets and weighted classes; Adam with decoupled weight decay; a warm-up
    from a hundredth of the learning rate, then half a cosine.
    """
    moments = [[np.zeros_like(value), np.zeros_like(value)] for value in weights]
    steps, step = recipe.epochs * len(batches), 0
    rising = min(len(batches), steps // 4)
    for epoch in range(recipe.epochs):
        batches.go_to(epoch + 1)  # Keras has asked for a first batch already, to learn the shapes
        for pictures, targets in (batches[at] for at in range(len(batches))):
            grey = np.asarray(fit.augmentation(recipe)(pictures), float)[..., 0] / 255
            x = grey.reshape(len(grey), recipe.side // 8, 8, recipe.side // 8, 8).mean((2, 4))
            x = x.reshape(len(grey), -1)
            answers = np.exp(x @ weights[0] + weights[1])
            answers /= answers.sum(1, keepdims=True)
            smoothed = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
            errors = targets @ [[balance[0]], [balance[1]]] * (answers - smoothed) / len(x)
            done = (step - rising) / (steps - rising)
            rate = recipe.learning_rate * (np.cos(np.pi * done) + 1) / 2
            if step < rising:
                rate = recipe.learning_rate * (0.01 + 0.99 * step / rising)
            step += 1
            for value, gradient, (mean, square) in zip(
                weights, [x.T @ errors, errors.sum(0)], moments, strict=True
            ):
                mean += 0.1 * (gradient - mean)
                square += 0.001 * (gradient**2 - square)
                value -= rate * recipe.weight_decay * value
                scale = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                value -= rate * scale * mean / (np.sqrt(square) + 1e-7)
    return weights


def test_a_training_takes_the_steps_that_its_recipe_says(small_network, radiographs, tmp_path, monkeypatch):
    """The network that a training saves is the one that the formulas give."""
    monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda: False)
    recipe = recipes.recipe("fast", side=64, epochs=3, batch_size=16, per_image=False, **AT_REST)
    run = fit.train(recipe, radiographs, make_workspace(tmp_path), seed=5)
    trained = saved_models.load(run.path / "model.keras").get_weights()
    backend.prepare(5)
    weights = [value.astype(float) for value in fit.build_network(recipe).get_weights()]
    train = manifest.select(radiographs.table, "train")
    batches = fit.Batches(radiographs.pixels, train, 16, seed=5)
    expected = by_hand(weights, batches, recipe, fit.class_weights(train))
    for value, other in zip(trained, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=2e-5)


def test_the_seed_of_a_training_is_that_of_its_augmentation(
    small_network, radiographs, tmp_path, monkeypatch
):
    def look(trainer, *_, **__):
        assert trainer.layers[1].random.get_config()["seed"] == 5
        raise ZeroDivisionError

    monkeypatch.setattr(fit, "run_epochs", look)
    with pytest.raises(ZeroDivisionError):
        fit.train(recipes.recipe("fast"), radiographs, make_workspace(tmp_path), seed=5)


def test_without_class_weights_in_the_recipe_none_are_used(small_network, radiographs, tmp_path, monkeypatch):
    def look(trainer, batches, recipe, weights=None, *_, **__):
        assert weights is None
        raise ZeroDivisionError

    monkeypatch.setattr(fit, "run_epochs", look)
    with pytest.raises(ZeroDivisionError):
        fit.train(recipes.recipe("fast", class_weights=False), radiographs, make_workspace(tmp_path))


def test_mixed_precision_is_chosen_where_the_processor_has_it(monkeypatch):
    for has, policy in ((True, "mixed_bfloat16"), (False, "float32")):
        monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda has=has: has)
        assert backend.prepare(0) == policy == keras.config.dtype_policy().name
    assert set(model.NETWORKS) >= {"published", "compact", "mobilenet"}
