"""The parts of a report as a page for the browser, as a LaTeX project, and plain captions. Word: word.py."""

import base64
import re

import jinja2
from markupsafe import Markup, escape

from . import content

TEX = {char: f"\\{char}" for char in "%&#$_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "_": r"\_\allowbreak{}",  # long names of files and runs may break here
    "/": r"/\allowbreak{}",
    "−": r"\textminus{}",
    "\N{NO-BREAK SPACE}": "~",
}
SETTINGS = {
    "loader": content.TEMPLATES.loader,
    "undefined": jinja2.StrictUndefined,
    "trim_blocks": True,
    "lstrip_blocks": True,
}
HTML = jinja2.Environment(autoescape=True, **SETTINGS)


def tex(value):
    """A value as text in LaTeX. Letters that pdflatex has no font for become their number."""
    if isinstance(value, Markup):  # it is LaTeX already
        return value
    return Markup(
        "".join(TEX.get(char, char if _known(char) else f"[U+{ord(char):04X}]") for char in str(value))
    )


def _known(char):
    return (char < "\u0180" and char not in "ĦħĸĿŀŉŦŧſ") or char in "–—‘’“”…"


LATEX = jinja2.Environment(
    finalize=tex,
    block_start_string="<%",
    block_end_string="%>",
    variable_start_string="<<",
    variable_end_string=">>",
    comment_start_string="<#",
    comment_end_string="#>",
    **SETTINGS,
)


def html(blocks, pictures):
    """The text of report.html, which needs no other file. pictures: {name: bytes of an SVG}."""
    images = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    cite = _citing(blocks, escape, '<a href="#{key}">{name}</a>')
    return HTML.get_template("report.html.j2").render(
        blocks=blocks, images=images, cite=cite, described=content.described
    )


def latex(blocks):
    """A LaTeX project: {file name: text} of report.tex, report.bib and tables/; figures/ is to be beside."""
    cite = _citing(blocks, tex, r"\citealp{{{key}}}")

    def cells(row):
        return Markup(" & ".join(map(cite, row)) + r" \\")

    def text(template, **filled):
        return LATEX.get_template(template).render(filled, cite=cite, cells=cells, latex=Markup)

    works = content.references(blocks)
    files = {"report.tex": text("report.tex.j2", blocks=blocks)}
    files["report.bib"] = text("report.bib.j2", works=works)
    drawn_up = [block for block in blocks if block.kind == "table"]
    return files | {f"tables/{block.name}.tex": text("table.tex.j2", block=block) for block in drawn_up}


def _citing(blocks, escaped, link):
    """A function that escapes a text and links the works that it names."""
    works = content.references(blocks)
    links = {
        str(escaped(name)): link.format(key=key, name=name)
        for name, key in zip(works["cited as"], works.key, strict=True)
    }
    pattern = re.compile("|".join(map(re.escape, links)) or "$^")
    return lambda text: Markup(pattern.sub(lambda match: links[match[0]], str(escaped(text))))


def captions(blocks):
    """Captions, alternative texts and notes as plain text."""
    kinds = {"figure": "Alternative text", "table": "Note"}
    return "\n".join(
        f"{block.label}, {block.name}. {block.text}\n{kinds[block.kind]}: {block.more}\n"
        for block in blocks
        if block.kind in kinds
    )
