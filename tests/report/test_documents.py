"""A report says what the run at hand proves, in Word, LaTeX and HTML; what its reader changed stays."""

import io
import json
import re
import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
import zipfile

import jinja2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from utils import figures as plots
from utils import intervals, metrics, report, runs, workspace
from utils.evaluation import evaluation
from utils.report import tables, text

HOSTILE = "50 %_&#{}$~^\\ <b> [x]"  # a class name
MARKUP = re.compile(r"\?\?|\bnan\b|\bNone\b|\*\*|`|[{\[]@|\bfig:|\btbl:")
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"


@pytest.fixture(scope="session")
def drawn(scores, results, trained):
    decision = evaluation.decision_curves(scores, trained.scores("val"), None, 0.2)
    curves = {"as they are": evaluation.reliability(scores)}
    return {
        "04_roc": plots.results.roc(scores, results["at 0.5"], 0.4),
        "04_calibration": plots.results.calibration(curves, decision, 0.2, scores),
        "04_confusion": plots.results.confusion(scores, 0.5),
    }


@pytest.fixture(scope="session")
def further(scores, trained):
    return {
        "test_subgroups": evaluation.subgroups(scores, 0.5).set_index("group"),
        "test_calibration": evaluation.calibration(scores, trained.scores("val"), 50),
    }


def save(run, folder, scores, results, drawn, further):
    """The files of a report, {name: bytes}."""
    more = (0.004, 100, ["A finding of 5 %."])
    paths = report.documents.save(run, folder, scores, results, drawn, further, *more)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def printed(table, name):
    return text.plain(intervals.text(table.loc[name]))


@pytest.fixture(scope="session")
def files(trained, scores, results, drawn, further, tmp_path_factory):
    return save(trained, tmp_path_factory.mktemp("report"), scores, results, drawn, further)


def other_run(trained, folder, card=None, without=()):
    """A copy of the run with other entries in its card, and without some files."""
    shutil.copytree(trained.path, folder)
    run = runs.Run(folder)
    workspace.write_whole(folder / "card.json", json.dumps(card(run.card) if card else run.card))
    for name in without:
        (folder / name).unlink()
    return run


def words_of(docx):
    """The text of a Word document, a line a paragraph."""
    with zipfile.ZipFile(io.BytesIO(docx)) as archive:
        root = ET.fromstring(archive.read("word/document.xml"))
    return "\n".join("".join(part.text or "" for part in line.iter(f"{W}t")) for line in root.iter(f"{W}p"))


def test_the_numbers_of_the_report_are_those_of_the_results_in_every_format(files, results, scores):
    primary = results["at the validation threshold"]
    tex = re.sub(r"\s+", " ", files["report.tex"].decode()).replace(r"\%", "%").replace("--", "–")
    texts = {
        "docx": words_of(files["report.docx"]),
        "html": re.sub(r"<[^>]+>", "", files["report.html"].decode()).replace("\n", " "),
        "tex": tex.replace("~", "\N{NO-BREAK SPACE}"),
        "md": files["report.md"].decode(),
    }
    for kind, said in texts.items():
        for name in ("sensitivity was", "specificity", "accuracy"):
            assert f"{name} {printed(primary, name.split()[0])}" in said, (kind, name)
        assert "SYNTHETIC PHANTOM" in said and "A finding of 5\N{NO-BREAK SPACE}%." in said, kind
        assert "Kermany" not in said and "one hospital" not in said, kind
        assert kind in ("md", "tex") or not MARKUP.search(said), kind
    counts = metrics.confusion(scores, 0.4)
    table = pd.read_csv(io.BytesIO(files["tables/test_metrics.csv"]))
    assert table.columns[1:].tolist() == ["metric", "value", "low", "high"] and len(table) == 20
    share = counts["tp"] / (counts["tp"] + counts["fn"])
    assert table.metric[2] == "sensitivity" and table.value[2] == pytest.approx(share, rel=1e-3)
    numbers = json.loads(files["metrics.json"])
    assert numbers["results"]["at 0.5"]["auc"]["value"] == pytest.approx(results["at 0.5"].value["auc"])
    assert b"synthetic phantom" in files["tables/test_subgroups.csv"]
    assert b"SYNTHETIC" in files["model_card.md"]


