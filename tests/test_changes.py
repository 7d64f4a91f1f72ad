"""A line that decides something cannot be changed unnoticed: for each change below, one test fails.

The changes are made one at a time, in a copy of the project.
"""

import os
import shutil
import subprocess
import sys

import pytest

from utils import workspace

CHANGES = {  # {test that must fail: [(file in utils, text, what it is changed to)]}
    "evaluation/test_scores.py::test_tables_as_others_write_them_give_the_scores_that_are_meant": [
        ("evaluation/scores.py", "values[ill].sum(axis=1)", "values[well].sum(axis=1)"),
        ("evaluation/scores.py", "1 - values[well[0]]", "values[well[0]]"),
        ("evaluation/scores.py", "score.where(side == 1, 1 - score)", "score"),
    ],
    "evaluation/test_scores.py::test_what_cannot_be_told_is_asked_in_a_sentence": [
        ("evaluation/scores.py", "there.sum() < 0.9 * len(wanted)", "False"),
    ],
    "report/test_documents.py::test_what_was_changed_stays_and_the_new_one_is_named": [
        ("workspace.py", "if written.get(new.as_posix()) == now:", "if True:"),
    ],
    "report/test_documents.py::test_the_numbers_of_the_report_are_those_of_the_results_in_every_format": [
        ("report/documents.py", 'results.get(PRIMARY, results["at 0.5"])', 'results["at 0.5"]'),
        ("report/documents.py", 'numbers.get(PRIMARY, numbers["at 0.5"])', 'numbers["at 0.5"]'),
    ],
    "report/test_documents.py::test_word_counts_figures_and_tables_itself_and_its_references_lead_to_them": [
        ("report/templates/report.lua", 'bookmark = word .. "_" .. count', "bookmark = word .. count"),
    ],
    "training/test_steps.py::test_a_training_takes_the_steps_that_its_recipe_says": [
        ("training/fit.py", "label_smoothing=recipe.label_smoothing", "label_smoothing=0.0"),
        ("training/fit.py", 'recipe, card["class_weights"], around', "recipe, None, around"),
        ("training/fit.py", "weight_decay=recipe.weight_decay or None", "weight_decay=None"),
        ("training/fit.py", "            rate / 100, max(steps", "            rate / 10, max(steps"),
        (
            "training/fit.py",
            "warmup_target=recipe.learning_rate, ",
            "warmup_target=recipe.learning_rate / 2, ",
        ),
        ("training/fit.py", "    if recipe.cosine:", "    if False:"),
        ("training/fit.py", "recipe.batch_size, seed)\n    with backend", "32, seed)\n    with backend"),
        (
            "training/fit.py",
            "recipe.batch_size, seed)\n    with backend",
            "recipe.batch_size, 0)\n    with backend",
        ),
    ],
    "training/test_steps.py::test_class_weights_balance_the_classes": [
        ("training/fit.py", "{label: float(0.5 / share[label])", "{label: float(0.5 * share[label])"),
    ],
    "training/test_steps.py::test_batches_hold_every_image_once_an_epoch_in_an_order_of_seed_and_epoch": [
        ("training/fit.py", "default_rng([self.seed, self.epoch])", "default_rng([self.seed, 1])"),
    ],
    "training/test_steps.py::test_without_class_weights_in_the_recipe_none_are_used": [
        ("training/fit.py", "if recipe.class_weights else None", "if True else None"),
    ],
    "training/test_steps.py::test_side_and_standardisation_reach_the_network": [
        ("training/fit.py", "build(recipe.side, recipe.per_image)", "build(recipe.side, True)"),
    ],
    "training/test_fit.py::test_a_stop_in_a_notebook_keeps_the_best_network_so_far": [
        ("training/fit.py", "network.set_weights(best)", "pass"),
    ],
    "training/test_augment.py::test_the_crop_has_the_area_and_the_aspect_that_are_set": [
        ("training/augment.py", "ops.log(self.aspect[1])) / 2)", "ops.log(self.aspect[1])))"),
    ],
    "training/test_augment.py::test_blur_widens_edges_up_to_its_factor": [
        ("training/augment.py", "self.uniform(n, 1.0, 1.0 + self.blur)", "self.uniform(n, 1.0, 1.0)"),
    ],
    "training/test_resume.py::test_a_training_that_was_broken_off_ends_as_if_it_never_was": [
        (
            "training/resume.py",
            "return [*trainer.variables, *trainer.optimizer.variables]",
            "return [*trainer.variables]",
        ),
    ],
    "training/test_resume.py::test_only_a_run_of_the_same_choices_goes_on": [
        ("training/resume.py", "if run.finished or not choices.items() <= card.items():", "if run.finished:"),
    ],
    "test_metrics.py::test_the_threshold_maximises_sensitivity_plus_specificity_and_lies_half_way": [
        ("metrics.py", "np.argmax((tpr - fpr)[1:])", "np.argmax((2 * tpr - fpr)[1:])"),
    ],
    "test_metrics.py::test_bins_hold_equal_counts_and_equal_scores_share_one": [
        ("metrics.py", 'rankdata(score, "min") - 1', 'rankdata(score, "dense") - 1'),
    ],
    "test_metrics.py::test_a_score_at_the_threshold_is_called_pneumonia": [
        ("metrics.py", "return np.asarray(score) >= threshold", "return np.asarray(score) > threshold"),
    ],
    "test_metrics.py::test_a_weight_is_a_number_of_copies": [
        ("metrics.py", "(new_fp * (tp - new_tp / 2))", "(new_fp * tp)"),
    ],
    "test_intervals.py::test_a_share_never_counts_more_images_than_there_are": [
        (
            "intervals.py",
            "np.fmin(metrics.share(value * (1 - value), variance), total)",
            "metrics.share(value * (1 - value), variance)",
        ),
    ],
    "test_intervals.py::test_the_auc_interval_is_obuchowskis_written_out": [
        ("intervals.py", "s10 / m + s01 / n + 2 * s11 / (m * n)", "s10 / m + s01 / n + s11 / (m * n)"),
    ],
    "evaluation/test_compare.py::test_a_difference_is_the_second_minus_the_first_with_a_paired_interval": [
        (
            "evaluation/compare.py",
            "_mean_of_drawn(values[count:], rng) - mean_of_first",
            "mean_of_first - _mean_of_drawn(values[count:], rng)",
        ),
        ("evaluation/compare.py", '"difference": two - one', '"difference": one - two'),
    ],
    "evaluation/test_compare.py::test_networks_are_drawn_within_each_recipe": [
        (
            "evaluation/compare.py",
            "drawn = rng.integers(0, networks, (samples, networks))",
            "drawn = np.tile(np.arange(networks), (samples, 1))",
        ),
    ],
    "evaluation/test_stress.py::test_only_right_answers_can_turn": [
        (
            "evaluation/stress.py",
            "intervals.shares(table, after & ~before, ~ill)",
            "intervals.shares(table, after != before, ~ill)",
        ),
    ],
    "evaluation/test_compare.py::test_a_comparison_ends_in_one_sentence": [
        (
            "evaluation/compare.py",
            "(first, second) if row.difference < 0",
            "(first, second) if row.difference > 0",
        ),
    ],
    "evaluation/test_evaluation.py::test_what_looks_wrong_is_said": [
        ("evaluation/evaluation.py", "if auc < 0.3", "if auc < 0"),
    ],
    "inference/test_classify.py::test_a_score_at_the_threshold_is_positive_and_classes_have_their_names": [
        (
            "inference/classify.py",
            'metrics.called(scores, card["threshold"]["value"])',
            'scores > card["threshold"]["value"]',
        ),
    ],
    "inference/test_classify.py::test_the_scope_says_which_radiographs_the_network_knows": [
        ("inference/classify.py", '"adapted" in card or not manifest', "not manifest"),
        ("inference/classify.py", ' or not manifest.is_public(card["manifest"])', ""),
    ],
    "inference/test_classify.py::test_no_file_is_overwritten_and_a_sentence_says_where_the_answers_are": [
        ("inference/classify.py", "while free.exists():", "while False:"),
    ],
    "inference/test_classify.py::test_hidden_names_stand_nowhere": [
        ("inference/classify.py", "    if hide_names:\n", "    if False:\n"),
    ],
    "inference/test_reading.py::test_networks_answer_at_the_threshold_of_their_card": [
        ("inference/reading.py", '["threshold"]["value"])', '["threshold"]["value"] + 0.2)'),
    ],
    "sources/test_drive.py::test_a_damaged_file_is_not_kept": [
        ("sources/drive.py", "if _md5(partial) != md5:", "if False:"),
    ],
    "data/test_images.py::test_deep_pictures_are_scaled_by_the_bits_they_use": [
        ("data/images.py", "values / 2 ** (bits - 8)", "values / 2**8"),
    ],
    "data/test_dicom.py::test_monochrome1_is_inverted": [
        ("data/dicom.py", "        shade = 1 - shade\n", "        pass\n"),
    ],
    "data/test_dicom.py::test_files_without_preamble_are_read": [
        ("data/dicom.py", "if little else uid.ExplicitVRBigEndian", "if True else None"),
    ],
    "data/test_dicom.py::test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded": [
        ("data/dicom.py", "size = max(size, one * other)", "pass"),
    ],
    "sources/test_strangers.py::test_the_usual_names_of_splits_are_known": [
        ("sources/own_data.py", "name.casefold())\n    words", "name)\n    words"),
    ],
    "sources/test_strangers.py::test_only_equal_content_is_a_second_copy": [
        ("sources/files.py", " and _same_content(twin, file):", ":"),
    ],
    "data/test_gate.py::test_a_released_gate_measures_as_when_it_was_released": [
        ("data/gate.py", "thumbnails[:, ::-1], self.mean", "thumbnails, self.mean"),
    ],
    "data/test_manifest.py::test_parts_are_disjoint_and_complete": [
        ("data/manifest.py", "(table.fold >= 0) & (table.fold != fold)", "(table.fold != fold)"),
    ],
    "data/test_manifest.py::test_classes_are_the_negative_then_the_positive": [
        ("data/manifest.py", "table.label == CLASS_NAMES[1]", "table.label == CLASS_NAMES[0]"),
    ],
    "evaluation/test_errors.py::test_a_tone_like_the_other_class_is_seen": [
        ("evaluation/errors.py", "np.where(ill, 1 - looks_ill, looks_ill)", "looks_ill"),
    ],
    "evaluation/test_errors.py::test_what_stands_out_is_measured_from_the_rate_of_its_class": [
        (
            "evaluation/errors.py",
            "(rates.low > rates.label.map(of_class))",
            "(rates.value > rates.label.map(of_class))",
        ),
    ],
    "test_saved_models.py::test_whatever_could_run_code_is_refused_before_anything_is_built": [
        (
            "saved_models.py",
            'if name in CODE or (name and package not in ("keras", "tf_keras")):',
            "if name in CODE:",
        ),
    ],
    "test_saved_models.py::test_layers_of_one_name_and_weights_that_are_no_numbers_are_refused": [
        ("saved_models.py", "if names.count(name) > 1}:", "if names.count(name) > 2}:"),
        ("saved_models.py", "if not all(np.isfinite(values)", "if not any(np.isfinite(values)"),
    ],
    "test_saved_models.py::test_a_model_opens_however_it_was_kept": [
        ("saved_models.py", 'version = part.get("keras_version", version)', 'version = "3"'),
    ],
    "evaluation/test_explain.py::test_a_damaged_network_beside_good_scores_is_left_out_in_one_sentence": [
        ("runs.py", "return path.exists() and digest in (None, file_digest(path))", "return path.exists()"),
    ],
    "test_saved_models.py::test_the_numbering_of_tensorflow_2_13_is_read": [
        ("saved_models.py", "if 0 < right < number:", "if right > number:"),
    ],
    "evaluation/test_adapt.py::test_models_of_every_habit_open_and_score_as_before": [
        ("evaluation/adapt.py", "score = one_minus(column(normal))", "score = one_minus(column(0))"),
    ],
    "evaluation/test_adapt.py::test_what_the_user_says_is_used_and_a_contradiction_is_a_doubt": [
        ("evaluation/adapt.py", 'if "the log loss" not in used.says:', "if False:"),
        ("runs.py", ' and "doubt" not in run.card', ""),
    ],
    "evaluation/test_adapt.py::test_pixels_are_prepared_as_their_authors_do": [
        ("evaluation/adapt.py", "(1.0, -103.939), (1.0, -116.779)", "(1.0, -116.779), (1.0, -116.779)"),
    ],
    "evaluation/test_explain.py::test_the_map_marks_what_speaks_for_the_answer": [
        ("evaluation/explain.py", "threshold, odds, -odds)", "threshold, odds, odds)"),
    ],
    "data/test_cache.py::test_every_flipped_bit_and_every_truncation_is_found": [
        ("data/cache.py", "SEAL + _digest(content[:-SEAL_SIZE])", "SEAL + content[-64:].tobytes()"),
    ],
    "data/test_cache.py::test_each_file_that_does_not_fit_is_named_with_its_problem": [
        ("data/cache.py", "SAME_PICTURE = 6", "SAME_PICTURE = 64"),
    ],
    "sources/test_sources.py::test_places_are_tried_in_this_order": [
        (
            "sources/radiographs.py",
            "        yield _files_at(ws.data)\n        return\n",
            "        yield _files_at(ws.data)\n",
        ),
    ],
    "test_figures.py::test_the_contact_sheet_has_the_colour_of_the_answer": [
        ("figures/pictures.py", "COLOURS[int(positive)]", "COLOURS[1 - int(positive)]"),
    ],
    "test_figures.py::test_answers_turned_to_the_positive_class_are_bars_to_the_right": [
        ("figures/comparisons.py", "COLOURS, (-1, 1), strict=True)", "COLOURS, (1, -1), strict=True)"),
    ],
    "test_figures.py::test_the_matrix_and_the_marks_on_the_curve_show_the_same_errors": [
        (
            "figures/results.py",
            '[[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]]',
            '[[counts["tn"], counts["fn"]], [counts["fp"], counts["tp"]]]',
        ),
    ],
}
COPIED = ("utils", "study", "tests", "notebooks", "models", "examples", "README.md", "data_manifest.csv")
COPIED += ("requirements.txt", "pyproject.toml", "CONTRIBUTING.md")


