import json
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import make_workspace

from utils import predict, runs
from utils.workspace import ExplainedError


def card(name="compact", manifest="abc", synthetic=False, seed=0):
    return {"recipe": {"name": name}, "seed": seed, "manifest": manifest, "synthetic": synthetic}


def finish(run):
    run.update_card(finished=True)
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
    with pytest.raises(ExplainedError, match=r"no finished run in .*runs.*models.* Run notebook 03 first"):
        runs.find(make_workspace(tmp_path))


def test_an_unfinished_run_is_called_unfinished_and_not_taken(tmp_path):
    ws = make_workspace(tmp_path)
    run = runs.create(ws, card())
    assert "UNFINISHED" in str(run)
    assert "unfinished; notebook 03 goes on with it" in runs.faults(run)[0]
    with pytest.raises(ExplainedError, match="no finished run"):
        runs.find(ws)
    with pytest.raises(ExplainedError, match=r"notebook 03 goes on with it\. Until then choose another run"):
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
    with pytest.raises(ExplainedError, match=f"no run typo .*Known runs: {run.name}"):
        runs.find(make_workspace(tmp_path), "typo")


def test_a_damaged_card_is_said_to_be_damaged_and_passed_over(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    (run.path / "card.json").write_text("{")
    older = make_workspace(tmp_path).runs / "older"
    older.mkdir()
    (older / "card.json").write_text('{"created": "2026"}')
    assert runs.own_runs(make_workspace(tmp_path)) == []
    with pytest.raises(ExplainedError, match="damaged"):
        _ = run.card


def test_faults_are_said_in_words(tmp_path, radiographs):
    run = finish(runs.create(make_workspace(tmp_path), card()))
    run.update_card(version=99)
    newer, foreign = runs.faults(run, radiographs)
    assert "newer version" in newer
    assert (
        "trained on radiographs of manifest abc, but the images in use are the synthetic phantom of"
        in foreign
    )


SCORES = pd.DataFrame(
    {"path": ["a", "b"], "patient": ["1", "2"], "label": "NORMAL", "subtype": "IM", "score": [0.25, 0.5]}
)


def test_scores_that_are_cut_off_at_the_end_of_a_line_are_refused(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    run.write_scores("test", SCORES)
    path = run.path / "scores_test.csv"
    path.write_text(path.read_text()[: path.read_text().index("b,2")])
    with pytest.raises(ExplainedError, match=r"scores_test\.csv is missing, damaged, cut off or"):
        run.scores("test")


@pytest.mark.parametrize("entry", ["digests", "model_digest"])
def test_a_network_that_is_not_the_saved_one_is_refused_before_it_is_opened(entry, tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    (run.path / "model.keras").write_bytes(b"network")
    run.seal("model.keras")
    if entry == "model_digest":  # as in version 0.2.0
        stored = json.loads((run.path / "card.json").read_text())
        stored["model_digest"] = stored.pop("digests")["model.keras"]
        (run.path / "card.json").write_text(json.dumps(stored))
    run.check("model.keras")
    (run.path / "model.keras").write_bytes(b"another")
    with pytest.raises(ExplainedError, match=r"model\.keras is missing, damaged, cut off or"):
        predict.load(run)


def test_validation_scores_that_are_gone_are_named_and_test_scores_that_were_deleted_are_made_anew(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    for part in ("val", "test"):
        run.write_scores(part, SCORES)
        (run.path / f"scores_{part}.csv").unlink()
    assert run.scores("test") is None
    with pytest.raises(ExplainedError, match=r"scores_val\.csv is missing"):
        run.scores("val")


def test_a_run_whose_card_is_damaged_is_named_and_not_forgotten_in_silence(tmp_path, capsys):
    run = finish(runs.create(make_workspace(tmp_path), card()))
    (run.path / "model.keras").write_bytes(b"network")
    (run.path / "card.json").write_text((run.path / "card.json").read_text()[:40])
    assert runs.own_runs(make_workspace(tmp_path)) == []
    said = capsys.readouterr().out
    assert said.count("It is passed over.") == 1 and f"{run.path} is not a run folder" in said


def test_scores_are_written_once(tmp_path):
    run = runs.create(make_workspace(tmp_path), card())
    scores = SCORES
    assert run.scores("test") is None
    run.write_scores("test", scores)
    pd.testing.assert_frame_equal(run.scores("test"), scores, check_dtype=False)
    with pytest.raises(ExplainedError, match="scored once"):
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
