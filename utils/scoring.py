"""Pictures -> scores: P(pneumonia) in [0, 1].

Keras is imported only where a network is used, so that stored scores are evaluated without it.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from . import gate, images, manifest, runs

BATCH = 256  # images in memory at a time


def score_pictures(network, pictures):
    """Scores of squashed pictures: uint8 [n, 224, 224] -> float32 [n]."""
    from .augment import Augment

    resize = Augment(network.input_shape[1])
    parts = [
        np.asarray(network(resize(pictures[first : first + BATCH]), training=False), np.float32)[:, 1]
        for first in range(0, len(pictures), BATCH)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def score_table(network, pixels, table):
    """Scores of manifest rows, in the contract of `scores_*.csv`: path, patient, label, subtype, score.

    pixels: uint8 [rows, 224, 224], memory-mapped. table: its index is the row in `pixels`.
    """
    shown = ["path", "patient", "label", "subtype"] + ["positive"] * ("positive" in table)
    scores = table[shown].reset_index(drop=True)
    rows = table.index.to_numpy()
    parts = [score_pictures(network, pixels[rows[at : at + BATCH]]) for at in range(0, len(rows), BATCH)]
    return scores.assign(score=np.concatenate(parts))


def test_scores(run, radiographs=None):
    """The run's scores of the official test images: (scores, sentence saying where they are from).

    A finished run is scored once; stored scores are used again, without loading the network.
    Scores of an incomplete test set are returned but not kept. Raises runs.RunError rather than
    score a run on images of another manifest.
    """
    stored = run.scores("test")
    unfit = runs.faults(run, radiographs)
    if stored is not None:
        return stored, " ".join([f"Using the {len(stored):,} test scores stored with the run.", *unfit])
    if unfit:
        raise runs.RunError(
            " ".join([*unfit, "It is not scored on them. Choose another run or other images."])
        )
    test = manifest.select(radiographs.table, "test") if radiographs else ()
    if not len(test):
        raise runs.RunError(
            f"{run.name} has no stored test scores, and no test images are at hand. Run notebook 01."
        )
    from . import model

    scores = score_table(model.load(run.path / "model.keras"), radiographs.pixels, test)
    listed = len(manifest.select(radiographs.listed, "test"))
    if len(test) < listed:
        return (
            scores,
            f"Only {len(test):,} of {listed:,} test images are there, so these scores are not kept.",
        )
    run.write_scores("test", scores)
    return run.scores("test"), f"Scored {len(test):,} test images, once; the scores are kept with the run."


def read_new(place, run):
    """New radiographs from a file or a folder, also nested: (names, pictures, problems).

    names: list of relative paths. pictures: uint8 [n, 224, 224]. problems: columns path and
    problem, one row per file that cannot be used. Raises images.UnreadableImage if there is
    nothing to read at all, and runs.RunError for a run that learned from the synthetic phantom.
    """
    if run.card["synthetic"]:
        raise runs.RunError(
            f"{run.name} learned from the synthetic phantom; its answers mean nothing on radiographs."
        )
    place = Path(place).expanduser()
    if not place.exists():
        raise images.UnreadableImage(
            f"There is nothing at {place}. Check the path, for example in the file browser."
        )
    base = place.parent if place.is_file() else place
    files = (
        [place]
        if place.is_file()
        else sorted(p for p in place.rglob("*") if p.is_file() and p.name[0] != ".")
    )
    if not files:
        raise images.UnreadableImage(f"The folder {place} is empty. Put radiographs there, as JPEG or PNG.")
    names, pictures, problems = [], [], []
    read = images.read_many([path.read_bytes for path in files], "Reading new images")
    for path, picture in zip(files, read, strict=True):
        name = path.relative_to(base).as_posix()
        if isinstance(picture, images.UnreadableImage):
            problems.append((name, str(picture)))
        else:
            names.append(name)
            pictures.append(picture)
    stacked = np.stack(pictures) if pictures else np.empty((0, images.SIDE, images.SIDE), np.uint8)
    return names, stacked, pd.DataFrame(problems, columns=["path", "problem"])


def example_images(run, radiographs):
    """Three test images of the data in use, in the form of `read_new`; none if the run does not fit them."""
    chosen = manifest.select(radiographs.table, "test")
    chosen = chosen.iloc[[0, len(chosen) // 2, -1]] if len(chosen) else chosen
    if run.card["synthetic"] != radiographs.synthetic:
        print("No example images: a network that learned from radiographs is not applied to the phantom.")
        chosen = chosen.iloc[:0]
    return list(chosen.path), radiographs.pixels[chosen.index], pd.DataFrame(columns=["path", "problem"])


def classify(run, network, names, pictures):
    """The answers for new radiographs: file, score, side of the threshold, and how usual the score is.

    unlike: why the picture is not like the training radiographs, empty if it is; see `gate`. Two
    columns say how the score compares with those of the run's validation images: the share of
    normal ones that score higher, and of pneumonia ones that score lower.
    """
    threshold, validation = run.card["threshold"]["value"], run.scores("val")
    scores = score_pictures(network, pictures)
    known = gate.load(run)
    normal, ill = (np.sort(validation.score[rows]) for _, rows in manifest.classes(validation))
    return pd.DataFrame(
        {
            "file": names,
            "score": scores,
            "side": np.where(scores >= threshold, "above", "below"),
            "unlike": known.reasons(pictures) if known and len(pictures) else "",
            "normals_scoring_higher": 1 - np.searchsorted(normal, scores, "right") / max(len(normal), 1),
            "pneumonias_scoring_lower": np.searchsorted(ill, scores, "left") / max(len(ill), 1),
            "threshold": threshold,
            "run": run.name + (" (SYNTHETIC PHANTOM)" if run.card["synthetic"] else ""),
        }
    )


def feature_maps(network, picture):
    """What the blocks of a network make of one picture: {layer name: float [height, width, maps]}.

    picture: uint8 [224, 224]. Taken at the end of each block.
    """
    from .augment import Augment
    from .quiet import keras

    ends = ("pool",) if network.name == "published" else ("stem_relu", "relu")
    shown = [layer for layer in network.layers if layer.name.startswith(ends)]
    taps = keras.Model(network.input, [layer.output for layer in shown])
    outputs = taps(Augment(network.input_shape[1])(picture[None]), training=False)
    return {
        layer.name: np.asarray(output[0], np.float32) for layer, output in zip(shown, outputs, strict=True)
    }
