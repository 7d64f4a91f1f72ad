"""The words of a report as a list of parts, the same for all formats: templates in, Blocks out."""

import functools
import io
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2
import pandas as pd

from ..figures import style
from . import tables

LAID_OUT = re.compile(r"(figure|table) (\w+): (.*?)(?: note: (.*))?")
POINTED_AT = re.compile(r" \(see ([\w, ]+)\)")
LONG = 20  # rows of a table that surely fit on a page
LINE = 36  # characters; a longer cell of a table is broken into lines
WIDE = 60  # characters of a row that fit into one of two columns of a page


def plain(value):
    """A value as text for any format: in one line, without invisible characters, dashes as printed."""
    text = "".join(char if char.isprintable() else " " for char in str(value))
    text = re.sub(r"(?<=\d)-(?=\d+\.\d|\d+ %)", "–", " ".join(text.split()))
    return re.sub(r"(?<![\w.–-])-(?=\d)", "−", text).replace(" %", "\N{NO-BREAK SPACE}%")


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,  # a misspelt field is an error, not a gap in a sentence
    finalize=plain,  # so that no value can begin a part of its own
    trim_blocks=True,
    lstrip_blocks=True,
)


def _size(text):
    """The width of a text, in small letters."""
    return len(text) + 0.5 * sum(map(str.isupper, text))


def _width(title, cells):
    """The width of a column, in small letters: its longest cell, but of long ones the longest word."""
    words = " ".join([title, *cells]).split()
    return 3 + max(min(LINE, max(map(_size, cells))), 1.1 * max(map(_size, words)))


@dataclass(frozen=True)
class Block:
    """One part of a report: a title, heading, text, figure, table, or the list of references."""

    kind: str
    text: str  # of a figure or table: its caption
    name: str = ""  # of a figure or table, and of its files
    label: str = ""  # "Table 1"
    more: str = ""  # a figure's alternative text, a table's note
    content: object = None  # the Figure, the printed table, or the references: what is cited, a row each

    @property
    def millimetres(self):
        """Of a figure, its width."""
        return round(self.content.get_size_inches()[0] * 25.4)

    @property
    def widths(self):
        """Of a table's columns, in small letters."""
        return [_width(title, cells) for title, cells in self.content.items()]

    @property
    def wide(self):
        """Does a figure or table need both columns of a page?"""
        return self.millimetres > style.ONE_COLUMN if self.kind == "figure" else sum(self.widths) > WIDE

    @property
    def long(self):
        """May a table need more than a page?"""
        return len(self.content) > LONG


def blocks(filled, figures, printed):
    """The parts of a report, in order. filled: what the templates fill in. figures: {name: Figure}.

    printed: {name: `tables.printed`}. Figures and tables are numbered in the order of the template; what is
    not there is left out, and so is what points at it. The label of a Figure is its alternative text.
    """
    filled = filled | {"tables": printed}
    printed = printed | {"checklist": checklist(filled)}
    found, count, labels = [], Counter(), {}
    for part in map(plain, re.split(r"\n\s*\n", TEMPLATES.get_template("report.j2").render(filled))):
        if match := LAID_OUT.fullmatch(part):
            kind, name, caption, more = match.groups("")
            content = {"figure": figures, "table": printed}[kind].get(name)
            if content is not None:
                if kind == "table":
                    content = content.map(plain).rename(columns=plain)
                else:
                    more = plain(content.get_label())
                count[kind] += 1
                labels[name] = f"{kind.capitalize()} {count[kind]}"
                found.append(Block(kind, caption, name, labels[name], more, content))
        elif part:
            kinds = {"#": "title", "##": "heading", "references": "references"}
            kind = kinds.get(part.split()[0], "text")
            found.append(Block(kind, part if kind == "text" else part.lstrip("# ")))

    def point(match):
        known = [labels[name] for name in match[1].split(", ") if name in labels]
        return f" ({', '.join(known)})" if known else ""

    found = [replace(block, text=POINTED_AT.sub(point, block.text)) for block in found]
    works = cited(found)
    return [replace(block, content=works) if block.kind == "references" else block for block in found]


def checklist(filled):
    """The items of the reporting guidelines with their answers, as a printed table."""
    text = TEMPLATES.get_template("checklist.j2").render(filled)
    rows = [row.split("|", 3) for row in re.split(r"\n\s*\n", text.strip())]
    titles = ["TRIPOD+AI", "CLAIM 2024", "Topic", "Answer"]
    return pd.DataFrame([[cell.strip() or tables.EMPTY for cell in row] for row in rows], columns=titles)


@functools.cache
def works():
    """references.csv, a row each, with the key that BibTeX takes."""
    text = TEMPLATES.get_template("references.csv").render()
    found = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    return found.assign(key=found["cited as"].str.replace(r"\W", "", regex=True))


def cited(found):
    """The works that the text of these blocks names, a row each."""
    said = "\n".join(
        text
        for block in found
        for text in (block.text, block.more, *(block.content.stack() if block.kind == "table" else ()))
    )
    return works()[[name in said for name in works()["cited as"]]].reset_index(drop=True)


def references(found):
    """The works that a report cites, from its blocks."""
    return next(block.content for block in found if block.kind == "references")


def described(work):
    """A work as it stands in a list of references."""
    author = work.author.replace(" and others", ", et al.").replace(" and ", "; ")
    place = " ".join(filter(None, [work.journal, work.volume])) + (
        f": {work.pages}".replace("-", "–") if work.pages else ""
    )
    parts = [f"{author} ({work.year})", work.title, place, work.publisher]
    return ". ".join(filter(None, parts)) + "." + (f" doi:{work.doi}" if work.doi else "")
