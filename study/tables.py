"""The numbers of the README and of notebook 06, computed from what is kept in models/."""

import numpy as np
import pandas as pd

from utils import intervals, metrics, report, runs
from utils.data import manifest
from utils.figures import style
from utils.workspace import PROJECT, write_whole

from . import figures

SECTION = "<!-- {name}: make results -->", "<!-- end of {name} -->"
README_METRICS = ("accuracy", "precision", "sensitivity", "specificity", "auc")
SCHEDULES = runs.RELEASED / "schedules.csv"  # one row per training, written by `study`
MEASURES = ["accuracy", "auc", "sensitivity", "specificity"]  # of a studied network, at 0.5
STUDY_METRICS = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy_at_threshold": "Accuracy at the validation threshold",
    "val_accuracy": "Accuracy on validation images",
    "val_auc": "AUC there",
}
STUDY = runs.RELEASED / "study"  # studied runs without their weights
STUDY_TABLE = runs.RELEASED / "study.csv"  # one row per studied run
COUNTERFACTUAL = runs.RELEASED / "counterfactual.csv"
PUBLISHED_RECORD = runs.RELEASED / "published_record.csv"  # results of others, as they were published
BESIDE = runs.RELEASED / "beside.csv"  # the record with averaged crops, and as an ensemble


def released_results(resamples=2000):
    """One row per released run, computed from its stored test scores at threshold 0.5."""
    rows = []
    for run in runs.all_runs(runs.RELEASED):
        card, scores = run.card, run.scores("test")
        if scores is None:  # released for the demonstration in notebook 02, never scored on test
            continue
        result = intervals.evaluate(scores, 0.5, resamples)
        shown = {metrics.METRICS[name]: result.loc[name] for name in README_METRICS}
        rows.append(
            {
                "run": f"{card['recipe']['name']} (one run)",
                **{title: report.tables.with_interval(row) for title, row in shown.items()},
                "correct": f"{round(result.value.accuracy * len(scores))} of {len(scores)}",
                "parameters": f"{card['counts']['parameters'] / 1e6:.2f} M",
                "training": f"{card['recipe']['epochs']} epochs, {card['seconds'] / 60:.0f} min",
                "device": f"{card['device']}, {card['precision']}",
            }
        )
    return pd.DataFrame(rows).set_index("run")


def readme_results():
    """The README's results section: the released runs beside the published starting point."""
    published = pd.DataFrame(
        {"Accuracy": "0.772", "correct": "482 of 624"}, index=["published starting point"]
    )
    return pd.concat([published, released_results()]).fillna("").to_markdown()


def tabulate_study():
    """One row per studied run, from what is kept of it, into models/study.csv; returns the table."""
    rows = []
    for run in runs.all_runs(STUDY):
        card = run.card
        row = card["study"] | {"recipe": card["recipe"]["name"], "seed": card["seed"]}
        row["epochs"] = len(history := run.history())
        row["seconds"] = round(history.seconds.median() * len(history), 1)  # without breaks and other work
        row["parameters"] = card["counts"]["parameters"]
        test, validation = (metrics.measure(run.scores(part), 0.5) for part in ("test", "val"))
        row |= test[MEASURES].to_dict()
        row["threshold"] = card["threshold"]["value"]
        row["accuracy_at_threshold"] = metrics.measure(run.scores("test"), row["threshold"]).accuracy
        row |= {"val_accuracy": validation.accuracy, "val_auc": validation.auc}
        row |= {name: card[name] for name in ("device", "precision", "code")} | {"run": run.name}
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(["experiment", "cell", "seed"])
    write_whole(STUDY_TABLE, table.to_csv(index=False, float_format="%.6g"))
    return table


def study_summary():
    """Every studied cell: mean, standard deviation and range over its seeds, as a table of text."""
    rows = []
    for (experiment, cell), part in pd.read_csv(STUDY_TABLE).groupby(["experiment", "cell"], sort=False):
        row = {"experiment": experiment, "cell": cell, "seeds": len(part)}
        row["Accuracy (range)"] = (
            f"{_mean(part.accuracy)} ({part.accuracy.min():.3f}-{part.accuracy.max():.3f})"
        )
        row |= {title: _mean(part[name]) for name, title in STUDY_METRICS.items()}
        row["parameters"] = f"{part.parameters.iloc[0] / 1e6:.2f} M"
        row["training"] = f"{part.epochs.iloc[0]} epochs, {part.seconds.mean() / 60:.0f} min"
        rows.append(row | {"device": ", ".join(part[["device", "precision"]].iloc[0])})
    return pd.DataFrame(rows).set_index("experiment")


