import itertools
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from utils import __main__ as commands
from utils import runs
from utils.data import manifest
from utils.data.formats import DataError
from utils.evaluation import perturbations, stress
from utils.evaluation.perturbations import CHANGES, KEPT, LEFT, MIDDLE
from utils.inference import classify
from utils.sources import folder


def table(labels, patients=None):
    return pd.DataFrame({"patient": patients or [str(n) for n in range(len(labels))], "label": labels})


WELL, ILL = "NORMAL", "PNEUMONIA"
WIDEST = proportion_confint(0.5, 1, method="wilson")  # one of two patients, half: as one independent picture
SCORES = {  # of four pictures: unchanged, then changed
    stress.UNCHANGED: np.array([0.1, 0.2, 0.8, 0.9]),
    "mirrored": np.array([0.1, 0.7, 0.8, 0.9]),
    "inverted": np.array([0.6, 0.7, 0.3, 0.9]),
    stress.BLIND: np.array([0.5, 0.5, 0.5, 0.5]),
}


def test_effects_tell_which_answers_turn_and_in_which_direction():
    found = stress.effects(SCORES, table([WELL, WELL, ILL, ILL]), 0.5, 200).set_index("change")
    assert found.loc["mirrored", ["flips", "up", "down", "false_alarms", "missed", "auc"]].tolist() == [
        0.25, 0.5, 0, 0.5, 0, 1,
    ]  # fmt: skip
    assert found.loc["inverted", ["flips", "up", "down", "called"]].tolist() == [0.75, 1, 0.5, 0.75]
    assert found.loc[stress.BLIND, ["auc", "called"]].tolist() == [0.5, 1]
    assert found["shift"].tolist() == pytest.approx([0, 0.125, 0.125, 0])
    assert found.largest["inverted"] == pytest.approx(0.5) and found.kind["mirrored"] == "position and file"
    assert found.loc["mirrored", ["up_low", "up_high"]].tolist() == pytest.approx(WIDEST)
    assert 0 < found.down_high["mirrored"] < 1  # nothing turned, yet two patients exclude little
    assert found.loc[stress.UNCHANGED, ["up_low", "up_high", "flips_high"]].isna().all()


def test_patients_are_drawn_whole():
    """Eight pictures of two patients say less than eight of eight."""
    scores = {change: np.repeat(score, 4) for change, score in SCORES.items()}
    labels, patients = [WELL] * 8 + [ILL] * 8, list("aaaabbbbccccdddd")
    alike = stress.effects(scores, table(labels, patients), 0.5, 400)
    apart = stress.effects(scores, table(labels), 0.5, 400)
    assert alike.change[1] == "mirrored" and alike.up[1] == apart.up[1] == 0.5
    assert alike.loc[1, ["up_low", "up_high"]].tolist() == pytest.approx(WIDEST)
    assert WIDEST[0] + 0.1 < apart.up_low[1] < apart.up_high[1] < WIDEST[1] - 0.1


def test_without_labels_all_answers_count_and_nothing_is_called_wrong():
    found = stress.effects(SCORES, table([""] * 4), 0.5, 200).set_index("change")
    assert found.loc["inverted", ["up", "down", "flips"]].tolist() == [0.5, 0.25, 0.75]
    assert not {"false_alarms", "missed", "auc"} & set(found) and (found.negative == 0).all()


CALLED = "radiographs, this model calls"
TOLD = {  # how the sentences begin
    "both classes": [
        f"Of 2 normal {CALLED} 0 % pneumonia; when inverted, 100 %",
        f"Of 2 pneumonia {CALLED} 0 % normal; when inverted, 50 %",
        "When blanked in the middle, its AUC is 0.50",
    ],
    "one class": [
        f"Of 4 normal {CALLED} 50 % pneumonia; when mirrored, 75 %",
        "When blanked in the middle, 50 % (13-87 %) of its answers flip",
    ],
    "no labels": [
        f"Of 4 {CALLED} 50 % pneumonia; when inverted, a further 50 %",
        f"Of 4 {CALLED} 50 % normal; when inverted, a further 25 %",
        "When blanked in the middle, 50 % (13-87 %) of its answers flip",
    ],
}


