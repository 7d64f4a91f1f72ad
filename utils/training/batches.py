"""The training images in batches, in an order that can be repeated, and how much each class counts."""

import math

import numpy as np

from ..backend import keras
from ..data import manifest


class Batches(keras.utils.PyDataset):
    """Shuffled training batches, read from the packed cache: uint8 pictures and one-hot labels.

    A batch: pictures uint8 [batch_size, 224, 224], targets float32 [batch_size, 2] (normal,
    pneumonia); the last one of an epoch may be smaller. The order depends on seed and epoch alone,
    so that a training can be repeated or resumed.
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


def class_weights(table):
    """Weights {0: w, 1: w} with mean 1 over the images that give both classes the same total."""
    share = np.bincount(manifest.positives(table), minlength=2) / len(table)
    return {label: float(0.5 / share[label]) for label in (0, 1)}
