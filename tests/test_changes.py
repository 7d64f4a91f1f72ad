"""A line that decides something cannot be changed unnoticed: for each change below, one test fails.

The changes are made one at a time, in a copy of the project.
"""

import os
import shutil
import subprocess
import sys

import pytest

from utils import workspace

CHANGES = [  # (file, text, what it is changed to, the test that must fail)
]
COPIED = ("utils", "study", "tests", "notebooks", "models", "examples", "README.md", "data_manifest.csv")
COPIED += ("requirements.txt", "pyproject.toml", "CONTRIBUTING.md")


def run(tests, project):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider", *tests]
    quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=project, env=quiet, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, in which all of these tests pass as it is."""
    copy = tmp_path_factory.mktemp("changed")
    for name in COPIED:
        if (workspace.PROJECT / name).is_dir():
            shutil.copytree(workspace.PROJECT / name, copy / name)
        else:
            shutil.copy(workspace.PROJECT / name, copy)
    done = run(sorted({test for *_, test in CHANGES}), copy)
    assert done.returncode == 0, done.stdout[-3000:]
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(("file", "text", "changed", "test"), CHANGES)
def test_a_changed_line_is_noticed(project, file, text, changed, test):
    path = project / file
    original = path.read_text(encoding="utf8")
    assert original.count(text) == 1, "the line is not there any more, or not alone"
    path.write_text(original.replace(text, changed), encoding="utf8")
    try:
        done = run([test], project)
    finally:
        path.write_text(original, encoding="utf8")
    assert done.returncode == 1, f"{test} passes although {file} says {changed!r}"
