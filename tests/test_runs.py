import json
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import make_workspace

from utils import runs


def card(name="compact", manifest="abc", synthetic=False, seed=0):
    return {"recipe": {"name": name}, "seed": seed, "manifest": manifest, "synthetic": synthetic}


def finish(run):
    run.update_card(finished=True, model_digest="none")
    return run


@pytest.fixture(autouse=True)
def no_released_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RELEASED", tmp_path / "models" / "runs")


def test_a_run_never_overwrites_another(tmp_path):
    made = [runs.create(make_workspace(tmp_path), card()) for _ in range(3)]
    assert len({run.path for run in made}) == 3


def test_a_network_of_ones_own_stands_in_the_name_of_its_run(tmp_path):
    own = card("fast") | {"changed": {"network": ["compact", "mine/2"], "epochs": [8, 2]}}
    run = runs.create(make_workspace(tmp_path), own)
    assert run.name.endswith("_fast_mine-2_seed0") and run.path.parent == make_workspace(tmp_path).runs
    assert ", recipe fast with network mine/2, trained on real radiographs" in str(run)


def test_neither_own_nor_released_run_names_notebook_03(tmp_path):
    with pytest.raises(runs.RunError, match=r"no finished run in .*runs.*models.* Run notebook 03 first"):
        runs.find(make_workspace(tmp_path))


def test_an_unfinished_run_is_called_unfinished_and_not_taken(tmp_path):
    ws = make_workspace(tmp_path)
    run = runs.create(ws, card())
    assert "UNFINISHED" in str(run)
    assert "unfinished; notebook 03 goes on with it" in runs.faults(run)[0]
    with pytest.raises(runs.RunError, match=f"{run.name} there is unfinished"):
        runs.find(ws)
    with pytest.raises(runs.RunError, match=r"notebook 03 goes on with it\. Until then choose another run"):
        runs.find(ws, run.name)


def test_the_newest_finished_run_of_these_data_comes_first(tmp_path):
    ws = make_workspace(tmp_path)
    models = make_workspace(tmp_path / "models")
    released = finish(runs.create(models, card("best")))
    finish(runs.create(models, card("published")))
    abc = SimpleNamespace(digest="abc")
    assert runs.find(ws, radiographs=abc) == released
    own = finish(runs.create(ws, card("robust")))
    phantom = finish(runs.create(ws, card(manifest="phantom", synthetic=True)))
    runs.create(ws, card(seed=1))
    assert runs.find(ws, radiographs=abc) == own == runs.find(ws)
    assert runs.find(ws, radiographs=SimpleNamespace(digest="phantom")) == phantom


def test_a_wrong_name_lists_the_known_ones(tmp_path):
    run = finish(runs.create(make_workspace(tmp_path), card()))
    with pytest.raises(runs.RunError, match=f"no run typo .*Known runs: {run.name}"):
        runs.find(make_workspace(tmp_path), "typo")


def test_a_damaged_card_is_said_to_be_damaged_and_passed_over(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    (run.path / "card.json").write_text("{")
    older = make_workspace(tmp_path).runs / "older"
    older.mkdir()
    (older / "card.json").write_text('{"created": "2026"}')
    assert runs.own_runs(make_workspace(tmp_path)) == []
    with pytest.raises(runs.RunError, match="damaged"):
        _ = run.card


def test_faults_are_said_in_words(tmp_path, radiographs):
    run = finish(runs.create(make_workspace(tmp_path), card()))
    (run.path / "model.keras").write_bytes(b"other")
    run.update_card(version=99)
    newer, changed, foreign = runs.faults(run, radiographs)
    assert "newer version" in newer and "not the file this run wrote" in changed
    assert (
        "trained on radiographs of manifest abc, but the images in use are the synthetic phantom of"
        in foreign
    )


def test_scores_are_written_once(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    scores = pd.DataFrame(
        {"path": ["a"], "patient": ["1"], "label": ["NORMAL"], "subtype": ["IM"], "score": [0.25]}
    )
    assert run.scores("test") is None
    run.write_scores("test", scores)
    pd.testing.assert_frame_equal(run.scores("test"), scores, check_dtype=False)
    with pytest.raises(runs.RunError, match="scored once"):
        run.write_scores("test", scores)


def test_class_names_that_are_numbers_stay_text(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    row = {"path": ["a"], "patient": ["1"], "label": ["0"], "subtype": ["0"], "positive": [0], "score": [0.5]}
    run.write_scores("val", pd.DataFrame(row))
    assert run.scores("val").label[0] == run.scores("val").subtype[0] == "0"


def test_updating_a_card_keeps_the_rest(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    run.update_card(seconds=1)
    stored = json.loads((run.path / "card.json").read_text())
    assert stored["seconds"] == 1 and stored["manifest"] == "abc" and stored["finished"] is False