def test_word_counts_figures_and_tables_itself_and_its_references_lead_to_them(files, drawn):
    with zipfile.ZipFile(io.BytesIO(files["report.docx"])) as archive:
        assert archive.testzip() is None
        root = ET.fromstring(archive.read("word/document.xml"))
        assert any(b" PAGE " in archive.read(name) for name in archive.namelist() if "footer" in name)
    assert root.find(f".//{W}footerReference") is not None
    fields = [field.get(f"{W}instr").split() for field in root.iter(f"{W}fldSimple")]
    marks = [mark.get(f"{W}name") for mark in root.iter(f"{W}bookmarkStart")]
    targets = [field[1] for field in fields if field[0] == "REF"]
    assert len(targets) > 4 and set(targets) <= set(marks) and len(marks) == len(set(marks))
    counted = [field[1] for field in fields if field[0] == "SEQ"]
    numbers = {name: counted.count(name) for name in counted}
    assert numbers == {"Table": 2, "TableS": 4, "Figure": 2, "FigureS": 1}
    pictures = [part for part in root.iter() if part.tag.endswith("}docPr")]
    assert [part.get("descr") for part in pictures] == [text.plain(one.get_label()) for one in drawn.values()]
    styles = {part.get(f"{W}val") for part in root.iter(f"{W}pStyle")}
    assert {"Title", "Heading2", "TableCaption", "ImageCaption", "Bibliography"} <= styles
    assert len(list(root.iter(f"{W}tblHeader"))) == 6


def check_latex(files):
    """Every reference has its label, every work is there, and so is every figure."""
    tex, bib = files["report.tex"].decode(), files["report.bib"].decode()
    labels = re.findall(r"\\label\{((?:fig|tbl):\w+)\}", tex)
    referred = re.findall(r"\\ref\{([^}]+)\}", tex)
    assert (
        len(labels) == len(set(labels))
        and set(referred) <= set(labels)
        and len(set(referred)) >= len(labels) - 1
    )
    assert all(f"figures/{name}" in files for name in re.findall(r"\]\{figures/([^}]+)\}", tex))
    cited = {key for group in re.findall(r"\\cite[pt]\{([^}]+)\}", tex) for key in group.split(", ")}
    assert len(cited) > 8 and cited <= set(re.findall(r"^@\w+\{(\w+),", bib, re.MULTILINE))
    assert r"\bibliography{report}" in tex and "onecolumn" not in tex and "twocolumn" not in tex
    for name in files:
        if name.startswith("tables/") and name.endswith(".tex"):
            lines = files[name].decode().splitlines()
            assert lines[0].startswith("% \\usepackage{") and lines[1] == f"% \\input{{{name[:-4]}}}  here"
            assert lines[2].startswith(r"\begin{longtable}") and lines[-1] == r"\end{longtable}"


def test_the_latex_project_is_whole(files):
    check_latex(files)
    (packed,) = (name for name in files if name.endswith(".zip"))
    with zipfile.ZipFile(io.BytesIO(files[packed])) as archive:
        assert archive.testzip() is None and {*archive.namelist(), packed} == set(files)


def test_the_page_for_the_browser_asks_for_nothing_else(files):
    html = files["report.html"].decode()
    linked = re.findall(r'(?:src|href)="([^"]{,40})', html)
    assert all(link.startswith(("data:", "#", "https://doi.org/", "https://keras.io")) for link in linked)
    assert not re.search(r'<(script|link|iframe)\b|src="http|@import|url\(["\']?http', html)
    anchors = {link for link in linked if link[0] == "#"}
    assert len(anchors) > 8 and all(f'id="{anchor[1:]}"' in html for anchor in anchors)
    assert html.count("<img") == 3 and 'name="viewport"' in html


