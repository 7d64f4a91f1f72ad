"""How often the 95 % intervals of `utils.intervals` hold the truth, for patients as in the official test set.

python tests/bench_intervals.py [SIMULATIONS]    # of each row; 2,000 take about 2 minutes

Each simulation draws new scores for the images of the test set: normal in each class, and a share of the
variance is common to the images of a patient. The threshold lies half-way between the classes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from utils import intervals
from utils.data import manifest

SHOWN = ["auc", "sensitivity", "specificity", "accuracy", "balanced_accuracy"]


def coverage(images, auc, common, simulations):
    """Share of the simulations whose interval holds the truth, for each of SHOWN.

    images: manifest rows. auc: the true one. common: share of the variance within a patient.
    """
    rng, ill = np.random.default_rng(0), manifest.positives(images)
    names, patients = np.unique(images.patient, return_inverse=True)
    apart = np.sqrt(2) * norm.ppf(auc)
    truth = pd.Series({name: norm.cdf(apart / 2) for name in SHOWN} | {"auc": auc})
    held = []
    for _ in range(simulations):
        of_patient, of_image = rng.normal(size=len(names))[patients], rng.normal(size=len(images))
        odds = apart * (ill - 0.5) + np.sqrt(common) * of_patient + np.sqrt(1 - common) * of_image
        drawn = images.assign(score=expit(odds))
        found = intervals.evaluate(drawn, 0.5, resamples=1).loc[SHOWN]
        held.append((found.low <= truth) & (truth <= found.high))
    return pd.concat(held, axis=1).mean(axis=1)


def main(simulations=2000):
    images = manifest.select(manifest.read(), "test")
    print(f"{len(images)} images of {images.patient.nunique()} patients, {simulations} simulations a row;")
    print(f"chance alone moves .95 by {1.96 * np.sqrt(0.95 * 0.05 / int(simulations)):.3f}\n")
    rows = {
        (auc, common): coverage(images, auc, common, int(simulations))
        for auc in (0.97, 0.994)
        for common in (0, 0.25, 0.5)
    }
    print(pd.DataFrame(rows).T.rename_axis(["AUC", "common variance"]).round(3).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
