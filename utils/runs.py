"""The run folder: one training, self-describing, never overwritten.

model.keras, card.json (every setting and where it came from, see CARD), history.csv, scores_val.csv,
and, once evaluated, scores_test.csv, metrics.json, tables/ and figures/.
"""

import contextlib
import datetime
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from . import workspace
from .data import manifest
from .workspace import ExplainedError

RELEASED = workspace.PROJECT / "models"
DEFAULT = "best"  # the recipe whose released run is taken where there is no own one
CARD_VERSION = 1
CARD = {  # {entry: its meaning and unit}; in brackets who writes it, if not the start of a training
    "version": "format of the card, a whole number",
    "created": "when the run began, local time",
    "finished": "false until network, validation scores and threshold are there [start, finish]",
    "recipe": "every setting of the training, see training/recipes.py",
    "changed": "settings that differ from the named recipe: [named, used]",
    "started_from": "the trained network whose first half was kept and the rest trained on",
    "seed": "of all random numbers",
    "synthetic": "true if the radiographs are those of the synthetic phantom",
    "manifest": "digest of the manifest: names the data set",
    "counts": "numbers of images, patients (train, val), usable and listed images, and parameters",
    "validation": "which images served for validation",
    "class_names": "the negative, then the positive class",
    "class_weights": "how much an error on a class counts in the loss; null: all the same",
    "preprocessing": "from the file to what the network takes",
    "versions": "of Python and the packages that matter",
    "code": "git commit of this project; + if it was changed",
    "device": "on what it was computed",
    "devices": "how many of them",
    "precision": "of the computation; the saved network is float32",
    "continued": "where an interrupted training went on: after which epoch, on what [going on]",
    "epochs_done": "epochs trained so far [every epoch]",
    "kept": "which epoch's network was saved [finish]",
    "seconds": "duration of all epochs, validation included [finish]",
    "threshold": "value in [0, 1], rule, and the data it was chosen on [finish]",
    "digests": "of the network and the scores, {file: digest}: a damaged or changed file is refused",
    "delivered": "whether the training had returned this run [before version 0.3.0]",
    "gate": "shares of pictures that the input gate calls unlike the training radiographs [finish]",
    "adapted": "how a saved model, or a table of scores, from elsewhere was understood [adoption]",
    "doubt": "what speaks against how that model was read; such a run is never taken by itself [adoption]",
    "test_trace": "that and how the test images were scored on the way [study]",
    "compile_seconds": "what the first step took beyond a usual one [study]",
    "study": "experiment and cell of a studied run [study]",
}
REQUIRED = {"version", "created", "finished", "recipe", "manifest", "synthetic"}


