"""The table of answers: a CSV file that grows as files are answered, one line each.

It may be cut off anywhere, by a kill or a full disk: the next run goes on from its whole lines, for no
field has a line break in it. It is a CSV, and no database, because that is what users open, and because
the locks of a database may not hold on Google Drive.
"""

import contextlib
import csv
import os
import re

import pandas as pd
from filelock import Timeout

from .. import runs, workspace

COLUMNS = ["file", "score", "side", "unlike", "problem", "normals_scoring_higher", "pneumonias_scoring_lower"]
COLUMNS += ["threshold", "scope", "run", "model", "manifest", "stamp"]
NUMBERS = ["score", "normals_scoring_higher", "pneumonias_scoring_lower", "threshold"]
ALWAYS = {"file", "score", "model", "stamp"}  # columns that the tables of all versions have
FORMULA = tuple("=+-@＝＋－＠")  # what spreadsheets compute if a cell begins with it


def printable(name):
    """A file name as one line of text that no spreadsheet computes; different names stay different.

    What cannot be printed, and the backslash, become escapes such as \\n; a quote stands before a formula.
    """
    text = "".join(char if char.isprintable() and char != "\\" else _escape(char) for char in name)
    return f"'{text}" if text.lstrip().startswith((*FORMULA, "'")) else text


def _escape(char):
    return char.encode("unicode_escape").decode()


def read(path):
    """The table at a path, with COLUMNS; lines that are not whole are left out. Raises OSError."""
    return _parse(path.read_bytes())


def _parse(content):
    lines = content.decode("utf8", "replace").split("\n")[1:-1]  # without the heading, and what was cut off
    rows = [row for row in map(_fields, lines) if len(row) == len(COLUMNS)]
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=str)
    return table.assign(**{name: pd.to_numeric(table[name], "coerce").astype(float) for name in NUMBERS})


def _fields(line):
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _text(rows, header=True):
    # Quoted, so that a semicolon in a name begins no cell where spreadsheets separate by semicolons.
    settings = {"float_format": "%.6g", "lineterminator": "\n", "quoting": csv.QUOTE_ALL}
    rows = rows.reindex(columns=COLUMNS).replace(r"[\r\n]+", " ", regex=True)
    return rows.to_csv(index=False, header=header, **settings)


def write(path, rows):
    """Write a table, whole or not at all. Raises OSError."""
    workspace.write_whole(path, _text(rows))


def append(path, rows):
    """Add rows to a table, all of them or none. Raises OSError."""
    before = path.stat().st_size
    try:
        with open(path, "a", encoding="utf8") as file:
            file.write(_text(rows, header=False))
    except BaseException:  # also when stopped by hand
        os.truncate(path, before)
        raise


@contextlib.contextmanager
def alone(path):
    """Let no other process of this machine write the table; waits, with a sentence, while one does."""
    lock = workspace.lock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"Another run is writing {path}. This one waits until that has ended.")
        held = lock.acquire()
    with held:
        yield


def begin(path, stamps, **network):
    """Begin a table with the rows of an earlier one that still hold, and return them.

    stamps: {file: stamp}. network: the values that columns of a valid row have. Files that could not be
    used are asked again. An earlier table with other answers in it, about files that are not there or have
    changed, or by another network or version, is kept beside. Raises runs.RunError if the file there is
    no table of answers, and OSError.
    """
    earlier = path.read_bytes() if path.exists() else b""
    heading = earlier.decode("utf8", "replace").partition("\n")[0]
    if earlier and not set(re.findall(r"\w+", heading)) >= ALWAYS:
        raise runs.RunError(f"{path} exists and is no table of answers. Choose another name for the answers.")
    rows = _parse(earlier)
    holds = (rows.problem == "") & (rows.stamp == rows.file.map(stamps))
    for column, value in network.items():
        holds &= rows[column] == value
    known = not earlier or _fields(heading) == COLUMNS
    if not known or (~holds & (rows.problem == "")).any():
        beside = path.with_name(f"{path.stem}_before_{workspace.digest(earlier)[:6]}{path.suffix}")
        workspace.write_whole(beside, earlier)
        print(
            f"{path} held answers about other or changed files, or by another network or version. "
            f"All of them are kept in {beside.name}."
        )
    kept = rows[holds & known].drop_duplicates("file")
    if len(kept):
        print(f"{len(kept):,} of {len(stamps):,} files were answered before and are kept.")
    write(path, kept)
    return kept