def test_what_was_changed_stays_and_the_new_one_is_named(trained, scores, results, tmp_path, capsys):
    first = save(trained, tmp_path, scores, results, {}, {})
    assert capsys.readouterr().out == ""
    (tmp_path / "report.docx").write_bytes(b"edited in Word")
    (tmp_path / "tables" / "test_metrics.csv").write_text("edited")
    (tmp_path / "captions.txt").write_text("somebody's own")
    for _ in range(2):  # the second time the new ones are written anew, not a third time
        again = save(trained, tmp_path, scores, results, {}, {})
        said = capsys.readouterr().out
        assert "report.docx (the new one: report_2.docx), " in said and "test_metrics_2.csv" in said
        assert again.keys() - first.keys() == {"report_2.docx", "tables/test_metrics_2.csv"}
    assert (tmp_path / "report.docx").read_bytes() == b"edited in Word"
    assert (tmp_path / "tables" / "test_metrics.csv").read_text() == "edited"
    assert zipfile.is_zipfile(tmp_path / "report_2.docx") and not list(tmp_path.glob("*_3*"))


def test_a_report_has_the_styles_that_its_reader_gave_to_reference_docx(trained, scores, results, tmp_path):
    save(trained, tmp_path, scores, results, {}, {})
    path = tmp_path / text.STYLES
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b'w:ascii="Arial"', b'w:ascii="Garamond"'))
    again = save(trained, tmp_path, scores, results, {}, {})
    with zipfile.ZipFile(io.BytesIO(again["report.docx"])) as archive:
        assert b"Garamond" in archive.read("word/styles.xml")


def test_a_training_is_told_as_its_card_has_it(files, trained):
    said, recipe = files["report.md"].decode(), trained.card["recipe"]
    assert f"for {trained.card['epochs_done']} epochs in batches of {recipe['batch_size']}" in said
    assert f"rose to {recipe['learning_rate']} and then fell along a cosine" in said
    assert "label smoothing of 0.1" in said and "weight decay of 0.02" in said and "seed 0" in said
    assert "(30\N{NO-BREAK SPACE}% to 100\N{NO-BREAK SPACE}% of its area)" in said and "noise" in said
    assert "Changed from the recipe fast: epochs 2 (there 8)." in said and "test_looks" not in said


def test_scores_of_another_program_without_validation_are_reported_and_no_more_is_claimed(
    trained, scores, results, drawn, tmp_path
):
    def card(card):
        kept = ("version", "created", "finished", "synthetic", "manifest", "class_names", "code")
        remark, rule = "How is not known.", "the usual one, as there are no validation scores"
        return {name: card[name] for name in kept} | {
            "adapted": {"table": "theirs.csv", "file": "abc", "read as": "P(pneumonia)"},
            "recipe": {"name": "theirs", "network": "theirs.csv", "epochs": 0, "remark": remark},
            "threshold": {"value": 0.5, "rule": rule},
            "counts": {"usable": len(scores), "listed": len(scores), "val": 0, "val_patients": 0},
            "validation": "none in the table",
            "versions": {"python": "3.12", "numpy": "2.0"},
        }

    run = other_run(trained, tmp_path / "run", card, ["scores_val.csv"])
    known = {"at 0.5": results["at 0.5"], list(results)[-1]: results[list(results)[-1]]}
    files = save(run, tmp_path / "out", scores, known, drawn, {})
    check_latex(files)
    for name in ("report.md", "model_card.md"):
        said = files[name].decode()
        assert "theirs.csv" in said and "How is not known." in said
        untrue = r"epochs|trained on|Adam|Keras|Tensor|served for|pixels|without the test|seed|\bNone\b"
        assert not re.search(untrue, said)
    assert "test_metrics_at_half" not in " ".join(files)
    assert f"sensitivity was {printed(known['at 0.5'], 'sensitivity')}" in files["report.md"].decode()


def test_names_that_mean_something_elsewhere_are_only_names(
    trained, scores, results, drawn, further, tmp_path
):
    """A report on own radiographs whose names mean something in Markdown, HTML and LaTeX."""
    renamed = {"NORMAL": HOSTILE, "PNEUMONIA": "- @ill\n\n# x\x00"}
    own = scores.assign(label=scores.label.map(renamed), positive=(scores.label == "PNEUMONIA").astype(int))
    groups = further["test_subgroups"].rename(index=lambda name: f"{name} | {HOSTILE}")
    files = save(trained, tmp_path, own, results, drawn, further | {"test_subgroups": groups})
    check_latex(files)
    words = words_of(files["report.docx"])
    assert words.startswith(HOSTILE.replace(" %", "\N{NO-BREAK SPACE}%").capitalize() + " or - @ill # x")
    assert "\nMethods\n" in words and "<b>" not in files["report.html"].decode().replace("&lt;b&gt;", "")
    assert "NORMAL2-IM | 50" in words


