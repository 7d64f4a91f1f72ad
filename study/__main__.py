"""python -m study results makes all tables anew; python -m study NAME runs an experiment anew."""

import argparse

from utils import sources, workspace

from . import experiments, tables


def main():
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    parser.add_argument("name", choices=["results", *experiments.EXPERIMENTS])
    name = parser.parse_args().name
    if name == "results":
        tables.refresh()
    else:
        ws = workspace.open_workspace()
        experiments.run(name, sources.load(ws), ws)


if __name__ == "__main__":
    main()
