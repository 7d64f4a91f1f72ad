"""Chest radiographs: normal or pneumonia. The shared module of the notebook series.

Three clicks          model.py (the networks), metrics.py (every number), training/fit.py (the training)

data/                 notebooks 1, 2    what is in the radiographs: manifest (the table), images and dicom
                                        (files to pictures), cache (one packed file), gate (is this picture
                                        like those of the training?), shortcuts (what would fool a network)
sources/              notebook 1        where radiographs come from: folders and zips, downloads, Google
                                        Drive, own data, the phantom (synthetic ones)
training/             notebook 3        recipes (all settings), fit, augment, batches, transfer (start from a
                                        trained network); watch (what one sees), checkpoint and mirror
                                        (disconnects), finish
evaluation/           notebook 4        evaluation and compare (scores to findings), explain (where a network
                                        looks), errors (where they are), perturbations and stress (changed
                                        pictures), adapt (models from elsewhere)
inference/            notebooks 5, 7    classify (new radiographs to answers), table (how they are kept),
                                        page, reading (a person's answers beside a network's)
report/               notebook 4        documents (all of an evaluation, one zip), content (its words, from
                                        templates/), tables, formats (LaTeX, browser), word (Word)
figures/              all               data in, Figure out
workspace.py          where am I, which folders
backend.py            Keras, its devices and precision
resample.py           crop and resize on the device
predict.py            pictures to scores
intervals.py          how far a number may be off
runs.py               the run folder, and what each entry of its card means
saved_models.py       opening a saved network safely: model_files and model_config inspect it before Keras

The study behind the released results, and notebook 6, is in study/. Imports go one way only, from
notebooks down to workspace; pyproject.toml says how, and `make test` checks it.
"""

import importlib
import os
import sys

__version__ = "0.2.0"


def start(use_drive=True):
    """Open the workspace and print where things stand; the last line of each notebook's setup.

    Code that was found on Google Drive is copied to the local disk and goes on there. Imports no
    TensorFlow, so that it answers at once. Returns the Workspace.
    """
    import pandas as pd

    from . import runs, sources, workspace
    from .data.formats import DataError
    from .training import mirror

    if workspace.PROJECT.is_relative_to(workspace.DRIVE):
        sys.path[0] = str(workspace.copy_to_local_disk())
        for name in [name for name in sys.modules if name.split(".")[0] in ("utils", "study")]:
            del sys.modules[name]
        return importlib.import_module("utils").start(use_drive)
    if use_drive and workspace.in_colab() and not os.path.isdir(workspace.DRIVE):  # False where it has died
        from .sources import mounting

        try:
            mounting.mount()
        except mounting.DriveError as error:
            print(f"{error}\nGoing on without Google Drive.\n")
    ws = workspace.open_workspace(use_drive)
    try:
        found = str(sources.find(ws))
    except DataError as error:
        found = f"PROBLEM: {error}"
    pd.set_option("display.max_colwidth", None)  # tables show reasons in full
    lost = " (NOT on Drive: lost when the runtime ends)" if workspace.in_colab() and not ws.on_drive else ""
    mirror.make_good(ws)
    own = runs.own_runs(ws)
    print("versions ", ", ".join(f"{name} {version}" for name, version in workspace.versions().items()))
    device = workspace.device_name()
    print("device   ", device + _advice(workspace, device))
    print("code     ", f"{workspace.PROJECT}, version {__version__}, {workspace.code_version()}")
    print("results  ", f"{ws.home}{lost}" + (" (quick mode: everything small)" if ws.quick else ""))
    print("images   ", found)
    print("latest   ", own[-1] if own else f"no own run yet; where one is needed: released {runs.DEFAULT}")
    return ws


def _advice(workspace, device):
    """What to change about this Colab runtime, in brackets; empty where nothing is to be done."""
    menu = workspace.RUNTIME_MENU
    if not workspace.in_colab():
        return ""
    if workspace.version_of("tensorflow") == "missing":
        return f" (no TensorFlow here, as in TPU runtimes: {menu} > CPU or T4 GPU)"
    if old := _outdated(workspace):
        return f" (an old runtime, {', '.join(old)}: {menu} > Runtime version > Latest)"
    return f" (faster: {menu} > T4 GPU)" if device.startswith("CPU") else ""


def _outdated(workspace):
    """Installed packages that are older than requirements.txt asks for: ['keras 3.8 instead of >=3.13.2']."""
    from packaging.requirements import Requirement

    found = []
    for line in (workspace.PROJECT / "requirements.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            wanted = Requirement(line.partition("#")[0])
            have = workspace.version_of(wanted.name)
            if have != "missing" and have not in wanted.specifier:
                found.append(f"{wanted.name} {have} instead of {wanted.specifier}")
    return found
