import io
import json
import re
import shutil
import subprocess
import sys
import zipfile

import docx
import jinja2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from utils import figures as plots
from utils import metrics, report, workspace
from utils.evaluation import evaluation
from utils.report import content, tables, word

HOSTILE = "50 %_&#{}$~^\\ <b> [x]"  # a class name
MARKUP = re.compile(r"\?\?|\bnan\b|\bNone\b|\*\*|`|\[U\+")


@pytest.fixture(scope="session")
def drawn(scores, results, trained):
    decision = evaluation.decision_curves(scores, trained.scores("val"), None, 0.2)
    curves = {"as they are": evaluation.reliability(scores)}
    return {
        "04_roc": plots.results.roc(scores, results["at 0.5"], 0.4),
        "04_calibration": plots.results.calibration(curves, decision, 0.2, scores),
    }


@pytest.fixture(scope="session")
def further(scores, trained):
    return {
        "test_subgroups": evaluation.subgroups(scores, 0.5).set_index("group"),
        "test_calibration": tables.with_intervals(evaluation.calibration(scores, trained.scores("val"), 50)),
    }


def files_of(run, scores, results, drawn, further):
    return report.documents.contents(run, scores, results, drawn, further, 0.004, 100, ["A finding of 5 %."])


@pytest.fixture(scope="session")
def files(trained, scores, results, drawn, further):
    return files_of(trained, scores, results, drawn, further)


@pytest.fixture(scope="session")
def filled(trained, scores, results):
    more = {
        "prevalence": "20 %",
        "sentences": [],
        "version": "1",
        "code": "abc",
        "drawn": {},
        "recalibrated": True,
    }
    return report.documents.facts(trained, scores, results, 100) | more


def fully(filled, monkeypatch=None):
    """The parts of a report for which everything that notebook 04 knows is there."""
    notebook = (workspace.PROJECT / "notebooks" / "04_evaluate.ipynb").read_text()
    figure = Figure()
    figure.set_label("Seen.")  # a drawn one has its alternative text there, see test_figures.py
    figures = dict.fromkeys(re.findall(r'\\"(04_\w+)\\":', notebook), figure)
    names = {"test_metrics", *re.findall(r'\\"((?:test|validation)_\w+)\\"[]:]', notebook)}
    printed = dict.fromkeys(names, pd.DataFrame({"a": ["b"]}))
    return figures, printed, content.blocks(filled | {"drawn": figures}, figures, printed)


def word_text(document):
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return "\n".join([*(paragraph.text for paragraph in document.paragraphs), *cells])


def test_every_figure_and_table_of_notebook_04_has_words(filled):
    figures, printed, blocks = fully(filled)
    assert len(figures) == 10 and len(printed) == 9
    assert {block.name for block in blocks if block.kind == "figure"} == set(figures)
    assert {block.name for block in blocks if block.kind == "table"} == {*printed, "checklist"}
    assert all(block.text and block.more for block in blocks if block.kind in ("figure", "table"))
    text = "\n".join(block.text for block in blocks)
    assert "(see " not in text
    for block in blocks:
        if block.kind in ("figure", "table") and block.name != "checklist":
            assert re.search(rf"[(,] ?{block.label}[,)]", text), f"no sentence points at {block.name}"


def test_what_is_not_there_is_left_out_and_not_pointed_at(filled):
    blocks = content.blocks(
        filled, {"04_scores": Figure(label="Two heaps.")}, {"test_calibration": pd.DataFrame({"a": ["b"]})}
    )
    labels = {block.name: block.label for block in blocks if block.label}
    assert labels == {"04_scores": "Figure 1", "test_calibration": "Table 1", "checklist": "Table 2"}
    assert next(block.more for block in blocks if block.name == "04_scores") == "Two heaps."
    text = " ".join(block.text for block in blocks)
    assert set(re.findall(r"(?:Figure|Table) \d", text)) == {"Figure 1", "Table 1"} and "()" not in text


def test_a_misspelt_field_of_a_template_is_an_error(filled):
    less = {name: value for name, value in filled.items() if name != "positive"}
    with pytest.raises(jinja2.UndefinedError, match="positive"):
        content.blocks(less, {}, {"test_calibration": pd.DataFrame()})
    with pytest.raises(jinja2.UndefinedError, match="positive"):
        report.documents.model_card(less)


def test_each_item_of_the_guidelines_is_answered_once(filled):
    table = content.checklist(filled)
    assert all(table.Answer.str.len() > 3) and all(table.Topic.str.len() > 3)
    tripod = [int(number) for cell in table["TRIPOD+AI"] for number in re.findall(r"\d+", cell)]
    assert set(tripod) == set(range(1, 28)) and tripod == sorted(tripod)
    claim = [int(number) for cell in table["CLAIM 2024"] for number in re.findall(r"\d+", cell)]
    assert set(claim) == set(range(1, 45))
    assert {n for n in claim if claim.count(n) > 1} == {43}  # data and code


