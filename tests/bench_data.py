"""How fast radiographs are read and answered, and how much memory that takes.

python tests/bench_data.py FOLDER_OF_ORIGINALS
Compares the packed cache with `keras.utils.image_dataset_from_directory` in one run.
"""

import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import predict, runs, saved_models, workspace
from utils.backend import keras
from utils.data import cache, images, manifest
from utils.inference import classify
from utils.sources import files
from utils.training.fit import Batches

SIZES = (1_000, 10_000)  # files to answer


def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best(work, times=3):
    return min(seconds(work) for _ in range(times))


def theirs(folder):
    """One pass of the usual Keras pipeline over the files, squashed to the same size."""
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=(images.SIDE, images.SIDE), color_mode="grayscale", batch_size=64, verbose=False
    )
    return lambda: [batch for batch in dataset]


def epoch(pixels, table):
    batches = Batches(pixels, table, batch_size=64, seed=0)
    return lambda: [batches[step] for step in range(len(batches))]


def peak_of_an_epoch(packed, images_in_all):
    """Peak memory in MB of a fresh process that draws one epoch of batches from a repeated manifest."""
    pixels, table, _, _, _ = cache.read(packed)
    table = table[["path", "label"]]
    repeated = pd.concat([table] * -(-images_in_all // len(table))).head(images_in_all)
    batches = Batches(pixels, repeated, batch_size=64, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in range(len(batches)):
        batches[step]
    return images_in_all, before / 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder):
    readers, _, _ = files.gather(folder)
    n = len(readers)
    with tempfile.TemporaryDirectory() as place:
        packed = Path(place) / "pack.h5"
        table = manifest.read()
        table = table[table.path.isin(set(readers))]
        packing = best(lambda: cache.write(readers, table, packed, folder))
        usual = best(theirs(folder))
        pixels, table, present, _, _ = cache.read(packed)
        ours = best(epoch(pixels, table[present].reset_index(drop=True)))
        print(f"{n} originals, {multiprocessing.cpu_count()} cores")
        print(f"packing            {n / packing:8.0f} images/s")
        print(
            f"Keras, one pass    {n / usual:8.0f} images/s   packing is {usual / packing:.1f} times as fast"
        )
        print(f"epoch from cache   {n / ours:8.0f} images/s   {usual / ours:.0f} times as fast")
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            for count in (5_000, 50_000, 500_000):
                total, before, after = pool.apply(peak_of_an_epoch, (packed, count))
                print(
                    f"memory, {total:7,} images: peak {after:5.0f} MB, {after - before:+.0f} MB for the epoch"
                )
    network = saved_models.load(runs.released("best").path / "model.keras")
    full, reduced = (
        np.stack([images.squash(images.read(reader(), side)) for reader in readers.values()])
        for side in (None, 2 * images.SIDE)
    )
    moved = np.abs(predict.score_pictures(network, full) - predict.score_pictures(network, reduced))
    print(f"reduced decoding moves scores by {moved.mean():.4f} in the mean, {moved.max():.4f} at most")


def answer_repeated(folder, size):
    """In a fresh process: answer `size` files, the folder's over and over; print images/s and peak MB."""
    found = files.every(Path(folder))
    repeated = {f"{number:06d}": file for number, file in enumerate(islice(cycle(found.values()), size))}
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        answers = classify.answer(runs.released("best"), repeated, Path(place) / "answers.csv")
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(answers) == size and (answers.problem == "").all()
    print(f"{size:,} files: {seconds:.1f} s, {size / seconds:.0f} images/s, peak {peak:,.0f} MB")


def answering(folder):
    first = next(path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "utils", "classify", first, "--run", runs.released("best").name],
            cwd=workspace.PROJECT,
            env=os.environ | {"CXR_HOME": home},
            check=True,
        )
        print(f"one image from a cold start: {time.perf_counter() - started:.1f} s")
    for size in SIZES:
        subprocess.run([sys.executable, __file__, folder, str(size)], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        answer_repeated(sys.argv[1], int(sys.argv[2]))
    else:
        main(Path(sys.argv[1]))
        answering(sys.argv[1])
