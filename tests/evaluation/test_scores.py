"""Tables of scores as other projects write them, each compared with the scores that are meant."""

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from conftest import make_workspace

from utils import metrics, runs, workspace
from utils.data import manifest
from utils.evaluation import scores

BEST = runs.released("best")
TEST, VALIDATION = BEST.scores("test"), BEST.scores("val")
BOTH = pd.concat([VALIDATION, TEST], ignore_index=True)
FILE = TEST.path.str.rpartition("/")[2]
ILL = manifest.positives(TEST)
ANSWER = (TEST.score >= 0.5).astype(int)
CONFIDENCE = np.where(ANSWER, TEST.score, 1 - TEST.score)
NAMES = np.array(["NORMAL", "PNEUMONIA"])


def understood(folder, text, manifests=None):
    """What is made of a table with this text: (test, validation, said)."""
    file = folder / "scores.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    test, validation, _, said = scores.understand(scores.read(file), manifests or [manifest.read()])
    return test, validation, said


def pytorch_loop():
    """ImageFolder paths as in Colab, the target, the argmax, and the largest of softmax."""
    table = pd.DataFrame({"label": ILL, "pred": ANSWER, "prob": CONFIDENCE})
    return table.assign(path="/content/chest_xray/" + TEST.path).to_csv(index=False)


def pytorch_two_logits():
    odds = metrics.log_odds(BOTH.score)
    return BOTH[["path"]].assign(logit_0=2 - odds / 2, logit_1=2 + odds / 2).to_csv()


def pytorch_one_logit():
    """BCEWithLogitsLoss, tensors as they print; validation images say the direction."""
    odds = metrics.log_odds(BOTH.score)
    rows = [f'"{p}","tensor({o:.7f}, device=\'cuda:0\')"\n' for p, o in zip(BOTH.path, odds, strict=True)]
    return "image,output\n" + "".join(rows)


def fastai():
    """get_preds with the vocabulary as columns, items as names, targets as numbers."""
    table = pd.DataFrame({"NORMAL": 1 - TEST.score, "PNEUMONIA": TEST.score, "targs": ILL})
    return table.assign(fname="../input/chest_xray/" + TEST.path).to_csv(index=False)


def ultralytics():
    """A row for each of probs.top5: file, class, confidence."""
    low = pd.DataFrame({"path": FILE, "name": NAMES[1 - ANSWER], "confidence": 1 - CONFIDENCE})
    return pd.concat([low.assign(name=NAMES[ANSWER], confidence=CONFIDENCE), low]).to_csv(index=False)


def scikit_learn():
    """pd.DataFrame(model.predict_proba(x), index=files).to_csv()"""
    return pd.DataFrame({0: 1 - TEST.score, 1: TEST.score}).set_axis(FILE.to_numpy()).to_csv()


def hugging_face_pipeline():
    """The first answer of a pipeline for images: the score is that of its label."""
    labels = np.array(["LABEL_0", "LABEL_1"])[ANSWER]
    return pd.DataFrame({"label": labels, "score": CONFIDENCE, "file": FILE}).to_csv(index=False)


def hugging_face_trainer():
    """Softmax of Trainer.predict as a list in a cell, as NumPy prints it, without a header."""
    pairs = [f"[{1 - s:.8f} {s:.8f}]" for s in TEST.score]
    return pd.DataFrame({"file": FILE, "probs": pairs}).to_csv(index=False, header=False)


def medmnist_with_names():
    """The format of MedMNIST's evaluator, scores of both classes, with names instead of numbers."""
    return pd.DataFrame({"n": FILE, "score_0": 1 - TEST.score, "score_1": TEST.score}).to_csv(index=False)


def r_write_table():
    """Blanks between, quoted, rows numbered without a title; `positive` is the second level of the factor."""
    table = TEST[["path", "score"]].rename(columns={"score": "positive"}).set_axis(range(1, 625))
    return table.to_csv(sep=" ", quoting=2).removeprefix('"" ')


def excel_percent():
    percent = [f"{100 * score:.5f} %".replace(".", ",") for score in TEST.score]
    table = pd.DataFrame({"Datei": FILE.str.upper(), "Pneumonie": percent})
    return table.to_csv(sep=";", index=False, lineterminator="\r\n").encode("utf-8-sig")


def excel_unicode_text():
    table = pd.DataFrame({"Image": FILE.str.removesuffix(".jpeg"), "p(Pneumonia)": TEST.score})
    return table.to_csv(sep="\t", index=False).encode("utf-16")