@pytest.mark.parametrize(
    ("labels", "told"),
    list(zip(([WELL, WELL, ILL, ILL], [WELL] * 4, [""] * 4), TOLD.values(), strict=True)),
    ids=TOLD,
)
def test_sentences_say_what_was_found(labels, told):
    found = stress.effects(SCORES, table(labels), 0.5, 200).assign(network="x")
    sentences = list(stress.sentences(found, (WELL, ILL)))
    assert len(sentences) == len(told)
    assert all(sentence.startswith(start) for sentence, start in zip(sentences, told, strict=True))
    still = {change: SCORES[stress.UNCHANGED] for change in SCORES}
    found = stress.effects(still, table(labels), 0.5, 50).assign(network="x")
    assert "and no more after any change" in next(stress.sentences(found, (WELL, ILL)))


def test_a_model_that_always_gives_the_same_answer_is_named():
    same = {change: score + 1 for change, score in SCORES.items()}
    found = stress.effects(same, table([WELL, WELL, ILL, ILL]), 0.5, 50).assign(network="x")
    assert next(stress.sentences(found, (WELL, ILL))).startswith("It gives all radiographs the same answer")


def test_the_same_pictures_go_through_every_network(trained, radiographs):
    part = manifest.draw(manifest.select(radiographs.table, "val"), 5)
    tested = stress.beside(trained, radiographs)
    (name,) = tested  # the phantom: no yardsticks
    assert name == "this model: compact network, short training, epochs 2"
    found = stress.compare(tested | {"again": trained}, radiographs.pixels[part.index], part, 50)
    one, two = (rows.drop(columns="network").reset_index(drop=True) for _, rows in found.groupby("network"))
    pd.testing.assert_frame_equal(one, two)
    assert len(one) == 1 + sum(map(len, stress.CHANGES.values()))
    stored = manifest.select(radiographs.table, "val").merge(trained.scores("val")).set_index("path")
    threshold = trained.card["threshold"]["value"]
    assert one.called[0] == pytest.approx((stored.score[part.path] >= threshold).mean())


def test_yardsticks_stand_beside_a_run_on_the_public_radiographs(trained, radiographs):
    class Public:
        digest = manifest.digest(manifest.read())

    assert list(stress.beside(trained, Public).values())[1:] == [
        runs.released(recipe) for recipe in ("best", "compact_usual")
    ]
    best = runs.released("best")
    assert list(stress.beside(best, Public)) == [
        "this model: compact network, our handling",
        "released: compact network, usual handling",
    ]


def test_whole_patients_of_both_classes_are_drawn():
    rows = table([WELL] * 40 + [ILL] * 60, [f"p{n // 4}" for n in range(100)])
    drawn = manifest.draw(rows, 10)
    assert drawn.label.value_counts().between(10, 13).all() and drawn.equals(manifest.draw(rows, 10))
    assert (drawn.patient.value_counts() == 4).all()
    assert manifest.draw(rows, 1000).equals(rows)


# What strangers bring: folders with and without labels, their own models


def stress_command(monkeypatch, home, *arguments):
    monkeypatch.setenv("CXR_HOME", str(home))
    monkeypatch.setattr(sys, "argv", ["utils", "stress", *map(str, arguments)])
    commands.main()


def put(picture_of, target, names):
    target.mkdir(parents=True)
    for name, source in zip(names, picture_of, strict=False):
        shutil.copy(source, target / name)


@pytest.fixture
def pictures(phantom_folder):
    return sorted(phantom_folder.rglob("*.jpeg"))


def test_a_model_file_and_a_folder_with_labels(trained, pictures, tmp_path, monkeypatch, capsys):
    put(pictures[:6], tmp_path / "in/Normal", [f"a{n}.jpg" for n in range(6)])
    put(pictures[-6:], tmp_path / "in/pneumonia", [f"a{n}.jpg" for n in range(6)])
    (tmp_path / "in/pneumonia/a0.jpg").write_bytes(b"no image")
    shutil.copy(pictures[0], tmp_path / "in/elsewhere.jpg")
    to = tmp_path / "out/report.csv"
    stress_command(monkeypatch, tmp_path, trained.path / "model.keras", tmp_path / "in", "--to", to)
    printed = capsys.readouterr().out
    assert "pneumonia/a0.jpg is left out: " in printed and "1 images outside" in printed
    assert "Of 6 normal radiographs" in printed and "Of 5 pneumonia" in printed and str(to) in printed
    found = pd.read_csv(to)
    assert len(found) == 24 and found.auc.between(0, 1).all() and to.with_suffix(".png").exists()


