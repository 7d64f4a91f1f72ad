"""A page for a radiograph or a few: answer, gate, map and scope, in the browser of this computer.

Optional: it needs the package Gradio, which Colab has. It listens on this computer only and keeps nothing.
"""

import shutil
import tempfile
from pathlib import Path

from .. import runs, workspace
from ..figures import pictures
from . import classify, summary

MOST = 6  # files at a time, as many as there are cards on a figure
MISSING = "The page needs the package Gradio: run `pip install gradio`, then this again. Colab has it."
ABOUT = """# {positive} on chest radiographs: what a network says
**For teaching and research, not for clinical use.** {scope}. Network: {run}.

Nothing is stored, and nothing leaves this computer. A score is no diagnosis."""


class PageError(workspace.ExplainedError):
    """The page cannot be shown; the message says what to do."""


def show(run="", wait=True):
    """Open the page, answered by a run. run: its name; without it the newest finished one.

    wait: until the page is stopped by hand, as on the command line; in a notebook it opens below the cell.
    Raises PageError without Gradio.
    """
    try:
        import gradio
    except ImportError:
        raise PageError(MISSING) from None
    from ..evaluation import explain

    ws = workspace.open_workspace()
    run = runs.find(ws, run)
    network = explain.network_of(run)
    about = {"run": run.name, "positive": run.card["class_names"][1].capitalize()}
    with gradio.Blocks(title="Chest radiographs", analytics_enabled=False, delete_cache=(60, 60)) as page:
        scope = classify.scope(run.card)
        gradio.Markdown(ABOUT.format(scope=scope[0].upper() + scope[1:], **about))
        chosen = gradio.File(file_count="multiple", label=f"Radiographs: JPEG, PNG or DICOM, up to {MOST}")
        words, cards = gradio.Markdown(), gradio.Plot(label="Cards")
        chosen.upload(lambda paths: answered(run, network, paths, ws), chosen, [words, cards])
        chosen.clear(lambda: ("", None), None, [words, cards])
    page.launch(server_name="127.0.0.1", share=False, prevent_thread_lock=not wait)
    return page


def answered(run, network, paths, ws):
    """What the page says about uploaded files, which it deletes: (text, Figure or None)."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "uploaded")
        for number, path in enumerate(paths, start=1):
            (place / str(number)).mkdir(parents=True)  # so that equal names do not meet
            shutil.move(path, place / str(number))
        if len(paths) > MOST:
            return f"At most {MOST} files at a time; for folders there is notebook 05.", None
        try:
            found = classify.open_place(run, str(place), ws)
            answers = classify.answer(run, found, Path(folder, "answers.csv"))
        except (workspace.ExplainedError, OSError) as error:
            return str(error), None
        shown = summary.to_look_at(answers)
        figure = None
        if len(shown):
            from ..evaluation import explain

            arrays = classify.pictures_of(found, shown.file)
            maps = explain.grad_cam(network, arrays) if network else None
            shown = shown.assign(file=shown.file.str.partition("/")[2])
            figure = pictures.answer_cards(arrays, maps, shown, run.scores("val"))
        return "\n\n".join(summary.sentences(answers)), figure