@pytest.fixture(scope="session")
def filled(trained, scores, results):
    more = {"prevalence": "20 %", "sentences": [], "version": "1", "code": "abc", "drawn_at": 0.5}
    return report.documents.facts(trained, scores, results, 100) | more | {"recalibrated": True}


def test_every_figure_and_table_of_notebook_04_is_placed_once_and_pointed_at(filled):
    notebook = (workspace.PROJECT / "notebooks" / "04_evaluate.ipynb").read_text()
    figure = Figure()
    figure.set_label("Seen.")
    figures = dict.fromkeys([*re.findall(r'\\"(04_\w+)\\":', notebook), "mine"], figure)
    names = ["characteristics", "test_metrics", "test_metrics_at_half"]
    names += re.findall(r'\\"((?:test|validation)_\w+)\\"[]:]', notebook)
    said, only_files = text.markdown(filled, figures, dict.fromkeys(names, pd.DataFrame({"a": ["b"]})))
    placed = re.findall(r"\{#(\w+:\w+)", said)
    repeated = {"fig:04_metrics", "fig:04_subgroups", *re.findall(r"\{#(\w+:\w+)", only_files)}
    assert len(placed) == len(set(placed)) and not repeated & set(placed)
    every = {*(f"fig:{name}" for name in figures), *(f"tbl:{name}" for name in [*names, "checklist"])}
    assert {*placed, *repeated} == every
    referred = set(re.findall(r"@(\w+:\w+)", said))
    assert referred == set(placed) - {"fig:mine"}
    assert not re.search(r"Kept was|Right are|this model|show more|\bsee [a-z]+_", said)


def test_what_is_not_there_is_left_out_and_not_pointed_at(filled):
    said, _ = text.markdown(filled, {}, {"test_calibration": pd.DataFrame({"a": ["b"]})})
    assert (
        set(re.findall(r"@(\w+:\w+)", said)) == {"tbl:test_calibration", "tbl:checklist"} and "[]" not in said
    )


def test_a_misspelt_field_of_a_template_is_an_error(filled):
    less = {name: value for name, value in filled.items() if name != "positive"}
    with pytest.raises(jinja2.UndefinedError, match="positive"):
        text.markdown(less, {}, {"test_calibration": pd.DataFrame()})
    with pytest.raises(jinja2.UndefinedError, match="positive"):
        report.documents.model_card(less)


def test_each_item_of_the_guidelines_is_answered_once(filled):
    said, _ = text.markdown(filled, {}, {})
    rows = [line.strip("| ").split(" | ") for line in said.partition("TRIPOD+AI | CLAIM")[2].splitlines()]
    rows = [row for row in rows if len(row) == 4 and "--" not in row[0]]
    assert all(len(cell) > 3 for row in rows for cell in row[2:])
    tripod = [int(number) for row in rows for number in re.findall(r"\d+", row[0])]
    assert set(tripod) == set(range(1, 28)) and tripod == sorted(tripod)
    claim = [int(number) for row in rows for number in re.findall(r"\d+", row[1])]
    assert set(claim) == set(range(1, 45))
    assert {n for n in claim if claim.count(n) > 1} == {43}  # data and code


def test_without_pandoc_the_rest_is_written_and_a_sentence_says_so(
    trained, scores, results, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "pypandoc", None)
    files = save(trained, tmp_path, scores, results, {}, {})
    assert "report.docx" not in files and {"report.md", "metrics.json", "tables/test_metrics.csv"} <= set(
        files
    )
    assert "they need the package pypandoc-binary" in capsys.readouterr().out


