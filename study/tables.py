"""The tables of both READMEs and of notebooks 3 and 6, from what is kept in study/results/ and models/.

In all functions, table: of `tabulate`; scores: {name of a run: its test scores}.
"""

import numpy as np
import pandas as pd

from utils import intervals, metrics, report, runs
from utils.data import manifest
from utils.figures import style
from utils.workspace import PROJECT, write_whole

from . import figures, kept
from .kept import NAMES

TITLES = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy_at_threshold": "Accuracy at the validation threshold",
    "val_accuracy": "Accuracy on validation images",
    "val_auc": "AUC there",
}
MEASURES = list(TITLES)[:4]  # on test images, at 0.5
RECORDS = ("record", "record-tones", "record-published", "record-tones-published")  # experiments
HEADLINES = ("published, usual", "record-published", "record-tones", "record")
DIVIDED = {  # names in 'divisions'
    "published network, usual handling": NAMES["published, usual"],
    "compact network, our handling": "compact network on 96 x 96 pixels, our handling, 8 epochs",
}
BLOCK = (195, 259)  # patient numbers in NORMAL2-IM, the first and the last


def tabulate(trained):
    """One row per training, from its card, history and scores. trained: of `kept.read`."""
    rows = []
    for run in trained:
        card, history, threshold = run.card, run.history(), run.card["threshold"]["value"]
        validation = metrics.measure(run.scores("val"), 0.5)
        row = card["study"] | {"seed": card["seed"], "epochs": len(history), "run": run.name}
        row["seconds"] = round(history.seconds.median() * len(history), 1)  # without breaks and other work
        row |= {"parameters": card["counts"]["parameters"], "device": card["device"]}
        row |= metrics.measure(run.scores("test"), 0.5)[MEASURES].to_dict()
        row["accuracy_at_threshold"] = metrics.measure(run.scores("test"), threshold).accuracy
        rows.append(row | {"val_accuracy": validation.accuracy, "val_auc": validation.auc})
    return pd.DataFrame(rows).sort_values(["experiment", "cell", "seed"], ignore_index=True)


def called(table, key):
    """The trainings that kept.NAMES has a name for, by their experiment or their cell."""
    return table[(table.experiment == key) | (table.cell == key)]


def records(table):
    """The trainings of the record: {name of the configuration: their rows}."""
    return {NAMES[key]: called(table, key) for key in RECORDS}


def text(values):
    """The mean of some numbers, and their standard deviation: '0.958 ± 0.004'."""
    return f"{values.mean():.3f} ± {values.std():.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def averaged(table, by, measures=MEASURES):
    """Mean and standard deviation over the seeds of each group. by: two columns, which make the groups."""
    groups = table.groupby(by, sort=False)
    rows = groups[list(measures)].agg(text).rename(columns=TITLES)
    rows.insert(0, "seeds", groups.size())
    return rows.reset_index(by[1])


def mean_accuracy(scores):
    """Mean accuracy at 0.5 of several seeds, with the interval that comes from the test patients.

    scores: a list of tables of the same images, one per seed. Returns value, low, high.
    """
    right = [metrics.called(table.score, 0.5) == manifest.positives(table) for table in scores]
    share = np.mean(right, axis=0)[:, None]  # of the seeds that are right, [images, 1]
    return intervals.shares(scores[0], share, np.ones_like(share)).iloc[0]


def headlines(table, scores):
    """What a reader asks first: the published number, and what its network and ours reach."""
    title = "Accuracy (95 % interval)"
    rows = [{"": "published starting point", title: "0.772, 482 of 624"}]
    for key in HEADLINES:
        part = called(table, key)
        row = {"": NAMES[key]} | {TITLES[name]: text(part[name]) for name in MEASURES}
        row[title] = row.pop("Accuracy")
        if key in RECORDS:
            mean = mean_accuracy([scores[run] for run in part.run])
            row[title] += f" ({mean.low:.3f}-{mean.high:.3f})"
        rows.append(row | {"networks": f"{len(part)} seeds"})
    others = pd.read_csv(kept.RECORD).query("remark.str.startswith('from scratch', na=False)")
    best = others.loc[others.accuracy.idxmax()]  # none of these was chosen on test
    name = f"best published from scratch, not chosen on test: {best.result}"
    rows.insert(-2, {"": name, title: f"{best.accuracy:.3f}, {best.remark.partition('; ')[2]}"})
    return pd.DataFrame(rows).fillna("").set_index("")


