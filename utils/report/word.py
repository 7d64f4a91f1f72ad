"""The parts of a report as a Word document."""

import contextlib
import importlib
import io
import subprocess
import sys

from .. import workspace
from . import content

MARGIN, TEXT = 25, 160  # mm, of a page of A4: the margin, and the width between two
NARROW = (  # little space beside the text of a cell
    '<w:tblCellMar xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    '<w:left w:w="30" w:type="dxa"/><w:right w:w="30" w:type="dxa"/></w:tblCellMar>'
)
MISSING = (
    "report.docx is not written: it needs the package python-docx, which cannot be imported. All other files "
    "are there. To have it: pip install python-docx, then run this cell again."
)


def word(blocks, pictures):
    """report.docx as bytes. pictures: {name: bytes of a PNG}. Raises ImportError without python-docx."""
    docx = _library()
    document = docx.Document()
    _prepare(docx.shared, document, blocks[0].text)
    for block in blocks:
        if block.kind == "title":
            document.add_heading(block.text, 0)
        elif block.kind == "heading":
            document.add_heading(block.text, 1)
        elif block.kind == "text":
            document.add_paragraph(block.text)
        elif block.kind == "references":
            for _, work in block.content.iterrows():
                document.add_paragraph(content.described(work), "List")
        elif block.kind == "figure":
            _figure(docx.shared, document, block, pictures[block.name])
        else:
            _table(docx, document, block)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _library():
    """The package docx. Colab lacks it: it is installed there at the first need, and nothing else is."""
    if workspace.version_of("python-docx") == "missing" and workspace.in_colab():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--retries=1", "python-docx"]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=60)
        importlib.invalidate_caches()
    return importlib.import_module("docx")


def _prepare(shared, document, title):
    """A page of A4, one font, black headings."""
    section = document.sections[0]
    section.page_width, section.page_height = shared.Mm(210), shared.Mm(297)
    for side in ("left", "right", "top", "bottom"):
        setattr(section, f"{side}_margin", shared.Mm(MARGIN))
    sizes = {"Normal": 10, "Title": 16, "Heading 1": 13, "Caption": 9, "List": 9}
    for name, size in sizes.items():
        style = document.styles[name]
        style.font.name, style.font.size, style.font.color.rgb = (
            "Arial",
            shared.Pt(size),
            shared.RGBColor(0, 0, 0),
        )
        for theme in ("asciiTheme", "hAnsiTheme"):  # would win over the name
            style.element.rPr.rFonts.attrib.pop(f"{{{style.element.nsmap['w']}}}{theme}", None)
    document.styles["Caption"].font.bold = False
    for line in document.styles["Title"].element.pPr.findall(f"{{{style.element.nsmap['w']}}}pBdr"):
        line.getparent().remove(line)
    document.core_properties.title, document.core_properties.author = title, ""


def _caption(document, block, keep):
    """keep: on one page with what follows."""
    paragraph = document.add_paragraph(style="Caption")
    paragraph.add_run(f"{block.label}. ").bold = True
    paragraph.add_run(block.text)
    paragraph.paragraph_format.keep_with_next = keep
    return paragraph


def _figure(shared, document, block, picture):
    """A picture at its own width, over the margins if need be, with its alternative text, and a caption."""
    width = block.millimetres
    paragraph = document.add_paragraph()
    settings = paragraph.paragraph_format
    settings.keep_with_next = True
    settings.alignment = 1  # centred
    settings.left_indent = settings.right_indent = -shared.Mm(max(0, width - TEXT) / 2)
    shape = paragraph.add_run().add_picture(io.BytesIO(picture), width=shared.Mm(width))
    shape._inline.docPr.set("descr", block.more)
    shape._inline.docPr.set("title", block.label)
    _caption(document, block, keep=False)


def _table(docx, document, block):
    """A caption, a table whose head is repeated on each page, and its note."""
    _caption(document, block, keep=True)
    rows = [list(block.content), *block.content.to_numpy().tolist()]
    table = document.add_table(len(rows), len(rows[0]), "Light Shading")
    table.autofit = False
    look = table._tbl.tblPr.find(docx.oxml.ns.qn("w:tblLook"))
    look.set(docx.oxml.ns.qn("w:val"), "0620")  # lines above, below and under the head; no bands
    look.addprevious(docx.oxml.parse_xml(NARROW))
    for column, width in zip(table.columns, block.widths, strict=True):
        column.width = docx.shared.Mm(TEXT * width / sum(block.widths))
    for row, texts in zip(table.rows, rows, strict=True):
        row._tr.get_or_add_trPr().append(docx.oxml.OxmlElement("w:cantSplit"))
        for cell, text, column in zip(row.cells, texts, table.columns, strict=True):
            cell.width = column.width
            paragraph = cell.paragraphs[0]
            paragraph.add_run(text).font.size = docx.shared.Pt(7.5)
            paragraph.paragraph_format.keep_with_next = not block.long
    table.rows[0]._tr.trPr.append(docx.oxml.OxmlElement("w:tblHeader"))
    document.add_paragraph(block.more, "Caption").paragraph_format.space_after = docx.shared.Pt(12)
