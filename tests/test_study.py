"""The experiments behind the released results."""

import json
import re

import pandas as pd
import pytest
from conftest import make_workspace

from utils import recipes, report, runs, study, training, workspace


def test_nothing_that_chooses_reads_the_trace_of_the_test_images():
    code = {path.name: path.read_text() for path in workspace.PROJECT.glob("utils/*.py")}
    for path in workspace.PROJECT.glob("notebooks/*.ipynb"):  # their prose may name it
        cells = json.loads(path.read_text())["cells"]
        code[path.name] = str([cell["source"] for cell in cells if cell["cell_type"] == "code"])
    named = [name for name, text in code.items() if re.search(r"test_trace\.csv|TestTrace", text)]
    assert named == ["study.py"]


def test_the_trace_scores_the_test_images_every_few_epochs_and_goes_on_after_a_break(radiographs, tmp_path):
    def fit(epochs):
        return training.fit(
            recipes.recipe("compact", epochs=epochs),
            radiographs,
            make_workspace(tmp_path),
            callbacks=lambda run: [study.TestTrace(run, radiographs, every=2)],
        )

    run = fit(4)
    trace = pd.read_csv(run.path / "test_trace.csv")
    assert trace.epoch.tolist() == [2, 4] and trace.auc.between(0, 1).all()
    assert "Nothing was chosen by it" in run.card["test_trace"]
    final = study.metrics.measure(study.scoring.test_scores(run, radiographs)[0], 0.5)
    assert trace.auc.iloc[-1] == pytest.approx(final.auc, abs=0.03)
    repeated = study.TestTrace(run, radiographs, every=2)  # as after a disconnect in epoch 3
    repeated.set_model(training.keras.Sequential([training.build(recipes.recipe("compact"))]))
    repeated.on_epoch_end(1)
    assert pd.read_csv(run.path / "test_trace.csv").epoch.tolist() == [2]


def test_schedules_are_trained_once_and_tabulated(ws, radiographs, tmp_path, monkeypatch):
    monkeypatch.setattr(study.workspace, "open_workspace", lambda: make_workspace(tmp_path))
    monkeypatch.setattr(study.sources, "load", lambda ws: radiographs)
    monkeypatch.setattr(report, "SCHEDULES", tmp_path / "schedules.csv")
    monkeypatch.setattr(study, "SCHEDULES", (1,))
    monkeypatch.setattr(study, "SEEDS", (0, 1))
    study.schedules()
    table = pd.read_csv(tmp_path / "schedules.csv")
    assert table.seed.tolist() == [0, 1] and table.accuracy.between(0, 1).all()
    assert (table.seconds > 0).all() and (table.compile_seconds > 0).all()
    assert " ± " in report.readme_schedules()
    study.schedules()
    assert len(runs.own_runs(make_workspace(tmp_path))) == 2
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "schedules.csv"))
