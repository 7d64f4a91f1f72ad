"""A training whose every choice ends up in the card of its run folder."""

import dataclasses
import math
import re

import numpy as np

from . import (
    devices,
    gate,
    images,
    manifest,
    metrics,
    mirror,
    model,
    pack,
    recipes,
    resume,
    runs,
    scoring,
    workspace,
)
from .augment import Augment
from .quiet import keras
from .recipes import SettingsError
from .watch import TrainingError, Watch


def build(chosen):
    """The untrained network of a recipe."""
    return model.NETWORKS[chosen.network](chosen.side, chosen.per_image)


def augmentation(chosen, seed=0):
    """The augmentation layer of a recipe."""
    fields = ("side", "area", "aspect", "shift", "rotation", "blur", "noise", "contrast", "brightness")
    return Augment(**{field: getattr(chosen, field) for field in fields}, seed=seed)


class Batches(keras.utils.PyDataset):
    """Shuffled training batches, read from the packed cache: uint8 pictures and one-hot labels.

    The order depends on seed and epoch alone, so that a training can be repeated or resumed.
    """

    def __init__(self, pixels, table, batch_size, seed):
        super().__init__()
        self.pixels, self.rows = pixels, table.index.to_numpy()
        self.targets = np.eye(2, dtype=np.float32)[manifest.positives(table)]
        self.batch_size, self.seed = batch_size, seed
        self.go_to(0)

    def go_to(self, epoch):
        """Take the order of this epoch, counted from 0."""
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))

    def __len__(self):
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, step):
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        return self.pixels[self.rows[chosen]], self.targets[chosen]

    def on_epoch_end(self):
        self.go_to(self.epoch + 1)


def fit(chosen, radiographs, ws, seed=0, fold=0, afresh=False, callbacks=lambda run: []):
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
    _check(chosen, training, validation, seed)
    precision = devices.prepare(seed)
    batches = Batches(radiographs.pixels, training, chosen.batch_size, seed)
    with devices.on_all():
        network = build(chosen)
        trainer = _with_augmentation(network, chosen, len(batches), seed)
    choices = _choices(chosen, network, radiographs, training, validation, seed, fold)
    run, state = _start_or_go_on(trainer, choices, _circumstances(trainer, precision), ws, afresh)
    batches.go_to(state["epoch"] if state else 0)
    copy = mirror.Mirror(run, ws)
    if copy.needed:
        copy.attempt(lambda: None)  # claims the name of the run
    print(f"Training {chosen.name}: {chosen.epochs} epochs, {len(training):,} images. Run folder: {run.path}")
    watch = Watch(network, radiographs, validation, run, len(batches), chosen.epochs, state)
    kept = "the last epoch"
    try:
        trainer.fit(
            batches,
            initial_epoch=len(watch.rows),
            epochs=chosen.epochs,
            class_weight=choices["class_weights"],
            shuffle=False,  # Keras would shuffle the steps by Python's global random state; Batches does it
            callbacks=[watch, *callbacks(run), resume.Keep(run, watch, copy)],
            verbose=0,
        )
    except KeyboardInterrupt:
        if not (watch.rows and workspace.in_notebook()):
            raise  # in a plain process, Ctrl-C is a pause
        kept = f"epoch {watch.best[0]}, which has the lowest validation loss; stopped by the user"
        network.set_weights(watch.best[1])
        print(f"Stopped after epoch {len(watch.rows)} of {chosen.epochs}. Kept is epoch {watch.best[0]}.")
    except Exception as error:
        if not re.search("ResourceExhausted|MemoryError|out of memory|RESOURCE_EX", f"{type(error)} {error}"):
            raise
        raise TrainingError(
            f"The memory does not hold batches of {chosen.batch_size} images. Restart the runtime and use "
            f'changes["batch_size"] = {max(chosen.batch_size // 2, 1)} in the Settings cell.'
        ) from None
    finally:
        watch.close()
    seconds = round(watch.seconds, 1)
    finish(run, model.in_float32(network), radiographs, validation, kept=kept, seconds=seconds)
    mirror.discard(run.path / "resume")
    return copy.finish()


def _choices(chosen, network, radiographs, training, validation, seed, fold):
    """The part of the card that says which training this is."""
    return {
        "recipe": dataclasses.asdict(chosen),
        "changed": recipes.changes(chosen),
        "seed": seed,
        "synthetic": radiographs.synthetic,
        "manifest": radiographs.digest,
        "counts": {
            "train": len(training),
            "train_patients": int(training.patient.nunique()),
            "val": len(validation),
            "val_patients": int(validation.patient.nunique()),
            "usable": len(radiographs.table),
            "listed": len(radiographs.listed),
            "parameters": network.count_params(),
        },
        "validation": f"fold {fold} of {manifest.FOLDS}, grouped by patient",
        "class_names": [name for name, _ in manifest.classes(radiographs.listed)],
        "class_weights": class_weights(training) if chosen.class_weights else None,
        "preprocessing": pack.PREPROCESSING
        + f"; then {chosen.side}x{chosen.side} the same way, values 0-255",
    }


