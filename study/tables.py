"""The tables of both READMEs and of notebook 06, from what is kept in study/results/ and models/.

In all functions, table: of `tabulate`; scores: {name of a run: its test scores}.
"""

import numpy as np
import pandas as pd

from utils import intervals, metrics, report, runs
from utils.data import manifest
from utils.figures import style
from utils.workspace import PROJECT, write_whole

from . import figures, kept

MEASURES = ["accuracy", "auc", "sensitivity", "specificity"]  # of a studied network, at 0.5
TITLES = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy_at_threshold": "Accuracy at the validation threshold",
    "val_accuracy": "Accuracy on validation images",
    "val_auc": "AUC there",
}
BLOCK = ("NORMAL2-IM", (195, 259))  # collection, first and last number
RECORDS = {  # {experiment: how its networks are called}
    "record": "compact network",
    "record-tones": "compact network with tones",
    "record-published": "published network",
    "record-tones-published": "published network with tones",
}
HEADLINES = {  # rows of the README: (experiment, cell)
    "published network, usual data handling, 8 epochs": ("2x2", "published, usual"),
    "published network, our data handling, 24 epochs": ("record-published", "published"),
    "compact network, our data handling with tones, 48 epochs": ("record-tones", "compact"),
    "compact network, our data handling, 48 epochs": ("record", "compact"),
}


def tabulate(trained):
    """One row per training, from its card, history and scores. trained: of `kept.read`."""
    rows = []
    for run in trained:
        card, history = run.card, run.history()
        test, validation = (metrics.measure(run.scores(part), 0.5) for part in ("test", "val"))
        row = card["study"] | {"recipe": card["recipe"]["name"], "seed": card["seed"], "epochs": len(history)}
        row["seconds"] = round(history.seconds.median() * len(history), 1)  # without breaks and other work
        row["parameters"] = card["counts"]["parameters"]
        row |= test[MEASURES].to_dict()
        row["threshold"] = card["threshold"]["value"]
        row["accuracy_at_threshold"] = metrics.measure(run.scores("test"), row["threshold"]).accuracy
        row |= {"val_accuracy": validation.accuracy, "val_auc": validation.auc}
        rows.append(row | {name: card[name] for name in ("device", "precision", "code")} | {"run": run.name})
    return pd.DataFrame(rows).sort_values(["experiment", "cell", "seed"], ignore_index=True)


def summarise(table):
    """Every cell: mean, standard deviation and range over its seeds, as text."""
    rows = []
    for (experiment, cell), part in table.groupby(["experiment", "cell"], sort=False):
        row = {"experiment": experiment, "cell": cell, "seeds": len(part)}
        lowest, highest = part.accuracy.min(), part.accuracy.max()
        row["Accuracy (range)"] = f"{_mean(part.accuracy)} ({lowest:.3f}-{highest:.3f})"
        row |= {title: _mean(part[name]) for name, title in TITLES.items()}
        row["parameters"] = f"{part.parameters.iloc[0] / 1e6:.2f} M"
        row["training"] = f"{part.epochs.iloc[0]} epochs, {part.seconds.mean() / 60:.0f} min"
        rows.append(row | {"device": ", ".join(part[["device", "precision"]].iloc[0])})
    return pd.DataFrame(rows).set_index("experiment")


def turned(moved, label, part, area=0.8):
    """Share of answers that turn, for each change (of the framing: with this area kept) and cell, in percent.

    moved: the table 'counterfactual'. The mean over the networks.
    """
    chosen = (moved.label == label) & (moved.part == part) & (moved.change != "unchanged")
    rows = moved[chosen & moved.area.fillna(area).eq(area)]
    shares = rows.groupby(["change", "cell"], sort=False).flips.mean()
    return (100 * shares.unstack()).round(1).sort_index(axis=1)


def without_lungs():
    """AUC of whole pictures, without their middle and of it alone: mean over the networks of a cell."""
    rows = kept.table("without_lungs").fillna({"middle": 1})
    names = rows.change.where(
        rows.change == "unchanged", rows.change + [f", {share:.0%} of the area" for share in rows.middle]
    )
    found = rows.groupby(["part", "cell", names], sort=False).auc_value.agg(_mean).unstack()
    found = found.sort_index(ascending=[False, True])
    return found[names.unique()].reset_index("cell").rename_axis(columns=None)


def divisions():
    """The same recipe on other divisions of the images: mean and standard deviation over the seeds."""
    rows = []
    for (recipe, division), part in kept.table("divisions").groupby(["recipe", "division"], sort=False):
        row = {"recipe": recipe, "division": division, "seeds": len(part)}
        row["test images with a sibling in training"] = f"{part.siblings.mean():.0%}"
        row |= {name.capitalize(): _mean(part[name]) for name in MEASURES}
        row |= {TITLES["val_accuracy"]: _mean(part.val_accuracy), TITLES["val_auc"]: _mean(part.val_auc)}
        rows.append(row)
    return pd.DataFrame(rows).set_index("recipe").sort_index(kind="stable").rename(columns={"Auc": "AUC"})


