"""A table of answers in a few sentences, and which of its pictures to look at first."""

import numpy as np

from .. import metrics


def sentences(answers):
    """What came out, and what to do about it: a few sentences, the first with the numbers."""
    number = {side: (answers.side == side).sum() for side in ("above", "below")}
    unlike, unusable = (answers[name][answers[name] != ""] for name in ("unlike", "problem"))
    yield (
        f"{'1 file' if len(answers) == 1 else f'{len(answers):,} files'}: {number['above']:,} above the "
        f"threshold, {number['below']:,} below, {len(unlike):,} not like the training images, "
        f"{len(unusable):,} not usable."
    )
    if len(unlike):
        yield f"Not like the training images: {_most(unlike)}. Their scores mean nothing: look at them."
    if len(unusable):
        yield f"Not usable: {_most(unusable)}. Repair or replace them and run this again: the rest is kept."


def _most(reasons):
    """The most frequent of some texts, with their numbers."""
    counts = reasons.value_counts()
    told = "; ".join(f"{reason} ({count:,})" for reason, count in counts.head(3).items())
    return told + ("; and others" if len(counts) > 3 else "")


def to_look_at(answers):
    """Usable rows in the order in which they need eyes: unlike pictures, then nearest to the threshold."""
    usable = answers[answers.problem == ""]
    away = abs(metrics.log_odds(usable.score) - metrics.log_odds(usable.threshold))
    return usable.iloc[np.lexsort([away, usable.unlike == ""])]