def _circumstances(trainer, precision):
    """The part of the card that says where and with what the training ran."""
    return {
        "versions": workspace.versions(),
        "code": workspace.code_version(),
        "device": workspace.device_name(),
        "devices": trainer.distribute_strategy.num_replicas_in_sync if devices.on_tensorflow() else 1,
        "precision": precision,
    }


def _start_or_go_on(trainer, choices, circumstances, ws, afresh):
    """A new Run; or an unfinished one with the same choices and its state, restored."""
    try:
        workspace.check_connected(ws.runs)
    except OSError as error:
        raise TrainingError(f"{error}. Run the Setup cell again before you train.") from None
    for run, state in () if afresh else resume.find(ws, choices):
        try:
            resume.restore(trainer, state)
        except ValueError:
            print(
                f"The unfinished run {run.name} cannot go on here: it was computed in "
                f"{run.card['precision']} on {run.card['device']} with commit {run.card['code']}."
            )
            continue
        run, epoch = mirror.bring_back(run, ws), state["epoch"]
        earlier = state["card"].get("continued", [])
        run.update_card(continued=[*earlier, {"after_epoch": epoch} | circumstances])
        of = choices["recipe"]["epochs"]
        print(f"Going on with the unfinished run {run.name} after epoch {epoch} of {of}.")
        return run, state
    return runs.create(ws, choices["recipe"]["name"], choices["seed"], choices | circumstances), None


def class_weights(table):
    """Weights {0: w, 1: w} with mean 1 over the images that give both classes the same total."""
    share = np.bincount(manifest.positives(table), minlength=2) / len(table)
    return {label: float(0.5 / share[label]) for label in (0, 1)}


def _with_augmentation(network, chosen, steps, seed):
    """The network behind its augmentation layer, compiled."""
    inputs = keras.Input((images.SIDE, images.SIDE), dtype="uint8")
    trainer = keras.Model(inputs, network(augmentation(chosen, seed)(inputs)))
    rate = chosen.learning_rate
    if chosen.cosine:
        warm = max(min(steps, steps * chosen.epochs // 4), 1)  # one epoch, a quarter of a short training
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 100, steps * chosen.epochs - warm or 1, warmup_target=rate, warmup_steps=warm
        )
    on_cpu = workspace.device_name().startswith("CPU")
    trainer.compile(
        keras.optimizers.Adam(rate, weight_decay=chosen.weight_decay or None),
        keras.losses.CategoricalCrossentropy(label_smoothing=chosen.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False if on_cpu else "auto",  # XLA halves the speed of convolutions on CPUs
    )
    return trainer


def finish(run, network, radiographs, validation, **entries):
    """Save a float32 network, score the validation images, choose threshold and gate, close the card."""
    partial = run.path / "partial.keras"
    network.save(partial)
    partial.replace(run.path / "model.keras")
    scores = scoring.score_table(network, radiographs.pixels, validation)
    run.write_scores("val", scores)
    threshold = metrics.choose_threshold(manifest.positives(scores), scores.score)
    development = radiographs.table[radiographs.table.split != "test"]
    known = gate.fit(radiographs.pixels, development.drop(validation.index))
    if known:
        known.save(run)
        entries["gate"] = gate.rates(known, radiographs.pixels[validation.index.to_numpy()])
    run.update_card(
        threshold={
            "value": threshold,
            "rule": metrics.THRESHOLD_RULE,
            "data": "validation images of this run",
        },
        model_digest=runs.file_digest(run.path / "model.keras"),
        finished=True,
        **entries,
    )


def _check(chosen, training, validation, seed):
    if seed < 0:
        raise SettingsError(f"The seed is {seed}; choose a whole number from 0 on.")
    if not 46 <= chosen.side <= images.SIDE:  # below 46 the last pooling of `published` has nothing left
        raise SettingsError(f"side is {chosen.side}; choose 46 to {images.SIDE} pixels.")
    if chosen.epochs < 1:
        raise SettingsError(f"epochs is {chosen.epochs}; a training needs at least 1.")
    if chosen.network not in model.NETWORKS:
        raise SettingsError(f"There is no network {chosen.network!r}; choose {', '.join(model.NETWORKS)}.")
    if not 1 <= chosen.batch_size <= len(training):
        raise SettingsError(
            f"batch_size is {chosen.batch_size}; choose 1 to {len(training)}, the training images."
        )
    for part, table in (("training", training), ("validation", validation)):
        if table.label.nunique() < 2:
            raise SettingsError(
                f"The {part} images hold {table.label.nunique()} of the 2 classes ({len(table)} images). "
                "Both are needed; check the images with notebook 01."
            )
