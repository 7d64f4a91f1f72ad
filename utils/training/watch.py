"""What one sees of a training: a line per epoch, a bar, the learning curves as they grow; and history.csv."""

import math
import time

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss
from tqdm.auto import tqdm

from .. import figures, metrics, predict, workspace
from ..backend import keras
from ..data import manifest

LINES = 30  # at most, whatever the number of epochs
EVERY_S = 5  # seconds between two drawings of the learning curves


class Validate(keras.callbacks.Callback):
    """After each epoch, score the validation images and add a row to history.csv.

    rows: one dictionary per epoch. best: (epoch, weights) of the lowest validation loss so far. state: what
    `resume` kept of an earlier part of this training. Raises ExplainedError if the network broke down.
    """

    def __init__(self, network, radiographs, validation, run, state=None):
        super().__init__()
        self.network, self.radiographs, self.validation, self.run = network, radiographs, validation, run
        self.rows, self.best = (state["history"], state["best"]) if state else ([], (0, []))
        if self.rows:  # the file may be missing, or hold epochs that come once more
            self._write()

    @property
    def seconds(self):
        return sum(row["seconds"] for row in self.rows)

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        scores = predict.score_table(self.network, self.radiographs.pixels, self.validation)
        if not np.isfinite([logs["loss"], *scores.score]).all():
            rate = self.run.card["recipe"]["learning_rate"] / 3
            raise workspace.ExplainedError(
                f"In epoch {epoch + 1} the network broke down (loss {logs['loss']:.3g}): the steps were too "
                f'large. In the Settings cell, use changed["learning_rate"] = {rate:.1g}.'
            )
        result = metrics.measure(scores, 0.5)
        row = {
            "epoch": epoch + 1,
            "loss": logs["loss"],
            "accuracy": logs["accuracy"],
            "val_loss": log_loss(manifest.positives(scores), scores.score, labels=[0, 1]),
            "val_accuracy": result.accuracy,
            "val_auc": result.auc,
            "val_sensitivity": result.sensitivity,
            "val_specificity": result.specificity,
            "seconds": round(time.perf_counter() - self.started, 2),
        }
        if row["val_loss"] < min((earlier["val_loss"] for earlier in self.rows), default=math.inf):
            self.best = epoch + 1, self.network.get_weights()
        self.rows.append(row)
        self._write()

    def _write(self):
        history = pd.DataFrame(self.rows).to_csv(index=False, float_format="%.6g")
        workspace.write_whole(self.run.path / "history.csv", history)
        self.run.update_card(epochs_done=len(self.rows))


class ShowProgress(keras.callbacks.Callback):
    """Show a bar, a line per epoch, and in a notebook the learning curves as they grow.

    validate: the callback that stands before this one. epochs: of the whole training. steps: of an epoch.
    """

    def __init__(self, validate, epochs, steps):
        super().__init__()
        self.validate, self.epochs, self.figure, self.drawn = validate, epochs, None, -math.inf
        self.bar = tqdm(
            total=steps * epochs,
            initial=steps * len(validate.rows),
            unit=" steps",
            mininterval=1,
            disable=not workspace.in_notebook(),
        )

    def on_epoch_begin(self, epoch, logs=None):
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        done, row = epoch + 1, self.validate.rows[-1]
        if done in (1, self.epochs) or done % math.ceil(self.epochs / LINES) == 0:
            seconds = self.validate.seconds / done * (self.epochs - done)
            left = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
            print(
                f"epoch {done:3d}/{self.epochs}  loss {row['loss']:.3f}  validation: "
                f"AUC {row['val_auc']:.3f}, sensitivity {row['val_sensitivity']:.2f}, "
                f"specificity {row['val_specificity']:.2f}  {row['seconds']:.0f} s, {left} left",
                flush=True,
            )
        if time.monotonic() - self.drawn >= EVERY_S:
            self._draw()

    def close(self):
        """Leave bar and figure in their last state, however the training ended."""
        self.bar.close()
        self._draw()

    def _draw(self):
        """Draw the learning curves, from the second time on in the same place."""
        if not self.validate.rows or not workspace.in_notebook():
            return
        from IPython.display import display

        history, counts = pd.DataFrame(self.validate.rows), self.validate.run.card["counts"]
        note = figures.style.note(self.validate.radiographs.synthetic)
        curves = figures.results.learning_curves(history, counts, self.epochs, note=note)
        if self.figure:
            self.figure.update(curves)
        else:
            self.figure = display(curves, display_id=True)
        self.drawn = time.monotonic()
