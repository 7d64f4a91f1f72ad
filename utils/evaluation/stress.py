"""The stress test: what do changes that leave the illness as it is do to the answers of a network?"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import figures, intervals, metrics, predict, runs, saved_models, workspace
from ..data import manifest
from ..data.formats import DataError
from ..sources import folder
from ..training import recipes
from . import adapt, evaluation
from .perturbations import CHANGES, LEFT

UNCHANGED = "unchanged"
BLIND = "blanked in the middle"  # one of CHANGES
MOST = 150  # radiographs of a class; enough for intervals of about 8 points either way
YARDSTICKS = ("best", "compact_usual")  # released recipes: our data handling, and the usual one
KINDS = {change: kind for kind, changes in CHANGES.items() for change in changes}


def beside(run, radiographs):
    """The run, and the released networks that serve as its yardsticks: {name: Run}.

    They are left out, with a sentence, where the radiographs in use are not those they learned from.
    """
    shown = {f"this model: {recipes.title(run.card)}": run}
    if not manifest.is_public(radiographs.digest):
        print("No released networks beside it: they learned from other radiographs.")
        return shown
    for released in filter(None, map(runs.released, YARDSTICKS)):
        if released.name != run.name:
            shown[f"released: {recipes.title(released.card)}"] = released
    return shown


def compare(tested, pictures, table, resamples=2000):
    """Stress several networks with the same changed pictures: column network, then those of `effects`.

    tested: {name: Run}, each with its network and the threshold of its card. pictures: uint8
    [n, 224, 224]. table: their manifest rows.
    """
    networks = {name: saved_models.load(run.path / "model.keras") for name, run in tested.items()}
    found = scored(
        {name: partial(predict.score_pictures, network) for name, network in networks.items()}, pictures
    )
    measured = {
        name: effects(found[name], table, run.card["threshold"]["value"], resamples)
        for name, run in tested.items()
    }
    return pd.concat(measured, names=["network"]).reset_index("network").reset_index(drop=True)


def scored(scorers, pictures):
    """Scores of the pictures unchanged and after each of CHANGES: {name: {change: float [n]}}.

    scorers: {name: function of pictures to scores}. Each change is made once for all of them.
    """
    found = {name: {UNCHANGED: score(pictures)} for name, score in scorers.items()}
    for change, kind in tqdm(KINDS.items(), desc="Changing radiographs", unit=" changes"):
        shown = CHANGES[kind][change](pictures)
        for name, score in scorers.items():
            found[name][change] = score(shown)
    return found


def effects(scores, table, threshold, resamples=2000):
    """What changes do to the answers of one network: one row a change.

    scores: {change: float [n]}, the first of the pictures as they are. table: columns patient and label, as
    in a manifest; where all labels are empty, they are not known. Columns: kind, change, images, patients,
    negative and positive images (0 where not known); with 95 % intervals (see `intervals`) the shares of
    `_shares`, the mean shift of the score, and the AUC; then the median and the largest absolute shift. What
    is not defined, as the AUC without labels, has no column.
    """
    after = np.stack(list(scores.values()), axis=1)  # [n, changes]
    moved, ill = after - after[:, :1], manifest.positives(table) == 1
    numbers = _shares(metrics.called(after, threshold), ill[:, None], table)
    numbers["shift"] = intervals.bootstrap(
        table, lambda weights: weights @ moved / weights.sum(1)[:, None], resamples
    )
    if 0 < ill.sum() < len(ill):
        numbers["auc"] = intervals.aucs(table, after)
    rows = pd.DataFrame({"kind": [KINDS.get(change, "") for change in scores], "change": list(scores)})
    rows = rows.assign(images=len(table), patients=table.patient.nunique())
    rows = rows.assign(negative=((table.label != "") & ~ill).sum(), positive=ill.sum())
    for name, found in numbers.items():
        rows[[name, f"{name}_low", f"{name}_high"]] = found.to_numpy()
    moved = np.abs(moved)
    rows = rows.assign(median=np.median(moved, axis=0), largest=moved.max(axis=0))
    return rows.dropna(axis=1, how="all")


def _shares(called, ill, table):
    """Shares of answers after each change: {name: value, low, high; a row a change}.

    called: bool [n, changes], the first as it was. ill: bool [n, 1]. flips: of all answers, those that change
    sides. called: of all, those that are positive. up: of the negative radiographs, those whose answer turns
    positive; down: of the positive ones, those whose answer turns negative; of all, where labels are not
    known. false_alarms, missed: of the negative and of the positive radiographs, those with the wrong answer.
    """
    was, known = called[:, :1], np.array(table.label != "")[:, None]
    counted = {  # what is counted, and among what
        "flips": (called != was, known | True),
        "called": (called, known | True),
        "up": (called & ~was, ~ill),
        "down": (~called & was, ill | ~known),
        "false_alarms": (called, ~ill & known),
        "missed": (~called, ill),
    }
    hits, members = zip(*[np.broadcast_arrays(*pair) for pair in counted.values()], strict=True)
    found = intervals.shares(table, np.hstack(hits), np.hstack(members))
    size = called.shape[1]
    found = {name: found[at * size : (at + 1) * size] for at, name in enumerate(counted)}
    for name in ("flips", "up", "down"):
        found[name].iloc[0, 1:] = np.nan  # what is as it was has not flipped, whoever the patients are
    return found


def sentences(found, names):
    """What `compare` found about the first network, in three sentences. names: of the two classes.

    A fourth comes before them where all answers are the same.
    """
    found = found[found.network == found.network.iloc[0]]
    before, blind = found.iloc[0], found[found.change == BLIND].iloc[0]
    negative, positive = (name.lower() for name in names)
    if before.called in (0, 1):
        yield "It gives all radiographs the same answer unchanged: few or no answers that turn are no merit."
    if before.negative:
        of = f"Of {before.negative} {negative} radiographs, this model calls"
        yield _worst(found, "false_alarms", of, positive, before.false_alarms)
    if before.positive:
        of = f"Of {before.positive} {positive} radiographs, this model calls"
        yield _worst(found, "missed", of, negative, before.missed)
    if not before.negative and not before.positive:
        of = f"Of {before.images} radiographs, this model calls"
        yield _worst(found, "up", of, positive, before.called, "a further ")
        yield _worst(found, "down", of, negative, 1 - before.called, "a further ")
    if "auc" in found:
        span = "no 95 % interval"
        if np.isfinite(blind.get("auc_low", np.nan)):
            span = f"95 % interval {blind.auc_low:.3f} to {blind.auc_high:.3f}"
        yield f"When {BLIND}, its AUC is {blind.auc:.3f} ({span}); unchanged {before.auc:.3f}, guessing 0.5."
    else:
        yield f"When {BLIND}, {_percent(blind, 'flips')} of its answers flip (95 % interval)."


def _worst(found, name, start, answer, before, more=""):
    """A sentence on the three changes that raise a share most. before: how many get this answer unchanged."""
    changed = found[(found.change != UNCHANGED) & (found.kind != LEFT)]
    most = changed[changed[name] > (0 if more else before)].nlargest(3, name)
    told = [f"when {row.change}, {more}{_percent(row, name)}" for _, row in most.iterrows()]
    told = f"{'; '.join(told)} (95 % intervals)" if told else "and no more after any change"
    return f"{start} {100 * before:.0f} % {answer}; {told}. {len(changed)} changes were tried."


def _percent(row, name):
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{100 * row[name]:.0f} % ({100 * low:.0f}-{100 * high:.0f} %)"


def report(model, place, to=None, pixels=adapt.AS_SAVED, output=adapt.AS_SAVED, positive=1):
    """Stress a saved model with the radiographs of a folder: a CSV file, and a figure beside it as PNG.

    model: name or folder of a run, or a `.keras` or `.h5` file, for which the last three are those of
    `adapt.adapt`. place: see `folder.read`. to: the CSV file; without it one in the folder of results.
    Returns the table, as `compare` does. Raises ModelError, runs.RunError, DataError or
    evaluation.ScoresError in words.
    """
    ws, path = workspace.open_workspace(), Path(model).expanduser()
    to = Path(to or ws.home / "stress" / f"{path.stem}.csv").expanduser()
    if to.suffix.lower() != ".csv":
        raise DataError(f"The table is a CSV file; {to} does not end in .csv.")
    names, threshold, note = manifest.CLASS_NAMES, 0.5, ""
    ours = (path / "card.json").exists()
    if not ours and (path.exists() or path.suffix in (".keras", ".h5", ".hdf5")):
        theirs = saved_models.load(path)
        network = adapt.adapt(theirs, pixels, output, positive)
        pixels, output = adapt.settle(theirs, pixels, output)
        print(f"{path.name}: pixels {pixels!r}, output {output!r}.")
    else:
        run = runs.Run(path) if ours else runs.find(ws, model)
        if unfit := runs.faults(run):
            raise runs.RunError(" ".join(unfit))
        network, threshold = saved_models.load(run.path / "model.keras"), run.card["threshold"]["value"]
        names, note = run.card["class_names"], figures.style.note(run.card["synthetic"])
    pictures, table = folder.read(place, MOST)
    labelled = (table.label != "").all()
    names = [name for name, _ in manifest.classes(table)] if labelled else names
    scores = scored({model: partial(predict.score_pictures, network)}, pictures)[model]
    doubts = evaluation.check(table.assign(score=scores[UNCHANGED]))
    found = effects(scores, table, threshold)
    found.insert(0, "network", path.name)
    drawn = figures.comparisons.stress_test(found, names, note=note)

    def save(there):
        table = workspace.write_whole(there / to.name, found.to_csv(index=False, float_format="%.4g"))
        return [table, *figures.style.save(drawn, there, to.stem, ["png"])]

    written = workspace.save_somewhere(to.parent, save)
    print(f"{len(table)} radiographs of {table.patient.nunique()} patients, threshold {threshold:.3f}.")
    print(*(doubts if labelled else ()), *sentences(found, names), *written, sep="\n")
    return found