def test_every_work_that_the_words_name_is_in_the_list_of_references():
    known = set(content.works()["cited as"])
    texts = [path.read_text() for path in (workspace.PROJECT / "utils/report/templates").glob("*.j2")]
    named = re.findall(r"[A-Z]\w+(?: et al\.| and [A-Z]\w+)? (?:19|20)\d\d\b", "\n".join(texts))
    named += re.findall(r"(?<=\()[A-Z]\w+ \d{4}(?=\))", metrics.THRESHOLD_RULE)
    allowed = {"Biomedical 2026", "CLAIM 2024", "Mitchell et al. 2019", "Youden 1950"}
    assert set(named) - known <= allowed and "Youden 1950" in known
    assert content.works().key.is_unique and len(named) > 10


def test_the_bundle_is_written_whole(trained, scores, results, drawn, further, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "04_comparison.png").write_bytes(b"of an earlier evaluation")
    packed, *paths = report.documents.save(
        trained, tmp_path, scores, results, drawn, further, 0.004, 100, ["A finding."]
    )
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        names = set(archive.namelist())
    assert names == {str(path.relative_to(tmp_path)) for path in paths}
    expected = {f"figures/{name}.{kind}" for name in drawn for kind in ("png", "svg", "pdf")}
    shown = ("test_metrics", *further, "checklist")
    expected |= {f"tables/{name}.tex" for name in shown} | {f"tables/{name}.csv" for name in shown[:-1]}
    expected |= {f"report.{kind}" for kind in ("docx", "tex", "bib", "html")}
    assert names == expected | {"captions.txt", "model_card.md", "metrics.json"}
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    assert numbers["images"] == len(scores) == sum(numbers["confusion"]["at 0.5"].values())
    assert numbers["synthetic"] is True
    assert numbers["results"]["at 0.5"]["auc"]["value"] == pytest.approx(results["at 0.5"].value["auc"])
    groups = pd.read_csv(tmp_path / "tables" / "test_subgroups.csv")
    assert groups.value.to_numpy() == pytest.approx(further["test_subgroups"].value.to_numpy(), rel=1e-3)
    assert not re.search(r"\d\.\d{6}", (tmp_path / "tables" / "test_subgroups.csv").read_text())


def test_all_documents_say_the_same_and_say_phantom(files, results):
    texts = {
        "html": re.sub(r"<[^>]+>", "", files["report.html"]),
        "tex": files["report.tex"].replace(r"\%", "%").replace("~", "\N{NO-BREAK SPACE}"),
        "docx": word_text(docx.Document(io.BytesIO(files["report.docx"]))),
    }
    value = results["at 0.5"].value
    for kind, text in texts.items():
        assert "SYNTHETIC PHANTOM" in text, kind
        assert re.search(rf"accuracy was {value.accuracy:.2f}", text), kind
        assert "A finding of 5\N{NO-BREAK SPACE}%." in text and "0.4\N{NO-BREAK SPACE}%" in text, kind
        assert "Kermany" not in text and not MARKUP.search(text), kind
    assert "synthetic phantom" in files["tables/test_metrics.csv"] and "SYNTHETIC" in files["model_card.md"]
    assert files["captions.txt"].count("Alternative text: ") == 2


def test_the_word_document_has_headings_tables_and_alternative_texts(files, drawn, further):
    document = docx.Document(io.BytesIO(files["report.docx"]))
    styles = [paragraph.style.name for paragraph in document.paragraphs]
    headings = [p.text for p in document.paragraphs if p.style.name == "Heading 1"]
    assert styles[0] == "Title" and headings[:2] == ["Methods", "Results"] and "References" in headings
    assert len(document.tables) == 2 + len(further)
    for table in document.tables:
        assert table.rows[0]._tr.trPr.xpath("w:tblHeader")
        assert all(cell.text for row in table.rows for cell in row.cells)
    pictures = document.inline_shapes
    widths = [round(shape.width.mm) for shape in pictures]
    assert widths == [round(figure.get_size_inches()[0] * 25.4) for figure in drawn.values()] == [89, 183]
    assert all(len(shape._inline.docPr.get("descr")) > 20 for shape in pictures)


def test_the_page_for_the_browser_needs_no_other_file(files):
    html = files["report.html"]
    linked = re.findall(r'(?:src|href)="([^"]{,30})', html)
    assert all(link.startswith(("data:image/svg+xml;base64,", "#")) for link in linked)
    anchors = {link for link in linked if link[0] == "#"}
    assert anchors and all(f'id="{anchor[1:]}"' in html for anchor in anchors)
    assert html.count("<img") == html.count('alt="') == 2


def check_latex(files):
    """What LaTeX would stumble over: missing files, unknown works, bare signs, braces and columns."""
    text = files["report.tex"]
    assert all(f"figures/{name}" in files for name in re.findall(r"\]\{figures/([^}]+)\}", text))
    included = re.findall(r"\\input\{([^}]+)\}", text)
    assert {f"{name}.tex" for name in included} == {
        name for name in files if name.startswith("tables/") and name.endswith("tex")
    }
    cited = {
        key
        for text in files.values()
        if isinstance(text, str)
        for key in re.findall(r"\\citealp\{(\w+)\}", text)
    }
    assert cited and cited == set(re.findall(r"^@\w+\{(\w+),", files["report.bib"], re.M))
    for name in ["report.tex", "report.bib", *(f"{name}.tex" for name in included)]:
        bare = re.sub(r"\\.", "", files[name].split(r"\begin{document}")[-1])
        assert bare.count("{") == bare.count("}"), name
        lines = [line for line in bare.splitlines() if not line.startswith("%")]
        assert not re.search("[%$^#]", "\n".join(lines)), name
    for name in included:
        body = files[f"{name}.tex"].split(r"\toprule")[1]
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len({row.count(" & ") for row in rows}) == 1, name


