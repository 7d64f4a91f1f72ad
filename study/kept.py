"""What is kept of the study, in study/results/: `read` gives its trainings, `add` keeps another.

README.md, beside this file, says what is in each table.
"""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from utils.data import manifest
from utils.workspace import PROJECT, write_whole

FOLDER = PROJECT / "study" / "results"
RECORD = PROJECT / "study" / "published_record.csv"  # what others have published
PARTS = ("val", "test")


@dataclass(frozen=True)
class KeptRun:
    """A kept training, without its weights; it answers as `utils.runs.Run` does."""

    name: str
    card: dict  # described in utils.runs.CARD
    epochs: pd.DataFrame  # one row per epoch
    parts: dict  # {"val" or "test": path, patient, label, subtype, score}

    def history(self):
        return self.epochs

    def scores(self, part):
        return self.parts[part]


def read():
    """All kept trainings: a list of KeptRun. Patients and labels come from data_manifest.csv."""
    if not (FOLDER / "runs.jsonl").exists():
        return []
    histories = pd.read_csv(FOLDER / "histories.csv").groupby("run")
    listed = manifest.read().set_index("path")[["patient", "label", "subtype"]]
    wide = {part: pd.read_csv(FOLDER / f"scores_{part}.csv", index_col="path") for part in PARTS}
    images = {part: listed.loc[table.index] for part, table in wide.items()}
    found = []
    for line in (FOLDER / "runs.jsonl").read_text().splitlines():
        name, card = json.loads(line).values()
        history = histories.get_group(name).drop(columns="run").reset_index(drop=True)
        parts = {part: images[part].assign(score=wide[part][name]).reset_index() for part in PARTS}
        found.append(KeptRun(name, card, history, parts))
    return found


def add(run, experiment, cell):
    """Keep a finished run that was scored on test; done again, it changes nothing.

    run: a `utils.runs.Run`. It takes the place of a kept run of the same experiment, cell and seed. Raises
    ValueError if its radiographs are not those of the kept scores.
    """
    card = run.card | {"study": {"experiment": experiment, "cell": cell}}
    others = [one for one in read() if (one.card["study"], one.card["seed"]) != (card["study"], card["seed"])]
    kept = {one.name: one for one in [*others, run]}
    cards = {one.name: one.card for one in others} | {run.name: card}
    files = {}
    for part in PARTS:
        scores = {name: kept[name].scores(part).set_index("path").score for name in sorted(kept)}
        wide = pd.concat(scores, axis=1)
        if wide.isna().any(axis=None):
            raise ValueError(
                f"scores_{part}.csv of {run.path} and of {FOLDER} are not of the same radiographs. Only runs "
                "that were scored on all validation and test radiographs of the public data set are kept."
            )
        files[f"scores_{part}.csv"] = wide.to_csv(float_format="%.7g")  # as precise as in the run folder
    histories = pd.concat({name: kept[name].history() for name in sorted(kept)}, names=["run"])
    files["histories.csv"] = histories.reset_index("run").to_csv(index=False, float_format="%.6g")
    lines = [json.dumps({"run": name, "card": cards[name]}) + "\n" for name in sorted(kept)]
    files["runs.jsonl"] = "".join(lines)  # last, so that a run with a card is whole
    for name, text in files.items():
        write_whole(FOLDER / name, text)


def table(name):
    """One of the other tables, such as 'schedules'."""
    return pd.read_csv(FOLDER / f"{name}.csv")


def has(name, **values):
    """Whether one of the other tables has a row with these values: what is there is not trained again."""
    if not (FOLDER / f"{name}.csv").exists():
        return False
    rows = table(name)
    return bool(np.logical_and.reduce([rows[column] == value for column, value in values.items()]).any())


def append(name, rows, digits=6):
    """Add rows to one of the other tables, the first included."""
    earlier = [table(name)] if (FOLDER / f"{name}.csv").exists() else []
    write(name, pd.concat([*earlier, pd.DataFrame(rows)]).infer_objects(), digits)


def write(name, rows, digits=6):
    """Write one of the other tables, numbers with so many significant digits."""
    write_whole(FOLDER / f"{name}.csv", pd.DataFrame(rows).to_csv(index=False, float_format=f"%.{digits}g"))
