"""The training images in batches, in an order that can be repeated, and how much each class counts."""

import math

import numpy as np

from ..backend import keras
from ..data import manifest


class Batches(keras.utils.PyDataset):
    """Shuffled training batches, read from the packed cache: uint8 pictures and one-hot labels.

    A batch: pictures uint8 [batch_size, 224, 224], targets float32 [batch_size, 2] (normal,
    pneumonia); the last one of an epoch may be smaller. The order depends on seed and epoch alone,
    so that a training can be repeated or resumed. mixup: 0, or alpha: each picture and its target are then
    blended with those of another one of the batch (Zhang et al. 2018).
    """

    def __init__(self, pixels, table, batch_size, seed, mixup=0.0):
        super().__init__()
        self.pixels, self.rows = pixels, table.index.to_numpy()
        self.targets = np.eye(2, dtype=np.float32)[manifest.positives(table)]
        self.batch_size, self.seed, self.mixup = batch_size, seed, mixup
        self.go_to(0)

    def go_to(self, epoch):
        """Take the order of this epoch, counted from 0."""
        self.epoch = epoch
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))

    def __len__(self):
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, step):
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        pictures, targets = self.pixels[self.rows[chosen]], self.targets[chosen]
        if self.mixup:
            rng = np.random.default_rng([self.seed, self.epoch, step])
            share = rng.beta(self.mixup, self.mixup, (len(pictures), 1)).astype(np.float32)
            pictures = pictures + share[..., None] * (np.roll(pictures, 1, 0) - pictures.astype(np.float32))
            pictures = pictures.round().astype(np.uint8)
            targets = targets + share * (np.roll(targets, 1, 0) - targets)
        return pictures, targets

    def on_epoch_end(self):
        self.go_to(self.epoch + 1)


def class_weights(table):
    """Weights {0: w, 1: w} with mean 1 over the images that give both classes the same total."""
    share = np.bincount(manifest.positives(table), minlength=2) / len(table)
    return {label: float(0.5 / share[label]) for label in (0, 1)}
