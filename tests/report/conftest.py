import numpy as np
import pytest

from utils.data import manifest
from utils.evaluation import evaluation


@pytest.fixture(scope="session")
def scores(trained, radiographs):
    test = manifest.select(radiographs.table, "test").reset_index(drop=True)
    noise = np.random.default_rng(0).normal(0, 0.25, len(test))
    score = np.clip(0.3 + 0.4 * manifest.positives(test) + noise, 0, 1)
    return test[["path", "patient", "label", "subtype"]].assign(score=score)


@pytest.fixture(scope="session")
def results(scores, trained):
    return evaluation.results(scores, trained.scores("val"), 0.4, resamples=100)
