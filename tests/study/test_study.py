"""The study behind the released results: what is kept, what is shown of it, and its main trainings."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace

from study import experiments, kept, tables
from utils import runs, workspace
from utils.figures import style
from utils.training import fit, recipes


@pytest.fixture(scope="module")
def trained():
    return kept.read()


def test_nothing_that_chooses_reads_the_trace_of_the_test_images():
    modules = [*workspace.PROJECT.glob("utils/**/*.py"), *workspace.PROJECT.glob("study/*.py")]
    code = {path.name: path.read_text() for path in modules}
    for path in workspace.PROJECT.glob("notebooks/*.ipynb"):  # their prose may name it
        cells = json.loads(path.read_text())["cells"]
        code[path.name] = str([cell["source"] for cell in cells if cell["cell_type"] == "code"])
    named = [name for name, text in code.items() if re.search(r"test_trace\.csv", text)]
    assert named == ["06_why_77_percent.ipynb"]  # it draws it, and trains nothing


def test_released_means_are_unchanged(trained):
    """As they were published with version 0.1.0."""
    table = tables.tabulate(trained)
    means = table.groupby(["experiment", "cell"])[["accuracy", "auc"]].mean().round(5)
    assert means.loc[("record", "compact")].tolist() == [0.95865, 0.99323]
    assert means.loc[("record-published", "published")].tolist() == [0.94904, 0.98742]
    assert means.loc[("2x2", "published, usual")].tolist() == [0.7875, 0.94929]
    record = table[table.experiment == "record"]
    assert (record.accuracy * 624).round(6).tolist() == [600, 598, 596, 602, 595]


def test_make_results_gives_the_committed_text(monkeypatch):
    written = {}
    monkeypatch.setattr(tables, "write_whole", written.__setitem__)
    monkeypatch.setattr(tables.report.documents, "refresh_released", lambda: None)  # has its own test
    monkeypatch.setattr(style, "save", lambda figure, *place: None)
    tables.refresh()
    texts = {path: content for path, content in written.items() if path.suffix == ".md"}
    assert [path.parent.name for path in texts] == [workspace.PROJECT.name, "study"]
    for path, text in texts.items():
        assert text == path.read_text(encoding="utf8"), f"{path} is not what make results gives"


def test_every_look_at_the_test_set_is_numbered():
    looks = pd.read_csv(runs.RELEASED / "test_looks.csv")
    assert looks["look"].tolist() == list(range(1, len(looks) + 1))


def test_candidates_are_ordered_by_the_geometric_mean_of_the_wrongly_ordered_shares():
    rows = [("base", 0, 0.9), ("base", 0, 0.999), ("b", 0, 0.9), ("b", 0, 0.9), ("base", 1, 0.5)]
    rows = pd.DataFrame(rows, columns=["candidate", "seed", "pooled_auc"])
    groups = pd.DataFrame({"healthy": ["fold 0"] * 5, "ill": ["fold 0", "toned"] * 2 + ["fold 0"]})
    shown = tables.screening(rows.join(groups).assign(specificity=0.9, sensitivity=0.8))
    assert shown["wrongly ordered"].to_dict() == {"base": np.sqrt(0.01 * 0.5).round(4), "b": 0.1}
    assert shown["against the base"].to_dict() == {"base": 0, "b": 9}  # seed 0 against seed 0 alone
    assert shown["fold 0 / toned"].to_dict() == {"base": 0.999, "b": 0.9}


def test_experiments_are_those_of_the_kept_trainings(trained):
    cells = {
        (name, cell, seed): json.loads(json.dumps(dataclasses.asdict(recipe)))
        for name, (of_cells, seeds) in experiments.EXPERIMENTS.items()
        for cell, recipe in of_cells.items()
        for seed in seeds
    }
    cards = {(*run.card["study"].values(), run.card["seed"]): run.card["recipe"] for run in trained}
    assert set(cells) == set(cards)
    for key, card in cards.items():
        assert recipes.completed(card) | {"remark": ""} == cells[key] | {"remark": ""}, key


def test_cells_are_trained_once_and_their_metrics_printed(
    small_network, radiographs, tmp_path, monkeypatch, capsys
):
    cells = {"compact, ours": recipes.recipe("fast", epochs=1)}
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"2x2": (cells, (0, 1))})
    ws = make_workspace(tmp_path)
    experiments.run("2x2", radiographs, ws)
    own = runs.own_runs(ws)
    assert [run.card["seed"] for run in own] == [0, 1]
    assert all(run.scores("test") is not None for run in own)
    line = re.compile(r"^compact, ours, seed \d: accuracy 0\.\d{4}, auc .*$", re.MULTILINE)
    printed = line.findall(capsys.readouterr().out)
    assert len(printed) == 2
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    experiments.run("2x2", radiographs, ws)
    assert line.findall(capsys.readouterr().out) == printed
