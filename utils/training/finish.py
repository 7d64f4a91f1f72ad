"""What makes a run out of a network: the saved file, its validation scores, threshold and gate."""

from .. import metrics, predict, runs, workspace
from ..data import gate


def finish(run, network, radiographs, validation, **entries):
    """Save a float32 network, score the validation images, choose threshold and gate, close the card.

    validation: rows of `radiographs.table`. entries: further ones for the card.
    """
    with workspace.whole(run.path / "model.keras") as partial:
        network.save(partial)
    scores = predict.score_table(network, radiographs.pixels, validation)
    run.write_scores("val", scores)
    development = radiographs.table[radiographs.table.split != "test"]
    known = gate.fit(radiographs.pixels, development.drop(validation.index))
    if known:
        known.save(run)
        entries["gate"] = gate.rates(known, radiographs.pixels[validation.index.to_numpy()])
    run.update_card(
        threshold={
            "value": metrics.choose_threshold(scores),
            "rule": metrics.THRESHOLD_RULE,
            "data": "validation images of this run",
        },
        model_digest=runs.file_digest(run.path / "model.keras"),
        finished=True,
        **entries,
    )
