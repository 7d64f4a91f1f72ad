"""The experiments behind the released results."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace

from study import divisions, experiments, kept, probing, screening, small_data, tables
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
            recipes.recipe("fast", epochs=epochs),
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
    repeated.set_model(keras.Sequential([fit.build_network(recipes.recipe("fast"))]))
    repeated.on_epoch_end(1)
    assert pd.read_csv(run.path / "test_trace.csv").epoch.tolist() == [2]


@pytest.fixture
def small_study(radiographs, tmp_path, monkeypatch):
    """The study on the phantom, with one tiny cell an experiment, kept in a folder of its own."""
    monkeypatch.setattr(kept, "FOLDER", tmp_path / "kept")
    read = manifest.read
    monkeypatch.setattr(manifest, "read", lambda *place: read(*place) if place else radiographs.listed)
    cells = {"compact, ours": recipes.recipe("fast", epochs=1)}
    monkeypatch.setattr(experiments, "COMPARED", {"2x2": (cells, (0, 1))})
    monkeypatch.setattr(experiments, "SCHEDULES", (1,))
    monkeypatch.setattr(experiments, "SEEDS", (0, 1))
    return make_workspace(tmp_path)


def test_schedules_are_trained_once_and_tabulated(small_network, small_study, radiographs):
    experiments.schedules(radiographs, small_study)
    table = kept.table("schedules")
    assert table.seed.tolist() == [0, 1] and table.accuracy.between(0, 1).all()
    assert (table.seconds >= 0).all() and (table.compile_seconds > 0).all()
    assert " ± " in tables.schedules().to_markdown()
    experiments.schedules(radiographs, small_study)
    assert len(runs.own_runs(small_study)) == 2
    pd.testing.assert_frame_equal(table, kept.table("schedules"))


def test_cells_are_trained_once_and_kept_without_weights(small_study, radiographs, monkeypatch):
    experiments.compared("2x2", radiographs, small_study)
    files = {path.name: path.read_text() for path in kept.FOLDER.iterdir()}
    assert set(files) == {"runs.jsonl", "histories.csv", "scores_val.csv", "scores_test.csv"}
    found = kept.read()
    assert [run.card["seed"] for run in found] == [0, 1]
    for run, own in zip(found, runs.own_runs(small_study), strict=True):
        assert run.name == own.name and run.card == own.card | {
            "study": {"experiment": "2x2", "cell": "compact, ours"}
        }
        pd.testing.assert_frame_equal(run.history(), own.history())
        for part in ("val", "test"):
            pd.testing.assert_frame_equal(run.scores(part), own.scores(part), check_dtype=False)
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    experiments.compared("2x2", radiographs, small_study)
    assert {path.name: path.read_text() for path in kept.FOLDER.iterdir()} == files


def test_networks_are_probed_with_changed_pictures(
    small_network, small_study, radiographs, phantom_folder, monkeypatch
):
    changes = {("negative", np.nan): lambda shown: 255 - shown, ("cropped in height", 0.8): np.copy}
    monkeypatch.setattr(probing, "COUNTERFACTUAL", changes)
    monkeypatch.setattr(probing, "PROBED", {"2x2": (0, 1)})
    probing.counterfactual(radiographs, small_study, phantom_folder)  # trains what is missing
    moved = kept.table("counterfactual")
    assert len(moved) == 2 * 2 * 2 * (3 + 3) and (moved.flips[moved.change == "unchanged"] == 0).all()
    assert moved["shift"][moved.change == "negative"].abs().max() > 0
    assert moved.area.dropna().unique().tolist() == [0.8]
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    probing.without_lungs(radiographs, small_study)
    found = kept.table("without_lungs")
    assert len(found) == 2 * 2 * 5 and found.auc_value.between(0, 1).all()
    assert found.middle.dropna().unique().tolist() == list(probing.MIDDLES)


@pytest.mark.parametrize("name", divisions.DIVISIONS)
def test_divisions_are_of_equal_size_and_keep_patients_together_where_they_say_so(name):
    table = manifest.read()
    drawn = divisions.divided(table, *divisions.DIVISIONS[name], seed=1)
    parts = {part: manifest.select(drawn, part) for part in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == len(table) == len(set().union(*[p.index for p in parts.values()]))
    assert abs(len(parts["val"]) - 523) < 10 and abs(len(parts["test"]) - 624) < 10
    assert abs(parts["test"].label.value_counts()["NORMAL"] - 234) < 10
    official = set(parts["test"].path) == set(manifest.select(table, "test").path)
    assert official == name.startswith("official")
    leaking = [part for part in ("val", "test") if parts[part].patient.isin(parts["train"].patient).any()]
    by_image = ["val", "test"] if name.startswith("pooled") else ["val"]
    assert leaking == (by_image if name.endswith("by image") else [])


def test_other_divisions_are_trained_beside_the_kept_official_one(
    small_network, small_study, radiographs, monkeypatch
):
    monkeypatch.setattr(divisions, "CELLS", {"compact network": ("2x2", "compact, ours")})
    monkeypatch.setattr(divisions, "SEEDS", (0,))
    monkeypatch.setattr(divisions, "TEST", {"NORMAL": 20, "PNEUMONIA": 30})
    monkeypatch.setattr(divisions, "VALIDATION", 40)
    experiments.compared("2x2", radiographs, small_study)
    divisions.compare(radiographs, small_study)
    rows = kept.table("divisions")
    assert rows.division.tolist() == list(divisions.DIVISIONS)
    leaking = rows.division.str.endswith("pooled, by image")
    assert (rows.siblings[leaking] > 0).all() and (rows.siblings[~leaking] == 0).all()
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    divisions.compare(radiographs, small_study)
    pd.testing.assert_frame_equal(rows, kept.table("divisions"))


def test_a_run_of_other_radiographs_is_not_kept_beside(small_network, small_study, radiographs):
    experiments.compared("2x2", radiographs, small_study)
    run = runs.own_runs(small_study)[0]
    scores = run.scores("test")
    scores.iloc[1:].to_csv(run.path / "scores_test.csv", index=False)
    before = {path.name: path.read_bytes() for path in kept.FOLDER.iterdir()}
    with pytest.raises(ValueError, match="not of the same radiographs"):
        kept.add(run, "2x2", "another")
    assert {path.name: path.read_bytes() for path in kept.FOLDER.iterdir()} == before


def test_ranking_takes_the_mean_over_held_out_groups():
    rows = [
        (name, views, auc, auc, 0.9)
        for name, views, auc in (("a", 1, 0.9), ("a", 1, 0.7), ("b", 1, 0.85), ("a", 4, 1))
    ]
    rows = pd.DataFrame(rows, columns=["candidate", "views", "auc", "pooled_auc", "balanced_accuracy"])
    ranking = tables.ranking(rows)
    assert ranking.index.tolist() == ["b", "a"] and ranking.pooled_auc["a"] == pytest.approx(0.8)


def test_released_means_are_unchanged():
    """As they were published with version 0.1.0."""
    table = tables.tabulate(kept.read())
    means = table.groupby(["experiment", "cell"])[["accuracy", "auc"]].mean().round(5)
    assert means.loc[("record", "compact")].tolist() == [0.95865, 0.99323]
    assert means.loc[("record-published", "published")].tolist() == [0.94904, 0.98742]
    assert means.loc[("2x2", "published, usual")].tolist() == [0.7875, 0.94929]
    record = table[table.experiment == "record"]
    assert (record.accuracy * 624).round(6).tolist() == [600, 598, 596, 602, 595]


def test_the_readmes_show_the_kept_numbers():
    for path, filled in tables.sections().items():
        text = path.read_text(encoding="utf8")
        for name, table in filled.items():
            assert table.to_markdown() in text, f"{name} in {path}: run make results"


def test_every_look_at_the_test_set_is_numbered():
    looks = pd.read_csv(runs.RELEASED / "test_looks.csv")
    assert looks["look"].tolist() == list(range(1, len(looks) + 1))


class NoTestImages:
    """Pixels of which only those of development radiographs can be read."""

    def __init__(self, pixels, table):
        self.pixels, self.forbidden = pixels, set(table.index[table.split == "test"])

    def __getitem__(self, rows):
        assert not self.forbidden & set(np.atleast_1d(rows).tolist()), "a test image was read"
        return self.pixels[rows]


def test_screening_trains_once_keeps_its_rows_and_reads_no_test_image(small_study, radiographs, monkeypatch):
    monkeypatch.setattr(screening, "EPOCHS", 1)
    monkeypatch.setattr(screening, "QUEUE", [("base", 0), ("all tones", 0)])
    guarded = dataclasses.replace(radiographs, pixels=NoTestImages(radiographs.pixels, radiographs.table))
    screening.screen(guarded, small_study)
    rows = kept.table("screening")
    assert rows.candidate.tolist() == ["base"] * 4 + ["all tones"] * 4
    assert rows[["healthy", "ill"]].drop_duplicates().shape[0] == 4
    assert len(f"{rows.seconds[0]}{rows.auc[0]}") < 14  # rounded
    assert rows[["auc", "pooled_auc", "specificity", "sensitivity"]].stack().between(0, 1).all()
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    screening.screen(guarded, small_study)
    pd.testing.assert_frame_equal(rows, kept.table("screening"))


def test_toned_patients_are_whole_of_both_classes_and_look_like_the_other_one():
    table = manifest.read().iloc[::3]  # 2 classes, patients with several images
    rng = np.random.default_rng(0)
    bend = 1 + 0.15 * manifest.positives(table) + 0.1 * rng.standard_normal(len(table))
    ramp = np.linspace(0, 1, 1024).reshape(32, 32)
    pixels = pd.Series([(255 * ramp**power).astype(np.uint8) for power in bend], table.index)
    development = table[table.split != "test"]
    group = screening.held_out(pixels, development)
    assert set(group) == {"", "fold 0", "toned"}
    assert group.groupby(development.patient).nunique().max() == 1
    power = pd.Series(bend, table.index)[development.index]
    toned = power[group == "toned"].groupby(development.label).mean()
    others = power[group == ""].groupby(development.label).mean()
    assert toned.NORMAL > others.NORMAL and toned.PNEUMONIA < others.PNEUMONIA


def test_the_tone_of_a_radiograph_leaves_out_brightness_and_contrast():
    picture = np.random.default_rng(0).integers(100, 140, (64, 64), dtype=np.uint8)
    plain, paler, bent = (screening.tone(shown) for shown in (picture, picture * 2 - 60, picture**2 // 200))
    assert plain == pytest.approx(paler, abs=1e-4) and plain != pytest.approx(bent, abs=1e-2)


def test_the_criterion_is_the_geometric_mean_of_the_wrongly_ordered_shares():
    rows = [("base", 0, 0.9), ("base", 0, 0.999), ("b", 0, 0.9), ("b", 0, 0.9), ("base", 1, 0.5)]
    rows = pd.DataFrame(rows, columns=["candidate", "seed", "pooled_auc"])
    found = {("base", 0): 0.01, ("b", 0): 0.1, ("base", 1): 0.5}
    assert tables.criterion(rows).round(6).to_dict() == found
    groups = pd.DataFrame({"healthy": ["fold 0"] * 5, "ill": ["fold 0", "toned"] * 2 + ["fold 0"]})
    shown = tables.screening(rows.join(groups).assign(specificity=0.9, sensitivity=0.8))
    assert shown["against the base"].to_dict() == {"base": 0, "b": 9}  # seed 0 against seed 0 alone
    assert shown["fold 0 / toned"].to_dict() == {"base": 0.999, "b": 0.9}


def test_small_data_are_trained_from_both_starts_on_whole_patients_and_kept_once(
    small_study, trained, radiographs, monkeypatch
):
    monkeypatch.setattr(small_data, "SIZES", (20,))
    monkeypatch.setattr(small_data, "SEEDS", (0,))
    monkeypatch.setattr(small_data, "STARTS", {"from scratch": "", "from a run": trained.name})
    monkeypatch.setattr(small_data, "SETTINGS", {"epochs": 1, "batch_size": 16})
    shutil.copytree(trained.path, small_study.runs / trained.path.name)
    small_data.compare(radiographs, small_study)
    rows = kept.table("small_data")
    assert rows.cell.tolist() == ["from scratch", "from a run"] and rows.auc.between(0, 1).all()
    assert rows.train.between(40, 44).all() and (rows.train_patients < rows.train).all()
    assert tables.small_data().seeds.tolist() == [1, 1]
    monkeypatch.setattr(fit, "train", None)  # nothing is trained twice
    small_data.compare(radiographs, small_study)
    pd.testing.assert_frame_equal(rows, kept.table("small_data"))
