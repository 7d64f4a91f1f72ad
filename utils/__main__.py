"""python -m utils classify PLACE | evaluate TABLE | stress MODEL FOLDER | run | address URL"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from . import workspace

NOTEBOOKS = workspace.PROJECT / "notebooks"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def run_series():
    """Execute the notebooks in order, show their printed lines, keep them with their outputs."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class TalkingClient(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] == "stream" and msg["content"]["name"] == "stdout":
                print("   ", msg["content"]["text"].rstrip("\n").replace("\n", "\n    "), flush=True)
            return super().process_message(msg, cell, cell_index)

    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # a note of the debugger that means nothing here
    ws = workspace.open_workspace()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        started, copy = time.perf_counter(), ws.home / "notebooks" / path.name
        print(f"== {path.name}", flush=True)
        notebook = nbformat.read(path, as_version=4)
        client = TalkingClient(notebook, timeout=None, resources={"metadata": {"path": str(NOTEBOOKS)}})
        try:
            client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log; errors come as messages
        except CellExecutionError as error:
            sys.exit(f"\n{path.name} stopped. {error.ename}: {error.evalue}\nAs far as it came: {copy}")
        finally:
            workspace.write_whole(copy, nbformat.writes(notebook))
        print(f"== {path.name} took {time.perf_counter() - started:.0f} s", flush=True)
    print(f"Executed notebooks: {ws.home / 'notebooks'}\nRuns with figures and tables: {ws.runs}")


def classify(place, to, run, hide_names):
    """Answer new radiographs into a CSV file, and say what came out."""
    from .inference import classify

    answers, _, path = classify.classify(place, workspace.open_workspace(), run, to, hide_names)
    print(*classify.summary(answers), f"The table, one row for each file: {path}", sep="\n")


def evaluate(table):
    """What notebook 04 computes of a table of scores: its own code but for the setup."""
    cells = json.loads((NOTEBOOKS / "04_evaluate.ipynb").read_text("utf8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code = code[code.index("RUN = ") :].replace('SCORES = ""', f"SCORES = {table!r}")
    computed = {"ws": workspace.open_workspace()}
    exec(code, computed)
    print(computed["report"].tables.with_intervals(computed["results"]).to_string())


def stress(model, folder, to, pixels, normal, resize):
    """Write what changes to radiographs do to a model's answers into a CSV file, and a figure beside it."""
    from . import figures, runs, sources
    from .data import manifest
    from .evaluation import adapt, stress
    from .training import recipes

    ws = sources.choose(workspace.open_workspace(), folder)
    radiographs = sources.load(ws)
    if Path(model).suffix in (".keras", ".h5"):
        run = adapt.run_of_file(model, ws, radiographs, pixels, normal, resize)
    else:
        run = runs.find(ws, model, radiographs)
        if unfit := runs.faults(run, radiographs):
            raise workspace.ExplainedError(" ".join(unfit))
    part = manifest.few_patients(manifest.select(radiographs.table, "val"), stress.MOST)
    table = stress.compare({recipes.title(run.card): run}, radiographs.pixels[part.index], part)
    names, note = run.card["class_names"], figures.style.note(run.card["synthetic"])
    drawn = figures.comparisons.stress_test(table, names, note=note)
    to = Path(to or ws.home / "stress" / f"{run.name}.csv").expanduser()

    def save(there):
        path = workspace.write_whole(there / to.name, table.to_csv(index=False, float_format="%.4g"))
        return [path, *figures.style.save(drawn, there, to.stem, ["png"])]

    print(f"{len(part)} validation radiographs of {part.patient.nunique()} patients")
    print(*stress.sentences(table, names), *workspace.save_somewhere(to.parent, save), sep="\n")


def set_address(url):
    """Write the project's public address into every notebook: the setup constant and the badge."""
    if not url.startswith("https://github.com/"):
        sys.exit("The address must look like https://github.com/OWNER/REPOSITORY.")
    slug = url.removeprefix("https://github.com/").removesuffix(".git").strip("/")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        address = f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{path.name}"
        text = re.sub(r'(REPOSITORY = \\").*?(\\")', rf"\1{url}\2", path.read_text("utf8"))
        line = r'"(\*Open in Colab\*|\[!\[Open in Colab\]).*\\n"'
        text = re.sub(line, rf'"[![Open in Colab]({BADGE})]({address})\\n"', text)
        workspace.write_whole(path, text)
    print(f"The notebooks now point to {url}.")


def arguments():
    """The command line: a command and what it takes."""
    parser = argparse.ArgumentParser(prog="python -m utils", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("classify", help="answer new radiographs into a CSV file").add_argument
    add("place", help="file, folder, zip, or link to a file on Google Drive")
    add("--run", default="", help="name of a run; without it the newest finished one")
    add("--to", help="the CSV file; without it one in the folder of results")
    add("--hide-names", action="store_true", help="number the files instead of naming them")
    add = commands.add_parser("evaluate", help="evaluate a table of scores of any program").add_argument
    add("table", help="a CSV file: a column of file names, and a column pneumonia with their scores")
    text = "measure how a model's answers change if radiographs are changed"
    add = commands.add_parser("stress", help=text).add_argument
    add("model", help="name of a run, or a .keras or .h5 file")
    add("folder", help="a folder or zip that the notebooks can use as DATA; its validation images are taken")
    add("--to", help="the CSV file; without it one in the folder of results")
    add("--pixels", default="automatic", help="of a file: 0-255, 0-1, '-1 to 1', caffe, torch, standardised")
    add("--normal", default="automatic", help="of a file: the number of the normal class, from 0")
    add("--resize", default="antialiased", help="of a file: antialiased, nearest, bilinear")
    commands.add_parser("run", help="run the notebook series from images to figures")
    add = commands.add_parser("address", help="set the project's public address everywhere").add_argument
    add("url", help="https://github.com/OWNER/REPOSITORY")
    return vars(parser.parse_args())


def main():
    given = arguments()
    functions = {"classify": classify, "evaluate": evaluate, "stress": stress}
    functions |= {"run": run_series, "address": set_address}
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files and folders may be no text
    try:
        functions[given.pop("command")](**given)
    except KeyboardInterrupt:
        sys.exit("Stopped by hand.")
    except workspace.ExplainedError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
