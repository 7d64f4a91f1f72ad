"""The training: the batches, the loss and the optimizer, the epochs, and the run that comes out.

Read it from top to bottom. `compile_network` and `run_epochs` are the training itself. What shows it
(`watch`) and what lets it go on after a disconnect (`resume`) is added to the epochs as callbacks.
"""

import contextlib
import dataclasses
import inspect
import math
import re
import tempfile
from pathlib import Path

import numpy as np

from .. import backend, metrics, model, predict, runs, saved_models, workspace
from ..backend import keras
from ..data import cache, gate, images, manifest
from ..workspace import ExplainedError
from . import recipes, resume, transfer
from .augment import Augment
from .watch import ShowProgress, Validate


class Batches(keras.utils.PyDataset):
    """The training images in batches, read from the packed cache, in an order that can be repeated.

    A batch: pictures uint8 [batch_size, 224, 224], targets float32 [batch_size, 2], one-hot (normal,
    pneumonia); the last one of an epoch may be smaller. Each epoch holds every image once. The order
    depends on seed and epoch alone, so that a training can be repeated, and go on after a break. (Keras
    asks for a first batch to learn its shape, and goes to the next order before it begins.)
    """

    def __init__(self, pixels, table, batch_size, seed):
        super().__init__()
        self.pixels, self.rows = pixels, table.index.to_numpy()
        self.targets = np.eye(2, dtype=np.float32)[manifest.positives(table)]
        self.batch_size, self.seed = batch_size, seed
        self.go_to(0)

    def go_to(self, epoch):
        """Put the images into the order that they have in this epoch. Epochs are counted from 0."""
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))

    def __len__(self):
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, step):
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        return self.pixels[self.rows[chosen]], self.targets[chosen]

    def on_epoch_end(self):
        self.go_to(self.epoch + 1)


def class_weights(table):
    """Weights {0: w, 1: w} with mean 1 over the images that give both classes the same total."""
    share = np.bincount(manifest.positives(table), minlength=2) / len(table)
    return {label: float(0.5 / share[label]) for label in (0, 1)}


def augmentation(recipe, seed=0):
    """The augmentation layer of a recipe: [n, 224, 224] to [n, side, side, 1], in 0-255."""
    fields = vars(recipe).keys() & inspect.signature(Augment.__init__).parameters.keys()
    return Augment(**{field: getattr(recipe, field) for field in fields}, seed=seed)


def build_network(recipe):
    """The untrained network of a recipe: [n, side, side, 1], grey 0-255, to two probabilities [n, 2].

    Raises ExplainedError if it is a network of one's own that would be of no use after its training.
    """
    if recipe.network not in model.NETWORKS:
        raise ExplainedError(
            f"There is no network {recipe.network!r}; choose {', '.join(model.NETWORKS)}. If it is a network "
            "of your own, run its cell again: Setup forgets it."
        )
    build = model.NETWORKS[recipe.network]
    network = build(recipe.side, recipe.per_image)
    if isinstance(network, keras.Sequential) and network.built:  # which hides the outputs of its layers
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    if build.__module__ != model.__name__:
        _check_own_network(network, recipe)
    return network


