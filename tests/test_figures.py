"""Figures, drawn from scores and tables that strangers bring."""

import io
import re
import xml.etree.ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from conftest import scores_table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from PIL import Image

from study import figures as study_figures
from study import kept, tables
from utils import figures, intervals, runs
from utils.data import manifest
from utils.evaluation import compare, evaluation
from utils.training import recipes

matplotlib.use("Agg")
LONG = "a_model_$\\bad_{$_that_was_saved_under_a_very_very_long_name_2026-11-24_final.keras"
PICTURES = np.random.default_rng(0).integers(0, 256, (5, 224, 224), np.uint8)


def scored(ill=40, well=30, shift=2.0, seed=0):
    rng, labels = np.random.default_rng(seed), np.repeat([1, 0], [ill, well])
    scores = 1 / (1 + np.exp(-rng.normal(shift * (labels - 0.5), 1)))
    made = scores_table(labels, scores, [f"{number // 2}-{label}" for number, label in enumerate(labels)])
    return made.assign(
        path=[f"{number}.png" for number in made.index], subtype=np.where(labels, "sick", "fit")
    )


def error_table():
    """As `errors.rates` gives it: each class, then groups by facts; of these the last but one stands out."""
    rows = [("class", "class", label, 0, 0.1, 0.05, 0.2) for label in ("NORMAL", "PNEUMONIA")]
    rows += [("subtype", "subtype fit", "NORMAL", 0, 0.9, 0.8, 0.95)]
    for fact in ("framing", "brightness"):
        for label in ("NORMAL", "PNEUMONIA"):
            rows += [("picture", fact, label, part, 0.2, 0.05, 0.3) for part in range(4)]
    rows += [("number", "patient number in fit", "NORMAL", 0, 0.4, 0.3, 0.6)]
    rows += [("number", "patient number in fit", "NORMAL", 1, np.nan, np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=["kind", "fact", "label", "part", "value", "low", "high"])
    return table.assign(**{"from": table.part * 30, "to": table.part * 30 + 29}, images=300, patients=200)


def stress_table(networks=("this model: x", f"released: {LONG}")):
    """As `stress.compare` gives it."""
    changes = [("", "unchanged"), ("framing", "cropped"), ("framing", "zoomed in"), ("tone", "inverted")]
    table = pd.DataFrame(changes, columns=["kind", "change"])
    table = table.assign(images=30, patients=20, negative=10, positive=20)
    for name, values in {"up": [0, 0.1, 0.2, 0.7], "down": [0, 0.3, 0, 0]}.items():
        table[name] = table[f"{name}_low"] = table[f"{name}_high"] = values
    return pd.concat([table.assign(network=name) for name in networks])


def answer_table():
    """Rows as `classify` gives them: on the threshold, below it, unlike."""
    rows = {"file": ["a.png", "b" * 60 + ".png", "c_$\\x_{.png"], "score": [0.5, 0.3, 0.9]}
    rows |= {"answer": ["sick", "fit", ""], "unlike": ["", "", "it is in colour"], "threshold": 0.5}
    return pd.DataFrame(rows).assign(scope="known for children", run="x", problem="")


def of_scores(scores, validation, note=""):
    """{name: Figure}: those of an evaluation that need nothing but scores."""
    results = dict(list(evaluation.results(scores, validation, 0.4, 60).items())[:3])
    both = {"as they are": scores, "recalibrated": evaluation.recalibrate(scores, validation)}
    curves = {name: evaluation.reliability(each) for name, each in both.items() if each is not None}
    decision = evaluation.decision_curves(scores, validation, [1, 1], 0.3)
    paired = compare.paired([scores], [scores, scores], resamples=60)
    draw, beside = figures.results, figures.comparisons
    return {
        "metrics": draw.metric_intervals(results, [scores, scores, validation], note=note),
        "subgroups": draw.subgroups(evaluation.subgroups(scores, 0.5), 0.5, note=note),
        "confusion": draw.confusion(scores, 0.5, note=note),
        "scores": draw.score_distributions(scores, 0.4, note=note),
        "roc": draw.roc(scores, results["at 0.5"], 0.4, note=note),
        "calibration": draw.calibration(curves, decision, 0.3, scores, note=note),
        "comparison": beside.comparison(([scores], [scores] * 2), paired, [LONG, LONG[::-1]], note=note),
    }


def further(note):
    """{name: Figure}: those of tables that are not scores, with an alternative text."""
    beside = figures.comparisons
    curve = pd.DataFrame({"share": [0, 0.5], "by map": [0.9, 0.2], "at random": [0.9, 0.6]})
    likenesses = {name: np.linspace(-1, 1, 9) for name in [*figures.style.NETWORKS, LONG]}
    return {
        "errors": beside.error_rates(error_table(), note=note),
        "stress": beside.stress_test(stress_table(), ["FIT", "SICK"], note=note),
        "maps": beside.map_checks(likenesses, dict.fromkeys(likenesses, curve), note=note),
    }


def others(note):
    """{name: Figure}: those without an alternative text."""
    listed, pictures, line = manifest.read(), figures.pictures, np.linspace(1, 0.5, 5)
    clues = {"clue": ["a", "b"], "train": [0.9, 0.6], "test": [0.7, 0.5], "n train": 9, "n test": 5}
    lines = {"a": line, "b": line}
    answers = pd.concat([answer_table()] * 2, ignore_index=True)[:5]
    released, trained = runs.released("published"), tables.tabulate(kept.read())
    trace, history = pd.read_csv(released.path / "test_trace.csv"), released.history()
    ours = {name: rows.accuracy for name, rows in tables.records(trained).items()}
    return {
        "counts": figures.data.class_counts(manifest.counts(listed), note=note),
        "spread": figures.data.distributions(np.linspace(0, 1, len(listed)), listed, "x", note=note),
        "clues": figures.data.clue_aucs(pd.DataFrame(clues), note=note),
        "cropping": figures.data.cropping(PICTURES, line, lines, lines, 9, note=note),
        "curves": figures.results.learning_curves(history[:1], released.card["counts"], 8, note=note),
        "grid": pictures.grid(PICTURES, list("abcde"), note=note),
        "maps_beside": pictures.grid(PICTURES, list("abcde"), maps=PICTURES / 255, note=note),
        "features": pictures.feature_maps(PICTURES[0], {"pool": np.random.rand(8, 8, 9)}, note=note),
        "cards": pictures.answer_cards(PICTURES, None, answers, scored(), note=note),
        "cards_with_maps": pictures.answer_cards(PICTURES, PICTURES / 255, answers, scored(), note=note),
        "sheet": pictures.contact_sheet(PICTURES, answers, note=note),
        "trace": study_figures.trace(trace, history, note=note),
        "two_by_two": study_figures.two_by_two(trained[trained.experiment == "2x2"], note=note),
        "counterfactual": study_figures.counterfactual(kept.table("counterfactual"), "NORMAL", note=note),
        "left_out": study_figures.left_out(trained[trained.experiment == "leave-one-out"], note=note),
        "record": study_figures.record(pd.read_csv(kept.RECORD), ours, note=note),
    }


def check_whole(name, figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    size, drawn = figure.get_size_inches(), figure.get_tightbbox(canvas.get_renderer())  # inches
    assert drawn.min.min() > -0.02 and (drawn.max < size + 0.02).all(), name  # nothing is cut off
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    assert not re.search(r"\bnan\b", " ".join([figure.get_label(), *texts])), name


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("scores", "validation"),
    [
        (scored(), scored(seed=1)),
        (scored(shift=40), scored(shift=40)),
        (scored(well=0), scored(seed=1)),
        (scored(ill=0), scored(ill=0)),
        (scored(ill=1, well=2), scored(ill=1, well=1)),
        (scored().assign(score=0.6), scored().assign(score=0.6)),
    ],
    ids=["usual", "no errors", "one class", "the other class", "three images", "equal scores"],
)
def test_figures_of_any_scores_are_drawn_whole_and_never_say_nan(scores, validation):
    for name, figure in of_scores(scores, validation).items():
        check_whole(name, figure)


@pytest.mark.filterwarnings("error")
def test_every_figure_is_whole_has_the_size_of_a_report_and_says_phantom():
    note = figures.style.note(synthetic=True)
    reported = of_scores(scored(), scored(), note) | further(note)
    assert min(len(figure.get_label()) for figure in reported.values()) > 40  # alternative texts
    for name, figure in (reported | others(note)).items():
        check_whole(name, figure)
        width, height = (figure.get_size_inches() * 25.4).round(2)
        assert width in (figures.style.ONE_COLUMN, figures.style.TWO_COLUMNS) and height <= 170, name
        assert figure.get_supxlabel().endswith("synthetic phantom"), name


@pytest.mark.parametrize("kind", ["lines", "pictures"])
def test_files_are_sharp_enough_for_print_hold_text_as_text_and_the_alternative_text(kind, tmp_path):
    text = "70 images of 35 patients"
    figure = figures.results.confusion(scored(), 0.5)
    if kind == "pictures":
        figure = figures.pictures.grid(PICTURES, [text] * 5, maps=PICTURES / 255)
        figure.set_label("Five pictures.")
    png, svg, pdf = figures.style.save(figure, tmp_path, "x")
    with Image.open(png) as picture:
        assert picture.width == pytest.approx(figure.get_size_inches()[0] * 600, abs=1)
        assert picture.info["Description"] == figure.get_label()
    assert figure.get_label() in svg.read_text()
    assert text in "".join(xml.etree.ElementTree.parse(svg).getroot().itertext())
    content = pdf.read_bytes()
    assert b"/Type3" not in content and b"/FontFile2" in content and b"/Subject" in content


def test_one_setting_leaves_out_the_white_behind_figures(monkeypatch):
    corners = []
    for transparent in (False, True):
        monkeypatch.setitem(figures.style.STYLE, "savefig.transparent", transparent)
        file = figures.style.encode(figures.results.confusion(scored(), 0.5), "x", ["png"])["x.png"]
        corners.append(Image.open(io.BytesIO(file)).convert("RGBA").getpixel((0, 0))[3])
    assert corners == [255, 0]


def test_figures_leave_the_users_settings_alone():
    before = dict(matplotlib.rcParams)
    figures.results.confusion(scored(), 0.5)
    assert dict(matplotlib.rcParams) == before and not matplotlib.pyplot.get_fignums()


def test_measures_without_a_threshold_are_drawn_once_for_each_part():
    axis = of_scores(scored(), scored(seed=1))["metrics"].axes[0]
    assert [len(container[0].get_xdata()) for container in axis.containers] == [10, 8, 10]
    names = [text.get_text() for text in axis.get_legend().get_texts()]
    assert names[0] == "at 0.5: 70 images of 35 patients" and len(names) == 3


def test_two_networks_are_named_with_their_aucs_and_images():
    scores = scored()
    left, right = of_scores(scores, scores)["comparison"].axes
    legend = left.get_legend()
    assert legend.get_title().get_text() == "70 images of 35 patients"
    one, several = (text.get_text() for text in legend.get_texts())
    auc = intervals.text(intervals.aucs(scores, scores[["score"]]).iloc[0])
    assert one.endswith(f"AUC {auc}") and several.endswith("mean of 2 networks")
    assert one[:10] == LONG[:10] and "← better: a_model" in right.get_xlabel()


def test_a_released_network_has_one_name_and_one_colour_in_all_figures():
    titles = [recipes.title(runs.released(name).card) for name in ("best", "compact_usual")]
    assert titles == list(figures.style.NETWORKS)
    assert not set(titles) & set(kept.NAMES.values())  # trainings of the study are other ones
    crops = {title: np.linspace(0, 1, 5) for title in titles}
    cropping = figures.data.cropping(PICTURES, np.linspace(1, 0.5, 5), crops, crops, 9).axes[-1]
    paired = compare.paired([scored()], [scored()], resamples=20)
    curves = figures.comparisons.comparison(([scored()], [scored()]), paired, titles).axes[0]
    for axis in (cropping, curves):
        legend = axis.get_legend()
        drawn = {
            text.get_text().split(":")[0]: line.get_color()
            for text, line in zip(legend.get_texts(), legend.legend_handles, strict=True)
        }
        assert drawn == figures.style.NETWORKS


def test_wrong_answers_stand_out_in_the_distribution_of_scores():
    scores = scores_table([1, 1, 0, 0], [0.99, 0.2, 0.6, 0.0])
    figure = figures.results.score_distributions(scores, 0.5)
    marked = [axes.lines[0].get_xdata() for axes in figure.axes]
    assert np.allclose(np.concatenate(marked), np.log([0.6 / 0.4, 0.2 / 0.8]))
    assert "1 of 2 normal images and 1 of 2 pneumonia images" in figure.get_label()


def test_the_matrix_and_the_marks_on_the_curve_show_the_same_errors():
    scores = scores_table([1, 1, 1, 1, 0, 0], [0.9, 0.8, 0.45, 0.45, 0.6, 0.1])
    figure = figures.results.confusion(scores, 0.5)
    cells = [text.get_text().split()[0] for text in figure.axes[0].texts]
    assert cells == ["1", "1", "2", "2"]
    assert "1 of 2 normal images and 2 of 4 pneumonia images" in figure.get_label()
    curve = figures.results.roc(scores, intervals.evaluate(scores, 0.5, 20), 0.4).axes[0]
    marks = [line.get_xydata()[0].tolist() for line in curve.lines[2:]]
    assert marks == [[0.5, 0.5], [0.5, 1]]


def test_a_training_is_drawn_with_its_own_names():
    history = runs.released("best").history()
    counts = {"train": 9, "train_patients": 8, "val": 7, "val_patients": 6}
    left, right = figures.results.learning_curves(history, counts).axes
    drawn = {
        line.get_label().partition(",")[0]: line.get_ydata().tolist() for line in (*left.lines, *right.lines)
    }
    columns = {"training": "loss", "validation": "val_loss", "AUC": "val_auc"}
    columns |= {"sensitivity": "val_sensitivity", "specificity": "val_specificity"}
    assert drawn == {name: history[column].tolist() for name, column in columns.items()}
    assert left.lines[0].get_label().endswith("9 images of 8 patients")


def test_intervals_that_miss_the_line_of_a_calibrated_network_are_counted():
    rows = [(0.2, 0.3, 0.25, 0.4, 9), (0.5, 0.5, 0.4, 0.6, 9), (0.8, 0.7, 0.6, 0.75, 10)]
    curve = pd.DataFrame(rows, columns=["score", "value", "low", "high", "images"])
    decision = pd.DataFrame({"threshold": [0.5], "everyone": [-0.4], "as they are": [0.1]})
    figure = figures.results.calibration({"as they are": curve}, decision, 0.3, scored())
    assert "as they are, 2 of 3 intervals miss" in figure.get_label()


def test_a_curve_through_tied_scores_is_oblique_as_its_area_says():
    result = intervals.evaluate(scored(), 0.5, 20)
    curve = figures.results.roc(scored().assign(score=0.6), result, 0.4).axes[0].lines[0]
    x, y = curve.get_data()
    assert curve.get_drawstyle() == "default" and np.trapezoid(y, x) == 0.5


def test_groups_that_stand_out_are_filled_and_patient_numbers_begin_a_row():
    figure = figures.comparisons.error_rates(error_table())
    titles = [axis.get_title() if axis.get_visible() else "" for axis in figure.axes]
    assert titles == ["framing", "brightness", "", "", "patient number in fit", "", "", ""]
    faces = [dots[0].get_markerfacecolor() for axis in figure.axes for dots in axis.containers]
    assert faces == ["white"] * 5 + [figures.style.COLOURS[0]]
    assert figure.axes[4].containers[-1][0].get_xdata().tolist() == [0]
    assert [label.get_text() for label in figure.axes[4].get_xticklabels()] == ["0-29", "30-59"]
    assert figure.get_label().endswith("of the class: normal, patient number in fit, 40 %.")


def test_answers_turned_to_the_positive_class_are_bars_to_the_right():
    figure = figures.comparisons.stress_test(stress_table(), ["FIT", "SICK"])
    down, up = figure.axes[0].containers
    assert [bar.get_width() for bar in up] == [0.1, 0.2, 0.7]
    assert [bar.get_width() for bar in down] == [-0.3, 0, 0]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    colours = [to_hex(bars[0].get_facecolor()).upper() for bars in (down, up)]
    assert names == ["sick turned fit", "fit turned sick"] and colours == list(figures.style.COLOURS)
    assert "this model: x: most when inverted, 70 % of a class" in figure.get_label()
    assert "10 fit and 20 sick radiographs of 20 patients" in figure.get_supxlabel()


def test_a_card_says_which_known_images_score_further_out():
    validation = scores_table([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.5, 0.6, 0.3, 0.9])
    figure = figures.pictures.answer_cards(PICTURES[:3], None, answer_table(), validation)
    first, second, third = (part.get_suptitle() for part in figure.subfigs)
    assert first.splitlines() == [
        "1: a.png",
        "score 0.500: called sick",
        "25.0% of known normal images score higher,",
        "50.0% of known pneumonia images score lower",
    ]
    assert second.startswith("2: ...bbb") and "it is in colour" in third and "called" not in third


def test_the_contact_sheet_has_the_colour_of_the_answer():
    figure = figures.pictures.contact_sheet(PICTURES[:3], answer_table())
    frames = [to_hex(axis.spines["left"].get_edgecolor()).upper() for axis in figure.axes[:3]]
    normal, ill = figures.style.COLOURS
    assert frames == [ill, normal, figures.style.GREY]  # a score on the threshold is positive