def test_a_run_and_a_folder_without_labels(trained, pictures, tmp_path, monkeypatch, capsys):
    put(pictures[:4], tmp_path / "in", ["NA.jpg", "=x.jpg", "b.jpg", "c.jpg"])
    stress_command(monkeypatch, tmp_path, trained.path, tmp_path / "in")
    assert "No labels" in capsys.readouterr().out
    assert "auc" not in pd.read_csv(tmp_path / "stress" / f"{trained.name}.csv")


@pytest.mark.parametrize(
    ("model", "place", "to", "said"),
    [
        ("no_run", "in", "r.csv", "There is no run no_run"),
        ("no.keras", "in", "r.csv", "No saved model"),
        ("ours", "nowhere", "r.csv", "There is nothing at"),
        ("ours", "empty", "r.csv", "No radiograph"),
        ("ours", "in", "r.png", "does not end in .csv"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(
    trained, pictures, tmp_path, monkeypatch, model, place, to, said
):
    put(pictures[:2], tmp_path / "in", ["a.jpg", "b.jpg"])
    (tmp_path / "empty").mkdir()
    (tmp_path / to).write_text("a result that exists")
    model = trained.path if model == "ours" else model
    with pytest.raises(SystemExit, match=said):
        stress_command(monkeypatch, tmp_path, model, tmp_path / place, "--to", tmp_path / to)
    assert (tmp_path / to).read_text() == "a result that exists"


def test_of_a_known_data_set_validation_images_are_taken_and_test_images_never(phantom_folder):
    listed = manifest.read(phantom_folder / "data_manifest.csv")
    shown, rows = folder.read(phantom_folder, 1000)
    assert set(rows.path) == set(manifest.select(listed, "val").path) and len(shown) == len(rows)
    assert rows.patient.str.startswith("phantom-").all()


def test_official_test_images_are_known_by_their_look_and_no_other_picture_by_its_name(pictures, tmp_path):
    put(sorted(classify.EXAMPLES.iterdir()), tmp_path / "x", ["a.png", "b.png", "c.png"])
    with pytest.raises(DataError, match=r"All images in .* are test images"):
        folder.read(tmp_path / "x", 10)
    names = [path.rpartition("/")[2] for path in manifest.read().query("split == 'test'").path[:3]]
    put(pictures, tmp_path / "y/PNEUMONIA", names)
    put(sorted(classify.EXAMPLES.iterdir())[1:2], tmp_path / "z/PNEUMONIA", ["ill.png"])
    shutil.copytree(tmp_path / "y", tmp_path / "z", dirs_exist_ok=True)
    for place in ("y", "z"):  # a test image among own pictures is left out
        shown, rows = folder.read(tmp_path / place, 10)
        assert rows.label.tolist() == ["PNEUMONIA"] * 3 and len(shown) == 3
        assert set(rows.name) == {f"PNEUMONIA/{name}" for name in names}


def test_a_picture_in_the_folder_of_the_other_class_is_named(tmp_path):
    put(sorted(classify.EXAMPLES.iterdir()), tmp_path / "x/NORMAL", ["a.png", "b.png", "c.png"])
    with pytest.raises(DataError, match=r"NORMAL/b\.png is a picture of the public data set.* PNEUMONIA"):
        folder.read(tmp_path / "x", 10)


def test_one_image_is_read(pictures):
    shown, rows = folder.read(pictures[0], 10)
    assert len(shown) == len(rows) == 1 and rows.label[0] == ""


EVERY = [(kind, name) for kind, changes in CHANGES.items() for name in changes]


def ramp():
    return np.repeat(np.linspace(0, 223, 224)[:, None], 224, 1).astype(np.uint8)


def noise(n=2):
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224), dtype=np.uint8)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_change_gives_pictures_of_the_same_kind_and_leaves_its_input_alone(kind, name):
    pictures = noise()
    changed = CHANGES[kind][name](pictures)
    assert changed.dtype == np.uint8 and changed.shape == pictures.shape
    assert (changed != pictures).mean() > 0.002 and np.array_equal(pictures, noise())
    assert np.array_equal(CHANGES[kind][name](pictures[:1]), changed[:1])  # whatever else is in the batch
    assert CHANGES[kind][name](pictures[:0]).shape == (0, 224, 224)


def test_names_are_unique():
    assert len({name for _, name in EVERY}) == len(EVERY)


@pytest.mark.parametrize("name", CHANGES["framing"])
def test_framings_keep_equal_areas(name):
    """Of the picture's content what is seen, times what it fills of the frame."""
    down, across = CHANGES["framing"][name](np.stack([ramp(), ramp().T])).astype(int)
    seen = np.ptp(down[:, 112]) / 223 * np.ptp(across[112]) / 223
    filler = [(np.diff(down[:, 112]) == 0).mean(), (np.diff(across[112]) == 0).mean()]
    if name == "blanked at top and bottom":
        seen = (len(set(down[:, 112])) - 1) / 224
    elif name == "squeezed in width":
        seen = 1 - filler[1]
    assert seen == pytest.approx(KEPT, abs=0.02)


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_cropping_keeps_the_middle(kept):
    pictures = np.stack([ramp(), ramp().T])
    rows, columns = perturbations.crop(pictures, height=kept)
    assert rows.mean() == pytest.approx(111.5, abs=1)
    assert np.ptp(rows.astype(int)) == pytest.approx(223 * kept, abs=2)
    assert np.array_equal(columns, ramp().T)
    assert np.ptp(perturbations.crop(pictures, width=kept)[1].astype(int)) == pytest.approx(223 * kept, abs=2)


@pytest.mark.parametrize("kept", [80, 1.5, 0, -0.5])
def test_a_crop_that_is_no_share_gets_words(kept):
    with pytest.raises(DataError, match=f"A crop cannot keep {kept} of the height and 1.0 of the width"):
        perturbations.crop(np.zeros((1, 224, 224), np.uint8), height=kept)


def test_squeezing_loses_nothing_and_blanking_stretches_nothing():
    columns = ramp().T[None]
    narrowed = perturbations.squeeze(columns, width=0.7)[0].astype(int)
    assert narrowed.min() <= 1 and narrowed.max() >= 222 and np.diff(narrowed).max() <= 2
    assert (narrowed[:, :30] == narrowed[:, :1]).all()
    framed = perturbations.squeeze(columns + 9, 0.9, 0.9, fill="constant")[0]
    assert (framed[0] == 0).all() and (framed[:, -1] == 0).all() and framed[112, 112] > 0
    blanked = perturbations.blank(ramp()[None], height=0.8)[0]
    assert np.array_equal(blanked[22:-22], ramp()[22:-22]) and set(blanked[:22].ravel()) == {111}


def test_the_middle_and_what_is_around_it_make_up_the_picture():
    inside, around = (change(noise()) for change in CHANGES[LEFT].values())
    unchanged = [np.equal(changed, noise()).mean() for changed in (inside, around)]
    assert unchanged == pytest.approx([1 - MIDDLE, MIDDLE], abs=0.02)
    assert ((inside == noise()) | (around == noise())).all()


def test_a_blanked_middle_does_not_tell_what_was_there():
    change = CHANGES[LEFT]["blanked in the middle"]
    dark, light = noise(), noise()
    dark[:, 60:160, 60:160], light[:, 60:160, 60:160] = 0, 255
    assert np.array_equal(change(dark), change(light))


def test_tones_do_what_their_names_say():
    grey, tone = np.full((1, 224, 224), 100, np.uint8), CHANGES["tone"]
    assert tone["darkened (gamma 1.5)"](grey).max() < 100 < tone["lightened (gamma 0.67)"](grey).min()
    assert tone["brightened by 15 %"](grey).mean() == pytest.approx(138, abs=1)
    assert tone["inverted"](tone["inverted"](noise())).tolist() == noise().tolist()
    assert tone["lowered in contrast by 30 %"](noise()).std() == pytest.approx(0.7 * noise().std(), rel=0.01)
    assert tone["given a steeper curve"](ramp()[None]).std() > ramp().std()
    sides = tone["lighter on one side"](grey)[0].mean(0)
    assert sides[0] == 70 and sides[-1] == 130 and (np.diff(sides) >= 0).all()
    soft, sharp = (
        np.abs(np.diff(tone[name](noise()).astype(int))).mean() for name in ("softened", "sharpened")
    )
    assert soft < np.abs(np.diff(noise().astype(int))).mean() < sharp


def test_files_change_little_and_less_with_better_quality():
    errors = [np.abs(perturbations.reencode(noise(), q).astype(int) - noise()).mean() for q in (30, 95)]
    assert errors[0] > 2 * errors[1] > 0
    antialiased, not_antialiased = (perturbations.through(noise(), 112, way) for way in (True, False))
    assert antialiased.std() < not_antialiased.std()
    for first, second in itertools.pairwise(perturbations.rotate(noise(), degrees) for degrees in (0, 0)):
        assert np.array_equal(first, second) and np.array_equal(first, noise())
