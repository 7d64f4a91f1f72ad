import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from utils import runs
from utils.data import manifest
from utils.evaluation import stress
from utils.evaluation.stress import CHANGES, KEPT, PARTS, UNCHANGED, WITHOUT_LUNGS
from utils.workspace import PROJECT, ExplainedError

WIDEST = proportion_confint(0.5, 1, method="wilson")  # one of two patients, half: as one independent picture
SCORES = {  # of four pictures, two of each class
    UNCHANGED: np.array([0.1, 0.2, 0.8, 0.9]),
    "mirrored": np.array([0.1, 0.7, 0.8, 0.9]),
    "inverted": np.array([0.6, 0.7, 0.3, 0.9]),
    WITHOUT_LUNGS: np.array([0.5, 0.5, 0.5, 0.5]),
}


def table(patients="abcd"):
    labels = np.repeat(["NORMAL", "PNEUMONIA"], len(patients) // 2)
    return pd.DataFrame({"patient": list(patients), "label": labels})


def test_effects_tell_which_answers_turn_and_in_which_direction():
    found = stress.effects(SCORES, table(), 0.5).set_index("change")
    measures = ["specificity", "sensitivity", "up", "down", "auc"]
    assert found.loc[UNCHANGED, measures].tolist() == [1, 1, 0, 0, 1]
    assert found.loc["mirrored", measures].tolist() == [0.5, 1, 0.5, 0, 1]
    assert found.loc["inverted", measures].tolist() == [0, 0.5, 1, 0.5, 0.5]
    assert found.loc[WITHOUT_LUNGS, measures].tolist() == [0, 1, 1, 0, 0.5]
    assert found.kind.to_list() == ["", "position and file", "tone", "parts alone"]
    assert (found[["images", "patients", "negative", "positive"]] == [4, 4, 2, 2]).all(axis=None)
    assert found.loc["mirrored", ["up_low", "up_high"]].tolist() == pytest.approx(WIDEST)
    assert 0 < found.down_high["mirrored"] < 1  # nothing turned, yet two patients exclude little
    assert found.loc[UNCHANGED, ["up_low", "up_high", "down_low", "down_high"]].isna().all()


def test_only_right_answers_can_turn():
    """Wrong answers to one radiograph of each class are set right by one change and left by the other."""
    scores = {change: np.array([0.9, 0.1, 0.1, 0.9]) for change in (UNCHANGED, "mirrored", "inverted")}
    scores["mirrored"] = np.array([0.1, 0.1, 0.9, 0.9])
    found = stress.effects(scores, table(), 0.5).set_index("change")
    assert found.specificity.to_list() == found.sensitivity.to_list() == [0.5, 1, 0.5]
    assert (found[["up", "down"]] == 0).all(axis=None)


def test_patients_are_counted_not_pictures():
    """Eight pictures of two patients say less than eight of eight."""
    scores = {change: np.repeat(score, 4) for change, score in SCORES.items()}
    alike = stress.effects(scores, table("aaaabbbbccccdddd"), 0.5).set_index("change").loc["mirrored"]
    apart = stress.effects(scores, table("abcdefghijklmnop"), 0.5).set_index("change").loc["mirrored"]
    assert alike.up == apart.up == 0.5
    assert [alike.up_low, alike.up_high] == pytest.approx(WIDEST)
    assert WIDEST[0] + 0.1 < apart.up_low < apart.up_high < WIDEST[1] - 0.1


def test_sentences_name_the_worst_changes_of_the_first_network():
    scores = dict.fromkeys(CHANGES, SCORES["mirrored"])
    scores |= {"inverted": SCORES["inverted"], WITHOUT_LUNGS: SCORES[WITHOUT_LUNGS]}
    found = stress.effects(scores, table(), 0.5).assign(network="a")
    other = stress.effects(dict.fromkeys(scores, SCORES[UNCHANGED]), table(), 0.5).assign(network="b")
    said = list(stress.sentences(pd.concat([found, other]), ("NORMAL", "PNEUMONIA")))
    assert len(said) == 3
    assert said[0].startswith("Specificity (2 normal radiographs): 0.50 (0.05-0.95) unchanged; lowest of 21 ")
    assert "changes: 0.00 (0.00-0.66) when inverted, 0.50 (0.05-0.95) when cropped in height" in said[0]
    assert said[1].startswith("Sensitivity (2 pneumonia radiographs): 1.00 (0.34-1.00) unchanged; lowest of")
    assert "AUC: 1.00 (0.34-1.00) unchanged; 0.500 (no interval) when blanked in the middle," in said[2]


def test_the_same_pictures_go_through_every_network(trained, radiographs):
    part = manifest.select(radiographs.table, "val").groupby("label").head(5)
    tested = stress.beside(trained, radiographs)
    (name,) = tested  # the phantom: no yardsticks
    assert name == "this model: compact network, short training, epochs 2"
    found = stress.compare(tested | {"again": trained}, radiographs.pixels[part.index], part)
    one, two = (rows.drop(columns="network").reset_index(drop=True) for _, rows in found.groupby("network"))
    pd.testing.assert_frame_equal(one, two)
    assert one.change.to_list() == list(CHANGES)
    stored = manifest.select(radiographs.table, "val").merge(trained.scores("val")).set_index("path")
    ill = part.path[part.label == "PNEUMONIA"]
    threshold = trained.card["threshold"]["value"]
    assert one.sensitivity[0] == pytest.approx((stored.score[ill] >= threshold).mean())


def test_yardsticks_stand_beside_a_run_on_the_public_radiographs(trained):
    class Public:
        digest = manifest.digest(manifest.read())

    best, usual = map(runs.released, ("best", "compact_usual"))
    assert list(stress.beside(trained, Public).values()) == [trained, best, usual]
    assert list(stress.beside(best, Public).values()) == [best, usual]


def test_cropping_needs_no_tensorflow():
    code = "import sys; from utils.evaluation import stress; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 0


# The changes


def ramp():
    return np.repeat(np.linspace(0, 223, 224)[:, None], 224, 1).astype(np.uint8)


def noise(n=2):
    return np.random.default_rng(0).integers(0, 256, (n, 224, 224), dtype=np.uint8)


def changed(name, pictures):
    return CHANGES[name].function(pictures)


@pytest.mark.parametrize("name", list(CHANGES)[1:])
def test_every_change_gives_pictures_of_the_same_kind_and_leaves_its_input_alone(name):
    pictures = noise()
    after = changed(name, pictures)
    assert after.dtype == np.uint8 and after.shape == pictures.shape
    assert (after != pictures).mean() > 0.002 and np.array_equal(pictures, noise())
    assert np.array_equal(changed(name, pictures[:1]), after[:1])  # whatever else is in the batch


FRAMINGS = [name for name, change in CHANGES.items() if change.kind == "framing"]


@pytest.mark.parametrize("name", FRAMINGS)
def test_framings_keep_equal_areas(name):
    """Of the picture's content what is seen, times what it fills of the frame."""
    down, across = changed(name, np.stack([ramp(), ramp().T])).astype(int)
    seen = np.ptp(down[:, 112]) / 223 * np.ptp(across[112]) / 223
    if name == "blanked at top and bottom":
        seen = (len(set(down[:, 112])) - 1) / 224
    elif name == "squeezed in width":
        seen = (np.diff(across[112]) != 0).mean()
    assert seen == pytest.approx(KEPT, abs=0.02)


@pytest.mark.parametrize("kept", [1.0, 0.8, 0.5])
def test_cropping_keeps_the_middle(kept):
    pictures = np.stack([ramp(), ramp().T])
    rows, columns = stress.crop(pictures, height=kept)
    assert rows.mean() == pytest.approx(111.5, abs=1)
    assert np.ptp(rows.astype(int)) == pytest.approx(223 * kept, abs=2)
    assert np.array_equal(columns, ramp().T)
    assert np.ptp(stress.crop(pictures, width=kept)[1].astype(int)) == pytest.approx(223 * kept, abs=2)


@pytest.mark.parametrize("kept", [80, 1.5, 0, -0.5])
def test_a_crop_in_percent_is_refused(kept):
    with pytest.raises(ExplainedError, match=f"A crop cannot keep {kept} of the height and 1.0 of the width"):
        stress.crop(noise(1), height=kept)


def test_squeezing_loses_nothing_and_blanking_stretches_nothing():
    columns = ramp().T[None]
    narrowed = changed("squeezed in width", columns)[0].astype(int)
    assert narrowed.min() <= 1 and narrowed.max() >= 222 and np.diff(narrowed).max() <= 2
    assert (narrowed[:, :20] == narrowed[:, :1]).all()
    framed = changed("framed in black", columns + 9)[0]
    assert (framed[0] == 0).all() and (framed[:, -1] == 0).all() and framed[112, 112] > 0
    blanked = changed("blanked at top and bottom", ramp()[None])[0]
    assert np.array_equal(blanked[22:-22], ramp()[22:-22]) and set(blanked[:22].ravel()) == {111}


def test_the_middle_and_what_is_around_it_make_up_the_picture():
    inside, around = (changed(name, noise()) for name in (WITHOUT_LUNGS, "blanked around the middle"))
    unchanged = [np.equal(pictures, noise()).mean() for pictures in (inside, around)]
    assert unchanged == pytest.approx([0.3, 0.7], abs=0.02)
    assert ((inside == noise()) | (around == noise())).all()
    assert [name for name, change in CHANGES.items() if change.kind == PARTS] == [
        WITHOUT_LUNGS,
        "blanked around the middle",
    ]


def test_a_blanked_middle_does_not_tell_what_was_there():
    dark, light = noise(), noise()
    dark[:, 60:160, 60:160], light[:, 60:160, 60:160] = 0, 255
    assert np.array_equal(changed(WITHOUT_LUNGS, dark), changed(WITHOUT_LUNGS, light))


def test_tones_do_what_their_names_say():
    grey = np.full((1, 224, 224), 100, np.uint8)
    assert changed("darkened (gamma 1.5)", grey).max() < 100 < changed("lightened (gamma 0.67)", grey).min()
    assert changed("brightened by 15 %", grey).mean() == pytest.approx(138, abs=1)
    assert np.array_equal(changed("inverted", noise()), 255 - noise())
    assert changed("lowered in contrast by 30 %", noise()).std() == pytest.approx(
        0.7 * noise().std(), rel=0.01
    )
    assert changed("given a steeper curve", ramp()[None]).std() > ramp().std()
    sides = changed("lighter on one side", grey)[0].mean(0)
    assert sides[0] == 70 and sides[-1] == 130 and (np.diff(sides) >= 0).all()
    rough = {
        name: np.abs(np.diff(changed(name, noise()).astype(int))).mean() for name in ("softened", "sharpened")
    }
    assert rough["softened"] < np.abs(np.diff(noise().astype(int))).mean() < rough["sharpened"]


def test_files_and_positions_do_what_their_names_say():
    assert np.array_equal(changed("mirrored", noise()), noise()[:, :, ::-1])
    assert np.abs(changed("saved as JPEG of quality 30", noise()).astype(int) - noise()).mean() > 10
    turned = changed("turned by 10 degrees", np.full((1, 224, 224), 100, np.uint8))[0]
    assert turned[0, 0] == turned[-1, -1] == 0 and turned[112, 112] == 100
    assert len(np.unique(changed("shrunk to 112 pixels", ramp()[None])[0, 20:-20, 0])) > 100
