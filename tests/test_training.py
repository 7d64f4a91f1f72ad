import numpy as np
import pandas as pd
import pytest

from utils import manifest, metrics, model, recipes, runs, scoring, training


def test_a_run_folder_is_complete_and_explains_itself(trained, radiographs):
    run, _ = trained
    card = run.card
    assert {path.name for path in run.path.iterdir()} >= {
        "model.keras",
        "card.json",
        "history.csv",
        "scores_val.csv",
    }
    assert run.finished and card["synthetic"] and card["manifest"] == radiographs.digest
    assert card["recipe"]["epochs"] == 2 and card["changed"] == {"epochs": [24, 2]}
    assert len(run.history()) == 2 and card["epochs_done"] == 2 and not runs.faults(run, radiographs)
    assert card["counts"]["train"] + card["counts"]["val"] == (radiographs.table.split != "test").sum()


def test_validation_is_fold_0_and_shares_no_patient_with_training(trained, radiographs):
    scores = trained[0].scores("val")
    train = manifest.select(radiographs.table, "train")
    assert sorted(scores.path) == sorted(radiographs.table.path[radiographs.table.fold == 0])
    assert not set(scores.patient) & set(train.patient)


def test_the_threshold_comes_from_the_validation_scores(trained):
    scores = trained[0].scores("val")
    expected = metrics.choose_threshold(manifest.positives(scores), scores.score)
    assert trained[0].card["threshold"]["value"] == pytest.approx(expected, abs=1e-5)


def test_the_saved_network_gives_the_stored_scores(trained, radiographs):
    run, network = trained
    saved = model.load(run.path / "model.keras")
    validation = manifest.select(radiographs.table, "val")
    again = scoring.score_table(saved, radiographs.pixels, validation)
    np.testing.assert_allclose(again.score, run.scores("val").score, atol=1e-5)
    for kept, used in zip(saved.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, used)


def test_the_same_seed_trains_the_same_network(trained, radiographs, tmp_path):
    training.prepare(0)
    chosen = recipes.recipe("compact", quick=True)
    network = training.build(chosen)
    training.fit(network, chosen, radiographs, tmp_path)
    for first, second in zip(trained[1].get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_class_weights_balance_the_classes():
    table = pd.DataFrame({"label": ["NORMAL"] * 10 + ["PNEUMONIA"] * 30})
    assert training.class_weights(table) == {0: 2.0, 1: pytest.approx(2 / 3)}


def test_batches_hold_every_image_once_an_epoch_in_a_new_order(radiographs):
    train = manifest.select(radiographs.table, "train")
    batches = training.Batches(radiographs.pixels, train, 32, seed=0)
    orders = []
    for _ in range(2):
        pictures, targets = zip(*(batches[step] for step in range(len(batches))), strict=True)
        assert sum(map(len, pictures)) == len(train)
        orders.append(np.concatenate(targets)[:, 1])
        rows = train.index[batches.order]
        np.testing.assert_array_equal(np.concatenate(pictures), radiographs.pixels[rows])
        np.testing.assert_array_equal(orders[-1], manifest.positives(train)[batches.order])
        batches.on_epoch_end()
    assert (orders[0] != orders[1]).any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": 0}, "at least 1"),
        ({"batch_size": 10_000}, "batch_size is 10000; choose 1 to"),
        ({"network": "resnet"}, "no network 'resnet'"),
    ],
)
def test_bad_settings_get_words_before_any_work(changes, words, radiographs, tmp_path):
    network = model.compact()
    with pytest.raises(recipes.SettingsError, match=words):
        training.fit(network, recipes.recipe("compact", **changes), radiographs, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_recipe_and_field_list_the_known_ones():
    with pytest.raises(recipes.SettingsError, match="compact"):
        recipes.recipe("densenet")
    with pytest.raises(recipes.SettingsError, match="batch_size"):
        recipes.recipe("compact", batchsize=3)


def test_test_images_are_scored_once(trained, radiographs, tmp_path):
    run, _ = trained
    first, sentence = scoring.test_scores(run, radiographs)
    assert "Scored" in sentence and len(first) == (radiographs.table.split == "test").sum()
    again, sentence = scoring.test_scores(run, radiographs)
    assert "stored" in sentence
    pd.testing.assert_frame_equal(first, again)


def test_a_real_network_is_never_scored_on_the_phantom(radiographs, tmp_path):
    real = runs.create(tmp_path, "compact", 0, {"manifest": "real", "synthetic": False})
    real.update_card(finished=True)
    with pytest.raises(runs.RunError, match="not scored"):
        scoring.test_scores(real, radiographs)
    names, pictures, _ = scoring.example_images(real, radiographs)
    assert names == [] and pictures.shape == (0, 224, 224)


def test_new_images_are_answered_and_bad_files_get_a_reason(trained, radiographs, tmp_path):
    from PIL import Image

    (tmp_path / "more").mkdir()
    picture = radiographs.pixels[radiographs.table.index[0]]
    Image.fromarray(picture).save(tmp_path / "more" / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    (tmp_path / "c.txt").write_text("notes")
    names, pictures, problems = scoring.read_new(tmp_path)
    assert names == ["more/a.png"] and sorted(problems.path) == ["b.jpg", "c.txt"]
    np.testing.assert_array_equal(pictures[0], picture)
    validation = trained[0].scores("val")
    answer = scoring.classify(trained[1], names, pictures, 0.5, validation).iloc[0]
    normal = validation.score[validation.label == "NORMAL"]
    assert answer.normals_scoring_higher == pytest.approx((normal > answer.score).mean())
    assert answer.threshold == ("above" if answer.score >= 0.5 else "below")
    assert scoring.classify(trained[1], [], pictures[:0], 0.5, validation).empty


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_nothing_to_classify_gets_words(place, tmp_path):
    from utils import images

    with pytest.raises(images.UnreadableImage, match=r"nothing at|empty"):
        scoring.read_new(tmp_path / place)