def run(tests, project):
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "", "-p", "no:cacheprovider"]
    quiet = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    tests = [f"tests/{test}" for test in tests]
    return subprocess.run([*command, *tests], cwd=project, env=quiet, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, in which all of these tests pass as it is."""
    copy = tmp_path_factory.mktemp("changed")
    for name in COPIED:
        if (workspace.PROJECT / name).is_dir():
            shutil.copytree(workspace.PROJECT / name, copy / name)
        else:
            shutil.copy(workspace.PROJECT / name, copy)
    done = run(CHANGES, copy)
    assert done.returncode == 0, done.stdout[-3000:]
    return copy


ROWS = [(test, *row) for test, rows in CHANGES.items() for row in rows]


@pytest.mark.parametrize(("test", "file", "text", "changed"), ROWS)
def test_a_line_to_change_is_there_once(test, file, text, changed):
    assert (workspace.PROJECT / "utils" / file).read_text(encoding="utf8").count(text) == 1
    name = test.partition("::")[2].partition("[")[0]
    assert f"def {name}(" in (workspace.PROJECT / "tests" / test.partition("::")[0]).read_text("utf8")


@pytest.mark.slow
@pytest.mark.parametrize(("test", "file", "text", "changed"), ROWS)
def test_a_changed_line_is_noticed(project, test, file, text, changed):
    path = project / "utils" / file
    original = path.read_text(encoding="utf8")
    path.write_text(original.replace(text, changed), encoding="utf8")
    try:
        done = run([test], project)
    finally:
        path.write_text(original, encoding="utf8")
    assert done.returncode == 1, f"{test} passes although {file} says {changed!r}"