def record(table, scores):
    """The published record on the official test images, and the mean over our seeds with its interval."""
    rows = pd.read_csv(kept.RECORD, dtype=str, keep_default_na=False)
    rows = rows.rename(columns={"accuracy": "Accuracy", "auc": "AUC"})
    for name, part in records(table).items():
        mean, first = mean_accuracy([scores[run] for run in part.run]), part.iloc[0]
        rows.loc[len(rows)] = {
            "result": f"**ours, {name}, mean of {len(part)} seeds**",
            "Accuracy": f"**{text(part.accuracy)}**, 95 % interval {mean.low:.3f}-{mean.high:.3f}",
            "AUC": text(part.auc),
            "remark": f"from scratch; sensitivity {part.sensitivity.mean():.3f}, specificity "
            f"{part.specificity.mean():.3f}; accuracy at the validation threshold "
            f"{text(part.accuracy_at_threshold)}; {first.parameters / 1e6:.2f} M parameters, "
            f"{first.epochs} epochs, {part.seconds.mean() / 60:.0f} min on {first.device}",
        }
    return rows.set_index("result")


def block(table, scores):
    """The record with and without the block of test patients that holds about half of its errors."""
    rows = []
    for network, part in records(table).items():
        numbers = scores[part.run.iloc[0]].patient.str.extract(r"NORMAL2-IM-(\d+)$")[0].astype(float)
        inside = numbers.between(*BLOCK)
        for where, chosen in (("all", inside.notna()), ("without", ~inside), ("alone", inside)):
            found = pd.DataFrame([metrics.measure(scores[run][chosen], 0.5) for run in part.run])
            row = {"network": network, "block": where, "images": chosen.sum(), "seeds": len(part)}
            rows.append(row | {TITLES[name]: text(found[name]) for name in MEASURES})
    rows = pd.DataFrame(rows).replace("nan ± nan", "")  # there are no ill children in the block
    return rows.set_index("network")


def released():
    """The released runs, each from its stored test scores at threshold 0.5, and the starting point."""
    rows = [{"": "published starting point", "Accuracy": "0.772", "correct": "482 of 624"}]
    for run in runs.all_runs(runs.RELEASED):
        card, scores = run.card, run.scores("test")
        if scores is None:  # released for the demonstration in notebook 02, without test scores
            continue
        numbers = intervals.evaluate(scores, 0.5)
        row = {"": f"{card['recipe']['name']} (one run)"}
        for name in ("accuracy", "precision", "sensitivity", "specificity", "auc"):
            row[metrics.METRICS[name]] = intervals.text(numbers.loc[name])
        row["correct"] = f"{round(numbers.value.accuracy * len(scores))} of {len(scores)}"
        row["parameters"] = f"{card['counts']['parameters'] / 1e6:.2f} M"
        row["training"] = f"{card['recipe']['epochs']} epochs, {card['seconds'] / 60:.0f} min"
        rows.append(row | {"device": f"{card['device']}, {card['precision']}"})
    return pd.DataFrame(rows).fillna("").set_index("")


def summarise(table):
    """Every cell of the 2 x 2 and of the leave-one-out, with the range of its accuracy."""
    table = table[~table.experiment.isin(RECORDS)].replace({"cell": NAMES})
    rows = averaged(table, ["experiment", "cell"], TITLES)
    accuracy = table.groupby(["experiment", "cell"], sort=False).accuracy
    ranges = accuracy.agg(lambda values: f" ({values.min():.3f}-{values.max():.3f})")
    return rows.assign(Accuracy=rows.Accuracy + ranges.to_numpy()).rename(
        columns={"Accuracy": "Accuracy (range)"}
    )


def schedules():
    """What short trainings reach: mean and standard deviation over the seeds."""
    table = kept.table("schedules")
    rows = averaged(table, ["recipe", "epochs"], ["accuracy", "auc"])
    groups = table.groupby(["recipe", "epochs"], sort=False)
    seconds = groups.seconds.agg(lambda values: f"{values.mean():.0f} ± {values.std():.0f}")
    rows.insert(2, "seconds", seconds.to_numpy())
    rows.insert(3, "compiling", groups.compile_seconds.mean().map("{:.0f}".format).to_numpy())
    first = groups.first()
    return rows.assign(device=(first.device + ", " + first.precision).to_numpy())