def keras_on_windows():
    """flow_from_directory with NORMAL as the class near 1, predictions as lists of one number."""
    names = TEST.path.str.removeprefix("test/").str.replace("/", "\\")
    lists = [f"[{1 - s}]" for s in TEST.score]
    return pd.DataFrame({"filename": "C:\\x\\" + names, "P(normal)": lists}).to_csv()


def shuffled_and_doubled():
    """Answers beside scores that are of normal, and rows twice."""
    table = pd.concat([BOTH, BOTH[:50]]).sample(frac=1, random_state=0)
    table = table.assign(answer=NAMES[(table.score >= 0.5).astype(int)], score=1 - table.score)
    return table[["path", "label", "answer", "score"]].to_csv(index=False)


TABLES = {  # {table: what is said of its score}
    pytorch_loop: "column prob, P(the class in column pred)",
    pytorch_two_logits: "column logit_0 and logit_1, log odds, P(pneumonia) by the name logit_1",
    pytorch_one_logit: "column output, log odds, P(pneumonia) by the validation images",
    fastai: "column NORMAL and PNEUMONIA, P(pneumonia) by the name PNEUMONIA",
    ultralytics: "column confidence, P(the class in column name)",
    scikit_learn: "column 0 and 1, P(pneumonia) by the name 1",
    hugging_face_pipeline: "column score, P(the class in column label)",
    hugging_face_trainer: "column B_0 and B_1, P(pneumonia) by the name B_1",
    medmnist_with_names: "column score_0 and score_1, P(pneumonia) by the name score_1",
    r_write_table: "column positive, P(pneumonia) by the name positive",
    excel_percent: "column Pneumonie, percent, P(pneumonia) by the name Pneumonie",
    excel_unicode_text: "column p(Pneumonia), P(pneumonia) by the name p(Pneumonia)",
    keras_on_windows: "column P(normal), P(normal) by its name",
    shuffled_and_doubled: "column score, P(normal) by the answers in column answer",
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_as_others_write_them_give_the_scores_that_are_meant(table, tmp_path):
    test, validation, said = understood(tmp_path, table())
    columns = ["path", "patient", "label", "subtype"]
    assert test[columns].equals(TEST[columns])
    np.testing.assert_allclose(test.score, TEST.score, atol=2e-6)
    assert f"score = {TABLES[table]}; 624 test images, 0 missing; " in said
    if table in (pytorch_two_logits, pytorch_one_logit, shuffled_and_doubled):
        assert validation[columns].equals(VALIDATION[columns])
        np.testing.assert_allclose(validation.score, VALIDATION.score, atol=2e-6)
        assert "523 validation images, 0 missing" in said
    else:
        assert validation.empty and "523 missing, too few: the threshold is 0.5; " in said


def test_rows_are_counted_and_what_is_left_out_is_said(tmp_path):
    development = pd.read_csv(manifest.PUBLIC).query("fold == 3").head(5)
    rows = pd.concat([TEST[4:], TEST[8:11], development.assign(score=0.3)])
    rows = rows[["path", "score"]].rename(columns={"score": "pneumonia"})
    rows.loc[-1] = "my_own.jpeg", 0.4
    test, _, said = understood(tmp_path, rows.to_csv(index=False))
    assert test.path.equals(TEST.path[4:].reset_index(drop=True))
    assert said.startswith("629 rows read: file = column path, score = column pneumonia, ")
    assert "; 620 test images, 4 missing; " in said and "3 duplicates (equal)" in said
    assert f"6 left out, of training or not in the manifest, such as {development.path.iloc[0]}" in said


def test_own_radiographs_are_those_that_describe_listed(tmp_path):
    """File names that repeat in other folders, other class names."""
    table = pd.DataFrame({"path": [f"test/{c}/p{n}.png" for c in ("sick", "well") for n in range(30)]})
    table = table.assign(
        split="test", fold=-1, label=["sick"] * 30 + ["well"] * 30, subtype="x", fingerprint="0"
    )
    own = table.assign(patient=table.path, positive=[1] * 30 + [0] * 30).sort_values(
        "path", ignore_index=True
    )
    text = (
        own.assign(pneumonia=np.linspace(1, 0, 60))[["path", "pneumonia"]].sample(frac=1).to_csv(index=False)
    )
    test, validation, said = understood(tmp_path, text, [own, manifest.read()])
    assert test.positive.tolist() == own.positive.tolist() and test.patient.equals(own.patient)
    assert "60 test images, 0 missing; 0 validation images, 0 missing" in said and validation.empty


NAMED = TEST[["path", "score"]].rename(columns={"score": "pneumonia"})
MEDMNIST = pd.DataFrame({0: 1 - TEST.score, 1: TEST.score}).to_csv(header=False)
REFUSED = {
    "names in column .* are not in the manifest": MEDMNIST,
    "scan_0.png. A column must hold the file names": NAMED.assign(path=[f"scan_{n}.png" for n in range(624)]),
    r"version 2 \(version 3 has others\)": NAMED.assign(path=[f"NORMAL-{n}-0001.jpeg" for n in range(624)]),
    "400 of 624 names": NAMED.assign(path=np.where(np.arange(624) < 400, "x.png", TEST.path)),
    "Is column score the probability of pneumonia, or of normal": TEST[["path", "label", "score"]],
    "Is column conf the": NAMED[["path"]].assign(conf=CONFIDENCE, target=ILL),
    "There are: none": NAMED.assign(pneumonia=ANSWER),
    "There are: prob_a, prob_b": NAMED[["path"]].assign(prob_a=TEST.score, prob_b=TEST.score / 2),
    "do not sum to 1": NAMED.assign(normal=TEST.score),
    "pneumonia: 0.0361 to 9.93": NAMED.assign(pneumonia=10 * TEST.score),
    "1 radiographs have no score": NAMED.assign(pneumonia=TEST.score.astype(str).mask(TEST.index == 7, "")),
    "two different scores": pd.concat([NAMED, NAMED[:1].assign(pneumonia=0.9)]),
    "0 test images, 624 missing. Score all": VALIDATION[["path"]].assign(pneumonia=VALIDATION.score),
    "24 test images, 600 missing. Score all": NAMED[ANSWER != ILL],
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_told_is_asked_in_a_sentence(words, tmp_path):
    table = REFUSED[words]
    with pytest.raises(workspace.ExplainedError, match=words):
        understood(tmp_path, table if isinstance(table, str) else table.to_csv())


def test_test_labels_never_choose_the_direction(tmp_path):
    """The same table whose test labels are all reversed is read the same way."""
    listed = manifest.read()
    test = listed.split == "test"
    listed.loc[test, "label"] = listed.label[test].map({"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"})
    for table in (pytorch_loop, pytorch_one_logit, shuffled_and_doubled):
        found = understood(tmp_path, table(), [listed])[0]
        np.testing.assert_allclose(found.score, TEST.score, atol=2e-6)


def test_a_table_is_one_run_and_nobodys_default(tmp_path):
    ws, file = make_workspace(tmp_path / "home"), tmp_path / "best.csv"
    file.write_text(shuffled_and_doubled())
    run = scores.run_of_table(file, ws)
    assert scores.run_of_table(file, ws) == run and run.finished
    assert str(run) == f"run {run.name}, of the table best.csv from elsewhere"
    assert run.card["threshold"]["value"] == pytest.approx(BEST.card["threshold"]["value"], abs=1e-6)
    assert runs.find(ws) == BEST and runs.find(ws, run.name) == run


@pytest.mark.parametrize("table", [hugging_face_pipeline, shuffled_and_doubled])
def test_the_command_writes_a_report_that_claims_nothing_about_the_network(table, tmp_path):
    """As on a laptop that has neither TensorFlow nor the radiographs."""
    (tmp_path / "mine.csv").write_text(table())
    code = "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
    code += "from utils.__main__ import main; main()"
    command = [sys.executable, "-c", code, "evaluate", str(tmp_path / "mine.csv")]
    env = os.environ | {"CXR_HOME": str(tmp_path / "home"), "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=workspace.PROJECT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith(f"mine.csv: {len(table().splitlines()) - 1} rows read")
    assert "0.962 (0.943-0.974)" in done.stdout and re.search("THIS TABLE +0.962", done.stdout)
    (run,) = (tmp_path / "home/runs").iterdir()
    for page in ("report.html", "report.tex", "model_card.md"):
        text = re.sub(r"\s+", " ", (run / page).read_text())
        assert "how it was trained, is not known here" in text
        assert not re.search(r"None|Keras \(|recipe|seed|epoch|million|0-255", text), page
        validated = table is shuffled_and_doubled
        assert ("no validation scores" in text) != validated
        assert ("chosen without the test images" in text) == (validated and page != "model_card.md"), page
