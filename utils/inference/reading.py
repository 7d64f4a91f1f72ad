"""A small reader study: a person and networks answer the same radiographs, and are measured alike.

A reader's answers are rows of a manifest with one more column, score: 1 where the answer is the positive
class, else 0. Below, `readers` is {name: answers}.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from .. import metrics, predict, workspace
from ..data import manifest
from ..evaluation import evaluation

MARKS = {"normal": 0.0, "pneumonia": 1.0, "?": np.nan}  # of own classes: the negative, the positive one
ENOUGH = 5  # pictures of a class; the 95 % interval of 5 right answers of 5 begins at 57 %
YOU, RULE = "you", "brightness rule"


def choose_radiographs(table, each=10, seed=0):
    """Validation radiographs to read: rows of a manifest, one a patient, equally many of both classes.

    each: of a class, at most. They come in random order.
    """
    one_each = manifest.select(table, "val").groupby("patient").sample(1, random_state=seed)
    classes = [one_each[rows] for _, rows in manifest.classes(one_each)]
    count = min(each, *map(len, classes))
    chosen = pd.concat([rows.sample(count, random_state=seed) for rows in classes])
    return chosen.sample(frac=1, random_state=seed)


def sheet(rows, pictures, marks, folder):
    """Whose answers count, and the answers without open ones: (YOU or RULE, answers). Says which it is.

    rows: of a manifest, in the order shown. pictures: uint8 [n, 224, 224], as shown. marks: at least n, each
    one of MARKS, in any case. They are kept in `folder`, one CSV file for each set of pictures. Where all are
    open, those kept earlier count, and if there are none, RULE answers. Raises ExplainedError for an unknown
    mark.
    """
    name = f"sheet_{workspace.digest(pictures.tobytes())}.csv"
    table = pd.DataFrame({"number": range(1, len(rows) + 1), "path": rows.path.to_numpy()})
    table["mark"] = [mark.strip().lower() for mark in marks[: len(rows)]]
    is_new = (table.mark != "?").any()
    if not is_new and (folder / name).exists():
        table["mark"] = manifest.from_csv(folder / name).mark
    for number, mark in zip(table.number, table.mark, strict=True):
        if mark not in MARKS:
            raise workspace.ExplainedError(
                f"Number {number} is marked {mark!r}. Choose one of {', '.join(MARKS)}."
            )
    answers = rows.assign(score=table.mark.map(MARKS).to_numpy()).dropna(subset="score")
    if answers.empty:
        print(
            "Nothing is marked. The answers are those of a rule, not of a person: the half of the pictures "
            "with the brighter lungs is called pneumonia."
        )
        return RULE, rows.assign(score=brighter_half(pictures))
    print(f"{len(answers)} of {len(rows)} are marked by you,", end=" ")
    if is_new:
        content = table.to_csv(index=False)
        path = workspace.save_somewhere(folder, lambda there: workspace.write_whole(there / name, content))
        print(f"kept in {path}")
    else:
        print(f"earlier. To start again, delete {folder / name}")
    return YOU, answers


def brighter_half(pictures):
    """A rule in place of a reader: 1 for the half with the brighter lungs, float [n], 0 or 1.

    pictures: uint8 [n, 224, 224]. Brightness is the mean grey of the middle of both lungs, minus that of the
    whole picture.
    """
    lungs = pictures[:, 67:146, [*range(45, 90), *range(134, 179)]]
    brightness = lungs.mean((1, 2)) - pictures.mean((1, 2))
    return (brightness > np.median(brightness)).astype(float)


def ask(tested, pictures, rows):
    """Answers of networks, each at the threshold of its card: {name: answers}. tested: {name: Run}."""
    readers = {}
    for name, run in tested.items():
        scores = predict.score_pictures(predict.load(run), pictures)
        called = metrics.called(scores, run.card["threshold"]["value"])
        readers[name] = rows.assign(score=called.astype(float))
    return readers


def measured(readers):
    """Specificity and sensitivity of each reader with 95 % intervals, as `evaluation.subgroups` gives them.

    Says so if a class has fewer than ENOUGH pictures; the table is empty without answers.
    """
    parts = [
        answers[rows].assign(subtype=f"{name}: {label.lower()}")
        for name, answers in readers.items()
        for label, rows in manifest.classes(answers)
    ]
    if min(map(len, parts), default=0) < ENOUGH:
        print(f"Too few to measure: fewer than {ENOUGH} pictures of a class.")
    return evaluation.subgroups(pd.concat(parts), 0.5) if any(map(len, parts)) else pd.DataFrame()


def _errors(readers):
    """The pictures that each reader got wrong: {name: set of row labels}."""
    return {
        name: set(answers.index[answers.score != manifest.positives(answers)])
        for name, answers in readers.items()
    }


def wrong(rows, readers):
    """For each row, who is wrong: a list of texts such as 'you, network', empty where nobody is."""
    errors = _errors(readers)
    return [", ".join(name for name in errors if row in errors[name]) for row in rows.index]


def alone(readers):
    """On how many pictures the first reader is wrong and another is not, and the reverse: sentences.

    All have answered the same pictures. p is of McNemar's exact test, a binomial test of the two numbers.
    """
    (first, errors), *others = _errors(readers).items()
    for other, others_errors in others:
        counts = len(errors - others_errors), len(others_errors - errors)
        p = binomtest(counts[0], sum(counts)).pvalue if any(counts) else 1
        yield f"Wrong alone: {first} {counts[0]}, {other} {counts[1]} (p = {p:.2f})"


def both_times(before, after):
    """The readers who answered both times, on the pictures that all of them answered: (before, after).

    before, after: {name: answers}, in any order of the pictures. Says so if you answered once only.
    """
    if (YOU in before) != (YOU in after):
        print("You marked the pictures once only, so neither you nor the rule is compared. Mark these, too.")
    names = [name for name in before if name in after]
    if not names:
        return {}, {}
    answers = [readers[name].score for readers in (before, after) for name in names]
    rows = pd.concat(answers, axis=1, join="inner").index
    return tuple({name: readers[name].loc[rows] for name in names} for readers in (before, after))


def changed(before, after):
    """How many answers each reader changed: columns images, to_pneumonia, to_normal; one row a reader.

    before, after: from `both_times`.
    """
    change = pd.DataFrame({name: after[name].score - before[name].score for name in before})
    counts = {"images": len(change), "to_pneumonia": (change > 0).sum(), "to_normal": (change < 0).sum()}
    return pd.DataFrame(counts, index=pd.Index(before, name="reader"))
