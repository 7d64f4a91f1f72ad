"""A table of scores that any program wrote becomes a run, which is evaluated as any other.

One column names the radiographs; labels and patients are the manifest's. What was understood, and why, is
said before a number. Test labels choose nothing. No TensorFlow, no pictures.
"""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from .. import metrics, runs
from ..data import manifest
from ..workspace import ExplainedError

FEWEST = 20  # validation images that tell which class a score is of
SUFFIX = re.compile(r"\.(jpe?g|jfif|png|bmp|tiff?|gif|webp|dcm|npy|txt)\s*$", re.I)
COMMA = re.compile(r"^\s*([-+]?\d*),(\d+(?:e[-+]?\d+)?\s*%?)\s*$", re.I)  # 0,97
ONE = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*%?"
# A number, or two: 0.97, 97 %, [0.97], tensor(0.97, device='cuda:0'), np.float32(0.97), [0.03 0.97].
NUMBERS = rf"(?i)^\s*(?:[a-z][\w.]*\()?[\[(\s]*{ONE}(?:[,\s]+{ONE})?\s*(?:[\])].*|,\s*[a-z].*)?$"
# What means a class, in names of columns and in cells.
ILL = re.compile(r"neumon|bacteri|virus|viral|positive|abnormal|^true$", re.I)
WELL = re.compile(r"(?<!ab)normal(?!i)|healthy|negative|^false$", re.I)
DIGIT = re.compile(r"(?<![\d.])([01])(?:\.0*)?\W*$")  # prob_1, LABEL_0
SCORE = re.compile(r"prob|scor|pred|conf|logit|output|^p$", re.I)


def run_of_table(path, ws):
    """A finished run of a table of scores, a CSV file. Prints what was understood.

    Radiographs are the public ones, or those that `own_data.describe` listed in the folder in use. The same
    table gives the same run again. Raises ExplainedError for what is not there or cannot be told.
    """
    path = Path(path).expanduser()
    if not path.is_file() or path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise ExplainedError(f"There is no table of scores at {path}. Give the path of a CSV file.")
    own = [manifest.read(file) for file in ws.data.glob(manifest.PUBLIC.name)] if ws.data else []
    test, validation, listed, said = understand(read(path), [*own, manifest.read()])
    print(f"{path.name}: {said}")
    settings = {"table": path.name, "file": runs.file_digest(path), "read as": said}
    for run in runs.own_runs(ws):
        if run.finished and run.card.get("adapted") == settings:
            return run
    remark = (
        "Which network gave these scores, and how it was trained, is not known here. If test or validation "
        "images influenced it, the numbers are too good. This was a look at the test set."
    )
    recipe = {"name": f"scores_{path.stem}", "network": path.name, "epochs": 0, "remark": remark}
    about = SimpleNamespace(synthetic=False, digest=manifest.digest(listed), table=test)
    about.listed = manifest.select(listed, "test")
    card = {"recipe": recipe, "adapted": settings} | runs.describe_data(about, val=validation)
    card |= runs.describe_machine("float64")
    card["versions"] = {name: card["versions"][name] for name in ("python", "numpy", "scikit-learn")}
    run = runs.create(ws, card)
    run.write_scores("test", test)
    threshold = {"value": 0.5, "rule": "the usual one, as there are no validation scores to choose another"}
    if len(validation):
        run.write_scores("val", validation)
        threshold = {"value": metrics.choose_threshold(validation), "rule": metrics.THRESHOLD_RULE}
    run.update_card(threshold=threshold, finished=True)
    return run


def read(path):
    """The cells of a table as text, whatever separates them; columns without names get letters."""
    content = path.read_bytes()
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
    first = text.partition("\n")[0]
    separator = max(";\t,", key=first.count)
    settings = {"sep": separator if separator in first else r"\s+", "dtype": str, "keep_default_na": False}
    table = pd.read_csv(io.StringIO(text), **settings)
    if any(SUFFIX.search(name) for name in table):  # a radiograph, not the name of a column
        table = pd.read_csv(io.StringIO(text), header=None, **settings)
        return table.rename(columns=lambda number: chr(ord("A") + number))
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()  # rows named by R


