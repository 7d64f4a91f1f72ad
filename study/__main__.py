"""python -m study NAME runs an experiment, or goes on with it; `results` makes all tables anew."""

import argparse

from . import experiments, tables

NAMES = {"results": tables.refresh} | experiments.EXPERIMENTS


def main():
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument(
        "--originals", help="for counterfactual: folder with full-size files of some of the radiographs"
    )
    choice = parser.parse_args()
    NAMES[choice.name](*filter(None, [choice.originals]))


if __name__ == "__main__":
    main()