def test_in_colab_pandoc_is_installed_once_and_nothing_else(monkeypatch):
    ran = []
    found = types.ModuleType("pypandoc")
    monkeypatch.setitem(sys.modules, "pypandoc", found)
    monkeypatch.setattr(text.subprocess, "run", lambda command, **_: ran.append(command))
    monkeypatch.setattr(workspace, "version_of", lambda _: "missing")
    assert text._library() is found and not ran  # not in Colab
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert text._library() is found and len(ran) == 1
    assert {"--no-deps", "pypandoc-binary"} <= set(ran[0]) and not any(
        part.startswith("-U") for part in ran[0]
    )


def test_tables_are_rounded_to_what_their_interval_supports():
    rows = {"x": [0.95831, 0.931, 0.981], "y": [1.768, 1.529, 2.242], "z": [-13.3, -15, -2.1]}
    table = pd.DataFrame(rows, index=["value", "low", "high"]).T
    assert list(tables.printed(table)["Share (95 % interval)"]) == [
        "0.958 (0.931-0.981)",
        "1.77 (1.53-2.24)",
        "-13.3 (-15.0 to -2.1)",
    ]


def test_a_printed_table_has_titles_counts_and_no_gaps():
    found = pd.DataFrame(
        {
            "fact": ["class", "file: size in kB"],
            "label": ["NORMAL", "NORMAL"],
            "part": [0, 1],
            "from": [np.nan, 157.19],
            "to": [np.nan, 231.597],
            "images": [1234, 24],
            "up": [0.5, np.nan],
            "up_low": [0.4, np.nan],
            "up_high": [0.6, np.nan],
        }
    ).set_index("fact")
    table = tables.printed(found)
    assert list(table.iloc[0]) == ["class", "normal", "-", "1,234", "0.50 (0.40-0.60)"]
    assert list(table.iloc[1])[2:] == ["157.2 to 231.6", "24", "not defined"]
    assert "part" not in table and table.columns[0] == "Radiographs by"


def test_calibration_is_given_only_where_it_is_defined_and_once(results):
    table = tables.with_intervals(results)
    lazy = table[list(results)[-1]]
    assert lazy["Calibration slope"] == lazy["Calibration intercept"] == "not defined"
    assert table["at the validation threshold"]["AUC"] == "the same" != table["at 0.5"]["AUC"]
    assert table["at the validation threshold"]["Accuracy"] != "the same"


def test_the_released_run_is_told_by_class_and_part():
    run = runs.released("best")
    table = tables.characteristics(run.card, run.scores("test"), run.scores("val"))
    assert table.loc["all"].tolist() == [4709, 523, 624, 3305, 364, 428]
    assert (
        table.loc["pneumonia: virus", "images, test"] == 148
        and table.loc["normal", "images, training"] == 1215
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pdflatex", "soffice"])
def test_documents_are_opened_by_the_programs_that_people_use(kind, files, tmp_path):
    if not shutil.which(kind) or not shutil.which("pdftotext"):
        pytest.skip(f"NOT LOOKED AT: {kind} or pdftotext is missing")
    for name, content in files.items():
        workspace.write_whole(tmp_path / name, content)
    profile = f"-env:UserInstallation=file://{tmp_path}/profile"
    commands = [["soffice", profile, "--headless", "--convert-to", "pdf", "report.docx"]]
    if kind == "pdflatex":
        needs = r"\documentclass{article}\usepackage{array,booktabs,calc,longtable}"
        alone = needs + r"\begin{document}\input{tables/test_metrics}\end{document}"
        workspace.write_whole(tmp_path / "alone.tex", alone)
        steps = ("pdflatex", "bibtex", "pdflatex", "pdflatex")
        commands = [["pdflatex", "alone"], *([step, "report"] for step in steps)]
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done.stdout[-2000:]
    if kind == "pdflatex":
        log = (tmp_path / "report.log").read_text(errors="replace")
        too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
        assert max(too_wide, default=0) <= 5 and "undefined" not in log
    said = subprocess.run(
        ["pdftotext", "report.pdf", "-"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert not MARKUP.search(said) and 3 <= len(re.findall("\f", said)) <= 10 and "Table S1" in said
