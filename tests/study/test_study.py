"""The experiments behind the released results."""

import json
import re
import types

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace

from study import candidates, experiments, probing, tables
from utils import metrics, predict, runs, workspace
from utils.backend import keras
from utils.data import manifest
from utils.training import fit, recipes


def test_nothing_that_chooses_reads_the_trace_of_the_test_images():
    modules = [*workspace.PROJECT.glob("utils/**/*.py"), *workspace.PROJECT.glob("study/*.py")]
    code = {path.name: path.read_text() for path in modules}
    for path in workspace.PROJECT.glob("notebooks/*.ipynb"):  # their prose may name it
        cells = json.loads(path.read_text())["cells"]
        code[path.name] = str([cell["source"] for cell in cells if cell["cell_type"] == "code"])
    named = [name for name, text in code.items() if re.search(r"test_trace\.csv|TestTrace", text)]
    assert named == ["experiments.py", "06_why_77_percent.ipynb"]  # the latter draws it, and trains nothing


def test_the_trace_scores_the_test_images_every_few_epochs_and_goes_on_after_a_break(radiographs, tmp_path):
    def trained(epochs):
        return fit.train(
            recipes.recipe("compact", epochs=epochs),
            radiographs,
            make_workspace(tmp_path),
            callbacks=lambda run: [experiments.TestTrace(run, radiographs, every=2)],
        )

    run = trained(4)
    trace = pd.read_csv(run.path / "test_trace.csv")
    assert trace.epoch.tolist() == [2, 4] and trace.auc.between(0, 1).all()
    assert "Nothing was chosen by it" in run.card["test_trace"]
    final = metrics.measure(predict.test_scores(run, radiographs)[0], 0.5)
    assert trace.auc.iloc[-1] == pytest.approx(final.auc, abs=0.03)
    repeated = experiments.TestTrace(run, radiographs, every=2)  # as after a disconnect in epoch 3
    repeated.set_model(keras.Sequential([fit.build_network(recipes.recipe("compact"))]))
    repeated.on_epoch_end(1)
    assert pd.read_csv(run.path / "test_trace.csv").epoch.tolist() == [2]


def test_schedules_are_trained_once_and_tabulated(ws, radiographs, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments.workspace, "open_workspace", lambda: make_workspace(tmp_path))
    monkeypatch.setattr(experiments.sources, "load", lambda ws: radiographs)
    monkeypatch.setattr(tables, "SCHEDULES", tmp_path / "schedules.csv")
    monkeypatch.setattr(experiments, "SCHEDULES", (1,))
    monkeypatch.setattr(experiments, "SEEDS", (0, 1))
    experiments.schedules()
    table = pd.read_csv(tmp_path / "schedules.csv")
    assert table.seed.tolist() == [0, 1] and table.accuracy.between(0, 1).all()
    assert (table.seconds > 0).all() and (table.compile_seconds > 0).all()
    assert " ± " in tables.readme_schedules()
    experiments.schedules()
    assert len(runs.own_runs(make_workspace(tmp_path))) == 2
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "schedules.csv"))


@pytest.fixture
def small_study(radiographs, tmp_path, monkeypatch):
    """The study on the phantom, with one tiny cell a experiment, in a folder of its own."""
    ws = make_workspace(tmp_path)
    monkeypatch.setattr(experiments.workspace, "open_workspace", lambda: ws)
    monkeypatch.setattr(experiments.sources, "load", lambda ws: radiographs)
    for name in ("STUDY", "STUDY_TABLE", "COUNTERFACTUAL"):
        monkeypatch.setattr(tables, name, tmp_path / getattr(tables, name).name)
    cells = {"compact, ours": recipes.recipe("fast", epochs=1)}
    monkeypatch.setattr(experiments, "COMPARED", {"2x2": (cells, (0, 1))})
    return ws


def test_cells_are_trained_once_and_kept_without_weights(small_study, phantom_folder, monkeypatch):
    experiments.compared("2x2")
    table = pd.read_csv(tables.STUDY_TABLE)
    assert table.seed.tolist() == [0, 1] and set(table.cell) == {"compact, ours"}
    for run in runs.all_runs(tables.STUDY):
        assert sorted(path.name for path in run.path.iterdir()) == sorted(experiments.KEPT)
        found = metrics.measure(run.scores("test"), 0.5)
        assert table.set_index("run").auc[run.name] == pytest.approx(found.auc, abs=1e-5)
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    experiments.compared("2x2")
    pd.testing.assert_frame_equal(table, pd.read_csv(tables.STUDY_TABLE))

    monkeypatch.setattr(
        probing.changes, "COUNTERFACTUAL", {"none": lambda shown: shown, "negative": lambda x: 255 - x}
    )
    probing.counterfactual(phantom_folder)
    moved = pd.read_csv(tables.COUNTERFACTUAL)
    assert len(moved) == 2 * 2 * 2 * (2 + 3) and (moved.flips[moved.change == "none"] == 0).all()
    assert moved["shift"][moved.change == "negative"].abs().max() > 0


def test_held_out_patients_are_whole_and_never_of_the_test_set():
    table = manifest.read()
    pixels = np.random.default_rng(0).integers(0, 256, (len(table), 8, 8), dtype=np.uint8)
    group = candidates.held_out(types.SimpleNamespace(table=table, pixels=pixels))
    assert set(group) == {"", "fold 0", "next to test", "stretched"}
    assert (group[table.split == "test"] == "").all() and (group[table.fold == 0] == "fold 0").all()
    assert group[table.split != "test"].groupby(table.patient).nunique().max() == 1
    assert set(table.label[group == "stretched"]) == {"NORMAL"}


def test_ranking_takes_the_mean_over_held_out_groups():
    rows = [
        (name, views, auc, auc, 0.9)
        for name, views, auc in (("a", 1, 0.9), ("a", 1, 0.7), ("b", 1, 0.85), ("a", 4, 1))
    ]
    rows = pd.DataFrame(rows, columns=["candidate", "views", "auc", "pooled_auc", "balanced_accuracy"])
    ranking = candidates.ranking(rows)
    assert ranking.index.tolist() == ["b", "a"] and ranking.pooled_auc["a"] == pytest.approx(0.8)


def test_the_kept_tables_follow_from_the_kept_runs(tmp_path, monkeypatch):
    kept = tables.STUDY_TABLE.read_text()
    monkeypatch.setattr(tables, "STUDY_TABLE", tmp_path / "study.csv")
    tables.tabulate_study()
    assert tables.STUDY_TABLE.read_text() == kept
    looks = pd.read_csv(runs.RELEASED / "test_looks.csv")
    assert looks["look"].tolist() == list(range(1, len(looks) + 1))
