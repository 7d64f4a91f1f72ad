"""The figures of an evaluation, with scores that strangers bring. Sizes and files: tests/report."""

import io
import re

import matplotlib
import numpy as np
import pytest
from conftest import scores_table as table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from utils import figures, intervals
from utils.evaluation import compare, errors, evaluation

matplotlib.use("Agg")
LONG = "a_model_$\\bad_{$_that_was_saved_under_a_very_very_long_name_2026-11-24_final.keras"


def scored(ill=40, well=30, shift=2.0, seed=0):
    rng, labels = np.random.default_rng(seed), np.repeat([1, 0], [ill, well])
    scores = 1 / (1 + np.exp(-rng.normal(shift * (labels - 0.5), 1)))
    made = table(labels, scores, [f"{number // 2}-{label}" for number, label in enumerate(labels)])
    return made.assign(
        path=[f"{number}.png" for number in made.index], subtype=np.where(labels, "sick", "fit")
    )


def all_figures(scores, validation):
    """{name: Figure}: those of notebook 04 that need no pictures."""
    results = dict(list(evaluation.results(scores, validation, 0.4, 60).items())[:3])
    both = {"as they are": scores, "recalibrated": evaluation.recalibrate(scores, validation)}
    curves = {name: evaluation.reliability(each) for name, each in both.items() if each is not None}
    decision = evaluation.decision_curves(scores, validation, [1, 1], 0.3)
    paired = compare.paired([scores], [scores, scores], resamples=60)
    return {
        "metrics": figures.measures.metric_intervals(results, [scores, scores, validation]),
        "subgroups": figures.measures.subgroups(evaluation.subgroups(scores, 0.5), 0.5),
        "comparison": figures.measures.comparison(([scores], [scores, scores]), paired, [LONG, LONG[::-1]]),
        "confusion": figures.results.confusion(scores, 0.5),
        "scores": figures.results.score_distributions(scores, 0.4),
        "roc": figures.results.roc(scores, results["at 0.5"], 0.4),
        "calibration": figures.results.calibration(curves, decision, 0.3, scores),
        "errors": figures.errors.rates(errors.rates(scores, 0.5, errors.facts(scores))),
    }


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
def test_every_figure_is_drawn_whole_says_what_is_seen_and_never_nan(scores, validation):
    for name, figure in all_figures(scores, validation).items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        size, drawn = figure.get_size_inches(), figure.get_tightbbox(canvas.get_renderer())  # inches
        assert drawn.min.min() > -0.02 and (drawn.max < size + 0.02).all(), name  # nothing is cut off
        shown = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
        said = " ".join([figure.get_label(), *shown])
        assert len(figure.get_label()) > 40 and not re.search(r"\bnan\b", said), name


def test_measures_without_a_threshold_are_drawn_once_for_each_part():
    scores, validation = scored(), scored(seed=1)
    results = dict(list(evaluation.results(scores, validation, 0.4, 60).items())[:3])
    axes = figures.measures.metric_intervals(results, [scores, scores, validation]).axes[0]
    counts = [len(container[0].get_xdata()) for container in axes.containers]
    assert counts == [10, 8, 10]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "at 0.5: 70 images of 35 patients" and len(names) == 3


def test_two_networks_are_named_with_their_aucs_and_images():
    scores = scored()
    left, right = all_figures(scores, scores)["comparison"].axes
    legend = left.get_legend()
    assert legend.get_title().get_text() == "70 images of 35 patients"
    one, several = (text.get_text() for text in legend.get_texts())
    auc = intervals.text(intervals.aucs(scores, scores[["score"]]).iloc[0])
    assert one.endswith(f"AUC {auc}") and several.endswith("mean of 2 networks")
    assert len(left.lines) == 2 * 3  # each with the line of guessing
    assert one[:10] == LONG[:10] and "← better: a_model" in right.get_xlabel()


def test_wrong_answers_stand_out_in_the_distribution_of_scores():
    scores = table([1, 1, 0, 0], [0.99, 0.2, 0.6, 0.0])
    figure = figures.results.score_distributions(scores, 0.5)
    marked = [axes.lines[0].get_xdata() for axes in figure.axes]
    assert np.allclose(np.concatenate(marked), np.log([0.6 / 0.4, 0.2 / 0.8]))
    assert "1 of 2 normal images and 1 of 2 pneumonia images" in figure.get_label()


def test_a_curve_through_tied_scores_is_oblique_as_its_area_says():
    curve = (
        figures.results.roc(scored().assign(score=0.6), intervals.evaluate(scored(), 0.5, 20), 0.4)
        .axes[0]
        .lines[0]
    )
    x, y = curve.get_data()
    assert curve.get_drawstyle() == "default" and np.trapezoid(y, x) == 0.5


def test_files_carry_the_alternative_text():
    figure = figures.results.confusion(scored(), 0.5)
    files = figures.style.encode(figure, "x", dpi=50)
    assert Image.open(io.BytesIO(files["x.png"])).info["Description"] == figure.get_label()
    assert figure.get_label() in files["x.svg"].decode() and b"/Subject" in files["x.pdf"]


def test_one_setting_leaves_out_the_white_behind_figures(monkeypatch):
    figure = figures.results.confusion(scored(), 0.5)
    white = figures.style.encode(figure, "x", ["png"], 50)["x.png"]
    monkeypatch.setitem(figures.style.STYLE, "savefig.transparent", True)
    clear = figures.style.encode(figure, "x", ["png"], 50)["x.png"]
    corners = [Image.open(io.BytesIO(file)).convert("RGBA").getpixel((0, 0))[3] for file in (white, clear)]
    assert corners == [255, 0]
