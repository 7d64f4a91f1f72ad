"""The released runs: whole, and with the numbers of their stored scores."""

import json

import numpy as np
import pandas as pd
import pytest

from utils import metrics, report, runs
from utils.data import manifest

SCORED = [run for run in runs.all_runs(runs.RELEASED) if run.scores("test") is not None]


def test_undefined_and_degenerate_values_are_said_in_words():
    numbers = {"value": [1.0, np.nan], "low": [np.nan] * 2, "high": [np.nan] * 2}
    table = pd.DataFrame(numbers, index=["accuracy", "auc"])
    texts = report.tables.with_intervals({"x": table}).x
    assert "no interval" in texts.iloc[0] and texts.iloc[1] == "not defined"


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