def test_the_latex_project_is_well_formed(files):
    check_latex(files)


@pytest.fixture(scope="session")
def hostile(trained, scores, results, drawn, further):
    """A report on own radiographs whose names mean something in Markdown, HTML and LaTeX."""
    renamed = {"NORMAL": HOSTILE, "PNEUMONIA": "न\n\n# ill\x00\ud800"}
    own = scores.assign(label=scores.label.map(renamed), positive=(scores.label == "PNEUMONIA").astype(int))
    groups = further["test_subgroups"].rename(index=lambda name: f"{name} | {HOSTILE}")
    return files_of(trained, own, results, drawn, further | {"test_subgroups": groups})


def test_names_that_mean_something_elsewhere_are_only_names(hostile):
    check_latex(hostile)
    document = docx.Document(io.BytesIO(hostile["report.docx"]))
    assert document.paragraphs[0].text.startswith(content.plain(HOSTILE)) and content.plain(
        HOSTILE
    ) in word_text(document)
    assert next(p.text for p in document.paragraphs if p.style.name == "Heading 1") == "Methods"
    assert "<b> [x]" not in hostile["report.html"] and "&lt;b&gt; [x]" in hostile["report.html"]
    assert "[U+0928] # ill" not in hostile["report.tex"] and r"[U+0928] \# ill" in hostile["report.tex"]


def test_without_python_docx_the_rest_is_written_and_a_sentence_says_so(
    trained, scores, results, drawn, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "docx", None)
    files = files_of(trained, scores, results, {}, {"test_calibration": pd.DataFrame({"a": [1]})})
    assert "report.docx" not in files and {"report.tex", "report.html", "metrics.json"} <= set(files)
    assert "report.docx is not written: it needs the package python-docx" in capsys.readouterr().out


def test_in_colab_python_docx_is_installed_once_and_nothing_else(monkeypatch):
    ran = []
    monkeypatch.setattr(word.subprocess, "run", lambda command, **_: ran.append(command))
    assert word._library() is docx and not ran  # it is there
    monkeypatch.setattr(workspace, "version_of", lambda _: "missing")
    assert word._library() is docx and not ran  # not in Colab
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert word._library() is docx and len(ran) == 1
    assert {"--no-deps", "python-docx"} <= set(ran[0]) and not any(part.startswith("-U") for part in ran[0])


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


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["", "twocolumn,"])
@pytest.mark.parametrize("which", ["files", "hostile"])
def test_the_latex_project_compiles_untouched(which, columns, request, tmp_path):
    for program in ("pdflatex", "bibtex", "pdftotext", "pdffonts"):
        if not shutil.which(program):
            pytest.skip(
                f"NOT LOOKED AT: {program} is missing, so that nobody knows whether report.tex compiles"
            )
    for name, text in request.getfixturevalue(which).items():
        workspace.write_whole(tmp_path / name, text)
    source = tmp_path / "report.tex"
    source.write_text(source.read_text().replace(r"\documentclass[11pt,", rf"\documentclass[{columns}"))
    for command in ("pdflatex", "bibtex", "pdflatex", "pdflatex"):
        done = subprocess.run(
            [command, "report"], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "report.log").read_text(errors="replace")
    too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(too_wide, default=0) <= 5 and "undefined" not in log
    text = subprocess.run(
        ["pdftotext", "report.pdf", "-"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert which == "hostile" or not MARKUP.search(text)
    fonts = subprocess.run(["pdffonts", "report.pdf"], cwd=tmp_path, capture_output=True, text=True).stdout
    rows = fonts.splitlines()[2:]
    assert rows and all(row.split()[-5] == "yes" for row in rows) and "Type 3" not in fonts
    assert 3 <= len(re.findall("\f", text)) <= 12


@pytest.mark.slow
def test_the_word_document_opens_in_libreoffice(files, tmp_path):
    if not shutil.which("soffice") or not shutil.which("pdftotext"):
        pytest.skip("NOT LOOKED AT: soffice or pdftotext is missing, so that nobody has opened report.docx")
    (tmp_path / "report.docx").write_bytes(files["report.docx"])
    home = f"-env:UserInstallation=file://{tmp_path}/profile"
    subprocess.run(
        ["soffice", home, "--headless", "--convert-to", "pdf", "report.docx"], cwd=tmp_path, check=True
    )
    text = subprocess.run(
        ["pdftotext", "report.pdf", "-"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert not MARKUP.search(text) and "Table 1." in text and 3 <= len(re.findall("\f", text)) <= 12
