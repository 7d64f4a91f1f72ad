"""Training: what is made smaller and by which steps, how the epochs run, and what surrounds them.

The first two functions are the training. Everything that shows it, keeps it safe from a disconnect or
measures it hangs on as callbacks: `watch.Validate`, `watch.ShowProgress`, `checkpoint.KeepState`.
"""

import contextlib
import dataclasses
import inspect
import json
import re

import numpy as np

from .. import backend, model, model_config, runs, workspace
from ..backend import keras
from ..data import cache, images, manifest
from . import checkpoint, mirror, recipes, transfer
from .augment import Augment
from .batches import Batches, class_weights
from .finish import finish
from .recipes import SettingsError
from .watch import ShowProgress, TrainingError, Validate


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
            rate / 100, steps - rising or 1, warmup_target=recipe.learning_rate, warmup_steps=rising
        )
    trainer.compile(
        # Adam scales the step of each weight by how large its gradients usually are; weight decay
        # pulls all weights a little towards 0.
        optimizer=keras.optimizers.Adam(rate, weight_decay=recipe.weight_decay or None),
        # -log of the probability given to the right class. Smoothing by 0.1 asks for 0.95 instead of 1,
        # so that the network is not driven to be ever more certain.
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        # On the augmented training images; the honest numbers come from Validate.
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        # XLA makes GPUs faster, but halves the speed of convolutions on CPUs.
        jit_compile=False if workspace.device_name().startswith("CPU") else "auto",
    )
    trainer.optimizer.build(trainer.trainable_variables)  # or Keras would translate the first step twice
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


def build_network(recipe):
    """The untrained network of a recipe: [n, side, side, 1], grey 0-255, to two probabilities [n, 2].

    Raises SettingsError if it is a network of one's own that no later step could use.
    """
    if recipe.network not in model.NETWORKS:
        raise SettingsError(
            f"There is no network {recipe.network!r}; choose {', '.join(model.NETWORKS)}. If it is a network "
            "of your own, run its cell again: Setup forgets it."
        )
    build = model.NETWORKS[recipe.network]
    try:
        inspect.signature(build).bind(recipe.side, recipe.per_image)
    except TypeError as error:
        raise SettingsError(
            f"The function of the network {recipe.network!r} does not fit ({error}). It must take two "
            "values: side, in pixels, and per_image, whether each picture is standardised."
        ) from None
    network = build(recipe.side, recipe.per_image)
    if isinstance(network, keras.Sequential) and network.built:  # which hides the outputs of its layers
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    _check_network(network, recipe)
    return network


def augmentation(recipe, seed=0):
    """The augmentation layer of a recipe."""
    fields = vars(recipe).keys() & inspect.signature(Augment.__init__).parameters.keys()
    return Augment(**{field: getattr(recipe, field) for field in fields}, seed=seed)


def train(recipe, radiographs, ws, seed=0, fold=0, afresh=False, callbacks=lambda run: []):
    """Train the network of a recipe and return its Run, a folder in `ws.runs`.

    An unfinished run of the same recipe, seed and images goes on after its last complete epoch, on
    a CPU with the very result that it would have had without the break; afresh=True starts anew.
    Validation is one fold, grouped by patient; it is watched, and the threshold is chosen on
    it, but the network of the last epoch is kept: the number of epochs is fixed beforehand. Only
    where the user stops a notebook is it the network with the lowest validation loss so far.
    callbacks: given the Run, further Keras callbacks.
    Raises SettingsError before any work if a setting cannot work, and TrainingError if the
    training cannot go on.
    """
    training = manifest.select(radiographs.table, "train", fold)
    validation = manifest.select(radiographs.table, "val", fold)
    _check(recipe, training, validation, seed)
    precision = backend.prepare(seed)
    batches = Batches(radiographs.pixels, training, recipe.batch_size, seed)
    with backend.on_all_devices():
        network = build_network(recipe)
        started = transfer.start_from(recipe.start_from, network, ws) if recipe.start_from else None
        trainer = compile_network(network, recipe, len(batches), seed)
    card = _card(recipe, network, radiographs, training, validation, seed, fold)
    card |= {"started_from": started} if started else {}
    if not afresh and (run := checkpoint.finished_but_interrupted(ws, card)):
        print(f"This training was finished before: {run.name}. For another network: START_AFRESH = True.")
        return mirror.deliver(mirror.Mirror(run, ws))
    devices = trainer.distribute_strategy.num_replicas_in_sync if backend.on_tensorflow() else 1
    machine = runs.describe_machine(precision) | {"devices": devices}
    with _in_words(recipe, ws), checkpoint.start_or_go_on(trainer, card, machine, ws, afresh) as (run, state):
        batches.go_to(state["epoch"] if state else 0)
        print(f"Training {recipe.name}: {recipe.epochs} epochs, {len(training):,} images.", end=" ")
        print(f"Run folder: {run.path}")
        copy = mirror.Mirror(run, ws)
        if copy.needed:
            copy.attempt(lambda: None)  # begins with the card, so that no other session takes the name
        validate = Validate(network, radiographs, validation, run, state)
        progress = ShowProgress(validate, recipe.epochs, len(batches))
        keep = checkpoint.KeepState(run, validate, copy)
        around = [validate, progress, *callbacks(run), keep]
        kept = "the last epoch"
        try:
            run_epochs(trainer, batches, recipe, card["class_weights"], around, len(validate.rows))
        except KeyboardInterrupt:
            if not (validate.rows and workspace.in_notebook()):
                raise  # in a plain process, Ctrl-C is a pause
            epoch, best = validate.best
            kept = f"epoch {epoch}, which has the lowest validation loss; stopped by the user"
            network.set_weights(best)
            print(f"Stopped after epoch {len(validate.rows)} of {recipe.epochs}. Kept is epoch {epoch}.")
        finally:
            progress.close()
        about = {"kept": kept, "seconds": round(validate.seconds, 1), "delivered": False}
        finish(run, model.in_float32(network), radiographs, validation, **about)
        return mirror.deliver(copy)