def compile_network(network, recipe, steps_per_epoch, seed=0):
    """The network behind its augmentation, with all that decides how it learns.

    network: from `build_network`. Returns a Keras model that takes uint8 pictures [n, 224, 224].
    """
    pictures = keras.Input((images.SIDE, images.SIDE), dtype="uint8")
    changed = augmentation(recipe, seed)(pictures)  # [n, side, side, 1]
    trainer = keras.Model(pictures, network(changed))  # [n, 2]: P(normal), P(pneumonia)
    # The learning rate is the length of a step. It rises for one epoch, while the weights are still
    # random, and then falls to 0 along a cosine (Loshchilov and Hutter 2017), so that the end is calm.
    rate, steps = recipe.learning_rate, steps_per_epoch * recipe.epochs
    if recipe.cosine:
        rising = max(min(steps_per_epoch, steps // 4), 1)  # a quarter, where there are few epochs
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 100, max(steps - rising, 1), warmup_target=recipe.learning_rate, warmup_steps=rising
        )
    on_cpu = workspace.device_name().startswith("CPU")
    trainer.compile(
        # Adam scales the step of each weight by how large its gradients usually are; weight decay
        # pulls all weights a little towards 0.
        optimizer=keras.optimizers.Adam(rate, weight_decay=recipe.weight_decay or None),
        # -log of the probability given to the right class. Smoothing by 0.1 asks for 0.95 instead of 1,
        # so that the network is not driven to be ever more certain.
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        # On the augmented training images; the honest numbers come from Validate.
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        # XLA makes GPUs faster, but halves the speed of TensorFlow's convolutions on CPUs.
        jit_compile=False if backend.on_tensorflow() and on_cpu else "auto",
    )
    trainer.optimizer.build(trainer.trainable_variables)  # or Keras would compile the first step twice
    return trainer


def run_epochs(trainer, batches, recipe, weights=None, callbacks=(), first_epoch=0):
    """Show every training image once per epoch, batch by batch, and take a step after each batch.

    trainer: from `compile_network`. weights: {0: w, 1: w}, how much an error on each class counts.
    callbacks: what is to happen after steps and epochs. first_epoch: above 0 where a training goes on.
    """
    return trainer.fit(
        batches,
        initial_epoch=first_epoch,
        epochs=recipe.epochs,
        class_weight=weights,
        shuffle=False,  # Batches shuffles, by seed and epoch; Keras would do it by a global random state
        callbacks=list(callbacks),
        verbose=0,  # ShowProgress tells how it goes
    )


def train(recipe, radiographs, ws, seed=0, fold=0, afresh=False, callbacks=lambda run: []):
    """Train the network of a recipe and return its Run, a folder in `ws.runs`.

    An unfinished run of the same recipe, seed and images goes on after its last complete epoch, on
    a CPU with the very result that it would have had without the break; afresh=True starts anew.
    Validation is one fold, grouped by patient; it is watched, and the threshold is chosen on
    it, but the network of the last epoch is kept: the number of epochs is fixed beforehand. Only
    where the user stops a notebook is it the network with the lowest validation loss so far.
    callbacks: given the Run, further Keras callbacks.
    Raises ExplainedError before any work if a setting cannot work, and if the training cannot go on.
    """
    training = manifest.select(radiographs.table, "train", fold)
    validation = manifest.select(radiographs.table, "val", fold)
    _check_settings(recipe, training, validation)
    precision = backend.prepare(seed)
    batches = Batches(radiographs.pixels, training, recipe.batch_size, seed)
    with backend.on_all_devices():
        network = build_network(recipe)
        started = transfer.start_from(recipe.start_from, network, ws) if recipe.start_from else None
        trainer = compile_network(network, recipe, len(batches), seed)
    card = _card(recipe, network, radiographs, training, validation, seed, fold)
    card |= {"started_from": started} if started else {}
    devices = trainer.distribute_strategy.num_replicas_in_sync if backend.on_tensorflow() else 1
    machine = runs.describe_machine(precision) | {"devices": devices}
    with _in_words(recipe), resume.start_or_go_on(trainer, card, machine, ws, afresh) as (run, state):
        print(f"Training {recipe.name}: {recipe.epochs} epochs, {len(training):,} images.", end=" ")
        print(f"Run folder: {run.path}")
        validate = Validate(network, radiographs, validation, run, state)
        progress = ShowProgress(validate, recipe.epochs, len(batches))
        drive_copy = resume.DriveCopy(run, ws)
        drive_copy.update()  # at once, so that no other session takes the name

        def keep(epoch, logs=None):
            resume.write_state(run, trainer, epoch + 1, validate.rows, validate.best)
            drive_copy.update()

        around = [validate, progress, *callbacks(run), keras.callbacks.LambdaCallback(on_epoch_end=keep)]
        kept, done = "the last epoch", len(validate.rows)
        batches.go_to(done)
        try:
            run_epochs(trainer, batches, recipe, card["class_weights"], around, first_epoch=done)
        except KeyboardInterrupt:
            if not (validate.rows and workspace.in_notebook()):
                raise  # in a plain process, Ctrl-C is a pause
            epoch, best = validate.best
            kept = f"epoch {epoch}, which has the lowest validation loss; stopped by the user"
            network.set_weights(best)
            print(f"Stopped after epoch {len(validate.rows)} of {recipe.epochs}. Kept is epoch {epoch}.")
        finally:
            progress.close()
        seconds = round(validate.seconds, 1)
        finish(run, model.in_float32(network), radiographs, validation, kept=kept, seconds=seconds)
        return drive_copy.deliver()


def finish(run, network, radiographs, validation, **entries):
    """Make a run of a network: the saved file, its validation scores, threshold and gate, the finished card.

    network: in float32. validation: rows of `radiographs.table`. entries: further ones for the card.
    """
    with workspace.whole(run.path / "model.keras") as partial:
        network.save(partial)
    scores = predict.score_table(network, radiographs.pixels, validation)
    run.write_scores("val", scores)
    development = radiographs.table[radiographs.table.split != "test"]
    run_gate = gate.fit(radiographs.pixels, development.drop(validation.index))
    if run_gate:
        run_gate.save(run)
        entries["gate"] = gate.rates(run_gate, radiographs.pixels[validation.index.to_numpy()])
    run.seal("model.keras")
    run.update_card(
        threshold={
            "value": metrics.choose_threshold(scores),
            "rule": metrics.THRESHOLD_RULE,
            "data": "validation images of this run",
        },
        finished=True,
        **entries,
    )


def _card(recipe, network, radiographs, training, validation, seed, fold):
    """The part of the card that says which training this is."""
    about = runs.describe_data(radiographs, fold, train=training, val=validation)
    about["counts"]["parameters"] = network.count_params()
    return about | {
        "recipe": dataclasses.asdict(recipe),
        "changed": recipes.changed_fields(recipe),
        "seed": seed,
        "class_weights": class_weights(training) if recipe.class_weights else None,
        "preprocessing": cache.PREPROCESSING
        + f"; then {recipe.side}x{recipe.side} the same way, values 0-255",
    }


def _check_settings(recipe, training, validation):
    """Raise ExplainedError for settings with which a training would run and be worth nothing."""
    if recipe.epochs < 1:
        raise ExplainedError(f"epochs is {recipe.epochs}; a training needs at least 1.")
    if not 46 <= recipe.side <= images.SIDE:  # below 46 the last pooling of `published` has nothing left
        raise ExplainedError(f"side is {recipe.side}; choose 46 to {images.SIDE} pixels.")
    for part, table in (("training", training), ("validation", validation)):
        if table.label.nunique() < 2:
            raise ExplainedError(
                f"The {part} images hold {table.label.nunique()} of the 2 classes ({len(table)} images). "
                "Both are needed; check the images with notebook 01."
            )


def _check_own_network(network, recipe):
    """Raise ExplainedError for a network of one's own that would be of no use after its training."""
    pictures = np.linspace(0, 255, 2 * recipe.side**2, dtype=np.float32).reshape(2, recipe.side, -1, 1)
    answers = np.asarray(network(pictures, training=False), np.float32)
    sums = answers.sum(-1)
    if answers.shape != (2, 2) or answers.min() < 0 or abs(sums - 1).max() > 0.01:  # bfloat16 has 3 digits
        raise ExplainedError(
            f"The network {recipe.network!r} must answer each picture with two probabilities that sum to 1. "
            "End it with model.two_classes(x)."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        network.save(path)
        try:
            saved_models.load(path)
        except ExplainedError as error:
            raise ExplainedError(
                f"The network {recipe.network!r} could not be opened again after its training. Use layers of "
                f"Keras alone, without Lambda and classes of your own. ({error})"
            ) from None


@contextlib.contextmanager
def _in_words(recipe):
    """Say in words that the memory is too small, which TensorFlow says in many lines."""
    try:
        yield
    except Exception as error:
        if not re.search("ResourceExhausted|MemoryError|out of memory|RESOURCE_EX", f"{type(error)} {error}"):
            raise
        raise ExplainedError(
            f"The memory does not hold batches of {recipe.batch_size} images. Restart the runtime "
            f'and use changed["batch_size"] = {max(recipe.batch_size // 2, 1)} in the Settings cell.'
        ) from None
