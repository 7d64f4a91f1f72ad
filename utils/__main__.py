"""python -m utils classify PLACE | run | results | robustness | study NAME | address URL"""

import argparse
import os
import subprocess
import sys
import time

from . import bundle, record, workspace

NOTEBOOKS = workspace.PROJECT / "notebooks"


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


def answer_files(choice):
    """Answer new radiographs into a CSV file, and say where it is."""
    from . import classify, drive, files, images, runs

    try:
        classify.classify(choice.place, choice.to, choice.run, choice.hide_names)
    except (images.UnreadableImage, files.DataError, runs.RunError, drive.DriveError) as error:
        sys.exit(str(error))


def set_address(url):
    """Write the project's public address into every notebook: the setup constant and the badge."""
    import nbformat

    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        slug = url.removeprefix("https://github.com/").removesuffix(".git").strip("/")
        badge = f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{path.name}"
        for cell in notebook.cells:
            lines = cell.source.split("\n")
            for number, line in enumerate(lines):
                if line.startswith("REPOSITORY = "):
                    lines[number] = f'REPOSITORY = "{url}"' + line[line.index("  #") :]
                if line.startswith("[![Open in Colab]"):
                    lines[number] = line[: line.rindex("(")] + f"({badge})"
            cell.source = "\n".join(lines)
        workspace.write_whole(path, nbformat.writes(notebook) + "\n")
    print(f"The notebooks now point to {url}.")


def main():
    parser = argparse.ArgumentParser(prog="python -m utils", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    classify = commands.add_parser("classify", help="answer new radiographs into a CSV file")
    classify.add_argument("place", help="file, folder, zip, or link to a file on Google Drive")
    classify.add_argument("--run", default="", help="name of a run; without it the newest finished one")
    classify.add_argument("--to", help="the CSV file; without it one in the folder of results")
    classify.add_argument("--hide-names", action="store_true", help="number the files instead of naming them")
    commands.add_parser("run", help="run the notebook series from images to figures")
    commands.add_parser("results", help="compute all results anew from models/")
    study = commands.add_parser("study", help="run an experiment behind the released results")
    study.add_argument("name", help="one of EXPERIMENTS in utils/study.py; a wrong name lists them")
    full_size = "folder with full-size files of some of the radiographs"
    study.add_argument("--originals", help=f"for the experiment counterfactual: {full_size}")
    robust = commands.add_parser("robustness", help="how far scores move if radiographs are changed")
    robust.add_argument("--run", default="", help="name of a run; without it the newest finished one")
    robust.add_argument("--originals", help=full_size)
    address = commands.add_parser("address", help="set the project's public address everywhere")
    address.add_argument("url", help="https://github.com/OWNER/REPOSITORY")
    choice = parser.parse_args()
    if choice.command == "classify":
        answer_files(choice)
    elif choice.command == "run":
        run_series()
    elif choice.command == "results":
        bundle.refresh_released()
        record.update_readme()
    elif choice.command in ("robustness", "study"):
        from . import probing, study

        if choice.command == "robustness":
            probing.robustness(choice.run, choice.originals)
        elif choice.name in study.EXPERIMENTS:
            study.EXPERIMENTS[choice.name](*filter(None, [choice.originals]))
        else:
            sys.exit(f"There is no experiment {choice.name}; choose one of {', '.join(study.EXPERIMENTS)}.")
    elif not choice.url.startswith("https://github.com/"):
        sys.exit("The address must look like https://github.com/OWNER/REPOSITORY.")
    else:
        set_address(choice.url)


if __name__ == "__main__":
    main()