@contextlib.contextmanager
def _in_words(recipe, ws):
    """Turn what a user can mend, a full disk or too little memory, into a TrainingError."""
    try:
        yield
    except Exception as error:
        text = f"{type(error)} {error}"
        if re.search("No space left|quota|Read-only|Permission denied|Input/output", text):
            raise TrainingError(
                f"{ws.local_runs} cannot be written ({error}). Is the disk full? Free some space and run "
                "this cell again: the training goes on after the last complete epoch."
            ) from None
        if re.search("ResourceExhausted|MemoryError|out of memory|RESOURCE_EX", text):
            raise TrainingError(
                f"The memory does not hold batches of {recipe.batch_size} images. Restart the runtime "
                f'and use changed["batch_size"] = {max(recipe.batch_size // 2, 1)} in the Settings cell.'
            ) from None
        raise


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


def _check(recipe, training, validation, seed):
    if seed < 0:
        raise SettingsError(f"The seed is {seed}; choose a whole number from 0 on.")
    if not 46 <= recipe.side <= images.SIDE:  # below 46 the last pooling of `published` has nothing left
        raise SettingsError(f"side is {recipe.side}; choose 46 to {images.SIDE} pixels.")
    if recipe.epochs < 1:
        raise SettingsError(f"epochs is {recipe.epochs}; a training needs at least 1.")
    if not 1 <= recipe.batch_size <= len(training):
        raise SettingsError(
            f"batch_size is {recipe.batch_size}; choose 1 to {len(training)}, the training images."
        )
    for part, table in (("training", training), ("validation", validation)):
        if table.label.nunique() < 2:
            raise SettingsError(
                f"The {part} images hold {table.label.nunique()} of the 2 classes ({len(table)} images). "
                "Both are needed; check the images with notebook 01."
            )


def _check_network(network, recipe):
    """Refuse, before any work, a network of one's own that no later step could use."""
    name, shape = repr(recipe.network), (recipe.side, recipe.side, 1)
    if not hasattr(network, "input_shape"):
        raise SettingsError(
            f"The function of the network {name} returns a {type(network).__name__} without inputs. End it "
            "with: return keras.Model(inputs, model.two_classes(x)). Begin a Sequential with keras.Input."
        )
    if (network.input_shape, network.output_shape) != ((None, *shape), (None, 2)):
        raise SettingsError(
            f"The network {name} goes from {network.input_shape} to {network.output_shape}, but must go from "
            f"{(None, *shape)} to {(None, 2)}: from grey pictures to two probabilities. End it with "
            "model.two_classes(x)."
        )
    pictures = np.linspace(0, 255, 2 * recipe.side**2, dtype=np.float32).reshape(2, *shape)
    answers = np.asarray(network(pictures, training=False), np.float32)
    if not (answers.min() >= 0 and np.allclose(answers.sum(1), 1, atol=0.01)):  # bfloat16 has 3 digits
        raise SettingsError(
            f"The network {name} answers a picture with {answers[0, 0]:.2f} and {answers[0, 1]:.2f}, but "
            "must give two probabilities that sum to 1. End it with model.two_classes(x)."
        )
    try:
        model_config.cleaned(json.loads(network.to_json()))
    except model_config.ModelError as error:
        raise SettingsError(
            f"The network {name} {str(error).partition('. ')[0]}. Its run could not be opened again. Use "
            "layers of Keras alone, without Lambda and classes of your own."
        ) from None
