import itertools
import json
import xml.etree.ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from study import figures as study_plots
from study import probing
from utils import figures as plots
from utils import intervals, metrics, report, runs
from utils.data import manifest
from utils.evaluation import compare, errors, evaluation, stress

matplotlib.use("Agg")
SCORED = [run for run in runs.all_runs(runs.RELEASED) if run.scores("test") is not None]


def study_figures(note):
    """The figures of the study, from made-up tables."""
    cells = [
        f"{network}, {handling}" for network in ("published", "compact") for handling in ("usual", "ours")
    ]
    table = pd.DataFrame([(cell, seed) for cell in cells for seed in range(3)], columns=["cell", "seed"])
    table = table.assign(accuracy=0.9, val_accuracy=0.95, specificity=0.8, auc=0.95)
    moves = [
        table[["cell", "seed"]].assign(change="unchanged", part=part, label="NORMAL", called=0.1)
        for part in ("val", "test")
    ]
    moves += [
        table[["cell", "seed"]].assign(change=change, area=area, part=part, label="NORMAL", called=0.2)
        for (change, area), part in itertools.product(probing.COUNTERFACTUAL, ("val", "test"))
    ]
    published = pd.DataFrame({"result": ["a", "b"], "accuracy": [0.8, 0.9], "remark": ["pretrained", None]})
    epochs = pd.DataFrame({"epoch": [5, 10], "accuracy": [0.8, 0.75], "val_accuracy": [0.97, 0.98]})
    return {
        "trace": study_plots.trace(epochs, epochs, note=note),
        "two_by_two": study_plots.two_by_two(table, note=note),
        "counterfactual": study_plots.counterfactual(pd.concat(moves), "NORMAL", note=note),
        "left_out": study_plots.left_out(table.replace("compact, ours", "nothing"), note=note),
        "record": study_plots.record(published, {"compact": [0.95, 0.96]}, note=note),
    }


def stressed(radiographs):
    """A stress test of three made-up networks, as `stress.compare` gives it."""
    table = manifest.select(radiographs.table, "val")
    chance = np.random.default_rng(0)
    scores = {change: chance.random(len(table)) for change in (stress.UNCHANGED, *stress.KINDS)}
    return pd.concat([stress.effects(scores, table, 0.5, 50).assign(network=f"{name}: x") for name in "abc"])


@pytest.fixture(scope="module")
def figures(scores, results, trained, radiographs):
    note = plots.style.note(trained.card["synthetic"])
    rows = radiographs.table.index[:5]
    maps = {
        "pool1": np.random.default_rng(0).random((8, 8, 9)),
        "pool2": np.random.default_rng(1).random((4, 4, 3)),
    }
    validation = trained.scores("val")
    answers = pd.DataFrame({"file": list("abcde"), "score": np.linspace(0, 1, 5), "threshold": 0.5})
    answers = answers.assign(scope="children", normals_scoring_higher=0.1, pneumonias_scoring_lower=0.2)
    answers = answers.assign(side=[*["above"] * 4, ""], unlike=["", "", "", "", "it looks inverted"])
    arrays, table = radiographs.pixels[rows], radiographs.table
    line = np.linspace(1, 0.5, 5)
    clues = pd.DataFrame(
        {"clue": ["a", "b"], "train": [0.9, 0.6], "test": [0.7, 0.5], "n train": 9, "n test": 5}
    )
    return {
        "counts": plots.data.class_counts(manifest.counts(radiographs.table), note=note),
        "pictures": plots.pictures.grid(arrays, list("abcde"), note=note),
        "brightness": plots.data.distributions(np.linspace(0, 1, len(table)), table, "x", note=note),
        "curves": plots.results.learning_curves(trained.history(), trained.card["counts"], note=note),
        "roc": plots.results.roc(scores, results["at 0.5"], 0.4, note=note),
        "confusion": plots.results.confusion(scores, 0.5, note=note),
        "scores": plots.results.score_distributions(scores, 0.4, note=note),
        "metrics": plots.measures.metric_intervals(
            dict(list(results.items())[:3]), [scores, scores, validation], note=note
        ),
        "calibration": plots.results.calibration(
            {"as they are": evaluation.reliability(scores)},
            evaluation.decision_curves(scores, validation, None, 0.2),
            0.2,
            scores,
            note=note,
        ),
        "differences": plots.measures.comparison(
            ([scores], [scores]), compare.paired([scores], [scores], resamples=50), "ab", note=note
        ),
        "subgroups": plots.measures.subgroups(evaluation.subgroups(scores, 0.5), 0.5, note=note),
        "errors": plots.errors.rates(errors.rates(scores, 0.5, errors.facts(scores, radiographs)), note=note),
        "stress": plots.errors.flips(stressed(radiographs), ("NORMAL", "PNEUMONIA"), note=note),
        **study_figures(note),
        "maps": plots.pictures.feature_maps(arrays[0], maps, note=note),
        "cards": plots.pictures.answer_cards(arrays, None, answers, validation, note=note),
        "cards_with_maps": plots.pictures.answer_cards(arrays, arrays / 255, answers, validation, note=note),
        "sheet": plots.pictures.contact_sheet(np.repeat(arrays, 10, 0), pd.concat([answers] * 10), note=note),
        "clues": plots.data.clue_aucs(clues, note=note),
        "cropping": plots.data.cropping(
            arrays, line, {"a": line, "b": line}, {"a": line, "b": line}, 9, note=note
        ),
        "no_cards": plots.pictures.answer_cards(arrays[:0], None, answers[:0], validation, note=note),
        "no_sheet": plots.pictures.contact_sheet(arrays[:0], answers[:0], note=note),
    }


