"""A report of one evaluation, filled with its own numbers: Markdown, Word, LaTeX, HTML, one zip of all.

The words are in templates/; what they can fill in is in `facts`.
"""

import io
import re
import zipfile

import pandas as pd

from .. import __version__, intervals, metrics, runs, workspace
from ..data import manifest
from ..evaluation import evaluation
from ..figures import style
from ..training import recipes
from ..workspace import write_whole
from . import tables, text

MARK = "SYNTHETIC PHANTOM: these numbers mean nothing."
PRIMARY, VALIDATION = "at the validation threshold", "validation, same threshold"  # of `evaluation.results`


def save(run, folder, scores, results, drawn, further, prevalence, resamples, sentences, drawn_at=0.5):
    """Write everything of one evaluation of test scores: numbers, figures, tables, a report, a zip of all.

    results: `evaluation.results`. drawn: {name: Figure}. further: {name: table, or results}. drawn_at: the
    threshold of both. prevalence: of the decision curve. sentences: findings to add to the results. The zip
    is a LaTeX project, too, and holds no radiograph. What somebody changed since it was written stays, and
    where the folder cannot be written, all is saved elsewhere; a sentence says so. Returns the paths, the
    zip first.
    """
    filled = facts(run, scores, results, resamples) | {
        "prevalence": f"{100 * prevalence:.3g} %",
        "sentences": sentences,
        "drawn_at": drawn_at,
        "recalibrated": "recalibrated on validation" in further.get("test_calibration", ()),
        "version": __version__,
        "code": workspace.code_version(),
    }
    every = main_tables(run, scores, results) | further
    styles = folder / text.STYLES
    files = contents(filled, drawn, every, styles.read_bytes() if styles.exists() else None)
    files["metrics.json"] = tables.numbers(run, scores, results, resamples)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    files = {f"{run.name}.zip": packed.getvalue()} | files
    return workspace.save_somewhere(folder, lambda place: workspace.write_beside(place, files))


def main_tables(run, scores, results):
    """The tables that every report has: {name: table, or results}."""
    threshold = run.card["threshold"]["value"]
    at_threshold = {"test": results.get(PRIMARY, results["at 0.5"])}
    if VALIDATION in results:
        at_threshold["validation"] = results[VALIDATION]
    shown = list(metrics.AT_THRESHOLD | metrics.RANKING)
    found = {
        "characteristics": tables.characteristics(run.card, scores, run.scores("val")),
        "test_metrics": {
            f"{part}, at {threshold:.3f}": table.loc[shown] for part, table in at_threshold.items()
        },
    }
    if threshold != 0.5:
        found["test_metrics_at_half"] = {"test, at 0.5": results["at 0.5"].loc[list(metrics.AT_THRESHOLD)]}
    return found


def contents(filled, drawn, every, styles=None):
    """The files of a report: {name: text or bytes}. filled: `facts`, and what `save` adds.

    drawn: {name: Figure}. every: {name: table, or results}. styles: a docx with the styles for Word, bytes.
    """
    printed = {name: tables.printed(table) for name, table in every.items()}
    words, only_files = text.markdown(filled, drawn, printed)
    files = {"report.md": words, "model_card.md": model_card(filled)}
    for name, figure in drawn.items():
        files |= {f"figures/{file}": content for file, content in style.encode(figure, name).items()}
    for name, table in every.items():
        table = pd.concat(table, names=["scores"]) if isinstance(table, dict) else table
        first, *others = table.index.names
        first = f"{first or 'row'}{'; ' * bool(filled['mark'])}{style.note(filled['mark'])}"
        files[f"tables/{name}.csv"] = table.rename_axis([first, *others]).to_csv(float_format="%.4g")
    return text.convert(words, only_files, files, styles) | files


def refresh_released():
    """Compute the numbers and the model card of every released run anew from its stored scores."""
    for run in runs.all_runs(runs.RELEASED):
        for name, content in computed_anew(run).items():
            write_whole(run.path / name, content)


def computed_anew(run, resamples=2000):
    """What follows from the stored scores of a run: {file name: text}, empty without test scores."""
    scores = run.scores("test")
    if scores is None:
        return {}
    results = evaluation.results(scores, run.scores("val"), run.card["threshold"]["value"], resamples)
    return {
        "metrics.json": tables.numbers(run, scores, results, resamples),
        "model_card.md": model_card(facts(run, scores, results, resamples)),
    }


def model_card(filled):
    """The text of model_card.md. filled: `facts`.

    In its template a sentence may have a line of its own: line breaks become spaces, but for those at
    blank lines and before headings and rows of tables.
    """
    card = text.TEMPLATES.get_template("model_card.md.j2").render(filled).strip()
    return (f"{MARK}\n\n" if filled["mark"] else "") + re.sub(r"(?<!\n)\n(?![\n#|-])", " ", card) + "\n"


def facts(run, scores, results, resamples):
    """What the templates fill in, by name. The numbers of `results` are text, with their intervals."""
    card = run.card
    numbers = {
        name: {row.Index: intervals.text(row) for row in table.itertuples()}
        for name, table in results.items()
    }
    classes = manifest.classes(scores)
    names = [name.lower() for name, _ in classes]
    recipe, changed = card["recipe"], card.get("changed", {})
    frequent = list(results)[-1]
    return {
        "run": run.name,
        "card": card,  # its entries: runs.CARD
        "recipe": recipe if "adapted" in card else recipes.completed(recipe),  # training/recipes.py
        "changed": ", ".join(f"{field} {used} (there {named})" for field, (named, used) in changed.items()),
        "mark": MARK if card["synthetic"] else "",
        "public": manifest.is_public(card["manifest"]),
        "tested": {"images": len(scores), "patients": scores.patient.nunique()},
        "test_classes": " and ".join(f"{rows.sum():,} {name.lower()}" for name, rows in classes),
        "negative": names[0],
        "positive": names[1],
        "confusion": metrics.confusion(scores, card["threshold"]["value"]),
        "epochs": card.get("epochs_done", recipe.get("epochs")),
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
        "interval": intervals.INTERVAL.partition(": ")[2],  # how intervals are computed
        "resamples": resamples,
        "at_half": numbers["at 0.5"],  # {name: number} of the test images; the names: metrics.METRICS
        "at_primary": numbers.get(PRIMARY, numbers["at 0.5"]),
        "validated": VALIDATION in results,  # are there scores of validation images?
        "frequent": frequent.removeprefix("always "),
        "always": f"{results[frequent].value['accuracy']:.3f}",  # of always giving the more frequent answer
    }
