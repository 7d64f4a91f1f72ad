"""A small reader study: a person and networks answer the same radiographs, and are measured alike.

Below, `rows` are rows of a manifest: the radiographs shown. `answers` is a table with a row for each of them
and a column for each reader: 1 where the answer is the positive class, 0 where it is the other one.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from .. import metrics, predict, workspace
from ..data import manifest
from ..evaluation import evaluation
from ..workspace import ExplainedError

MARKS = {"normal": 0.0, "pneumonia": 1.0, "?": np.nan}  # of own classes: the negative, the positive one
EACH = 10  # radiographs of a class to read, at most
ENOUGH = 5  # pictures of a class; the 95 % interval of 5 right answers of 5 begins at 57 %
YOU, RULE = "you", "brightness rule"


def choose_radiographs(table, seed=0):
    """Validation radiographs to read, in random order: one a patient, equally many of both classes."""
    one_each = manifest.select(table, "val").groupby("patient").sample(1, random_state=seed)
    classes = [one_each[rows] for _, rows in manifest.classes(one_each)]
    count = min(EACH, *map(len, classes))
    chosen = pd.concat([rows.sample(count, random_state=seed) for rows in classes])
    return chosen.sample(frac=1, random_state=seed)


def sheet(rows, pictures, marks, folder):
    """The answers of YOU, NaN where open; if there are none, those of RULE. Says which it is.

    pictures: uint8 [n, 224, 224], as shown. marks: at least n, each one of MARKS, in any case. They are kept
    in `folder`, one CSV file for each set of pictures. Where all are open, those kept earlier count. Returns
    a Series with the reader's name. Raises ExplainedError for an unknown mark.
    """
    path = folder / f"sheet_{workspace.digest(pictures.tobytes())}.csv"
    table = pd.DataFrame({"number": range(1, len(rows) + 1), "path": rows.path.to_numpy()})
    table["mark"] = [mark.strip().lower() for mark in marks[: len(rows)]]
    is_new = (table.mark != "?").any()
    if not is_new and path.exists():
        table["mark"] = manifest.from_csv(path).mark
    for number, mark in zip(table.number, table.mark, strict=True):
        if mark not in MARKS:
            raise ExplainedError(f"Number {number} is marked {mark!r}. Choose one of {', '.join(MARKS)}.")
    answers = pd.Series(table.mark.map(MARKS).to_numpy(), rows.index, name=YOU)
    if answers.isna().all():
        print(
            "Nothing is marked. The answers are those of a rule, not of a person: the half of the pictures "
            "with the brighter lungs is called pneumonia."
        )
        return pd.Series(brighter_half(pictures), rows.index, name=RULE)
    print(f"{answers.count()} of {len(rows)} are marked by you,", end=" ")
    if is_new:
        content = table.to_csv(index=False)
        kept = workspace.save_somewhere(
            folder, lambda there: workspace.write_whole(there / path.name, content)
        )
        print(f"kept in {kept}")
    else:
        print(f"earlier. To start again, delete {path}")
    return answers


def brighter_half(pictures):
    """A rule in place of a reader: uint8 [n, 224, 224] -> 1.0 for the half with the brighter lungs, else 0.0.

    Brightness is the mean grey of the middle of both lungs, minus that of the whole picture.
    """
    lungs = pictures[:, 67:146, [*range(45, 90), *range(134, 179)]]
    brightness = lungs.mean((1, 2)) - pictures.mean((1, 2))
    return (brightness > np.median(brightness)).astype(float)


def ask(reader, tested, pictures):
    """The answers of a reader, from `sheet`, and those of networks, each at the threshold of its card.

    tested: {name: Run}. pictures: those that the reader saw, in the same order. What is open stays NaN.
    """
    answers = reader.to_frame()
    for name, run in tested.items():
        scores = predict.score_pictures(predict.load(run), pictures)
        answers[name] = metrics.called(scores, run.card["threshold"]["value"]).astype(float)
    return answers


def measured(answers, rows):
    """Specificity and sensitivity of each reader with 95 % intervals, as `evaluation.subgroups` gives them.

    Says so if a class has fewer than ENOUGH pictures; the table is empty without answers.
    """
    rows = rows.loc[answers.index]
    parts = [
        rows[members].assign(score=answers[name], subtype=f"{name}: {label.lower()}")
        for name in answers
        for label, members in manifest.classes(rows)
    ]
    if min(map(len, parts), default=0) < ENOUGH:
        print(f"Too few to measure: fewer than {ENOUGH} pictures of a class.")
    return evaluation.subgroups(pd.concat(parts), 0.5) if any(map(len, parts)) else pd.DataFrame()


def wrong(answers, rows):
    """Who is wrong on which radiograph: bool [rows, readers], False where nothing was answered."""
    errors = answers.ne(manifest.positives(rows.loc[answers.index]), axis=0)
    return errors.reindex(rows.index, fill_value=False)


def alone(errors):
    """On how many pictures the first reader is wrong and another is not, and the reverse: sentences.

    errors: from `wrong`. p is of McNemar's exact test, a binomial test of the two numbers.
    """
    first, *others = errors
    for other in others:
        counts = [(errors[one] & ~errors[two]).sum() for one, two in ((first, other), (other, first))]
        p = binomtest(counts[0], sum(counts)).pvalue if any(counts) else 1
        yield f"Wrong alone: {first} {counts[0]}, {other} {counts[1]} (p = {p:.2f})"


def both_times(before, after):
    """The readers who answered both times, on the pictures that all of them answered: (before, after)."""
    readers = before.columns.intersection(after.columns)
    rows = before[readers].dropna().index.intersection(after[readers].dropna().index, sort=False)
    return before.loc[rows, readers], after.loc[rows, readers]


def changed(before, after):
    """How many answers each reader changed: columns images, to_pneumonia, to_normal."""
    change = after - before
    counts = {"images": change.count(), "to_pneumonia": (change > 0).sum(), "to_normal": (change < 0).sum()}
    return pd.DataFrame(counts).rename_axis("reader")
