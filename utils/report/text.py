"""From numbers and words to a document: one Markdown text, of which pandoc makes Word, LaTeX and HTML."""

import importlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import jinja2
import pandas as pd
from markupsafe import Markup

from .. import workspace
from . import tables

HERE = Path(__file__).parent / "templates"
WIDTH = 170  # mm, of a page without its margins
LINE = 36  # characters; a longer cell of a table is broken into lines
MISSING = (
    "report.docx, report.tex and report.html are not written: they need the package pypandoc-binary, which "
    "cannot be imported. All else is there, report.md with the text among it. To have them: "
    "pip install pypandoc-binary, then run this cell again."
)
STYLES = "layout/reference.docx"  # of report.docx
READING = "--from=markdown-smart"  # quotes and dashes stay as they are
WRITERS = {  # {file: the kind of its figures, what pandoc is told}
    "report.docx": ("png", ["--citeproc", f"--reference-doc={STYLES}"]),
    "report.html": ("svg", ["--citeproc", "--embed-resources", f"--css={HERE}/report.css"]),
    "report.tex": ("pdf", ["--natbib", f"--include-in-header={HERE}/header.tex"]),
}
TABLE = re.compile(r"(?:^\|.*\n)+\n: .* \{#tbl:(\w+)\}$", re.MULTILINE)
ALONE = "% \\usepackage{array,booktabs,calc,longtable}  in the preamble\n% \\input{tables/NAME}  here\n"
MINUS = "−".encode()


def plain(value):
    """A value as text in Markdown: in one line, dashes as printed, no character read as markup."""
    if isinstance(value, Markup):  # it is Markdown already
        return value
    text = "".join(char if char.isprintable() else " " for char in str(value))
    text = re.sub(r"(?<=\d)-(?=\d+\.\d|\d+ %)", "–", re.sub(" +", " ", text))
    text = re.sub(r"(?<![\w.–-])-(?=\d)", "−", text).replace(" %", "\N{NO-BREAK SPACE}%")
    return Markup(re.sub(r"[\\`*{}\[\]<>#|~^$@\"]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text))


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE),
    undefined=jinja2.StrictUndefined,  # a misspelt field is an error, not a gap in a sentence
    autoescape=True,  # what a macro has made is not made plain again
    finalize=plain,
    trim_blocks=True,
    lstrip_blocks=True,
)


def markdown(filled, figures, printed):
    """The text of a report, and the tables that are only files: two Markdown texts.

    filled: what the templates fill in. figures: {name: Figure}; its label is its alternative text. printed:
    {name: `tables.printed`}. What is not there is left out, and so is what points at it.
    """
    drawn = {
        name: {
            "width": min(WIDTH, round(figure.get_size_inches()[0] * 25.4)),
            "alternative": figure.get_label(),
        }
        for name, figure in figures.items()
    }
    filled = filled | {"drawn": drawn, "tables": printed}
    rows = TEMPLATES.get_template("checklist.j2").render(filled).strip().splitlines()
    rows = [[Markup(cell.strip() or tables.EMPTY) for cell in row.split("|", 3)] for row in rows]
    printed = printed | {
        "checklist": pd.DataFrame(rows, columns=["TRIPOD+AI", "CLAIM 2024", "Topic", "Answer"])
    }
    filled["tables"] = {name: Markup(_pipe_table(table)) for name, table in printed.items()}
    text = TEMPLATES.get_template("report.md.j2").render(filled)
    text, only_files = re.sub(r"\n{3,}", "\n\n", text).split("<!-- only files -->\n")
    return text.lstrip(), only_files


def _pipe_table(printed):
    """A table in Markdown. The dashes below its head give the widths of its columns."""
    rows = [[plain(cell) for cell in row] for row in [list(printed), *printed.to_numpy().tolist()]]
    widths = []
    for cells in zip(*rows, strict=True):
        words = " ".join(cells).split()
        widths.append(max(min(LINE, max(map(len, cells))), 1.2 * max(map(len, words))))
    dashes = ["-" * round(200 * width / sum(widths)) for width in widths]  # more than a line: read as shares
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], dashes, *rows[1:]])


def convert(text, only_files, files, reference=None):
    """Word, LaTeX and HTML of a report, and each of its tables in LaTeX: {file name: bytes}.

    text, only_files: of `markdown`. files: {file name: bytes} with the figures. reference: a docx whose
    styles Word is to have, bytes. Without pypandoc-binary it is empty, and a sentence says so.
    """
    try:
        pandoc = _library().get_pandoc_path()
    except ImportError:
        print(MISSING)
        return {}

    def call(*options, source=""):
        done = subprocess.run([pandoc, *options], input=source.encode(), cwd=folder, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"pandoc {' '.join(options)}: {done.stderr.decode()}")
        return done.stdout

    with tempfile.TemporaryDirectory() as folder:
        made = {STYLES: reference or styles(call("--print-default-data-file=reference.docx"))}
        made["layout/report.lua"] = (HERE / "report.lua").read_bytes()
        made["report.bib"] = (HERE / "references.bib").read_bytes()
        for name, content in (files | made).items():
            workspace.write_whole(Path(folder) / name, content)
        reading = [READING, "--standalone", "--wrap=preserve", "--lua-filter=layout/report.lua"]
        for name, (kind, writing) in WRITERS.items():
            source = text.replace(".png){#fig:", f".{kind}){{#fig:")
            to = name.removeprefix("report.").replace("tex", "latex")
            made[name] = call(*reading, *writing, f"--to={to}", "--output=-", source=source)
        for table in TABLE.finditer(text + only_files):
            tex = call(READING, "--to=latex", source=table[0])
            made[f"tables/{table[1]}.tex"] = ALONE.replace("NAME", table[1]).encode() + tex
    for name in made:
        if name.endswith(".tex"):
            made[name] = made[name].replace(MINUS, b"$-$")
    return made


def _library():
    """The package pypandoc. Colab lacks it: it is installed there at the first need, and nothing else is."""
    if workspace.version_of("pypandoc-binary") == "missing" and workspace.in_colab():
        install = ["-m", "pip", "install", "-q", "--no-deps", "--retries=1", "pypandoc-binary"]
        subprocess.run([sys.executable, *install], capture_output=True)
        importlib.invalidate_caches()
    return importlib.import_module("pypandoc")


def styles(document):
    """reference.docx from that of pandoc, bytes: our styles and numbered pages of A4, from word.xml."""
    source = zipfile.ZipFile(io.BytesIO(document))
    parts = {name: source.read(name).decode() for name in source.namelist()}
    looks, section, kind, relation, footer = (HERE / "word.xml").read_text("utf-8").split("\n\n")
    names = "|".join(re.findall('w:styleId="[^"]+"', looks))
    for part, place, new in (
        ("word/styles.xml", rf"<w:style [^>]*({names})(?s:.*?)</w:style>", ""),
        ("word/styles.xml", "(?=</w:styles>)", looks),
        ("word/document.xml", "<w:sectPr>(?s:.*?)</w:sectPr>", section),
        ("[Content_Types].xml", "(?=</Types>)", kind),
        ("word/_rels/document.xml.rels", "(?=</Relationships>)", relation),
    ):
        parts[part] = re.sub(place, lambda _, new=new: new, parts[part])
    parts["word/footer1.xml"] = footer
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()
