"""Words for a report, filled with a run's own numbers, and everything of one evaluation in one zip."""

import io
import zipfile

from .. import metrics, runs
from ..data import manifest
from ..evaluation import evaluation
from ..workspace import write_whole
from . import tables

PUBLIC_SCOPE = (
    "The radiographs are antero-posterior views of children of one to five years from one hospital "
    "(Kermany et al. 2018). Labels are readers' opinions; age and sex of single patients are not known, and "
    "patients are told apart by file names. "
)
SCOPE = "Nothing is shown for other patients, machines or hospitals."


def write(run, folder, scores, results, prevalence, resamples, files, sentences):
    """Write captions, paragraphs, model card and checklist beside figures/ and tables/; returns the zip.

    results: `evaluation.results`. files: what `report.save_evaluation` wrote. sentences: findings to
    add to the results. The zip holds what a report needs, with an index, and no radiograph.
    """
    facts = _facts(run, scores, results, prevalence, resamples, sentences)
    pages = {
        "captions.md": _captions(facts, {path.stem for path in files}),
        "methods_and_results.md": _paragraphs(facts),
        "model_card.md": _model_card(facts),
        "checklist.md": _checklist(facts),
    }
    written = [write_whole(folder / name, facts["mark"] + text) for name, text in pages.items()]
    kept = sorted([*files, *written])
    index = "\n".join(f"{path.relative_to(folder)}  {path.stat().st_size / 1e3:,.0f} kB" for path in kept)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("index.txt", f"{facts['mark']}Evaluation of {run.name}\n\n{index}\n")
        for path in kept:
            archive.write(path, path.relative_to(folder))
    return write_whole(folder / f"{run.name}.zip", content.getvalue())


def refresh_released(resamples=2000):
    """Compute numbers, main table and model card of every released run anew from its stored scores."""
    for run in runs.all_runs(runs.RELEASED):
        scores = run.scores("test")
        if scores is not None:
            threshold = run.card["threshold"]["value"]
            results = evaluation.results(scores, run.scores("val"), threshold, resamples)
            tables.save_evaluation(run, run.path, scores, results, {}, {}, resamples)
            facts = _facts(run, scores, results, 0, resamples, [])
            write_whole(run.path / "model_card.md", _model_card(facts))


def _facts(run, scores, results, prevalence, resamples, sentences):
    """Everything the texts below fill in."""
    card = run.card
    recipe, counts = card["recipe"], card["counts"]
    public = manifest.is_public(card["manifest"])
    both = {name: tables.with_intervals({"x": table}).x for name, table in list(results.items())[:3]}
    titles = metrics.METRICS
    test, tuned, validation = (
        {key: table[title] for key, title in titles.items()} for table in both.values()
    )
    epochs = card.get("epochs_done", recipe["epochs"])
    return {
        "run": run.name,
        "mark": "SYNTHETIC PHANTOM: these numbers mean nothing.\n\n" if card["synthetic"] else "",
        "recipe": recipe["name"],
        "network": recipe["network"],
        "side": recipe["side"],
        "remark": recipe["remark"],
        "million": f"{counts['parameters'] / 1e6:.2f}",
        "train": _training_images(counts),
        "val": f"{counts['val']:,} radiographs of {counts['val_patients']:,} patients",
        "sample": _sample(scores),
        "classes": " and ".join(f"{rows.sum():,} {name.lower()}" for name, rows in manifest.classes(scores)),
        "positive": manifest.classes(scores)[1][0].lower(),
        "epochs": epochs,
        "batch": recipe.get("batch_size"),
        "seed": card["seed"],
        "kept": card["kept"],
        "weights": "weighted so that both classes count the same" if card["class_weights"] else "unweighted",
        "validation": card["validation"],
        "threshold": f"{card['threshold']['value']:.3f}",
        "rule": card["threshold"]["rule"],
        "versions": ", ".join(f"{name} {version}" for name, version in card["versions"].items()),
        "device": f"{card['device']}, {card['precision']}",
        "code": card["code"],
        "intervals": f"95 % intervals (percentiles of {resamples:,} bootstrap samples of patients within "
        "each class)",
        "source": "Kermany et al. 2018, CC BY 4.0; doi 10.17632/rscbjbr9sj" if public else "own images",
        "scope": (PUBLIC_SCOPE if public else "") + SCOPE,
        "prevalence": f"{100 * prevalence:.3g} %",
        "adapted": "adapted" in card,
        "how_tested": card.get("test_trace", "The test images were scored by the finished network."),
        "sentences": "".join(f" {sentence}" for sentence in sentences),
        "test": test,
        "tuned": tuned,
        "on_validation": validation,
    }


