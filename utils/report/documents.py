"""Words for a report, filled with a run's own numbers, and everything of one evaluation in one zip.

The words are in templates/, in Markdown; what they can fill in is in `facts`.
"""

import io
import re
import zipfile
from pathlib import Path

import jinja2

from .. import runs, workspace
from ..data import manifest
from ..evaluation import evaluation
from ..workspace import write_whole
from . import tables

PAGES = ("captions.md", "methods_and_results.md", "model_card.md", "checklist.md")
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,  # a misspelt field is an error, not a gap in a sentence
    trim_blocks=True,
    lstrip_blocks=True,
)


def save(run, folder, scores, results, drawn, further, prevalence, resamples, sentences):
    """Write everything of one evaluation of test scores: figures, tables, words, and a zip of it all.

    results: `evaluation.results`. drawn: {name: Figure}. further: {name: table}, beside the main one.
    prevalence: of the decision curve. sentences: findings to add to the results. The zip holds all, with an
    index, and no radiograph. Where the folder cannot be written, all is saved elsewhere, and a sentence
    says where. Returns the paths, the zip first, without those of the words.
    """
    filled = facts(run, scores, results, resamples) | {
        "prevalence": f"{100 * prevalence:.3g} %",
        "sentences": sentences,
        "drawn": drawn,
    }

    def write(folder):
        files = tables.save_evaluation(run, folder, scores, results, drawn, further, resamples)
        kept = sorted([*files, *(write_whole(folder / page, render(page, filled)) for page in PAGES)])
        sizes = (f"{path.relative_to(folder)}  {path.stat().st_size / 1e3:,.0f} kB\n" for path in kept)
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("index.txt", f"{filled['mark']}Evaluation of {run.name}\n\n{''.join(sizes)}")
            for path in kept:
                archive.write(path, path.relative_to(folder))
        return [write_whole(folder / f"{run.name}.zip", content.getvalue()), *files]

    return workspace.save_somewhere(folder, write)


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
        "model_card.md": render("model_card.md", facts(run, scores, results, resamples)),
    }


def render(page, filled):
    """The text of one of PAGES, from its template. filled: `facts`, and what `write` adds to them.

    In a template a sentence may have a line of its own: line breaks become spaces, but for those at
    blank lines and before headings, list items and rows of tables.
    """
    text = TEMPLATES.get_template(f"{page}.j2").render(filled).strip()
    return filled["mark"] + re.sub(r"(?<!\n)\n(?![\n#|-])", " ", text) + "\n"


def facts(run, scores, results, resamples):
    """What the templates fill in, by name. The numbers of `results` are text, with their intervals."""
    card = run.card
    at_half, at_threshold, on_validation, _ = (
        {row.Index: tables.with_interval(row) for row in table.itertuples()} for table in results.values()
    )
    classes = manifest.classes(scores)
    return {
        "run": run.name,
        "card": card,  # its entries: runs.CARD
        "recipe": card["recipe"],  # its entries: training/recipes.py
        "mark": "SYNTHETIC PHANTOM: these numbers mean nothing.\n\n" if card["synthetic"] else "",
        "public": manifest.is_public(card["manifest"]),
        "tested": {"images": len(scores), "patients": scores.patient.nunique()},
        "test_classes": " and ".join(f"{rows.sum():,} {name.lower()}" for name, rows in classes),
        "positive": classes[1][0].lower(),
        "epochs": card.get("epochs_done", card["recipe"]["epochs"]),
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
        "resamples": resamples,
        "at_half": at_half,  # {name: number} of the test images at 0.5; the names: metrics.METRICS
        "at_threshold": at_threshold,  # of the test images at the validation threshold
        "on_validation": on_validation,  # of the validation images at that threshold
    }
