"""The input gate: which pictures are like the training radiographs."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import skimage
from conftest import make_workspace

from utils import runs, sources
from utils.data import gate, images, manifest
from utils.workspace import ExplainedError


@pytest.fixture(scope="module")
def known(trained):
    return gate.load(trained)


@pytest.fixture(scope="module")
def held_out(radiographs):
    return radiographs.pixels[manifest.select(radiographs.table, "val").index.to_numpy()]


@pytest.fixture(scope="module")
def samples():
    """The pictures that come with scikit-image: cells, cats, stars and the like."""
    pictures = []
    for path in sorted(Path(skimage.__file__).parent.glob("data/*")):
        with contextlib.suppress(ExplainedError, OSError):  # no pictures, folders
            pictures.append(images.read_squashed(path))
    assert len(pictures) > 10
    return np.stack(pictures)


def test_a_training_keeps_a_small_gate_and_its_rates(trained, known, held_out):
    assert (trained.path / gate.FILE).stat().st_size < 20_000
    shares = trained.card["gate"]
    assert shares == gate.rates(known, held_out)
    assert shares["radiographs"] < 0.2 and shares["inverted"] > 0.9 and shares["turned by 90 degrees"] > 0.9


@pytest.mark.parametrize("recipe", ["compact_usual", "best", "best_published"])
def test_released_gates_open_and_let_no_sample_picture_pass(recipe, samples):
    released = runs.released(recipe)
    assert released.card["gate"]["sample pictures"] == gate.load(released).unlike(samples).mean() == 1


def test_the_reason_says_what_to_try(known, held_out):
    fine = held_out[~known.unlike(held_out)][:5]
    assert known.reasons(fine) == [""] * len(fine)
    changed = np.concatenate([fine, 255 - fine, np.rot90(fine, 1, (1, 2)), np.rot90(fine, 3, (1, 2))])
    texts = known.reasons(changed)  # each picture gets its own
    assert texts[:5] == [""] * 5 and set(texts[5:10]) == {"it looks inverted: bones should be bright"}
    assert "it looks turned by 90 degrees" in texts[10:15] and "it looks turned by 90 degrees" in texts[15:]
    assert known.reasons(np.zeros((1, 224, 224), np.uint8))[0] in (gate.UNLIKE, gate.UNLIKE_IN_TONE)


def test_too_few_images_make_no_gate(radiographs):
    assert gate.fit(radiographs.pixels, manifest.select(radiographs.table, "train").iloc[:40]) is None


def test_the_gate_judges_training_patients_by_others(radiographs):
    """The limits come from folds that the patterns have not seen, so a given share of those is unlike."""
    training = manifest.select(radiographs.table, "train")
    known = gate.fit(radiographs.pixels, training)
    others = training.index[training.fold % 2 == 0].to_numpy()
    over = known.measures(radiographs.pixels, others) > known.limits
    assert (over.sum(0) == 1).all(), "of so few the largest alone lies above its quantile"


def test_a_gate_of_before_the_mirror_check_opens(trained, known, held_out, tmp_path):
    with np.load(trained.path / gate.FILE) as stored:
        before = {name: stored[name] for name in stored if name != "mirror"}
    before["limits"] = before["limits"][:4]
    np.savez(tmp_path / gate.FILE, **before)
    old = gate.load(runs.Run(tmp_path))
    assert (old.unlike(held_out) <= known.unlike(held_out)).all()


@pytest.mark.slow
def test_the_gate_on_real_radiographs(real_data, tmp_path):
    radiographs = sources.load(make_workspace(tmp_path, real_data / "chest_xray", quick=False))
    training, validation = (manifest.select(radiographs.table, part) for part in ("train", "val"))
    pictures = radiographs.pixels[validation.index.to_numpy()]
    shares = gate.rates(gate.fit(radiographs.pixels, training), pictures)
    assert shares.pop("radiographs") <= 0.02 and shares.pop("mirrored") > 0.85 and min(shares.values()) > 0.98
    released = runs.released("best")
    for name, share in gate.rates(gate.load(released), pictures).items():
        assert released.card["gate"].get(name, share) == share
    assert "left and right exchanged" in " ".join(gate.load(released).reasons(pictures[:50, :, ::-1]))