def _sample(scores):
    patients = scores.patient.nunique()
    if patients == len(scores):
        return f"{len(scores):,} radiographs, each counted as a patient"
    return f"{len(scores):,} radiographs of {patients:,} patients"


def _training_images(counts):
    if "train" not in counts:
        return "not known"
    return f"{counts['train']:,} radiographs of {counts['train_patients']:,} patients"


def _captions(facts, drawn):
    """A caption and an alternative text for each figure that was drawn."""
    f, test = facts, facts["test"]
    texts = {
        "04_metrics": (
            f"Performance on {f['sample']} of the test set, at a threshold of 0.5 and at the threshold fixed "
            f"on validation images ({f['threshold']}), and on the validation images ({f['val']}) at the same "
            f"threshold. Lines are {f['intervals']}.",
            f"Dot plot of ten measures with intervals. At 0.5: accuracy {test['accuracy']}, sensitivity "
            f"{test['sensitivity']}, specificity {test['specificity']}, AUC {test['auc']}.",
        ),
        "04_confusion": (
            f"Confusion matrix at a threshold of 0.5 ({f['sample']}; {f['classes']}). Percentages are shares "
            "of each true class.",
            f"Two by two table of counts. Sensitivity {test['sensitivity']}, specificity "
            f"{test['specificity']}.",
        ),
        "04_subgroups": (
            f"Sensitivity and specificity by subtype at a threshold of 0.5 ({f['sample']}). Lines are 95 % "
            "intervals.",
            "Dot plot of one value with an interval for each subtype.",
        ),
        "04_roc": (
            f"Receiver operating characteristic curve of the test set ({f['sample']}), AUC {test['auc']}. "
            f"Circle: threshold 0.5. Square: threshold fixed on validation images ({f['threshold']}).",
            f"Curve of sensitivity against false alarms, AUC {test['auc']}, and the dotted line of guessing.",
        ),
        "04_scores": (
            f"Scores of the test images by label ({f['classes']}). Dashed: threshold fixed on validation "
            f"images ({f['threshold']}).",
            "Two histograms of scores between 0 and 1, one for each class.",
        ),
        "04_calibration": (
            "a, Reliability of the scores as they are and recalibrated on the validation images; points hold "
            "equal numbers of test images. b, Net benefit of acting on the recalibrated scores at an assumed "
            f"prevalence of {f['prevalence']}, against acting on everyone or on nobody.",
            f"Left, share of {f['positive']} against mean score; calibration slope {test['slope']}. Right, "
            "net benefit against the probability from which one would act.",
        ),
        "04_comparison": (
            f"Differences between two recipes on {f['sample']} at a threshold of 0.5, with paired 95 % "
            "intervals (bootstrap of patients, and of networks where there are several).",
            "Dot plot of differences with intervals and a line at 0.",
        ),
        "04_map_checks": (
            "Checks of Grad-CAM on validation images. a, Rank correlation of each map with that of an "
            "untrained network. b, Probability of the answer as blocks of the picture are blanked in the "
            "order of the map, or at random (dotted). Passing them does not exclude a shortcut.",
            "Left, histograms of correlations. Right, falling curves over the share of the picture blanked.",
        ),
    }
    blocks = [
        f"## {name}\n\n**Caption.** {caption}\n\n**Alternative text.** {alternative}\n"
        for name, (caption, alternative) in texts.items()
        if name in drawn
    ]
    return "# Captions\n\n" + "\n".join(blocks)