def understand(table, manifests):
    """What a table means: (test scores, validation scores, their manifest, what was understood).

    The manifest that knows most names is taken. Validation scores are none where many are missing. Raises
    ExplainedError for what cannot be told.
    """
    text = [name for name in table if table[name].str.contains(r"[^\W\d]").any()]
    found = [(_rows(table[name], listed), name, listed) for listed in manifests for name in text or table]
    rows, file, listed = max(found, key=lambda one: (one[0] >= 0).sum())
    unknown = table[file][rows < 0]
    if len(unknown) > 0.1 * len(table):
        raise ExplainedError(
            f"{len(unknown)} of {len(table)} names in column {file} are not in the manifest, such as "
            f"{unknown.iloc[0]}. A column must hold the file names of the public radiographs, version 2 "
            "(version 3 has others), or of your own: run describe (notebook 01), and give the folder as DATA."
        )
    used = (rows >= 0) & (listed.fold <= 0).to_numpy()[rows]
    scored = listed.iloc[rows[used]].reset_index(drop=True)
    scored["score"], how = _score(table[used].drop(columns=file).reset_index(drop=True), scored)
    spread = scored.groupby("path").score.agg(np.ptp)
    if spread.max() > 0.001:
        raise ExplainedError(f"{spread.idxmax()} has two different scores. Keep one row of each radiograph.")
    once = scored.drop_duplicates("path").sort_values("path", ignore_index=True)
    said, parts = f"{len(table)} rows read: file = column {file}, score = {how}", []
    for part, name in (("test", "test"), ("val", "validation")):
        wanted = manifest.select(listed, part)
        there = once.path.isin(wanted.path)
        parts.append(once[there].drop(columns=["split", "fold", "fingerprint"]).reset_index(drop=True))
        said += f"; {there.sum()} {name} images, {len(wanted) - there.sum()} missing"
        if there.sum() < 0.9 * len(wanted):
            if part == "test":
                raise ExplainedError(
                    f"{said}. Score all test images: a part, such as the errors, tells little."
                )
            parts[1], said = parts[1][:0], f"{said}, too few: the threshold is 0.5"
    said += f"; {len(scored) - len(once)} duplicates (equal)"
    if left := table[file][~used].tolist():
        said += f"; {len(left)} left out, of training or not in the manifest, such as {left[0]}"
    return *parts, listed, f"{said}."


def _rows(names, listed):
    """The row of the manifest for each name, -1 for none: by file names, with folders where these repeat."""

    def keys(paths, depth):
        plain = paths.str.strip().str.replace("\\", "/").str.replace(SUFFIX, "", regex=True).str.lower()
        return plain.str.split("/").str[-depth:].str.join("/")

    depth = next(d for d in range(1, 99) if not keys(listed.path, d).duplicated().any())
    return pd.Index(keys(listed.path, depth)).get_indexer(keys(names, depth))


def _score(cells, scored):
    """P(pneumonia) of each row, and in words how it was read. cells: text. scored: rows of the manifest."""
    numbers = pd.concat([_numbers(cells[name]) for name in cells], axis=1)
    sides = {name: _class(name) for name in numbers}
    if not {0, 1} <= {*sides.values()}:  # a digit alone, as in score1, may count networks
        sides = {name: _class(name, digits=False) for name in numbers}
    well, ill = ([name for name in numbers if sides[name] == side] for side in (0, 1))
    chosen = well + ill or [name for name in numbers if SCORE.search(name)] or list(numbers)
    if len(chosen) != 1 and not (well and ill):
        raise ExplainedError(
            f"Which column holds scores, such as 0.973? There are: {', '.join(chosen) or 'none'}. Call the "
            "right one pneumonia."
        )
    if (lost := numbers[chosen].isna().any(axis=1)).any():
        raise ExplainedError(f"{lost.sum()} radiographs have no score, such as {scored.path[lost].iloc[0]}.")
    values, scale = _probabilities(numbers[chosen])
    if ill:
        score, why = values[ill].sum(axis=1), f"P(pneumonia) by the name {' and '.join(ill)}"
    elif well:
        score, why = 1 - values[well[0]], "P(normal) by its name"
    else:
        score, why = _direction(values[chosen[0]], cells, scored)
    return score, f"column {' and '.join(chosen)}{scale}, {why}"


