"""Rules every notebook keeps, and every notebook run: alone, and all in order."""

import ast
import json
import os
import re
import statistics
import subprocess
import sys

import nbformat
import pytest
from conftest import run_cells

from utils import __main__ as commands
from utils import workspace
from utils.sources import own_data

PATHS = sorted((workspace.PROJECT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in PATHS}
every = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name, kind):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == kind]


def lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def test_the_series_is_complete():
    assert [name[:2] for name in NOTEBOOKS] == [f"{number:02d}" for number in range(1, len(NOTEBOOKS) + 1)]
    assert len(NOTEBOOKS) >= 5


def test_the_setup_cell_is_the_same_everywhere():
    setups = {cells(name, "code")[0].source for name in NOTEBOOKS}
    assert len(setups) == 1
    assert sum(bool(line) for line in setups.pop().splitlines()) <= 20


@every
def test_head_and_tail(name):
    texts = [cell.source for cell in cells(name, "markdown")]
    head = texts[0]
    assert head.startswith("# ") and "[![Open in Colab]" in head
    assert all(f"**{word}**" in head for word in ("You need", "You get", "Time", "Next"))
    assert "For teaching and research, not for clinical use." in head
    everything = "\n".join(texts)
    for heading in ("## Setup", "## Settings", "## Files written", "## If something went wrong", "## Next"):
        assert heading in everything, heading
    for link in re.findall(r"\]\((\d\d_\w+\.ipynb)\)", everything):
        assert link in NOTEBOOKS, link


@every
def test_cells_are_few_and_short(name):
    code = [len(lines(cell)) for cell in cells(name, "code")]
    assert 14 <= len(NOTEBOOKS[name].cells) <= 34
    assert statistics.median(code) <= 7 and max(code) <= 25


@every
def test_code_is_plain_and_without_outputs(name):
    for cell in cells(name, "code"):
        assert not cell.outputs and cell.execution_count is None
        tree = ast.parse(cell.source)  # fails on ! and % lines
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(tree))
        assert not re.search(r"/(home|Users|root|tmp|work|mnt)/|[A-Z]:\\", cell.source)


@every
def test_prose_stands_before_code_and_after_figures(name):
    notebook = NOTEBOOKS[name].cells
    assert notebook[0].cell_type == notebook[1].cell_type == notebook[-1].cell_type == "markdown"
    for before, cell, after in zip(notebook, notebook[1:], notebook[2:], strict=False):
        if (
            cell.cell_type == "code"
            and re.search(r"figures\.(data|pictures|results)\.", cell.source)
            and "note=note" in cell.source
        ):
            assert "markdown" in (after.cell_type, before.cell_type)
            assert after.cell_type == "markdown" or "figures." in after.source


@every
def test_settings_are_few_and_shown_in_a_form(name):
    settings = cells(name, "code")[1]
    names = [line for line in lines(settings) if re.match(r"[A-Z_]+ = ", line)]
    assert 1 <= len(names) <= 8 and any("# @param" in line for line in names)


@every
def test_prose_is_respectful(name):
    text = " ".join(cell.source for cell in cells(name, "markdown"))
    assert not re.search(r"\b(simply|just|obviously|trivial(ly)?)\b", text, re.IGNORECASE)


def test_readme_names_every_notebook_and_setting():
    readme = (workspace.PROJECT / "README.md").read_text(encoding="utf8")
    assert all(name in readme for name in NOTEBOOKS)
    source = "\n".join(path.read_text() for path in (workspace.PROJECT / "utils").glob("*.py"))
    settings = set(
        re.findall(r"CXR_[A-Z]+", source + "".join(c.source for n in NOTEBOOKS for c in cells(n, "code")))
    )
    assert settings == set(re.findall(r"CXR_[A-Z]+", readme)) - {"CXR_TEST"}  # that one is for the tests


