"""Trained networks probed: pictures changed on purpose, averaged crops, all networks together."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from utils import metrics, predict, runs, saved_models, sources, workspace
from utils.data import manifest
from utils.evaluation import stress

from . import candidates, tables

COUNTERFACTUAL = {"none": np.copy}  # what of a narrower framing counts?
for _kept in (0.9, 0.8, 0.7):
    COUNTERFACTUAL |= {
        f"height cropped to {_kept:.0%}": partial(stress.crop, height=_kept),  # content, zoom, stretch
        f"both cropped to {_kept:.0%}": partial(stress.crop, height=_kept, width=_kept),  # content and zoom
        f"squeezed to {_kept:.0%} of the width": partial(stress.narrow, kept=_kept),  # stretch alone
        f"masked to {_kept:.0%} of the height": partial(stress.mask, kept=_kept),  # content alone
    }
COUNTERFACTUAL |= {name: stress.ROBUSTNESS[name] for name in ("JPEG quality 75", "JPEG quality 30")}
COUNTERFACTUAL |= {name: stress.ROBUSTNESS[name] for name in stress.ROBUSTNESS if name.startswith("shrunk")}


def beside():
    """The networks of the record scored by the mean of four crops, and all together: models/beside.csv.

    Shown beside the record, never instead. An ensemble's log odds are the mean of its members'.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    test = manifest.select(radiographs.table, "test")
    pictures = radiographs.pixels[test.index.to_numpy()]
    members = {run.name for run in runs.all_runs(tables.STUDY) if run.card["study"]["experiment"] == "record"}
    members = [run for run in runs.own_runs(ws) if run.name in members]
    rows = []
    for what, views in (("as they are", candidates.VIEWS[:1]), ("mean of four crops", candidates.VIEWS)):
        networks = [saved_models.load(run.path / "model.keras") for run in members]
        scores = [candidates.by_views(network, pictures, views) for network in networks]
        together = metrics.from_log_odds(np.mean([metrics.log_odds(each) for each in scores], axis=0))
        for name, each in zip([*(run.name for run in members), "all"], [*scores, together], strict=True):
            found = metrics.measure(test.assign(score=each), 0.5)
            rows.append({"scored": what, "network": name} | found[tables.MEASURES].to_dict())
    workspace.write_whole(tables.BESIDE, pd.DataFrame(rows).to_csv(index=False, float_format="%.6g"))


def counterfactual(originals=None):
    """What moves the answers of the networks of the 2 x 2: models/counterfactual.csv, a row per network,
    part of the data, class and change.

    originals: a folder with full-size files of some of the radiographs in use; without it, the changes
    that need them are left out. Under "val" stand those of all development patients.
    """
    ws = workspace.open_workspace()
    radiographs = sources.load(ws)
    studied = {run.name: run.card["study"] for run in runs.all_runs(tables.STUDY)}
    groups, rows = [], []
    for part, (label, _) in itertools.product(("val", "test"), manifest.classes(radiographs.listed)):
        table = manifest.select(radiographs.table, part)
        table = table[table.label == label]
        pictures = radiographs.pixels[table.index.to_numpy()]
        shown = {name: change(pictures) for name, change in COUNTERFACTUAL.items()}
        groups.append((part, label, table, stress.fixed(shown)))  # once for all networks
        if originals:
            table = radiographs.table[(radiographs.table.split == "test") == (part == "test")]
            groups.append((part, label, *stress.full_size(Path(originals), table[table.label == label])))
    for run in runs.own_runs(ws):
        if studied.get(run.name, {}).get("experiment") != "2x2":
            continue
        score = partial(predict.score_pictures, saved_models.load(run.path / "model.keras"))
        about = {"cell": studied[run.name]["cell"], "seed": run.card["seed"]}
        for part, label, table, ways in groups:
            pictures = radiographs.pixels[table.index.to_numpy()]
            found = stress.effects(score, pictures, table, 0.5, ways, resamples=1000)
            rows.append(found.assign(**about, part=part, label=label))
        workspace.write_whole(tables.COUNTERFACTUAL, pd.concat(rows).to_csv(index=False, float_format="%.5g"))