def divisions():
    """The same recipe on other divisions of the images: mean and standard deviation over the seeds."""
    table, by = kept.table("divisions").replace({"recipe": DIVIDED}), ["recipe", "division"]
    rows = averaged(table, by, [*MEASURES, "val_accuracy", "val_auc"])
    siblings = table.groupby(by, sort=False).siblings.mean().map("{:.0%}".format)
    rows.insert(2, "test images with a sibling in training", siblings.to_numpy())
    return rows.sort_index(kind="stable")


def small_data():
    """Bacterial against viral pneumonia from few radiographs: mean and standard deviation over the seeds."""
    size = "training radiographs of each"
    table = kept.table("small_data").rename(columns={"per_class": size, "cell": "start"})
    return averaged(table, [size, "start"])


def turned(moved, label, part, area=0.8):
    """Share of answers that turn, for each change (of the framing: with this area kept) and cell, in percent.

    moved: the table 'counterfactual'. The mean over the networks.
    """
    chosen = (moved.label == label) & (moved.part == part) & (moved.change != "unchanged")
    rows = moved[chosen & moved.area.fillna(area).eq(area)].replace({"cell": NAMES})
    shares = rows.groupby(["change", "cell"], sort=False).flips.mean()
    return (100 * shares.unstack()).round(1).sort_index(axis=1)


def without_lungs():
    """AUC of whole pictures, without their middle and of it alone: mean over the networks of a cell."""
    rows = kept.table("without_lungs").replace({"cell": NAMES})
    share = rows.middle.map(", {:.0%} of the area".format, na_action="ignore").fillna("")
    changes = rows.change + share
    found = rows.groupby(["part", "cell", changes], sort=False).auc_value.agg(text).unstack()
    found = found.sort_index(ascending=[False, True])
    return found[changes.unique()].reset_index("cell").rename_axis(columns=None)


def screening(rows):
    """The candidates of round two, best first: means over the seeds, and the change against the base.

    rows: the table 'screening'. wrongly ordered: share of pairs in the wrong order, geometric mean over the
    pairs of groups and the seeds. The change is that against the base with the same seeds, of the published
    network against its own. The AUCs are those over all framings, healthy against ill, each from fold 0 or of
    strange tone.
    """
    wrong = np.log(1 - rows.pooled_auc).groupby([rows.candidate, rows.seed], sort=False).mean()
    bases = [
        (name.split(", ")[0] + ", base" if "network" in name else "base", seed) for name, seed in wrong.index
    ]
    change = wrong - wrong.reindex(bases).to_numpy()
    found = pd.DataFrame({"seeds": wrong.groupby("candidate").size()})
    found["wrongly ordered"] = np.exp(wrong.groupby("candidate").mean())
    found["against the base"] = np.expm1(change.groupby("candidate").mean())
    for (healthy, ill), part in rows.groupby(["healthy", "ill"], sort=False):
        found[f"{healthy} / {ill}"] = part.groupby("candidate").pooled_auc.mean()
    for name in ("specificity", "sensitivity"):
        found[name] = rows.groupby("candidate")[name].mean()
    names = {f"check: {cell}": f"check: {name}" for cell, name in NAMES.items()}
    return found.sort_values("wrongly ordered").round(4).rename(index=names)


def sections():
    """Every generated table of the READMEs: {file: {name of the section: table}}."""
    trained = kept.read()
    table, scores = tabulate(trained), {run.name: run.scores("test") for run in trained}
    study = {
        "record": record(table, scores),
        "block": block(table, scores),
        "released": released(),
        "schedules": schedules(),
        "study": summarise(table),
        "screening": screening(kept.table("screening")),
        "turned": turned(kept.table("counterfactual"), "NORMAL", "val"),
        "without lungs": without_lungs(),
        "divisions": divisions(),
        "small data": small_data(),
    }
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
    for name, picture in style.encode(figure, "counterfactual", ["png"]).items():
        write_whole(PROJECT / "study" / name, picture)
