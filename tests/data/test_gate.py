"""The input gate: which pictures are like the training radiographs."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage
from conftest import make_workspace

from utils import runs, sources, workspace
from utils.data import gate, images, manifest
from utils.workspace import ExplainedError

RELEASED = ["compact_usual", "best", "best_published"]


@pytest.fixture(scope="module")
def examples():
    """The three radiographs that come with the project: uint8 [3, 224, 224]."""
    files = sorted((workspace.PROJECT / "examples/radiographs").glob("*.png"))
    return np.stack([images.read_squashed(file) for file in files])


@pytest.fixture(scope="module")
def samples():
    """The pictures that come with scikit-image: cells, cats, stars and the like."""
    pictures = []
    for path in sorted(Path(skimage.__file__).parent.glob("data/*")):
        with contextlib.suppress(ExplainedError, OSError):  # no pictures, folders
            pictures.append(images.read_squashed(path))
    assert len(pictures) > 10
    return np.stack(pictures)


@pytest.mark.parametrize("recipe", RELEASED)
def test_released_gates_open_and_let_no_sample_picture_pass(recipe, samples, examples):
    released = runs.released(recipe)
    assert released.card["gate"]["sample pictures"] == gate.load(released).unlike(samples).mean() == 1
    assert not gate.load(released).unlike(examples).any()


def test_a_released_gate_measures_as_when_it_was_released(examples):
    measures = gate.load(runs.released("best")).measures(examples)
    expected = [
        [1.79087, 1.24058, 1.14943, 0.39165, -7.1167],
        [0.7482, 0.97424, 1.19084, 0.72678, -7.56196],
        [0.99453, 0.90196, 0.94059, 0.44801, -4.65013],
    ]
    np.testing.assert_allclose(measures, expected, atol=1e-5)


@pytest.mark.parametrize("recipe", RELEASED)
def test_the_reason_says_what_to_try(recipe, examples):
    known = gate.load(runs.released(recipe))
    for change, (changed, hint) in gate.mistakes(examples).items():
        together = np.concatenate([examples[:1], changed])  # each picture gets its own reason
        assert known.reasons(together) == ["", hint, hint, hint], change
    assert known.reasons(examples) == [""] * 3  # nothing to explain
    assert known.reasons(np.zeros((1, 224, 224), np.uint8)) == [gate.UNLIKE]


def test_a_picture_that_is_unlike_in_tone_only_is_told_so(examples):
    noise = np.random.default_rng(0).normal(0, 12, examples.shape)
    grainy = np.clip(examples + noise, 0, 255).astype(np.uint8)
    assert gate.load(runs.released("best")).reasons(grainy) == [gate.UNLIKE_IN_TONE] * 3


@pytest.mark.parametrize("length", [0, 5000, None])
def test_a_gate_that_is_lost_or_damaged_is_named(tmp_path, length):
    run = runs.Run(shutil.copytree(runs.released("best").path, tmp_path / "run"))
    path = run.path / gate.FILE
    path.unlink() if length is None else path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ExplainedError, match=r"gate\.npz is missing or damaged .* Copy the run folder"):
        gate.load(run)


def test_a_training_keeps_a_small_gate_and_its_rates(trained, radiographs):
    held_out = radiographs.pixels[manifest.select(radiographs.table, "val").index.to_numpy()]
    assert (trained.path / gate.FILE).stat().st_size < 20_000
    shares = trained.card["gate"]
    assert shares == gate.rates(gate.load(trained), held_out)
    assert shares["radiographs"] < 0.2 and shares["inverted"] > 0.9 and shares["turned by 90 degrees"] > 0.9


def test_the_limits_come_from_patients_that_the_patterns_have_not_seen(radiographs):
    training = manifest.select(radiographs.table, "train")
    known = gate.fit(radiographs.pixels, training)
    others = training.index[training.fold % 2 == 0].to_numpy()
    over = known.measures(radiographs.pixels, others) > known.limits
    assert (over.sum(0) == 1).all(), "of so few the largest alone lies above its quantile"


def test_too_few_images_make_no_gate(radiographs):
    assert gate.fit(radiographs.pixels, manifest.select(radiographs.table, "train").iloc[:40]) is None


def test_a_gate_of_before_the_mirror_check_opens(examples, tmp_path):
    with np.load(runs.released("best").path / gate.FILE) as stored:
        before = {name: stored[name] for name in stored if name != "mirror"}
    before["limits"] = before["limits"][:4]
    np.savez(tmp_path / gate.FILE, **before)
    old = gate.load(runs.Run(tmp_path))
    assert not old.unlike(examples).any() and old.unlike(255 - examples).all()


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