@dataclass(frozen=True)
class Run:
    """A run folder. `card` is read from disk each time, so it is never stale."""

    path: Path

    @property
    def name(self):
        return self.path.name

    @property
    def card(self):
        try:
            card = json.loads((self.path / "card.json").read_text())
        except (OSError, ValueError):
            card = {}
        if not REQUIRED.issubset(card):
            raise ExplainedError(f"{self.path} is not a run folder: its card.json is missing or damaged.")
        if "model_digest" in card:  # runs before version 0.3.0
            card["digests"] = {"model.keras": card.pop("model_digest")}
        return card

    @property
    def finished(self):
        return self.card["finished"]

    def update_card(self, **entries):
        """Write entries described in CARD; the others stay as they are."""
        write_card(self.path, self.card | entries)

    def explain_card(self, *entries):
        """Entries of the card as a table: entry, value, meaning; without those that it does not have."""
        card = self.card
        entries = [entry for entry in entries if entry in card]
        values = ["nothing" if card[entry] == {} else card[entry] for entry in entries]
        meanings = [CARD[entry].partition(" [")[0] for entry in entries]
        return pd.DataFrame({"entry": entries, "value": values, "meaning": meanings}).set_index("entry")

    def history(self):
        """One row per epoch."""
        return pd.read_csv(self.path / "history.csv")

    def seal(self, *files):
        """Write the digests of these files, which must not change any more, into the card."""
        digests = {file: file_digest(self.path / file) for file in files}
        self.update_card(digests=self.card.get("digests", {}) | digests)

    def has(self, file):
        """Whether a file is there and, if it is sealed, is what was written."""
        digest, path = self.card.get("digests", {}).get(file), self.path / file
        return path.exists() and digest in (None, file_digest(path))

    def check(self, file):
        """Raise ExplainedError if a sealed file is not as it was; before anything reads it."""
        if file in self.card.get("digests", {}) and not self.has(file):
            raise ExplainedError(
                f"{self.path / file} is missing, damaged, cut off or changed: it is not the file that this "
                "run wrote. Copy the run folder again, or choose another run."
            )

    def scores(self, part):
        """The stored scores of 'val' or 'test', or None if that part was never scored.

        Raises ExplainedError if they are not what was written.
        """
        path = self.path / f"scores_{part}.csv"
        if part == "test" and not path.exists():  # whoever deletes them wants them anew
            return None
        self.check(path.name)
        return manifest.from_csv(path) if path.exists() else None

    def write_scores(self, part, scores):
        """Keep scores with the run. Raises ExplainedError rather than overwrite test scores."""
        path = self.path / f"scores_{part}.csv"
        if part == "test" and path.exists():
            raise ExplainedError(
                f"{path} exists; a finished run is scored once. Delete the file to score again."
            )
        workspace.write_whole(path, scores.to_csv(index=False, lineterminator="\n", float_format="%.7g"))
        self.seal(path.name)

    def __str__(self):
        card = self.card
        state = "" if card["finished"] else ", UNFINISHED"
        state += f", DOUBTED: {card['doubt']}" if "doubt" in card else ""
        if "adapted" in card:
            kind = "table" if "table" in card["adapted"] else "saved model"
            return f"run {self.name}, of the {kind} {card['recipe']['network']} from elsewhere{state}"
        kind = "released run" if self.path.parent == RELEASED else "run"
        recipe = " with network ".join(_recipe_and_network(card))
        data = "the synthetic phantom" if card["synthetic"] else "real radiographs"
        return f"{kind} {self.name}, recipe {recipe}, trained on {data}{state}"


def _recipe_and_network(card):
    """The name of the recipe, and that of a network which the recipe does not have: a list of one or two."""
    return [card["recipe"]["name"], *card.get("changed", {}).get("network", [])[1:]]


def create(ws, card):
    """Make a new run folder on the local disk with its card; a name that is taken gets a number."""
    now = datetime.datetime.now()
    seed = f"_seed{card['seed']}" if "seed" in card else ""  # of a model from elsewhere it is not known
    # A network of one's own may be called anything.
    name = f"{now:%Y-%m-%d_%H%M}_{'_'.join(_recipe_and_network(card))}{seed}".replace("/", "-")
    free, number = name, 1
    while (ws.local_runs / free).exists() or (ws.runs / free).exists():
        number += 1
        free = f"{name}_{number}"
    run = Run(ws.local_runs / free)
    run.path.mkdir(parents=True)
    created = now.isoformat(timespec="seconds")
    write_card(run.path, {"version": CARD_VERSION, "created": created} | card | {"finished": False})
    return run


def write_card(folder, card):
    """Write card.json into a run folder. Raises KeyError for an entry that CARD does not describe."""
    if unknown := card.keys() - CARD.keys():
        raise KeyError(f"card entries without a description in runs.CARD: {', '.join(sorted(unknown))}")
    workspace.write_whole(folder / "card.json", json.dumps(card, indent=2) + "\n")


