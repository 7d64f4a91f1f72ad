"""Chest radiographs: normal or pneumonia. The shared module of the notebook series.

model.py                    the networks, each to be read from top to bottom
metrics.py                  every number of an evaluation
training/fit.py             the training
evaluation/evaluation.py    from scores to findings
inference/classify.py       from new radiographs to answers

Around them: predict.py (from pictures to scores), intervals.py (how far a number may be off), saved_models.py
(opens any saved network), data/ (what is in the radiographs), sources/ (where they come from), figures/,
report/, and the run folder (runs.py) that everything is kept in. Imports go one way only, from the notebooks
down to workspace.py; pyproject.toml says how, and `make test` checks it. The study is in study/.
"""

import importlib
import os
import sys

__version__ = "0.3.0"


def start(use_drive=True):
    """Open the workspace and print where things stand; the last line of each notebook's setup.

    Code that was found on Google Drive is copied to the local disk and goes on there. Imports no
    TensorFlow, so that it answers at once. Returns the Workspace.
    """
    from . import workspace

    missing, _ = _packages(workspace)
    if missing:
        packages = " ".join(missing)
        raise workspace.ExplainedError(
            f"Missing here: {packages}. Run this in a cell of its own, and then this cell again: "
            f"%pip install {packages}"
        )
    import pandas as pd

    from . import runs, sources
    from .sources import drive
    from .training import resume

    if workspace.PROJECT.is_relative_to(workspace.DRIVE):
        sys.path[0] = str(workspace.copy_to_local_disk())
        for name in [name for name in sys.modules if name.split(".")[0] in ("utils", "study")]:
            del sys.modules[name]
        return importlib.import_module("utils").start(use_drive)
    if use_drive and workspace.in_colab() and not os.path.isdir(workspace.DRIVE):  # False where it has died
        try:
            drive.mount()
        except workspace.ExplainedError as error:
            print(f"{error}\nGoing on without Google Drive.\n")
    ws = workspace.open_workspace(use_drive)
    try:
        images = str(sources.find(ws))
    except workspace.ExplainedError as error:
        images = f"PROBLEM: {error}"
    resume.make_good(ws)
    own = runs.own_runs(ws)
    lost = " (NOT on Drive: lost when the runtime ends)" if workspace.in_colab() and not ws.on_drive else ""
    pd.set_option("display.max_colwidth", None)  # tables show reasons in full
    print("versions ", ", ".join(f"{name} {version}" for name, version in workspace.versions().items()))
    device = workspace.device_name()
    print("device   ", device + _advice(workspace, device))
    print("code     ", f"{workspace.PROJECT}, version {__version__}, {workspace.code_version()}")
    print("results  ", f"{ws.home}{lost}" + (" (quick mode: everything small)" if ws.quick else ""))
    print("images   ", images)
    print("latest   ", own[-1] if own else f"no own run yet; where one is needed: released {runs.DEFAULT}")
    return ws


def _advice(workspace, device):
    """What to change about this Colab runtime, in brackets; empty where nothing is to be done."""
    menu = workspace.RUNTIME_MENU
    if not workspace.in_colab():
        return ""
    if workspace.version_of("tensorflow") == workspace.version_of("jax") == "missing":
        return f" (neither TensorFlow nor JAX is here: {menu} > CPU or T4 GPU)"
    _, outdated = _packages(workspace)
    if outdated:
        return f" (an old runtime, {', '.join(outdated)}: {menu} > Runtime version > Latest)"
    return f" (faster: {menu} > T4 GPU)" if device.startswith("CPU") else ""


def _packages(workspace):
    """What requirements.txt asks for: packages that are missing, and outdated ones.

    Such as ['h5py'], ['keras 3.8 instead of >=3.13.2']. Missing are those of the first block alone, which
    every notebook needs.
    """
    from packaging.requirements import Requirement

    missing, outdated = [], []
    for number, block in enumerate((workspace.PROJECT / "requirements.txt").read_text().split("\n\n")):
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            wanted = Requirement(line.partition("#")[0])
            installed = workspace.version_of(wanted.name)
            if installed == "missing":
                missing += [wanted.name] if number == 0 else []
            elif installed not in wanted.specifier:
                outdated.append(f"{wanted.name} {installed} instead of {wanted.specifier}")
    return missing, outdated
