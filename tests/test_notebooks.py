"""Rules every notebook keeps, and every notebook run: alone, and all in order."""

import ast
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import urllib.parse

import nbformat
import pytest
from conftest import run_cells

import utils
from utils import __main__ as commands
from utils import runs, workspace
from utils.sources import own_data

PATHS = sorted((workspace.PROJECT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = {path.name: nbformat.read(path, as_version=4) for path in PATHS}
every = pytest.mark.parametrize("name", NOTEBOOKS)
SOLUTION = re.compile(r"<details><summary>Solution</summary>\n\n```python\n(.*?)\n```\n", re.DOTALL)


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
    assert head.startswith("# ") and re.search(r"^(\*|\[!\[)Open in Colab", head, re.MULTILINE)
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
            and re.search(r"figures\.(data|errors|pictures|results|stress)\.", cell.source)
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


def solutions(name):
    return [code for cell in cells(name, "markdown") for code in SOLUTION.findall(cell.source)]


def test_eight_exercises_have_a_question_minutes_and_a_short_solution():
    teaching = (workspace.PROJECT / "notebooks" / "TEACHING.md").read_text(encoding="utf8")
    count = 0
    for name in NOTEBOOKS:
        text = "\n\n".join(cell.source for cell in cells(name, "markdown"))
        titles = re.findall(r"^\*\*(\d\.\d) (.+?)\*\* \(\d+ minutes\)\. ", text, re.MULTILINE)
        assert [number for number, _ in titles] == [f"{int(name[:2])}.{n + 1}" for n in range(len(titles))]
        assert len(titles) == len(solutions(name)) == text.count("<summary>Solution</summary>")
        assert text.count("<details>") == text.count("</details>")
        assert all(f"{number} {title}" in teaching for number, title in titles)
        assert all(len(code.splitlines()) <= 15 and "def " not in code for code in solutions(name))
        count += len(titles)
    assert count >= 8


def test_the_glossary_explains_thirty_terms_that_the_notebooks_use():
    text = (workspace.PROJECT / "notebooks" / "TEACHING.md").read_text(encoding="utf8")
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", text.partition("## Glossary")[2], re.MULTILINE)
    used = "\n".join(cell.source for name in NOTEBOOKS for cell in cells(name, "markdown")).lower()
    assert len(set(terms)) == 30 and [term for term in terms if term.lower() not in used] == []


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


COLAB = """
import builtins, os, sys, types
sys.path.insert(0, "stand_in")
import google.colab
builtins.get_ipython = lambda: types.SimpleNamespace(config={"connection_file": "kernel-mine.json"})
"""
DRIVE = """
import os
def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    print("asked for Drive")
    if not os.path.isdir("my drive"):
        raise ValueError("mount failed")
    os.makedirs("drive", exist_ok=True)
    os.rename("my drive", "drive/MyDrive")
"""


@pytest.fixture
def colab(tmp_path):
    """A fresh Colab runtime: its /content, with nothing in it but what plays google.colab."""
    stand_in = tmp_path / "content/stand_in/google/colab"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "drive.py").write_text(DRIVE)
    return tmp_path / "content"


@pytest.fixture
def project(tmp_path):
    """A small project that says from where it was started."""
    folder = tmp_path / "fork" / "chest-xray-notebooks"
    (folder / "utils").mkdir(parents=True)
    (folder / "utils" / "__init__.py").write_text("def start(use_drive):\n    print('started', __file__)\n")
    (folder / "utils" / "runs.py").touch()
    return folder


def run_setup(colab, before="", **settings):
    """Run the setup cell in a new process that looks like Colab; returns what it prints, errors too."""
    (colab / "cell.py").write_text(COLAB + before + cells(PATHS[0].name, "code")[0].source)
    path = os.pathsep.join(sys.path[1:])
    environment = os.environ | {"PYTHONPATH": path, "GIT_TERMINAL_PROMPT": "0"} | settings
    done = subprocess.run(
        [sys.executable, "cell.py"], cwd=colab, env=environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


class Sessions(http.server.BaseHTTPRequestHandler):
    """Colab's list of sessions: of another notebook, and of this one, opened from a branch of a fork."""

    def do_GET(self):
        places = {"other": "1aBcD", "mine": "https://github.com/a/fork/blob/try/it/notebooks/03_train.ipynb"}
        listed = [
            {"kernel": {"id": key}, "path": "fileId=" + urllib.parse.quote(place, safe="")}
            for key, place in places.items()
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(listed).encode())


def test_setup_clones_the_repository_and_branch_that_the_notebook_is_from(colab, project):
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-qb", "try/it"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    with http.server.HTTPServer(("127.0.0.1", 0), Sessions) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        printed = run_setup(
            colab,
            COLAB_JUPYTER_IP="127.0.0.1",
            KMP_TARGET_PORT=str(server.server_port),
            GIT_CONFIG_COUNT="1",  # GitHub is a folder here
            GIT_CONFIG_KEY_0=f"url.{project.parent}/chest-xray-notebooks.insteadOf",
            GIT_CONFIG_VALUE_0="https://github.com/a/fork",
        )
    assert printed.strip() == f"started {colab}/chest-xray-notebooks/utils/__init__.py"


@pytest.mark.parametrize("kind", ["zip", "zip without a folder", "folder", "folder in a folder"])
def test_setup_takes_the_project_from_my_drive(kind, colab, project):
    my_drive = colab / "my drive"
    my_drive.mkdir()
    if kind == "zip":
        shutil.make_archive(my_drive / "chest-xray-notebooks (1)", "zip", project.parent)
        place = "chest-xray-notebooks"
    elif kind == "zip without a folder":
        shutil.make_archive(my_drive / "my chest-xray-notebooks", "zip", project)
        place = "."
    else:
        place = "drive/MyDrive/" + ("mine" if kind == "folder" else "a/b")
        shutil.copytree(project, my_drive / place.removeprefix("drive/MyDrive/"))
    printed = run_setup(colab)
    assert os.path.normpath(f"{colab}/{place}/utils/__init__.py") in printed
    assert printed.count("asked for Drive") == 1 and "Traceback" not in printed


def test_setup_without_the_project_says_where_to_get_it_after_one_dialog(colab):
    quiet = "sys.excepthook = lambda kind, error, trace: print(*error._render_traceback_())\n"
    printed = run_setup(colab, quiet)
    assert printed.count("asked for Drive") == 1 and "Traceback" not in printed
    assert "Project not found: do as the text above says." in printed
    assert "called `chest-xray-notebooks.zip`" in cells(PATHS[0].name, "markdown")[1].source


def test_setup_leaves_the_utils_of_another_project(colab, project):
    shutil.copytree(project, colab / "chest-xray-notebooks")
    other = "sys.modules['utils'] = sys.modules['utils.runs'] = types.ModuleType('theirs')\n"
    assert f"started {colab}/chest-xray-notebooks" in run_setup(colab, other)


def test_setup_goes_on_when_drive_is_refused_and_says_so(colab, tmp_path):
    (colab / "chest-xray-notebooks").symlink_to(workspace.PROJECT)
    printed = run_setup(colab, CXR_QUICK="1", CXR_HOME=str(tmp_path / "home"))
    assert "Drive is not mounted" in printed and "Going on without Google Drive" in printed
    assert "NOT on Drive: lost when the runtime ends" in printed and "phantom" in printed.lower()


def test_code_on_drive_is_copied_to_the_local_disk(tmp_path, monkeypatch):
    project = tmp_path / "drive/MyDrive/mine"
    for name in workspace.PARTS:
        (project / name).mkdir(parents=True)
    (project / "runs").mkdir()  # results stay on Drive
    (project / "utils" / "runs.py").touch()
    (tmp_path / workspace.NAME / "half").mkdir(parents=True)  # an earlier copy that broke off
    monkeypatch.setattr(workspace, "PROJECT", project)
    monkeypatch.setattr(workspace, "CONTENT", tmp_path)
    copy = workspace.copy_to_local_disk()
    assert copy == tmp_path / workspace.NAME and (copy / "utils" / "runs.py").is_file()
    assert sorted(path.name for path in copy.iterdir()) == sorted(workspace.PARTS)


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(workspace, "version_of", lambda name: "missing" if name == "h5py" else "99")
    with pytest.raises(workspace.ExplainedError, match=r"Missing here: h5py\..*%pip install h5py"):
        utils.start()


def test_an_old_runtime_or_one_that_cannot_compute_is_told_apart(monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    versions = {"keras": "3.8.0"}
    monkeypatch.setattr(workspace, "version_of", lambda name: versions.get(name, "99"))
    words = utils._advice(workspace, "CPU, 2 cores")
    assert "keras 3.8.0 instead of >=3.13.2" in words and "Latest" in words
    versions |= {"tensorflow": "missing", "jax": "missing"}
    words = utils._advice(workspace, "CPU, 2 cores")
    assert "neither TensorFlow nor JAX" in words and "Change runtime type" in words


@pytest.fixture
def solved(tmp_path):
    """The project with the solutions of the exercises as further cells of its notebooks."""
    folder = tmp_path / "solved"
    (folder / "notebooks").mkdir(parents=True)
    for part in {*workspace.PARTS, "pyproject.toml"} - {"notebooks"}:
        (folder / part).symlink_to(workspace.PROJECT / part)
    for name, notebook in NOTEBOOKS.items():
        more = [nbformat.v4.new_code_cell(code) for code in solutions(name)]
        longer = nbformat.from_dict({**notebook, "cells": [*notebook.cells, *more]})
        nbformat.write(longer, folder / "notebooks" / name)
    return folder


def run_notebooks(names, home, project=workspace.PROJECT, **settings):
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
        cwd=project,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return home


def test_a_saved_model_from_elsewhere_is_evaluated_and_nothing_is_claimed_for_it(
    trained, own_folder, tmp_path, monkeypatch
):
    own_data.describe(own_folder, positive="ill", patient=r"(P\d+)_")
    monkeypatch.setenv("CXR_DATA", str(own_folder))
    done = run_cells(
        "04_evaluate.ipynb",
        tmp_path / "home",
        MODEL_FILE=str(trained.path / "model.keras"),
        PIXELS="0-255",
        NORMAL="0",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Used: PIXELS '0-255', NORMAL 0, decided by" in done.stdout
    (run,) = (tmp_path / "home/runs").iterdir()
    assert {path.name for path in run.iterdir()} >= {"model.keras", "scores_test.csv", f"{run.name}.zip"}
    for page in ("report.html", "report.tex", "model_card.md"):
        text = (run / page).read_text()
        assert "aved model" in text and "Whether test images influenced this model is not known" in text
        assert not re.search("None|recipe|seed|epoch|from scratch|Kept was|finished network", text), page


def test_stored_scores_are_evaluated_without_tensorflow(tmp_path):
    """Notebook 04 as on a laptop that has neither TensorFlow nor the radiographs."""
    blocked = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
    published = runs.released("published").name
    done = run_cells("04_evaluate.ipynb", tmp_path, blocked, COMPARE_WITH=published)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"has a higher accuracy than {published}" in done.stdout
    assert "Their pictures are left out" in done.stdout and list(tmp_path.glob("released/*/*.zip"))


@every
def test_notebook_runs_alone_on_the_phantom(name, tmp_path):
    """Notebooks 01 and 06 need neither TensorFlow nor Keras."""
    for package in ("tensorflow", "keras") if name[:2] in ("01", "06") else ():
        (tmp_path / f"{package}.py").write_text("raise ImportError")
    run_notebooks([name], tmp_path / "home", PYTHONPATH=str(tmp_path))


def test_series_and_solutions_run_in_order_on_the_phantom(tmp_path, solved):
    run_notebooks(NOTEBOOKS, tmp_path, solved)
    (run,) = (tmp_path / "runs").iterdir()
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {"04_roc.png", "04_roc.svg", "04_roc.pdf", "03_learning_curves.pdf"} <= figures
    assert (run / "metrics.json").exists() and (run / "tables" / "test_metrics.tex").exists()
    assert list((tmp_path / "answers").glob("radiographs_*.csv"))
    assert {path.suffix for path in (tmp_path / "reading").glob("[!.]*")} == {".png", ".svg", ".pdf"}
    assert list((tmp_path / "exercise/runs").iterdir()) and list((tmp_path / "answers").glob("odd_*.csv"))
    drawn = {path.stem for path in (tmp_path / "study").glob("[!.]*")}
    assert drawn == {f"06_{name}" for name in ("trace", "two_by_two", "counterfactual", "left_out", "record")}


def test_series_runs_in_order_on_own_classes(tmp_path, own_folder):
    own_data.describe(own_folder, positive="ill", patient=r"(P\d+)_")
    which = [name for name in NOTEBOOKS if not name.startswith("06")]  # that one is about stored results
    run_notebooks(which, tmp_path / "home", CXR_DATA=str(own_folder))
    (run,) = (tmp_path / "home/runs").iterdir()
    assert json.loads((run / "card.json").read_text())["class_names"] == ["well", "ill"]
    assert "P(ill)" in (run / "figures/04_scores.svg").read_text()


@pytest.mark.slow
def test_series_runs_on_the_real_radiographs(real_data, tmp_path):
    """What the phantom never reaches: the trap of 02, errors and stress of 04 on a released run."""
    which = [name for name in NOTEBOOKS if not name.startswith(("03", "06"))]
    run_notebooks(which, tmp_path, CXR_DATA=str(real_data / "chest_xray"))
    (folder,) = (tmp_path / "released").iterdir()
    assert {"04_errors.pdf", "04_stress.pdf"} <= {path.name for path in (folder / "figures").iterdir()}
