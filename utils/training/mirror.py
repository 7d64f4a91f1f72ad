"""The copy of a run folder in the project's home, such as Google Drive, where it outlives the session.

A training works on the local disk. No failure of the copy stops or spoils it: a failure is told
once, the copy is tried again, and what is missing is made good later.
"""

import contextlib
import os
import shutil

from .. import runs, workspace

NOT_COPIED = ("resume", ".")  # names begin so of what only a training needs, and of files half written


def put(path, content):
    """Write bytes in place, sync, and read them back; raises OSError if that fails."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if path.read_bytes() != content:
        raise OSError(f"{path} holds something else than was written")


class Mirror:
    """The copy of one run folder in the home. `needed` is False where the run lies there already."""

    def __init__(self, run, ws):
        self.run, self.ws, self.target = run, ws, ws.runs / run.name
        self.needed, self.failing = run.path != self.target, False

    def attempt(self, action):
        """Do something in the copy; returns whether it worked, and tells of a change."""
        try:
            workspace.check_connected(self.target)
            self.target.mkdir(parents=True, exist_ok=True)
            if not (self.target / "card.json").exists():
                self._copy(self.run.path / "card.json")
            action()
        except OSError as error:
            if not self.failing:
                print(
                    f"{self.target} cannot be written ({error}). If it is on Google Drive: is Drive full, or "
                    f"its trash? Until it works again the run is in {self.run.path}, and the copy is "
                    "tried again by itself."
                )
            self.failing = True
            return False
        if self.failing:
            print(f"{self.target} can be written again and is up to date.")
        self.failing = False
        return True

    def finish(self):
        """Move a finished run to its copy; returns the Run where it is now.

        If another session has finished the same run there, that one stays, and this one gets a
        name of its own.
        """
        if not self.needed:
            return self.run
        if self._finished_elsewhere():
            self.target = self.target.with_name(runs.free_name(self.ws, self.run.name))
            print(f"Another session finished {self.run.name}, too. This one is kept as {self.target.name}.")
        if self.attempt(self._copy_all):
            shutil.rmtree(self.run.path)
            return runs.Run(self.target)
        print(
            f"The finished run is still in {self.run.path}, which is lost when this runtime ends. Once the "
            "project's folder can be written, run the setup cell of any notebook: it moves the run there."
        )
        return self.run

    def _finished_elsewhere(self):
        try:
            there = runs.Run(self.target).card
        except runs.RunError:
            return False
        return there["finished"] and there["model_digest"] != self.run.card["model_digest"]

    def _copy_all(self):
        files = [path for path in self.run.path.rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda file: file.name == "card.json"):  # last: it says "finished"
            if not file.relative_to(self.run.path).parts[0].startswith(NOT_COPIED):
                self._copy(file)
        discard(self.target / "resume")
        for left in self.target.rglob(".*.part*"):  # of attempts that broke off
            left.unlink()

    def _copy(self, path):
        target = self.target / path.relative_to(self.run.path)
        content = path.read_bytes()
        if target.exists() and target.read_bytes() == content:
            return
        with workspace.whole(target) as partial:
            put(partial, content)


def deliver(copy):
    """Clear up behind a finished run, move it to its copy, and note that it was returned; returns the Run."""
    discard(copy.run.path / "resume")
    run = copy.finish()
    with contextlib.suppress(OSError):  # then the same run is returned once more
        run.update_card(delivered=True)
    return run


def bring_back(run, ws):
    """The run as a folder on the local disk; after a disconnect only its copy is left."""
    local = ws.local_runs / run.name
    if run.path != local:
        hidden = shutil.ignore_patterns(*(f"{start}*" for start in NOT_COPIED))
        shutil.copytree(run.path, local, ignore=hidden, dirs_exist_ok=True)
    return runs.Run(local)


def make_good(ws):
    """Move finished runs that could not be copied in their session into the project's home."""
    if ws.local_runs == ws.runs:
        return
    for run in runs.all_runs(ws.local_runs):
        if run.finished and Mirror(run, ws).finish() != run:
            print(f"The finished run {run.name} is now in {ws.runs}.")


def discard(folder):
    """Remove a folder of states that are no longer needed."""
    if folder.is_dir():
        for file in folder.iterdir():
            os.truncate(file, 0)  # what Google Drive keeps in its trash then takes no room
            file.unlink()
        folder.rmdir()