def _paragraphs(facts):
    f, test, tuned = facts, facts["test"], facts["tuned"]
    named = ("accuracy", "sensitivity", "specificity", "precision", "f1")
    trained = (
        f"A convolutional network (`{f['network']}`, {f['million']} million parameters, grey input of "
        f"{f['side']} x {f['side']} pixels, recipe `{f['recipe']}`) was trained from scratch on {f['train']} "
        f"for {f['epochs']} epochs with batches of {f['batch']} images, seed {f['seed']}, the loss "
        f"{f['weights']}; no patient of theirs was in validation."
    )
    if not f["epochs"]:
        trained = f"A saved model (`{f['network']}`, {f['million']} million parameters) was applied as it is."
    return (
        "# Methods and results\n\n"
        f"**Methods.** {trained} {f['val']} ({f['validation']}) served for validation. Kept was "
        f"{f['kept']}. The threshold of {f['threshold']} has the {f['rule']}. The test set of {f['sample']} "
        f"({f['classes']}) was not used for any choice of this run. {f['how_tested']} In brackets are "
        f"{f['intervals']}. Computed on {f['device']}; {f['versions']}; code {f['code']}. {f['remark']}\n\n"
        f"**Results.** At a threshold of 0.5 the accuracy was {test['accuracy']}, the sensitivity "
        f"{test['sensitivity']}, the specificity {test['specificity']}, the positive predictive value "
        f"{test['precision']} and the F1 score {test['f1']}; at the threshold fixed on "
        f"validation images these were {', '.join(tuned[name] for name in named)}. The AUC was "
        f"{test['auc']}, the Brier score "
        f"{test['brier']}, the calibration slope {test['slope']}. On the validation images the accuracy was "
        f"{f['on_validation']['accuracy']}.{f['sentences']} This is one trained network; other seeds "
        "give other numbers.\n\n"
        f"**Limits.** {f['scope']}\n"
    )


def _model_card(facts):
    f, test = facts, facts["test"]
    rows = [
        ("Model", f"`{f['network']}`, {f['million']} million parameters"),
        ("Recipe", f"`{f['recipe']}`, seed {f['seed']}; kept: {f['kept']}"),
        ("Input", f"grey radiograph squashed to {f['side']} x {f['side']} pixels, values 0-255"),
        ("Output", f"probability of {f['positive']}"),
        ("Intended use", "teaching and research"),
        ("Not for", "diagnosis, triage, or any decision about a patient"),
        ("Training data", f["train"]),
        ("Validation data", f"{f['val']}; {f['validation']}"),
        ("Test data", f"{f['sample']} ({f['classes']})"),
        ("Threshold", f"{f['threshold']}: {f['rule']}"),
        ("Accuracy at 0.5", test["accuracy"]),
        ("Sensitivity at 0.5", test["sensitivity"]),
        ("Specificity at 0.5", test["specificity"]),
        ("AUC", test["auc"]),
        ("Calibration", f"slope {test['slope']}, intercept {test['intercept']}"),
        ("Computed on", f"{f['device']}; {f['versions']}; code {f['code']}"),
        ("Caveats", f"{f['scope']} {f['remark']}"),
    ]
    return f"# Model card: {f['run']}\n\nAfter Mitchell et al. 2019.\n\n{_table(rows)}"


def _checklist(facts):
    f = facts
    source = "from elsewhere" if f["adapted"] else "its source is in utils/model.py"
    rows = [
        ("Data source, licence", f["source"]),
        ("Images and patients", f"train {f['train']}; validation {f['val']}; test {f['sample']}"),
        ("Split, and its level", f["validation"]),
        ("Reference standard", "labels as they came with the images; not verified here"),
        ("Preprocessing", f"squashed to {f['side']} x {f['side']} pixels, values 0-255"),
        ("Model", f"{f['network']}, {f['million']} million parameters; {source}"),
        ("Training", f"recipe {f['recipe']}, {f['epochs']} epochs here, seed {f['seed']}; see card.json"),
        ("Choice of the final model", f["kept"]),
        ("Threshold, fixed before the test", f"{f['threshold']}: {f['rule']}"),
        ("Performance with uncertainty", f"tables/test_metrics; {f['intervals']}"),
        ("Calibration", "tables/test_calibration, figures/04_calibration"),
        ("Subgroups", "tables/test_subgroups, figures/04_subgroups"),
        ("Failure analysis", "most confident errors in notebook 04; pictures are not saved"),
        ("External validation", "none in this project"),
        ("Age, sex, other demographics", "not known to this project"),
        ("Code and software", f"code {f['code']}; {f['versions']}"),
        ("Limits", f["scope"]),
    ]
    return (
        "# What this run can answer of the reporting guidelines\n\nItems that CLAIM (2024 update) and "
        "TRIPOD+AI (2024) ask for, in our words. Aims, ethics and clinical context are yours to add.\n\n"
        + _table(rows)
    )


def _table(rows):
    return "| Item | |\n|---|---|\n" + "".join(f"| {item} | {answer} |\n" for item, answer in rows)