def _numbers(cells):
    """A column of text as numbers, two columns where a cell holds two; none if they only count."""
    found = cells.str.replace(COMMA, r"\1.\2", regex=True).str.extract(NUMBERS).astype(float)
    empty = cells.str.strip().str.lower().isin(["", "nan", "na", "none"])
    counts = not (found % 1 > 0).any(axis=None) and "%" not in "".join(cells)
    if counts or not (found[0].notna() | empty).all():
        return pd.DataFrame(index=cells.index)
    found = found.dropna(axis=1, how="all")
    return found.add_prefix(f"{cells.name}_") if 1 in found else found.set_axis([cells.name], axis=1)


def _class(text, digits=True):
    """1 for a word that means pneumonia, 0 for normal, None for neither or both."""
    text = re.sub(r"no[nt]?[\W_]*pneumonia", "normal", text.strip(), flags=re.I)
    ill, well = bool(ILL.search(text)), bool(WELL.search(text))
    digit = DIGIT.search(text) if digits and not ill and not well else None
    return int(digit[1]) if digit else int(ill) if ill != well else None


def _probabilities(values):
    """Columns of numbers as probabilities, and in words from what. Raises ExplainedError."""
    low, high, several, scale = values.min(axis=None), values.max(axis=None), len(values.columns) > 1, ""
    if low >= 0 and 50 < high <= 100:
        values, scale = values / 100, ", percent"
    elif low < 0 and (high > 0 or several):
        odds, scale = values.to_numpy(), ", log odds"
        values = pd.DataFrame(softmax(odds, axis=1) if several else expit(odds), columns=values.columns)
    sums = values.sum(axis=1) if several else 1
    if values.min(axis=None) < 0 or values.max(axis=None) > 1.001 or np.abs(sums - 1).max() > 0.02:
        raise ExplainedError(
            f"{', '.join(values)}: {low:.3g} to {high:.3g}. These are no probabilities, or do not sum to 1. "
            "Write one column of probabilities from 0 to 1, called pneumonia."
        )
    return values.clip(upper=1), scale


def _direction(score, cells, scored):
    """The score as P(pneumonia), and what says so: a column of answers, or the validation images."""
    truth, judged = manifest.positives(scored), (scored.fold == 0).to_numpy()
    few = {name: cells[name].map(_class) for name in cells if cells[name].nunique() <= 10}
    few = {name: side for name, side in few.items() if side.notna().all()}
    answers = {name: side for name, side in few.items() if 0.01 < (side == truth).mean() < 0.99}  # no labels
    for name, side in answers.items():
        if score.min() >= 0.5 or (side.groupby(scored.path).nunique() == 2).all():
            return score.where(side == 1, 1 - score), f"P(the class in column {name})"
    evidence = [(side == 1, 0.99, f"the answers in column {name}") for name, side in answers.items()]
    if score.min() < 0.5 and judged.sum() >= FEWEST:
        evidence.append((pd.Series(truth == 1)[judged], 0.7, "the validation images"))
    for side, least, words in evidence:
        for told, reading in (("P(pneumonia)", score), ("P(normal)", 1 - score)):
            if side.nunique() == 2 and roc_auc_score(side, reading[side.index]) > least:
                return reading, f"{told} by {words}"
    raise ExplainedError(
        f"Is column {score.name} the probability of pneumonia, or of normal? Nothing in the table tells. "
        "Call it pneumonia or normal. If it is that of the answer, add a column prediction with the answer."
    )
