"""A report of one evaluation, filled with its own numbers: Word, LaTeX, a page for the browser, one zip.

The words are in templates/; what they can fill in is in `facts`.
"""

import io
import re
import zipfile

from .. import __version__, intervals, runs, workspace
from ..data import manifest
from ..evaluation import evaluation
from ..figures import style
from ..workspace import write_whole
from . import content, formats, tables, word

MARK = "SYNTHETIC PHANTOM: these numbers mean nothing."


def save(run, folder, scores, results, drawn, further, prevalence, resamples, sentences):
    """Write everything of one evaluation of test scores: numbers, figures, tables, a report, a zip of all.

    results: `evaluation.results`. drawn: {name: Figure}. further: {name: table}, beside the main one.
    prevalence: of the decision curve. sentences: findings to add to the results. The zip is a LaTeX project,
    too, and holds no radiograph. Where the folder cannot be written, all is saved elsewhere, and a sentence
    says where. Returns the paths, the zip first.
    """
    files = contents(run, scores, results, drawn, further, prevalence, resamples, sentences)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    files = {f"{run.name}.zip": packed.getvalue()} | files

    def write(folder):
        return [write_whole(folder / name, text) for name, text in files.items()]

    return workspace.save_somewhere(folder, write)


def contents(run, scores, results, drawn, further, prevalence, resamples, sentences):
    """The files of `save` but the zip: {name: text or bytes}. Without python-docx, a sentence says so."""
    filled = facts(run, scores, results, resamples) | {
        "prevalence": f"{100 * prevalence:.3g} %",
        "sentences": sentences,
        "drawn": drawn,
        "recalibrated": "recalibrated on validation" in further.get("test_calibration", ()),
        "version": __version__,
        "code": workspace.code_version(),
    }
    measured = dict(list(results.items())[:-1])  # without the one who always answers the same
    found = {"test_metrics": tables.with_intervals(measured), **further}
    figures = {name: style.encode(figure, name) for name, figure in drawn.items()}
    blocks = content.blocks(filled, drawn, {name: tables.printed(table) for name, table in found.items()})
    pictures = {
        kind: {name: files[f"{name}.{kind}"] for name, files in figures.items()} for kind in ("png", "svg")
    }
    files = {
        "report.html": formats.html(blocks, pictures["svg"]),
        **formats.latex(blocks),
        "captions.txt": formats.captions(blocks),
        "model_card.md": model_card(filled),
        "metrics.json": tables.numbers(run, scores, results, resamples),
    }
    note = f"; {style.note(True)}" if run.card["synthetic"] else ""
    for name, table in found.items():
        table = table.rename_axis(f"{table.index.name or 'row'}{note}")
        files[f"tables/{name}.csv"] = table.to_csv(float_format="%.4g")
    for encoded in figures.values():
        files |= {f"figures/{file}": picture for file, picture in encoded.items()}
    try:
        files = {"report.docx": word.word(blocks, pictures["png"])} | files
    except ImportError:
        print(word.MISSING)
    return files


def refresh_released():
    """Compute the numbers and the model card of every released run anew from its stored scores."""
    for run in runs.all_runs(runs.RELEASED):
        for name, text in computed_anew(run).items():
            write_whole(run.path / name, text)


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
    text = content.TEMPLATES.get_template("model_card.md.j2").render(filled).strip()
    return (f"{MARK}\n\n" if filled["mark"] else "") + re.sub(r"(?<!\n)\n(?![\n#|-])", " ", text) + "\n"


def facts(run, scores, results, resamples):
    """What the templates fill in, by name. The numbers of `results` are text, with their intervals."""
    card = run.card
    *measured, always = results.values()
    numbers = [{row.Index: intervals.text(row) for row in table.itertuples()} for table in measured]
    at_half, at_threshold, on_validation = (*numbers, None, None)[:3]
    classes = manifest.classes(scores)
    names = [name.lower() for name, _ in classes]
    return {
        "run": run.name,
        "card": card,  # its entries: runs.CARD
        "recipe": card["recipe"],  # its entries: training/recipes.py
        "mark": MARK if card["synthetic"] else "",
        "public": manifest.is_public(card["manifest"]),
        "tested": {"images": len(scores), "patients": scores.patient.nunique()},
        "test_classes": " and ".join(f"{rows.sum():,} {name.lower()}" for name, rows in classes),
        "negative": names[0],
        "positive": names[1],
        "frequent": list(results)[-1].removeprefix("always "),
        "epochs": card.get("epochs_done", card["recipe"]["epochs"]),
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
        "interval": intervals.INTERVAL.partition(": ")[2],  # how intervals are computed
        "resamples": resamples,
        "at_half": at_half,  # {name: number} of the test images at 0.5; the names: metrics.METRICS
        "at_threshold": at_threshold,  # of the test images at the validation threshold
        "on_validation": on_validation,  # of the validation images at that threshold
        "always": f"{always.value['accuracy']:.3f}",  # the accuracy of always giving the more frequent answer
    }