def test_address_is_written_into_setup_and_badges(tmp_path, monkeypatch):
    for path in PATHS:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(commands, "NOTEBOOKS", tmp_path)
    commands.set_address("https://github.com/someone/somewhere")
    for path in tmp_path.glob("*.ipynb"):
        text = path.read_text()
        assert (
            f"https://colab.research.google.com/github/someone/somewhere/blob/main/notebooks/{path.name}"
            in text
        )
        setup = next(c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code").source
        assert 'REPOSITORY = "https://github.com/someone/somewhere"' in setup
        assert setup.count("\n") == cells(path.name, "code")[0].source.count("\n")


STAND_IN = """
def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    raise ValueError("mount failed")
"""


def run_setup(folder, here):
    """Run the setup cell in a process that looks like Colab; returns what it prints."""
    colab = folder / "stand_in/google/colab"
    colab.mkdir(parents=True)
    (colab / "__init__.py").touch()
    (colab / "drive.py").write_text(STAND_IN)
    (folder / "setup.py").write_text("import google.colab\n" + cells(PATHS[0].name, "code")[0].source)
    path = os.pathsep.join([str(folder / "stand_in"), *sys.path[1:]])
    settings = {"PYTHONPATH": path, "CXR_QUICK": "1", "CXR_HOME": str(folder / "home")}
    command = [sys.executable, str(folder / "setup.py")]
    done = subprocess.run(command, cwd=here, env=os.environ | settings, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_setup_in_colab_goes_on_when_drive_is_refused_and_says_so(tmp_path):
    printed = run_setup(tmp_path, workspace.PROJECT / "notebooks")
    assert "Drive is not mounted" in printed and "Going on without Google Drive" in printed
    assert "NOT on Drive: lost when the runtime ends" in printed and "phantom" in printed.lower()


def test_setup_without_the_project_says_where_to_copy_it(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    assert "Copy the project to My Drive" in run_setup(tmp_path, tmp_path / "elsewhere")


def run_notebooks(names, home, **settings):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval-lax",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
    ]
    settings |= {"CXR_HOME": str(home), "CXR_QUICK": "1"}
    done = subprocess.run(
        [*command, *(f"notebooks/{name}" for name in names)],
        cwd=workspace.PROJECT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return home


def test_a_saved_model_from_elsewhere_is_evaluated(trained, tmp_path):
    file = str(trained.path / "model.keras")
    done = run_cells("04_evaluate.ipynb", tmp_path, MODEL_FILE=file, PIXELS="0-255")
    assert done.returncode == 0, done.stderr[-3000:]
    (run,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in run.iterdir()} >= {"model.keras", "scores_test.csv", f"{run.name}.zip"}
    text = (run / "methods_and_results.md").read_text()
    assert "A saved model" in text and "How it was trained is not known here" in text and "None" not in text


def test_stored_scores_are_evaluated_without_tensorflow(tmp_path):
    """Notebook 04 as on a laptop that has neither TensorFlow nor the radiographs."""
    blocked = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
    done = run_cells("04_evaluate.ipynb", tmp_path, blocked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Their pictures are left out" in done.stdout and list(tmp_path.glob("released/*/*.zip"))


@every
def test_notebook_runs_alone_on_the_phantom(name, tmp_path):
    """Notebooks 01 and 06 need neither TensorFlow nor Keras."""
    for package in ("tensorflow", "keras") if name[:2] in ("01", "06") else ():
        (tmp_path / f"{package}.py").write_text("raise ImportError")
    run_notebooks([name], tmp_path / "home", PYTHONPATH=str(tmp_path))


def test_series_runs_in_order_on_the_phantom(tmp_path):
    run_notebooks(NOTEBOOKS, tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {"04_roc.png", "04_roc.svg", "04_roc.pdf", "03_learning_curves.pdf"} <= figures
    assert (run / "metrics.json").exists() and (run / "tables" / "test_metrics.tex").exists()
    assert list((tmp_path / "answers").glob("examples_*.csv"))
    drawn = {path.stem for path in (tmp_path / "study").iterdir()}
    assert drawn == {f"06_{name}" for name in ("trace", "two_by_two", "counterfactual", "left_out", "record")}


def test_series_runs_in_order_on_own_classes(tmp_path, own_folder):
    own_data.describe(own_folder, positive="ill", patient=r"(P\d+)_")
    which = [name for name in NOTEBOOKS if not name.startswith("06")]  # that one is about stored results
    run_notebooks(which, tmp_path / "home", CXR_DATA=str(own_folder))
    (run,) = (tmp_path / "home/runs").iterdir()
    assert json.loads((run / "card.json").read_text())["class_names"] == ["well", "ill"]
    assert "P(ill)" in (run / "figures/04_scores.svg").read_text()
