"""python -m utils classify PLACE | page | stress MODEL FOLDER | run | address URL"""

import argparse
import os
import re
import subprocess
import sys
import time

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
    kept = ws.home / "notebooks"
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        started = time.perf_counter()
        print(f"== {path.name}", flush=True)
        notebook = nbformat.read(path, as_version=4)
        client = TalkingClient(notebook, timeout=None, resources={"metadata": {"path": str(NOTEBOOKS)}})
        try:
            client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log; errors come as messages
        except CellExecutionError as error:
            sys.exit(
                f"\n{path.name} stopped. {error.ename}: {error.evalue}\nAs far as it came: {kept / path.name}"
            )
        finally:
            workspace.write_whole(kept / path.name, nbformat.writes(notebook))
        print(f"== {path.name} took {time.perf_counter() - started:.0f} s", flush=True)
    print(f"Executed notebooks: {kept}\nRuns with figures and tables: {ws.runs}")


def classify(place, to, run, hide_names):
    """Answer new radiographs into a CSV file, and say what came out."""
    from .inference import classify

    classify.classify(place, to, run, hide_names)


def page(run):
    """Show a page for a few radiographs in the browser of this computer."""
    from .inference import page

    page.show(run)


def stress(model, folder, **settings):
    """Write what changes to radiographs do to a model's answers into a CSV file and a figure beside it."""
    from .evaluation import stress

    stress.report(model, folder, **settings)


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


def main():
    parser = argparse.ArgumentParser(prog="python -m utils", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name, function, help):
        added = commands.add_parser(name, help=help)
        added.set_defaults(function=function)
        return added.add_argument

    add = command("classify", classify, "answer new radiographs into a CSV file")
    add("place", help="file, folder, zip, or link to a file on Google Drive")
    add("--run", default="", help="name of a run; without it the newest finished one")
    add("--to", help="the CSV file; without it one in the folder of results")
    add("--hide-names", action="store_true", help="number the files instead of naming them")
    add = command("page", page, "answer a few radiographs on a page in the browser of this computer")
    add("--run", default="", help="name of a run; without it the newest finished one")
    command("run", run_series, "run the notebook series from images to figures")
    add = command("stress", stress, "measure how a model's answers change if radiographs are changed")
    add("model", help="name or folder of a run, or a .keras or .h5 file")
    add(
        "folder",
        help="radiographs, in folders NORMAL and PNEUMONIA or without labels; about 150 of each are used",
    )
    add("--to", help="the CSV file; without it one in the folder of results")
    add("--pixels", default="as saved", help="of a file: 0-255, 0-1 or '-1 to 1', as in training")
    add("--output", default="as saved", help="of a file: 'one logit', 'two probabilities' ...")
    add("--positive", type=int, default=1, help="of a file: which output means pneumonia (%(default)s)")
    add = command("address", set_address, "set the project's public address everywhere")
    add("url", help="https://github.com/OWNER/REPOSITORY")
    choice = vars(parser.parse_args())
    del choice["command"]
    sys.stdout.reconfigure(errors="backslashreplace")  # names of files and folders may be no text
    try:
        choice.pop("function")(**choice)
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "Stopped by hand.", file=sys.stderr)
        sys.exit(130)
    except workspace.ExplainedError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.filename or 'A file'} cannot be used ({error.strerror or error}).")


if __name__ == "__main__":
    main()
