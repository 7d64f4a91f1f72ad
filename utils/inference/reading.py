"""A small reader study: a person and networks answer the same radiographs, and are measured alike.

A reader's answers are a scores table whose score is 1 where the answer is the positive class, else 0.
"""

import functools

import numpy as np
import pandas as pd

from .. import metrics, predict, workspace
from ..data import manifest
from ..data.formats import DataError
from ..evaluation import compare, evaluation

MARKS = {"normal": 0.0, "pneumonia": 1.0, "?": np.nan}  # of own classes: the negative, the positive one
ENOUGH = 5  # pictures of a class; the 95 % interval of 5 right answers of 5 begins at 57 %
YOU, RULE = "you", "brightness rule"
LUNG = {"top": 0.3, "bottom": 0.65, "inner": 0.4, "outer": 0.2}  # the middle of a lung, shares of the side


def draw(table, each=10, seed=0):
    """Validation radiographs to read: rows of a manifest, one a patient, equally many of both classes.

    each: of a class, at most. They come in random order. Raises DataError if a class is missing, or if the
    seed is not a whole number from 0 on.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**32 - 1:
        raise DataError(f"The seed is {seed}; choose a whole number from 0 on, such as 1 or 2026.")
    one = manifest.select(table, "val").groupby("patient").sample(1, random_state=seed)
    classes = [one[rows] for _, rows in manifest.classes(one)]
    count = min(each, *map(len, classes))
    if not count:
        raise DataError("The validation images are of one class only; both are needed. See notebook 01.")
    drawn = pd.concat([rows.sample(count, random_state=seed) for rows in classes])
    return drawn.sample(frac=1, random_state=seed)


def sheet(rows, pictures, marks, folder):
    """Whose answers count, and the answers without open ones: (YOU or RULE, answers). Says which it is.

    rows: of a manifest, in the order shown. pictures: uint8 [n, 224, 224], as shown. marks: at least n,
    each one of MARKS, in any case; None is open, too. They are kept in `folder`, one CSV file for each set of
    pictures. Where all are open, those kept earlier count, and if there are none, RULE answers. Raises
    DataError for an unknown mark.
    """
    file = folder / f"sheet_{workspace.digest(pictures.tobytes())}.csv"
    marks = [str(mark or "?").strip().lower() for mark in marks[: len(rows)]]
    new = marks != ["?"] * len(rows)  # as a whole: a single ? may be meant to leave a picture out
    table = pd.DataFrame({"number": range(1, len(rows) + 1), "path": rows.path.to_numpy()})
    table["mark"] = marks if new else _kept(file, len(rows))
    if unknown := table[~table.mark.isin(MARKS)].values.tolist():
        raise DataError(
            f"Number {unknown[0][0]} is marked {unknown[0][2]!r}. Choose one of {', '.join(MARKS)}."
        )
    score = table.mark.map(MARKS).to_numpy()
    if np.isnan(score).all():
        print(
            "Nothing is marked. The answers are those of a rule, not of a person: the half of the pictures "
            "with the brighter lungs is called pneumonia."
        )
        return RULE, rows.assign(score=brighter_half(pictures))
    if new:
        file = workspace.save_somewhere(
            folder, lambda there: workspace.write_whole(there / file.name, table.to_csv(index=False))
        )
    print(f"{np.isfinite(score).sum()} of {len(rows)} are marked by you,", end=" ")
    print(f"kept in {file}" if new else f"earlier. To start again, delete {file}")
    return YOU, rows.assign(score=score).dropna(subset="score")


def _kept(file, count):
    """The marks of an earlier session, all open where there are none."""
    try:
        marks = manifest.from_csv(file)["mark"].tolist()
    except FileNotFoundError:
        return ["?"] * count
    except (OSError, ValueError, KeyError):
        marks = []
    if len(marks) != count:
        raise DataError(f"{file} is not an answer sheet for {count} pictures. Delete it, and mark again.")
    return marks


def brighter_half(pictures):
    """A rule in place of a reader: 1 for the half with the brighter lungs, float [n], 0 or 1.

    pictures: uint8 [n, side, side]. Brightness is the mean grey of the middle of both lungs, minus that of
    the whole picture.
    """
    side = pictures.shape[1]
    top, bottom, inner, outer = (round(side * share) for share in LUNG.values())
    lungs = pictures[:, top:bottom, outer:inner], pictures[:, top:bottom, side - inner : side - outer]
    brightness = np.concatenate(lungs, axis=2).mean((1, 2)) - pictures.mean((1, 2))
    return (brightness > np.median(brightness)).astype(float)


def ask(tested, pictures, rows):
    """Answers of networks, each at the threshold of its card: {name: answers}. tested: {name: Run}."""
    from .. import saved_models

    answers = {}
    for name, run in tested.items():
        scores = predict.score_pictures(saved_models.load(run.path / "model.keras"), pictures)
        answers[name] = rows.assign(
            score=metrics.called(scores, run.card["threshold"]["value"]).astype(float)
        )
    return answers


def measured(readers):
    """Specificity and sensitivity of each reader with 95 % intervals, as `evaluation.subgroups` gives them.

    readers: {name: answers}. Says so if a class has fewer than ENOUGH; the table is empty without answers.
    """
    counts = [rows.sum() for table in readers.values() for _, rows in manifest.classes(table)]
    if min(counts, default=0) < ENOUGH:
        print(f"Too few to measure: fewer than {ENOUGH} pictures of a class.")
    if not any(counts):
        return pd.DataFrame()
    named = [
        table[rows].assign(subtype=f"{name}: {label.lower()}")
        for name, table in readers.items()
        for label, rows in manifest.classes(table)
    ]
    return evaluation.subgroups(pd.concat(named), 0.5)


def wrong(rows, readers):
    """For each row, who is wrong: a list of texts such as 'you, network', empty where nobody is."""
    truth = pd.Series(manifest.positives(rows), rows.index)
    missed = pd.DataFrame({name: (table.score - truth).abs() == 1 for name, table in readers.items()})
    return [", ".join(missed.columns[row]) for row in missed.reindex(rows.index).to_numpy()]


def alone(readers):
    """On how many pictures the first reader is wrong and another is not, and the reverse: sentences.

    readers: {name: answers}, of the same pictures. p is of McNemar's exact test.
    """
    first, *others = readers
    for other in others:
        only_other, only_first, p = compare.discordant(readers[first], readers[other]).iloc[0]
        yield f"Wrong alone: {first} {only_first:.0f}, {other} {only_other:.0f} (p = {p:.2f})"


def both_times(before, after):
    """The readers who answered both times, on the pictures that all of them answered: (before, after).

    before, after: {name: answers}, whose order may differ. Says so if you answered once only.
    """
    if YOU in before.keys() ^ after.keys():
        print("You marked the pictures once only, so neither you nor the rule is compared. Mark these, too.")
    names = [name for name in before if name in after]
    answered = [side[name].index for side in (before, after) for name in names]
    rows = functools.reduce(pd.Index.intersection, answered) if names else []
    return tuple({name: side[name].loc[rows] for name in names} for side in (before, after))


def changed(before, after):
    """How many answers each reader changed: columns images, to_pneumonia, to_normal; one row a reader.

    before, after: from `both_times`.
    """
    change = pd.DataFrame({name: after[name].score - before[name].score for name in before})
    counts = {"images": len(change), "to_pneumonia": (change > 0).sum(), "to_normal": (change < 0).sum()}
    return pd.DataFrame(counts, index=pd.Index(before, name="reader"))
