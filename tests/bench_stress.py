"""How networks fare in the stress test that are trained the way tutorials do, beside the released ones.

python tests/bench_stress.py FOLDER_OF_PUBLIC_RADIOGRAPHS

Three small trainings on the training images; everything is measured on validation images.
"""

import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
import pandas as pd

from utils import predict, runs, saved_models, sources, workspace
from utils.backend import keras
from utils.data import manifest
from utils.evaluation import adapt, evaluation, stress
from utils.resample import resize

layers = keras.layers


def plain(side=150):
    """Three convolutions, flattened; pixels / 255 outside; augmented as in ImageDataGenerator's examples."""
    augment = [layers.RandomRotation(0.03), layers.RandomZoom(0.1), layers.RandomTranslation(0.1, 0.1)]
    augment.append(layers.RandomFlip("horizontal"))
    return side, 3, augment, 1 / 255, "0-1", [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(1, activation="sigmoid"),
    ]  # fmt: skip


def small(side=64):
    """Batch normalisation, rescaling inside, no augmentation, 64 pixels."""
    blocks = [
        layer
        for filters in (32, 64, 128)
        for layer in (
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
        )
    ]
    ends = [layers.GlobalAveragePooling2D(), layers.Dense(1, activation="sigmoid")]
    return side, 8, [], 1.0, "0-255", [layers.Rescaling(1 / 255), *blocks, *ends]


def mobile(side=96):
    """MobileNetV2 without pretrained weights, three channels, flipped left and right.

    With Keras' momentum of 0.999 its normalisation would need thousands of steps, and until then the saved
    network calls everything pneumonia.
    """
    body = keras.applications.MobileNetV2((side, side, 3), alpha=0.35, include_top=False, weights=None)
    for layer in body.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9
    ends = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(1, activation="sigmoid")]
    copied = layers.Concatenate()
    start = keras.Input((side, side, 1))
    three = keras.Model(start, body(copied([start, start, start])))
    return side, 8, [layers.RandomFlip("horizontal")], 1 / 255, "0-1", [layers.Rescaling(2, -1), three, *ends]


def train(make, pixels, table, folder):
    """Train, save and open again one network as a stranger's; returns it, adapted."""
    side, epochs, augment, scale, pixel_range, core = make()
    keras.utils.set_random_seed(0)
    rows = table.index.to_numpy()
    shown = np.concatenate([np.asarray(resize(pixels[part], side)) for part in np.array_split(rows, 20)])
    shown = (shown * scale).astype(np.float16)
    network = keras.Sequential([keras.Input((side, side, 1)), *core])
    learner = keras.Sequential([keras.Input((side, side, 1)), *augment, network])
    learner.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    started = time.perf_counter()
    learner.fit(shown, manifest.positives(table), batch_size=32, epochs=epochs, verbose=2)
    print(f"{make.__name__}: {epochs} epochs in {time.perf_counter() - started:.0f} s", flush=True)
    path = folder / f"{make.__name__}.keras"
    network.save(path)
    return adapt.adapt(saved_models.load(path), pixel_range, "one probability")


def main(folder):
    os.environ["CXR_DATA"] = folder
    radiographs = sources.load(workspace.open_workspace())
    training = manifest.select(radiographs.table, "train")
    part = manifest.draw(manifest.select(radiographs.table, "val"), stress.MOST)
    thresholds, networks = {}, {}
    for run in runs.all_runs(runs.RELEASED):
        if (run.path / "model.keras").exists():
            name = run.card["recipe"]["name"]
            networks[name] = saved_models.load(run.path / "model.keras")
            thresholds[name] = run.card["threshold"]["value"]
    with tempfile.TemporaryDirectory() as place:
        for make in (plain, small, mobile):
            networks[make.__name__] = train(make, radiographs.pixels, training, Path(place))
            thresholds[make.__name__] = 0.5
    scorers = {name: partial(predict.score_pictures, network) for name, network in networks.items()}
    pictures = radiographs.pixels[part.index.to_numpy()]
    found = {}
    for name, scores in stress.scored(scorers, pictures).items():
        print(name, *evaluation.check(part.assign(score=scores[stress.UNCHANGED])))
        found[name] = stress.effects(scores, part, thresholds[name])
        print(*stress.sentences(found[name].assign(network=name), manifest.CLASS_NAMES), sep="\n")
    together = pd.concat(found, names=["network"]).reset_index("network")
    for column in ("false_alarms", "missed", "up", "down", "auc"):
        wide = together.pivot_table(index="change", columns="network", values=column, sort=False)
        print(f"\n{column}\n{wide.round(3).to_string()}")


if __name__ == "__main__":
    main(sys.argv[1])
