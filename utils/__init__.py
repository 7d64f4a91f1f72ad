"""Chest radiographs: normal or pneumonia. The shared module of the notebook series.

Where and what    workspace (machine and folders), manifest (the table of radiographs)
Getting images    sources (every way to get them), files, download, drive, own (own data), phantom
Pictures          images (files to pictures), pack (the packed cache), augment (the augmentation layer),
                  dicom (its way in from a hospital), shortcuts (what would fool a network),
                  changes (radiographs changed on purpose, and what that does to scores)
Networks          model (the networks), recipes (all settings), training (fit), watch (what one sees
                  of it), resume and mirror (disconnects), devices and quiet (Keras)
The study         study (experiments), development (candidates compared without the test set),
                  probing (what trained networks do with changed pictures), record (its
                  tables, and those of the README)
Results           runs (the run folder), scoring (pictures to scores), metrics, evaluation and paired
                  (scores to numbers), explain (where a network looks), external (saved models from
                  elsewhere)
New radiographs   classify (files to answers), gate (is a picture like those of the training)
Reports           style, plots, plots_data, plots_results and plots_study (figures), report (tables
                  and files), bundle (words, one zip)
"""

import os

__version__ = "0.1.0"


def start(use_drive=True):
    """Open the workspace and print where things stand; the last line of each notebook's setup.

    Does not import TensorFlow, so that it answers at once. Returns the Workspace.
    """
    import pandas as pd

    from . import mirror, runs, sources, workspace
    from .images import UnreadableImage

    if use_drive and workspace.in_colab() and not os.path.isdir(workspace.DRIVE):
        from . import drive

        try:
            drive.mount()
        except drive.DriveError as error:
            print(f"{error}\nGoing on without Google Drive.\n")
    ws = workspace.open_workspace(use_drive)
    installed = workspace.versions()
    device = workspace.device_name()
    hint = ""
    if device.startswith("CPU") and workspace.in_colab():
        hint = " (faster: Runtime > Change runtime type > T4 GPU)"
    try:
        found = str(sources.find(ws))
    except (sources.DataError, UnreadableImage) as error:
        found = f"PROBLEM: {error}"
    pd.set_option("display.max_colwidth", None)  # tables show reasons in full
    lost = " (NOT on Drive: lost when the runtime ends)" if workspace.in_colab() and not ws.on_drive else ""
    mirror.make_good(ws)
    own = runs.own_runs(ws)
    print("versions ", ", ".join(f"{name} {version}" for name, version in installed.items()))
    print("device   ", device + hint)
    print("code     ", f"{workspace.PROJECT}, version {__version__}, commit {workspace.code_version()}")
    print("results  ", f"{ws.home}{lost}" + (" (quick mode: everything small)" if ws.quick else ""))
    print("images   ", found)
    print("latest   ", own[-1] if own else f"no own run yet; released: {len(runs.all_runs(runs.RELEASED))}")
    return ws