def ranking(rows):
    """Candidates scored by one view, best first: means over the held-out groups."""
    means = rows[rows.views == 1].groupby("candidate")[["pooled_auc", "balanced_accuracy", "auc"]].mean()
    return means.sort_values("pooled_auc", ascending=False)


def criterion(rows):
    """Share of wrongly ordered pairs, its geometric mean over the pairs of groups: one number a training.

    rows: the table 'screening'. Returns a Series with the index candidate, seed; lower is better.
    """
    wrong = np.log(1 - rows.pooled_auc)
    return np.exp(wrong.groupby([rows.candidate, rows.seed], sort=False).mean())


def screening(rows):
    """The candidates of round two, best first: means over the seeds, and the change against the base.

    rows: the table 'screening'. The change is that of the criterion against the base with the same seeds,
    of the published network against its own. The AUCs are those over all framings, healthy against ill, each
    from fold 0 or of strange tone.
    """
    wrong = criterion(rows)
    bases = [
        (name.split(", ")[0] + ", base" if "network" in name else "base", seed) for name, seed in wrong.index
    ]
    change = np.log(wrong / wrong.reindex(bases).to_numpy())
    found = pd.DataFrame({"seeds": wrong.groupby("candidate").size()})
    found["wrongly ordered"] = np.exp(np.log(wrong).groupby("candidate").mean())
    found["against the base"] = np.expm1(change.groupby("candidate").mean())
    for (healthy, ill), part in rows.groupby(["healthy", "ill"], sort=False):
        found[f"{healthy} / {ill}"] = part.groupby("candidate").pooled_auc.mean()
    for name in ("specificity", "sensitivity"):
        found[name] = rows.groupby("candidate")[name].mean()
    return found.sort_values("wrongly ordered").round(4)


def mean_accuracy(scores):
    """Mean accuracy at 0.5 of several seeds, with the interval that comes from the test patients.

    scores: a list of tables of the same images, one per seed. Returns value, low, high.
    """
    right = [metrics.called(table.score, 0.5) == manifest.positives(table) for table in scores]
    share = np.mean(right, axis=0)[:, None]  # of the seeds that are right, [images, 1]
    return intervals.shares(scores[0], share, np.ones_like(share)).iloc[0]


def _mean(values):
    return f"{values.mean():.3f} ± {values.std():.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def headlines(table, scores):
    """What a reader asks first: the published number, and what its network and ours reach."""
    rows = [{"": "published starting point", "Accuracy (95 % interval)": "0.772, 482 of 624"}]
    for name, (experiment, cell) in HEADLINES.items():
        part = table[(table.experiment == experiment) & (table.cell == cell)]
        row = {"": name, "Accuracy (95 % interval)": _mean(part.accuracy)}
        if experiment.startswith("record"):
            found = mean_accuracy([scores[run] for run in part.run])
            row["Accuracy (95 % interval)"] += f" ({found.low:.3f}-{found.high:.3f})"
        row |= {TITLES[measure]: _mean(part[measure]) for measure in MEASURES[1:]}
        rows.append(row | {"networks": f"{len(part)} seeds"})
    others = pd.read_csv(kept.RECORD).query("remark.str.startswith('from scratch', na=False)")
    best = others.loc[others.accuracy.idxmax()]  # none of these was chosen on test
    name = f"best published from scratch, not chosen on test: {best.result}"
    correct = best.remark.partition("; ")[2]
    rows.insert(-2, {"": name, "Accuracy (95 % interval)": f"{best.accuracy:.3f}, {correct}"})
    return pd.DataFrame(rows).fillna("").set_index("")


def records(table):
    """(name, its trainings), one pair for each configuration of the record. table: of `tabulate`."""
    return [
        (name, table[table.experiment == key])
        for key, name in RECORDS.items()
        if key in set(table.experiment)
    ]


def record(table, scores):
    """The published record on the official test images, and the mean over our seeds with its interval."""
    rows = pd.read_csv(kept.RECORD, dtype=str, keep_default_na=False)
    rows = rows.rename(columns={"accuracy": "Accuracy", "auc": "AUC"})
    for name, part in records(table):
        found = mean_accuracy([scores[run] for run in part.run])
        rows.loc[len(rows)] = {
            "result": f"**ours, {name}, mean of {len(part)} seeds**",
            "Accuracy": f"**{_mean(part.accuracy)}**, 95 % interval {found.low:.3f}-{found.high:.3f}",
            "AUC": _mean(part.auc),
            "remark": f"from scratch; sensitivity {part.sensitivity.mean():.3f}, specificity "
            f"{part.specificity.mean():.3f}; accuracy at the validation threshold "
            f"{_mean(part.accuracy_at_threshold)}; {part.parameters.iloc[0] / 1e6:.2f} M parameters, "
            f"{part.epochs.iloc[0]} epochs, {part.seconds.mean() / 60:.0f} min on {part.device.iloc[0]}",
        }
    return rows.set_index("result")


