"""How fast new radiographs are answered, from a cold start and in a large folder, and in how much memory.

python tests/bench_classify.py FOLDER_OF_ORIGINALS
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from utils import runs, workspace
from utils.inference import classify
from utils.sources import files

SIZES = (1_000, 10_000)  # files


def answer_repeated(folder, size):
    """In a fresh process: answer `size` files, the folder's over and over; print images/s and peak MB."""
    found = files.every(Path(folder))
    repeated = {f"{number:06d}": file for number, file in enumerate(islice(cycle(found.values()), size))}
    with tempfile.TemporaryDirectory() as place:
        started = time.perf_counter()
        answers = classify.answer(runs.released("best"), repeated, Path(place) / "answers.csv")
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(answers) == size and (answers.problem == "").all()
    print(f"{size:,} files: {seconds:.1f} s, {size / seconds:.0f} images/s, peak {peak:,.0f} MB")


def main(folder):
    first = next(path for path in sorted(Path(folder).rglob("*")) if path.is_file())
    with tempfile.TemporaryDirectory() as home:
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "utils", "classify", first, "--run", runs.released("best").name],
            cwd=workspace.PROJECT,
            env=os.environ | {"CXR_HOME": home},
            check=True,
        )
        print(f"one image from a cold start: {time.perf_counter() - started:.1f} s")
    for size in SIZES:
        subprocess.run([sys.executable, __file__, folder, str(size)], check=True)


if __name__ == "__main__":
    answer_repeated(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else main(sys.argv[1])