def test_every_figure_has_report_size_and_says_phantom(figures, tmp_path):
    for name, figure in figures.items():
        png, svg, pdf = plots.style.save(figure, tmp_path, name, dpi=60)
        width_mm = figure.get_size_inches()[0] * 25.4
        assert width_mm == pytest.approx(plots.style.ONE_COLUMN) or width_mm == pytest.approx(
            plots.style.TWO_COLUMNS
        )
        assert figure.get_size_inches()[1] * 25.4 <= 170.001, name
        with Image.open(png) as picture:
            assert picture.width == pytest.approx(width_mm / 25.4 * 60, abs=1), name
        assert "synthetic phantom" in "".join(xml.etree.ElementTree.parse(svg).getroot().itertext())
        content = pdf.read_bytes()
        assert b"/Type3" not in content and b"/FontFile2" in content  # embedded as TrueType


@pytest.mark.parametrize("name", ["confusion", "maps"])  # of lines, of pictures
def test_figures_are_saved_sharp_enough_for_print(figures, name, tmp_path):
    with Image.open(plots.style.save(figures[name], tmp_path, name, ["png"])[0]) as picture:
        assert picture.width == pytest.approx(figures[name].get_size_inches()[0] * 600, abs=1)
        assert picture.info["dpi"] == pytest.approx((600, 600), abs=0.1)


def test_undefined_and_degenerate_values_are_said_in_words():
    numbers = {"value": [1.0, np.nan], "low": [np.nan] * 2, "high": [np.nan] * 2}
    table = pd.DataFrame(numbers, index=["accuracy", "auc"])
    texts = report.tables.with_intervals({"x": table}).x
    assert "no interval" in texts.iloc[0] and texts.iloc[1] == "not defined"


def test_a_figure_of_one_class_is_still_drawn(scores):
    ill = scores[scores.label == "PNEUMONIA"]
    result = intervals.evaluate(ill, 0.5, 50)
    assert plots.results.roc(ill, result, 0.5) and plots.measures.metric_intervals({"at 0.5": result}, [ill])


def test_figures_leave_the_users_settings_alone(scores):
    before = dict(matplotlib.rcParams)
    plots.results.confusion(scores, 0.5)
    assert dict(matplotlib.rcParams) == before and not matplotlib.pyplot.get_fignums()


def test_released_runs_are_whole():
    released = runs.all_runs(runs.RELEASED)
    assert len(released) > len(SCORED) >= 3
    test = set(manifest.select(manifest.read(), "test").path)
    for run in released:
        assert run.finished and not runs.faults(run)
        assert run.card["manifest"] == manifest.digest(manifest.read())
        scores = run.scores("test")
        assert scores is None or (len(scores) == 624 and set(scores.path) == test)


@pytest.mark.parametrize("run", SCORED, ids=lambda run: run.name)
def test_released_numbers_and_model_cards_are_those_of_the_stored_scores(run):
    """Every metric with its interval, at every threshold, to the last digit that is kept."""
    texts = report.documents.computed_anew(run)
    stored = json.loads((run.path / "metrics.json").read_text())
    assert "2000 resamples" in stored["interval"] and len(stored["results"]) == 4
    assert all(set(rows) == set(metrics.METRICS) for rows in stored["results"].values())
    assert json.loads(texts["metrics.json"]) == stored
    model_card = (run.path / "model_card.md").read_text()
    assert texts["model_card.md"] == model_card
    assert run.name in model_card and f"{run.card['threshold']['value']:.3f}" in model_card


def test_released_folders_hold_no_radiograph_and_only_what_cannot_be_computed_again_numbers_and_words():
    kept = {"model.keras", "card.json", "history.csv", "scores_val.csv", "scores_test.csv", "gate.npz"}
    kept |= {"test_trace.csv", "metrics.json", "model_card.md"}
    files = [path for run in runs.all_runs(runs.RELEASED) for path in run.path.iterdir() if path.is_file()]
    assert {path.name for path in files} <= kept, "notebook 04 writes these elsewhere"
    assert sum(path.stat().st_size for path in files if path.suffix == ".keras") < 20e6
    assert sum(path.stat().st_size for path in files if path.suffix != ".keras") < 1e6
    allowed = {".keras", ".json", ".csv", ".npz", ".md", ".png", ".svg", ".pdf", ".tex"}
    assert {path.suffix for path in runs.RELEASED.rglob("*") if path.is_file()} <= allowed
    drawn = {path.stem.removeprefix("04_") for path in runs.RELEASED.rglob("figures/*")}
    without_pictures = "metrics confusion subgroups roc scores calibration map_checks learning_curves"
    assert drawn <= set(without_pictures.split())