def readme_study():
    """The 2 x 2 of network and data handling, and the ingredients left out one at a time."""
    table = study_summary().drop(columns=["parameters", "training", "device"])
    return table[~table.index.str.startswith("record")].to_markdown()


def counterfactual_summary(moved, label):
    """Share called pneumonia as it is and with 80 % kept, for each part of the data and cell of the 2 x 2.

    moved: counterfactual.csv. label: of the radiographs. The mean over the networks, and in brackets
    the widest of their 95 % intervals.
    """
    kinds = {
        "none": "none",
        "height cropped to 80%": "height cropped",
        "both cropped to 80%": "both cropped",
        "squeezed to 80% of the width": "squeezed",
        "masked to 80% of the height": "bands masked",
    }
    rows = moved[(moved.label == label) & moved.change.isin(kinds)].replace({"change": kinds})
    found = rows.groupby(["part", "cell", "change"]).agg(
        mean=("called", "mean"), low=("called_low", "min"), high=("called_high", "max")
    )
    texts = [f"{row.mean:.2f} ({row.low:.2f}-{row.high:.2f})" for row in found.itertuples()]
    return pd.Series(texts, found.index).unstack()[list(kinds.values())]


def readme_record():
    """The published record on the official test images, and the mean over our seeds with its interval."""
    rows = pd.read_csv(PUBLISHED_RECORD, dtype=object).rename(columns={"accuracy": "Accuracy", "auc": "AUC"})
    table = pd.read_csv(STUDY_TABLE)
    ours = table[table.experiment.str.startswith("record")]
    for cell, part in ours.groupby("cell", sort=False):
        scores = [runs.Run(STUDY / name).scores("test") for name in part.run]
        found = mean_accuracy(scores)
        rows.loc[len(rows)] = {
            "result": f"**ours, {cell} network, mean of {len(part)} seeds**",
            "Accuracy": f"**{_mean(part.accuracy)}**, 95 % interval {found.low:.3f}-{found.high:.3f}",
            "AUC": _mean(part.auc),
            "remark": f"from scratch; sensitivity {part.sensitivity.mean():.3f}, specificity "
            f"{part.specificity.mean():.3f}; accuracy at the validation threshold "
            f"{_mean(part.accuracy_at_threshold)}; {part.parameters.iloc[0] / 1e6:.2f} M parameters, "
            f"{part.epochs.iloc[0]} epochs, {part.seconds.mean() / 60:.0f} min on {part.device.iloc[0]}",
        }
    return rows.fillna("").set_index("result").to_markdown()


def mean_accuracy(scores, resamples=2000):
    """Accuracy at 0.5, mean over the seeds, with the interval that comes from the test patients.

    scores: scores tables of the same images, one per seed. Returns value, low, high.
    """
    right = [metrics.called(table.score, 0.5) == manifest.positives(table) for table in scores]
    right = np.mean(right, axis=0)[:, None]
    drawn = intervals.bootstrap(
        scores[0], lambda weights: weights @ right / weights.sum(1)[:, None], resamples
    )
    return drawn.iloc[0]


def _mean(values):
    return f"{values.mean():.3f} ± {values.std():.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def readme_schedules():
    """What short trainings reach: mean and standard deviation over the seeds, from stored results."""
    table = pd.read_csv(SCHEDULES)
    rows = [
        {
            "recipe": recipe,
            "epochs": epochs,
            "seeds": len(part),
            "seconds": f"{part.seconds.mean():.0f} ± {part.seconds.std():.0f}",
            "compiling": f"{part.compile_seconds.mean():.0f}",
            "Accuracy": _mean(part.accuracy),
            "AUC": _mean(part.auc),
            "device": ", ".join(part[["device", "precision"]].iloc[0]),
        }
        for (recipe, epochs), part in table.groupby(["recipe", "epochs"])
    ]
    return pd.DataFrame(rows).set_index("recipe").to_markdown()


def update_readme():
    """Put the current results between the marks of README.md, draw its figure; returns the new text."""
    figure = figures.counterfactual(pd.read_csv(COUNTERFACTUAL), "NORMAL")
    style.save(figure, COUNTERFACTUAL.parent, COUNTERFACTUAL.stem, ["png"])
    path = PROJECT / "README.md"
    text = path.read_text(encoding="utf8")
    made = {
        "record": readme_record,
        "results": readme_results,
        "schedules": readme_schedules,
        "study": readme_study,
    }
    for name, table in {name: make() for name, make in made.items()}.items():
        start, end = (mark.format(name=name) for mark in SECTION)
        before, rest = text.split(start)
        text = f"{before}{start}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    write_whole(path, text)
    return text


def refresh():
    """Compute the numbers of the released runs, the tables and the README anew."""
    report.documents.refresh_released()
    update_readme()
