"""Shared pieces of the tests: a quick workspace with the phantom, and one short training on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

# Several test processes share the cores: one thread each, here and in all that they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")

import nbformat
import numpy as np
import pandas as pd
import pytest

from utils import backend, model, runs, sources, workspace
from utils.data import manifest
from utils.evaluation import evaluation
from utils.sources.phantom import write_phantom
from utils.training import recipes

# Tests press Ctrl-C; a shell that starts pytest with & has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

REAL = Path(os.environ.get("CXR_TEST_DATA", "/nowhere"))  # the folder with chest_xray and originals


def pytest_collection_modifyitems(items):
    """The notebooks come first: they take longest, and test processes side by side should end together."""
    items.sort(key=lambda item: item.path.stem != "test_notebooks")


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch):
    """No test depends on the settings of the person who runs it."""
    for name in ("CXR_DATA", "CXR_HOME", "CXR_QUICK", "CXR_RECIPE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="module")
def float32():
    """No test file depends on the precision that a training in another has set."""
    backend.keras.config.set_dtype_policy("float32")


def make_workspace(home, data=None, quick=True):
    home = Path(home)
    return workspace.Workspace(home=home, scratch=home, quick=quick, data=data and Path(data))


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function: name and make give a folder that make(folder) has filled, once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name, make):
        folder, done = base / name, base / f"{name}-is-made"
        with workspace.lock(folder):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def ws(made_once):
    return make_workspace(made_once("home", lambda home: sources.load(make_workspace(home))))


@pytest.fixture(scope="session")
def radiographs(ws):
    return sources.load(ws)


@pytest.fixture(scope="session")
def trained(made_once, radiographs):
    """The run of a two-epoch training on the phantom; to be changed by no test."""
    from utils.training import fit

    chosen = recipes.recipe("fast", quick=True)
    home = made_once("trained", lambda home: fit.train(chosen, radiographs, make_workspace(home)))
    (run,) = runs.own_runs(make_workspace(home))
    return run


@pytest.fixture(scope="session")
def scores(trained, radiographs):
    """Made-up scores of the test images, with errors of both kinds."""
    test = manifest.select(radiographs.table, "test").reset_index(drop=True)
    noise = np.random.default_rng(0).normal(0, 0.25, len(test))
    score = np.clip(0.3 + 0.4 * manifest.positives(test) + noise, 0, 1)
    return test[["path", "patient", "label", "subtype"]].assign(score=score)


@pytest.fixture(scope="session")
def results(scores, trained):
    return evaluation.results(scores, trained.scores("val"), 0.4, resamples=100)


def thumbnail(side, per_image):
    """A network that is made at once, without dropout and batch normalisation."""
    inputs = model.keras.Input((side, side, 1))
    x = model.layers.AveragePooling2D(8)(model.normalise(inputs, per_image))
    return model.keras.Model(inputs, model.two_classes(model.layers.Flatten()(x)))


@pytest.fixture
def small_network(monkeypatch):
    """Instead of `compact`, in tests that are not about the network."""
    monkeypatch.setitem(model.NETWORKS, "compact", thumbnail)


@pytest.fixture(scope="session")
def phantom_folder(made_once):
    return made_once("set", lambda folder: write_phantom(folder, patients=80))


@pytest.fixture
def own_folder(tmp_path, phantom_folder):
    """Pictures under other names: two class folders, equal file names in both, patients in the names."""
    table = manifest.read(phantom_folder / "data_manifest.csv")
    healthy = table.path[table.label == "NORMAL"]
    for number, row in enumerate(table.itertuples()):
        label = "ill" if row.label == "PNEUMONIA" else "well"
        target = tmp_path / "own" / label / f"P{number // 2:03d}_{number % 2}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom_folder / row.path, target)
        if number < 40 and label == "ill":  # the same name in both classes
            shutil.copy(phantom_folder / healthy.iloc[number], tmp_path / "own" / f"Q{number}.jpg")
            (tmp_path / "own" / f"Q{number}.jpg").rename(
                tmp_path / "own" / "well" / target.name.replace("P", "P9")
            )
    return tmp_path / "own"


@pytest.fixture(scope="session")
def real_data():
    """The real data set; only the slow tests ask for it."""
    if not (REAL / "chest_xray").is_dir():
        pytest.skip("CXR_TEST_DATA does not name a folder with chest_xray and originals")
    return REAL


def scores_table(labels, scores, patients=None):
    """A scores table; labels: 1 is pneumonia. Without patients, each image has its own."""
    return pd.DataFrame(
        {
            "label": np.where(labels, "PNEUMONIA", "NORMAL"),
            "score": scores,
            "patient": patients if patients is not None else [f"p{i}" for i in range(len(labels))],
        }
    )


def run_cells(name, home, first="", **changes):
    """Run a notebook's code as one script, in quick mode; changes: settings, as {name: value}."""
    notebook = nbformat.read(workspace.PROJECT / "notebooks" / name, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for setting, value in changes.items():
        code, times = re.subn(f"^{setting} = .*$", f"{setting} = {value!r}", code, flags=re.MULTILINE)
        assert times
    return subprocess.run(
        [sys.executable, "-c", first + code],
        cwd=workspace.PROJECT / "notebooks",
        env=os.environ | {"CXR_HOME": str(home), "CXR_QUICK": "1", "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