def block(table, scores):
    """The record with and without the block of test patients that holds about half of its errors."""
    rows = []
    for called, part in records(table):
        first = scores[part.run.iloc[0]]
        number = first.patient.str.extract(BLOCK[0] + r"-(\d+)$")[0].astype(float)
        inside = number.between(*BLOCK[1])
        for where, chosen in (("all", inside.notna()), ("without", ~inside), ("alone", inside)):
            found = [metrics.measure(scores[run][chosen], 0.5) for run in part.run]
            row = {"network": called, "block": where, "images": chosen.sum(), "seeds": len(part)}
            for name in MEASURES:
                row[name] = _mean(pd.Series([each[name] for each in found]))
            rows.append(row)
    rows = pd.DataFrame(rows).replace("nan ± nan", "")  # there are no ill children in the block
    return rows.set_index("network").rename(columns={"accuracy": "Accuracy"} | TITLES)


def released():
    """The released runs, each from its stored test scores at threshold 0.5, and the starting point."""
    rows = [{"": "published starting point", "Accuracy": "0.772", "correct": "482 of 624"}]
    for run in runs.all_runs(runs.RELEASED):
        card, scores = run.card, run.scores("test")
        if scores is None:  # released for the demonstration in notebook 02, without test scores
            continue
        found = intervals.evaluate(scores, 0.5)
        found = found.loc[["accuracy", "precision", "sensitivity", "specificity", "auc"]]
        row = {"": f"{card['recipe']['name']} (one run)"}
        row |= report.tables.with_intervals({"text": found}).text.to_dict()
        row["correct"] = f"{round(found.value.accuracy * len(scores))} of {len(scores)}"
        row["parameters"] = f"{card['counts']['parameters'] / 1e6:.2f} M"
        row["training"] = f"{card['recipe']['epochs']} epochs, {card['seconds'] / 60:.0f} min"
        rows.append(row | {"device": f"{card['device']}, {card['precision']}"})
    return pd.DataFrame(rows).fillna("").set_index("")


def schedules():
    """What short trainings reach: mean and standard deviation over the seeds."""
    rows = []
    for (recipe, epochs), part in kept.table("schedules").groupby(["recipe", "epochs"]):
        row = {"recipe": recipe, "epochs": epochs, "seeds": len(part)}
        row["seconds"] = f"{part.seconds.mean():.0f} ± {part.seconds.std():.0f}"
        row["compiling"] = f"{part.compile_seconds.mean():.0f}"
        row |= {"Accuracy": _mean(part.accuracy), "AUC": _mean(part.auc)}
        rows.append(row | {"device": ", ".join(part[["device", "precision"]].iloc[0])})
    return pd.DataFrame(rows).set_index("recipe")


def small_data():
    """Bacterial against viral pneumonia from few radiographs: mean and standard deviation over the seeds."""
    rows = []
    for (size, cell), part in kept.table("small_data").groupby(["per_class", "cell"], sort=False):
        row = {"training radiographs of each": size, "start": cell, "seeds": len(part)}
        rows.append(row | {name.capitalize(): _mean(part[name]) for name in MEASURES})
    return pd.DataFrame(rows).set_index("training radiographs of each").rename(columns={"Auc": "AUC"})


def sections():
    """Every generated table of the READMEs: {file: {name of the section: table}}."""
    trained = kept.read()
    table, scores = tabulate(trained), {run.name: run.scores("test") for run in trained}
    summary = summarise(table[~table.experiment.str.startswith("record")])
    study = {"record": record(table, scores), "released": released(), "schedules": schedules()}
    study["screening"] = screening(kept.table("screening"))
    study["turned"] = turned(kept.table("counterfactual"), "NORMAL", "val")
    study["without lungs"] = without_lungs()
    study["divisions"] = divisions()
    study["small data"] = small_data()
    study["block"] = block(table, scores)
    study["study"] = summary.drop(columns=["parameters", "training", "device"])
    return {PROJECT / "README.md": {"results": headlines(table, scores)}, PROJECT / "study/README.md": study}


def refresh():
    """Compute the numbers of the released runs and the tables of the READMEs anew, and draw the figure."""
    report.documents.refresh_released()
    for path, filled in sections().items():
        text = path.read_text(encoding="utf8")
        for name, table in filled.items():
            start, end = f"<!-- {name}: make results -->", f"<!-- end of {name} -->"
            before, rest = text.split(start)
            text = f"{before}{start}\n\n{table.to_markdown()}\n\n{end}{rest.split(end)[1]}"
        write_whole(path, text)
    figure = figures.counterfactual(kept.table("counterfactual"), "NORMAL")
    style.save(figure, PROJECT / "study", "counterfactual", ["png"])
