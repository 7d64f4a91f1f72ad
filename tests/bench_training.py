"""How fast the networks train, and what the pictures on their way to them cost. Prints images per second.

python tests/bench_training.py FOLDER   (the folder that holds train/NORMAL and train/PNEUMONIA)
Ours, the usual ImageDataGenerator way with the published network, and the pipeline and network of the
keras.io example on this data set (Keras code examples, "Pneumonia Classification on TPU"), written anew;
ours is the fastest of three times 20 steps, the others one epoch. Let nothing else run meanwhile.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from bench_data import seconds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import keras
import tensorflow as tf

from utils import backend, model, sources, workspace
from utils.data import manifest
from utils.training import fit, recipes

layers = keras.layers
REPEATS = 20


def report(what, images, took):
    print(f"{what:72} {images / took:7.0f} images/s", flush=True)


def step_cost(chosen, radiographs):
    """Seconds of one training step with everything, and of the network alone on one fixed batch."""
    train = manifest.select(radiographs.table, "train")
    backend.prepare(0)
    network = fit.build_network(chosen)
    trainer = fit.compile_network(network, chosen, 60)
    batches = fit.Batches(radiographs.pixels, train, chosen.batch_size, 0)
    pictures, targets = batches[0]
    fixed = np.asarray(fit.augmentation(chosen)(pictures))
    alone = keras.Model(network.input, network.output)
    alone.compile(keras.optimizers.Adam(weight_decay=0.02), trainer.loss, jit_compile=trainer.jit_compile)

    def whole():
        for step in range(REPEATS):
            trainer.train_on_batch(*batches[step])

    def bare():
        for _ in range(REPEATS):
            alone.train_on_batch(fixed, targets)

    whole(), bare()  # compile
    pairs = [(seconds(whole) / REPEATS, seconds(bare) / REPEATS) for _ in range(3)]
    return tuple(min(values) for values in zip(*pairs, strict=True))


def ours(radiographs):
    train = manifest.select(radiographs.table, "train")
    batches = fit.Batches(radiographs.pixels, train, 64, 0)
    took = seconds(lambda: [batches[step] for step in range(len(batches))])
    report("our batches alone, which is what the fastest accelerator can be fed", len(train), took)
    for name in ("compact", "fast", "published"):
        chosen = recipes.recipe(name)
        whole, bare = step_cost(chosen, radiographs)
        what = f"{name}, {chosen.side}x{chosen.side}, {keras.config.dtype_policy().name}"
        report(f"{what}: {whole / bare:.2f} times the network alone", chosen.batch_size, whole)


def one_epoch(network, data, what, images):
    network.compile("adam", network.loss_name)
    network.train_on_batch(*next(iter(data)))  # compile
    report(what, images, seconds(lambda: network.fit(data, epochs=1, verbose=0)))


def image_data_generator(folder, images):
    """The usual way of tutorials: files read and turned one by one in Python."""
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    generator = ImageDataGenerator(
        rescale=1 / 255, rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1
    )
    data = generator.flow_from_directory(
        folder, target_size=(150, 150), color_mode="grayscale", batch_size=80, class_mode="categorical"
    )
    network = model.published()
    network.loss_name = "categorical_crossentropy"
    one_epoch(network, data, "ImageDataGenerator, published network, float32", images)


def keras_io(folder, images):
    """tf.data over the files, cached after the first pass, and separable convolutions at 180x180."""
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(180, 180), batch_size=25, label_mode="binary", verbose=False
    )
    data = data.cache().prefetch(tf.data.AUTOTUNE)
    x = inputs = keras.Input((180, 180, 3))
    x = layers.Rescaling(1 / 255)(x)
    for _ in range(2):
        x = layers.Conv2D(16, 3, activation="relu", padding="same")(x)
    x = layers.MaxPooling2D()(x)
    for filters, dropout in ((32, 0), (64, 0), (128, 0.2), (256, 0.2)):
        for _ in range(2):
            x = layers.SeparableConv2D(filters, 3, activation="relu", padding="same")(x)
        x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(x)
        x = layers.Dropout(dropout)(x)
    x = layers.Flatten()(x)
    for units, dropout in ((512, 0.7), (128, 0.5), (64, 0.3)):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.BatchNormalization()(x)
        x = layers.Dropout(dropout)(x)
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    network.loss_name = "binary_crossentropy"
    for _ in data:  # fill the cache: the first pass is not counted
        pass
    one_epoch(network, data, "keras.io example, pipeline and network, float32, after its first pass", images)


def main(folder):
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        ours(sources.load(workspace.Workspace(home=home, scratch=home, quick=False, data=Path(folder))))
    keras.config.set_dtype_policy("float32")
    train = Path(folder) / "train"
    images = sum(1 for path in train.rglob("*") if path.suffix.lower() in (".jpeg", ".jpg", ".png"))
    keras_io(train, images)
    image_data_generator(train, images)


if __name__ == "__main__":
    main(sys.argv[1])
