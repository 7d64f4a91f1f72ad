"""Trained networks probed: pictures changed on purpose, averaged crops, all networks together."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from . import (
    changes,
    development,
    files,
    images,
    manifest,
    metrics,
    model,
    record,
    runs,
    scoring,
    sources,
    workspace,
)


def robustness(run_name="", originals=None):
    """How far a run's scores move when radiographs are changed, into robustness.csv of its folder.

    On the validation images, at the run's threshold: `changes.ROBUSTNESS`. originals: a folder with
    full-size files of some of the radiographs in use; those of development patients are compared with
    the copies in use. The test images are left alone. Returns the table.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    run = runs.find(ws, run_name, radiographs)
    if unfit := runs.faults(run, radiographs):
        raise runs.RunError(" ".join(unfit))
    network, threshold = model.load(run.path / "model.keras"), run.card["threshold"]["value"]
    score = partial(scoring.score_pictures, network)
    validation = manifest.select(radiographs.table, "val")
    pictures = radiographs.pixels[validation.index.to_numpy()]
    table = changes.effects(score, pictures, validation, threshold)
    if originals:
        development = radiographs.table[radiographs.table.split != "test"]
        rows, shown = full_size(Path(originals), development)
        copies = radiographs.pixels[rows.index.to_numpy()]
        table = pd.concat([table, changes.effects(score, copies, rows, threshold, shown)])
    path = run.path / "robustness.csv"
    workspace.write_whole(path, table.to_csv(index=False, float_format="%.5g"))
    print(f"{table.round(3).to_string(index=False)}\n{path}")
    return table


def full_size(folder, table):
    """Full-size files of some of the table's radiographs, read in three ways.

    Returns the rows whose files lie in `folder`, and {way: function that puts the full-size pictures in
    place of the copies in use}, as `changes.effects` takes it.
    """
    readers = {name.rpartition("/")[2]: reader for name, reader in files.gather(folder)[0].items()}
    names = table.path.str.rpartition("/")[2]
    rows = table[names.isin(readers)]
    full = [images.read(readers[name]()) for name in names[rows.index]]
    ways = {
        "read from the full-size file": images.squash,
        "full-size, shrunk without antialiasing": partial(changes.resized, method=Image.Resampling.NEAREST),
        "full-size, saved again as JPEG quality 75": lambda grey: images.squash(changes.as_jpeg(grey, 75)),
    }
    shown = {name: np.stack([way(grey) for grey in full]) for name, way in ways.items()}
    return rows, _made(shown)


def _made(shown):
    """Changes, as `changes.effects` takes them, that were made before. shown: {name: pictures}."""
    return {name: lambda _, pictures=pictures: pictures for name, pictures in shown.items()}


def beside():
    """The networks of the record scored by the mean of four crops, and all together: models/beside.csv.

    Shown beside the record, never instead. An ensemble's log odds are the mean of its members'.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    test = manifest.select(radiographs.table, "test")
    pictures = radiographs.pixels[test.index.to_numpy()]
    members = {run.name for run in runs.all_runs(record.STUDY) if run.card["study"]["experiment"] == "record"}
    members = [run for run in runs.own_runs(ws) if run.name in members]
    rows = []
    for what, views in (("as they are", development.VIEWS[:1]), ("mean of four crops", development.VIEWS)):
        networks = [model.load(run.path / "model.keras") for run in members]
        scores = [development.by_views(network, pictures, views) for network in networks]
        together = 1 / (1 + np.exp(-np.mean([metrics.logit(each) for each in scores], axis=0)))
        for name, each in zip([*(run.name for run in members), "all"], [*scores, together], strict=True):
            found = metrics.measure(test.assign(score=each), 0.5)
            rows.append({"scored": what, "network": name} | found[record.MEASURES].to_dict())
    workspace.write_whole(record.BESIDE, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))


def counterfactual(originals=None):
    """What moves the answers of the networks of the 2 x 2: models/counterfactual.csv, a row per network,
    part of the data, class and change.

    originals: a folder with full-size files of some of the radiographs in use; without it, the changes
    that need them are left out. Under "val" stand those of all development patients.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    studied = {run.name: run.card["study"] for run in runs.all_runs(record.STUDY)}
    groups, rows = [], []
    for part, (label, _) in itertools.product(("val", "test"), manifest.classes(radiographs.listed)):
        table = manifest.select(radiographs.table, part)
        table = table[table.label == label]
        pictures = radiographs.pixels[table.index.to_numpy()]
        shown = {name: change(pictures) for name, change in changes.COUNTERFACTUAL.items()}
        groups.append((part, label, table, _made(shown)))  # once for all networks
        if originals:
            table = radiographs.table[(radiographs.table.split == "test") == (part == "test")]
            groups.append((part, label, *full_size(Path(originals), table[table.label == label])))
    for run in runs.own_runs(ws):
        if studied.get(run.name, {}).get("experiment") != "2x2":
            continue
        score = partial(scoring.score_pictures, model.load(run.path / "model.keras"))
        about = {"cell": studied[run.name]["cell"], "seed": run.card["seed"]}
        for part, label, table, ways in groups:
            pictures = radiographs.pixels[table.index.to_numpy()]
            found = changes.effects(score, pictures, table, 0.5, ways, resamples=1000)
            rows.append(found.assign(**about, part=part, label=label))
        workspace.write_whole(record.COUNTERFACTUAL, pd.concat(rows).to_csv(index=False, float_format="%.5g"))
