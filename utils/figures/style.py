"""One look for all figures: sizes of a two-column report, one colour per class, and saving."""

import functools
import io
import re

import matplotlib.pyplot as plt

from .. import workspace

ONE_COLUMN, TWO_COLUMNS = 89, 183  # mm
COLOURS = ("#0072B2", "#D55E00")  # normal, pneumonia (Okabe and Ito 2008)
GREY, ACCENT = "#6E6E6E", "#009E73"
LOOKS = (("o", "black"), ("s", GREY), ("^", ACCENT))  # marker and colour of up to three results in one figure
GRID = {"lw": 0.3, "color": "#DDDDDD"}  # lines behind the data
GUESSING = {"color": GREY, "lw": 0.6, "ls": ":"}  # a line to compare with
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Liberation Sans", "Arimo", "DejaVu Sans"],  # the first three: equal widths
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,  # on the screen
    "savefig.transparent": False,  # white; True: what lies behind the figure is seen
    "text.parse_math": False,  # names of files and models are no formulas
    "pdf.fonttype": 42,  # TrueType, so that text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "chest-xray-notebooks",  # the same figure gives the same file
    "figure.constrained_layout.use": True,
}
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def styled(function):
    """Apply STYLE, add the note, and close the figure so that a notebook shows it once."""

    @functools.wraps(function)
    def wrapper(*args, note="", **kwargs):
        with plt.rc_context(STYLE):
            figure = function(*args, **kwargs)
            if note:
                below = "\n".join(filter(None, [figure.get_supxlabel(), note]))
                figure.supxlabel(below, fontsize=6, color=GREY, x=0.99, ha="right")
            plt.close(figure)
        return figure

    return wrapper


def note(synthetic):
    """The note for figures and tables: says so if they are about the synthetic phantom."""
    return "synthetic phantom" if synthetic else ""


def figure_mm(width, height):
    """An empty figure, `width` and `height` in mm."""
    return plt.figure(figsize=(width / 25.4, height / 25.4))


def axes_mm(width, height, rows=1, columns=1, **settings):
    """A figure and its axes, `width` and `height` in mm. settings: those of `plt.subplots`."""
    figure = figure_mm(width, height)
    return figure, figure.subplots(rows, columns, **settings)


def sample_size(images, patients):
    """How many there are, in words."""
    images, patients = (
        f"{images:,} image{'s' * (images != 1)}",
        f"{patients:,} patient{'s' * (patients != 1)}",
    )
    return f"{images} of {patients}"


def size_of(scores):
    """The same of a scores table."""
    return sample_size(len(scores), scores.patient.nunique())


def short(name, most=40):
    """A name that fits into half a figure: without its middle if it is longer than `most` characters."""
    return name if len(name) <= most else f"{name[: most - 15]} … {name[-12:]}"


def describe(figure, text):
    """Set what is to be seen in a figure, its alternative text, as its label."""
    text = re.sub(r" \(\+?nan\W+(to \+?)?nan\)", "", text)
    figure.set_label(re.sub(r"[+-]?\bnan\b", "not defined", text))


def letters(axes):
    """Panel letters a, b, c ..."""
    for letter, axis in zip("abcdefgh", axes, strict=False):
        axis.set_title(letter, loc="left", fontweight="bold", fontsize=8)


def legend_above(axis, columns=2, at=0.5, **settings):
    """The legend over the axes, its middle at this share of their width."""
    axis.legend(loc="lower center", bbox_to_anchor=(at, 1.0), ncols=columns, **settings)


def save(figure, folder, name, kinds=("png", "svg", "pdf"), dpi=600):
    """Write PNG, SVG and PDF, each whole or not at all; returns the paths. dpi: of PNG, and of pictures.

    Where the folder cannot be written, they are saved elsewhere, and a sentence says where.
    """
    files = encode(figure, name, kinds, dpi)

    def write(folder):
        return [workspace.write_whole(folder / file, content) for file, content in files.items()]

    return workspace.save_somewhere(folder, write)


def encode(figure, name, kinds=("png", "svg", "pdf"), dpi=600):
    """The files of a figure, with its label inside as a description: {file name: bytes}."""
    files = {}
    for kind in kinds:
        file = io.BytesIO()
        about = {"Subject" if kind == "pdf" else "Description": figure.get_label()}
        with plt.rc_context(STYLE):
            figure.savefig(file, format=kind, dpi=dpi, metadata=UNDATED.get(kind, {}) | about)
        files[f"{name}.{kind}"] = file.getvalue()
    return files
