"""python -m study NAME runs an experiment, or goes on with it; `results` makes all tables anew."""

import argparse
from functools import partial

from utils import sources, workspace

from . import divisions, experiments, probing, screening, small_data, tables

EXPERIMENTS = {
    "published": experiments.published,
    "schedules": experiments.schedules,
    "screening": screening.screen,
    **{name: partial(experiments.compared, name) for name in experiments.COMPARED},
    "divisions": divisions.compare,
    "small_data": small_data.compare,
    "beside": probing.beside,
    "without_lungs": probing.without_lungs,
    "counterfactual": probing.counterfactual,
}


def main():
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument("name", choices=["results", *EXPERIMENTS])
    parser.add_argument("--originals", help="for counterfactual: full-size files of some of the radiographs")
    choice = parser.parse_args()
    if choice.name == "results":
        return tables.refresh()
    ws = workspace.open_workspace()
    settings = {"originals": choice.originals} if choice.name == "counterfactual" else {}
    EXPERIMENTS[choice.name](sources.load(ws), ws, **settings)


if __name__ == "__main__":
    main()
