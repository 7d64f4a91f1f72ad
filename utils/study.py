"""The experiments behind the released results; `python -m utils study NAME` runs one, or goes on with it."""

import pandas as pd

from . import manifest, metrics, recipes, scoring, sources, training, workspace
from .quiet import keras


class TestTrace(keras.callbacks.Callback):
    """Score the official test images every few epochs into `test_trace.csv`.

    An illustration of how much chance is in a figure read off the test set. Nothing that chooses an
    epoch, a threshold or a setting may read this file.
    """

    def __init__(self, run, radiographs, every=5):
        super().__init__()
        self.run, self.pixels, self.every = run, radiographs.pixels, every
        self.test = manifest.select(radiographs.table, "test")

    def on_train_begin(self, logs=None):
        self.run.update_card(
            test_trace=f"For illustration only, the official test images were scored every {self.every} "
            "epochs (test_trace.csv). Nothing was chosen by it."
        )

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every:
            return
        network = self.model.layers[-1]  # behind the augmentation layer
        result = metrics.measure(scoring.score_table(network, self.pixels, self.test), 0.5)
        row = {"epoch": epoch + 1, "accuracy": result.accuracy, "auc": result.auc}
        row |= {"sensitivity": result.sensitivity, "specificity": result.specificity}
        path = self.run.path / "test_trace.csv"
        rows = pd.DataFrame([row])
        if path.exists():
            earlier = pd.read_csv(path)  # after a break, later rows would be of epochs that are repeated
            rows = pd.concat([earlier[earlier.epoch <= epoch], rows])
        workspace.write_whole(path, rows.to_csv(index=False, float_format="%.6g"))


def published():
    """The published recipe to its end, 300 epochs, with a trace of the test accuracy on the way."""
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    run = training.fit(
        recipes.recipe("published"),
        radiographs,
        ws,
        callbacks=lambda run: [TestTrace(run, radiographs)],
    )
    print(scoring.test_scores(run, radiographs)[1])


EXPERIMENTS = {"published": published}
