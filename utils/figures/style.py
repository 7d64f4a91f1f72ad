"""One look for all figures: sizes for a report of two columns, colours, and saving."""

import functools
import io

import matplotlib.pyplot as plt

from .. import workspace

ONE_COLUMN, TWO_COLUMNS = 89, 183  # mm
COLOURS = ("#0072B2", "#D55E00")  # negative and positive class (Okabe and Ito 2008)
GREY, ACCENT = "#6E6E6E", "#009E73"
LOOKS = (("o", "black"), ("s", GREY), ("^", ACCENT))  # marker and colour of up to three results in one figure
NETWORKS = {  # colours of the released networks that stand beside others, by their titles
    "compact network, our handling": ACCENT,
    "compact network, usual augmentation": "#CC79A7",
}
GUESSING = {"color": GREY, "lw": 0.6, "ls": ":"}  # a line to compare with
STYLE = {
    "font.sans-serif": ["Arial", "Liberation Sans", "Arimo", "DejaVu Sans"],  # the first three: equal widths
    "font.size": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "legend.title_fontsize": 6,
    "legend.frameon": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,  # lines of the grid are behind the data
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "errorbar.capsize": 1.5,
    "grid.linewidth": 0.3,
    "grid.color": "#DDDDDD",
    "figure.dpi": 150,  # on the screen
    "savefig.dpi": 600,  # of PNG files, and of pictures in the others
    "savefig.transparent": False,  # white; True: what lies behind the figure is seen
    "text.parse_math": False,  # names of files and models are no formulas
    "pdf.fonttype": 42,  # TrueType, so that text stays text
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}
KINDS = ("png", "svg", "pdf")


def styled(function):
    """Give a function that draws the look of STYLE and an argument `note`, a text for the lower edge.

    The figure is closed, so that a notebook shows it once.
    """

    @functools.wraps(function)
    def draw(*args, note="", **kwargs):
        with plt.rc_context(STYLE):
            figure = function(*args, **kwargs)
            if note:
                texts = [text for text in (figure.get_supxlabel(), note) if text]
                figure.supxlabel("\n".join(texts), fontsize=6, color=GREY, x=0.99, ha="right")
            plt.close(figure)
        return figure

    return draw


def note(synthetic):
    """The note for figures and tables: says so if they are about the synthetic phantom."""
    return "synthetic phantom" if synthetic else ""


def figure_mm(width, height):
    """An empty figure, `width` and `height` in mm."""
    return plt.figure(figsize=(width / 25.4, height / 25.4))


def axes_mm(width, height, rows=1, columns=1, **settings):
    """A figure and its axes, `width` and `height` in mm. settings: those of `plt.subplots`."""
    return plt.subplots(rows, columns, figsize=(width / 25.4, height / 25.4), **settings)


def sample_size(images, patients):
    """How many there are: '1,200 images of 1 patient'."""
    return f"{images:,} image{'s' * (images != 1)} of {patients:,} patient{'s' * (patients != 1)}"


def size_of(scores):
    """How many there are in a scores table."""
    return sample_size(len(scores), scores.patient.nunique())


def short(name):
    """A name that fits into half a figure: at most 40 characters, the middle left out."""
    return name if len(name) <= 40 else f"{name[:25]} … {name[-12:]}"


def name_rows(axis, names):
    """One name for each row of an axis, the first at the top."""
    axis.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))


def letters(axes):
    """Panel letters a, b, c ..."""
    for letter, axis in zip("abcdefgh", axes, strict=False):
        axis.set_title(letter, loc="left", fontweight="bold", fontsize=8)


def legend_above(axis, columns=2, at=0.5, **settings):
    """The legend over the axes, its middle at this share of their width."""
    axis.legend(loc="lower center", bbox_to_anchor=(at, 1.0), ncols=columns, **settings)


def save(figure, folder, name, kinds=KINDS):
    """Write a figure to files, each whole or not at all, and return their paths.

    A file that somebody changed stays, and where the folder cannot be written, they are saved elsewhere; a
    sentence says so.
    """
    files = encode(figure, name, kinds)
    return workspace.save_somewhere(folder, lambda place: workspace.write_beside(place, files))


def encode(figure, name, kinds=KINDS):
    """The files of a figure: {file name: bytes}. Its alternative text, its label, is in each of them."""
    files = {}
    for kind in kinds:
        file, entry = io.BytesIO(), "Subject" if kind == "pdf" else "Description"
        with plt.rc_context(STYLE):
            figure.savefig(file, format=kind, metadata={entry: figure.get_label()})
        files[f"{name}.{kind}"] = file.getvalue()
    return files