def describe_data(radiographs, fold=0, **parts):
    """The entries of a card that say on which images a run rests. parts: {train or val: manifest rows}."""
    counts = {part: len(table) for part, table in parts.items()}
    counts |= {f"{part}_patients": int(table.patient.nunique()) for part, table in parts.items()}
    return {
        "synthetic": radiographs.synthetic,
        "manifest": radiographs.digest,
        "counts": counts | {"usable": len(radiographs.table), "listed": len(radiographs.listed)},
        "validation": f"fold {fold} of {manifest.FOLDS}, grouped by patient",
        "class_names": [name for name, _ in manifest.classes(radiographs.listed)],
    }


def describe_machine(precision):
    """The entries of a card that say where and with what a run is computed."""
    return {
        "versions": workspace.versions(),
        "code": workspace.code_version(),
        "device": workspace.device_name(),
        "precision": precision,
    }


def own_runs(ws):
    """Own runs, oldest first; of a run and its copy on Drive the finished one, else the local one."""
    runs = {}
    for run in all_runs(*(home / "runs" for home in ws.homes), ws.local_runs):
        if run.name not in runs or not runs[run.name].finished:
            runs[run.name] = run
    return list(runs.values())


def all_runs(*folders):
    """Runs in these folders, oldest first; what has a network and no readable card is named."""
    ages = {}
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(OSError):  # Drive is gone
            for run in map(Run, Path(folder).iterdir()):
                try:
                    ages[run] = run.card["created"], run.name
                except ExplainedError as error:
                    if (run.path / "model.keras").exists():
                        print(f"{error} It is passed over.")
    return sorted(ages, key=ages.get)


def find(ws, name="", radiographs=None):
    """The run to use: the named one, else the newest finished own run, else the released DEFAULT.

    One with a doubt in its card is used only if it is named. Runs trained on the data of `radiographs` come
    first; where no images are given, runs trained on real radiographs. Raises ExplainedError, which names
    the notebook to run, if there is none.
    """
    own = own_runs(ws)
    if name:
        known = {run.name: run for run in [*all_runs(RELEASED), *own]}
        if name not in known:
            names = ", ".join(known) or "none"
            raise ExplainedError(f"There is no run {name} in {ws.runs} or {RELEASED}. Known runs: {names}.")
        if not known[name].finished:
            raise ExplainedError(f"{name}: {faults(known[name])[0]} Until then choose another run.")
        return known[name]
    own = [run for run in own if "table" not in run.card.get("adapted", {})]  # scores have no network
    finished = [run for run in (released(DEFAULT), *own) if run and run.finished and "doubt" not in run.card]
    if not finished:
        raise ExplainedError(f"There is no finished run in {ws.runs} or {RELEASED}. Run notebook 03 first.")
    if radiographs:
        fitting = [run for run in finished if run.card["manifest"] == radiographs.digest]
    else:
        fitting = [run for run in finished if not run.card["synthetic"]]
    return (fitting or finished)[-1]


def released(recipe_name):
    """The newest released run of a recipe, or None."""
    runs = [run for run in all_runs(RELEASED) if run.card["recipe"]["name"] == recipe_name]
    return runs[-1] if runs else None


def file_digest(path):
    return workspace.digest(Path(path).read_bytes())


def faults(run, radiographs=None):
    """Sentences that say what does not fit: the run itself, or the run and the images in use."""
    card, sentences = run.card, []
    if card["version"] > CARD_VERSION:
        sentences.append("This run was written by a newer version of the project; update the project first.")
    if not card["finished"]:
        sentences.append("This run is unfinished; notebook 03 goes on with it.")
    if radiographs and card["manifest"] != radiographs.digest:
        theirs, ours = (
            "the synthetic phantom" if synthetic else "radiographs"
            for synthetic in (card["synthetic"], radiographs.synthetic)
        )
        sentences.append(
            f"This run was {'made with' if 'adapted' in card else 'trained on'} {theirs} of manifest "
            f"{card['manifest']}, but the images in use are {ours} of manifest {radiographs.digest}."
        )
    return sentences


def output_folder(run, ws):
    """Where tables and figures of this run go: its own folder, or beside yours if it is released."""
    return run.path if run.path.parent != RELEASED else ws.home / "released" / run.name
