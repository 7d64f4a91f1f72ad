"""What is kept of the study: trainings without their weights, and tables. README.md describes each file."""

import json
from dataclasses import dataclass

import pandas as pd

from utils.data import manifest
from utils.workspace import PROJECT

FOLDER = PROJECT / "study" / "results"
RECORD = PROJECT / "study" / "published_record.csv"  # what others have published
NAMES = {  # of trainings in tables and figures, by their experiment or their cell
    "published, usual": "published network, usual handling, 8 epochs",
    "published, ours": "published network, our handling, 8 epochs",
    "compact, usual": "compact network, usual handling, 8 epochs",
    "compact, ours": "compact network, our handling, 8 epochs",
    "compact, tones": "compact network, our handling with tones, 48 epochs",
    "record": "compact network, our handling, 48 epochs",
    "record-tones": "compact network, our handling with tones, 48 epochs",
    "record-published": "published network, our handling, 24 epochs",
    "record-tones-published": "published network, our handling with tones, 24 epochs",
}


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
    histories = dict(list(pd.read_csv(FOLDER / "histories.csv").groupby("run")))
    listed = manifest.read().set_index("path")[["patient", "label", "subtype"]]
    scores = {part: pd.read_csv(FOLDER / f"scores_{part}.csv", index_col="path") for part in ("val", "test")}
    images = {part: listed.loc[table.index] for part, table in scores.items()}
    trained = []
    for line in (FOLDER / "runs.jsonl").read_text().splitlines():
        name, card = json.loads(line).values()
        history = histories[name].drop(columns="run").reset_index(drop=True)
        parts = {part: images[part].assign(score=scores[part][name]).reset_index() for part in scores}
        trained.append(KeptRun(name, card, history, parts))
    return trained


def table(name):
    """One of the other tables, such as 'schedules'."""
    return pd.read_csv(FOLDER / f"{name}.csv")
