"""What MADlib's page on AutoML shows: Hyperband's schedule, Hyperband, Hyperopt's TPE, and predictions.

python examples/iris/prepare.py
python examples/automl/run.py
"""

from pathlib import Path

import numpy as np
from pyarrow import csv

import modelhopper as mh

HERE = Path(__file__).parent
IRIS = HERE.parent / "iris/data/validation.csv"


def main():
    print("Hyperband's schedule for R = 81 and eta = 3: bracket, round, configurations, iterations")
    print(mh.hyperband_schedule(81, 3, rounding="down"))  # down as in MADlib; up, the default, as in the paper

    hyperband = searched("hyperband")
    print(hyperband.leaderboard().text(limit=3))
    best = hyperband.best()
    print(f"\n{hyperband.explain(best.number)}\n{best.history}")

    tpe = searched("tpe")
    print(tpe.leaderboard().text(limit=3))
    best = tpe.best()
    print(f"\n{best}:\n{best.history}\n")
    predict(best)


def searched(method):
    """Run one of the experiments beside this file."""
    print(f"\n--- {method}")
    return mh.load_experiment(HERE / f"{method}.yaml").run(store=str(HERE / "runs"))


def predict(best):
    """Print the class of each validation row by its id."""
    table = csv.read_csv(IRIS)
    predicted = best.predict(np.stack([table[column] for column in table.column_names[1:5]], axis=-1))
    for number, ((name, probability),) in zip(table["id"].to_pylist(), predicted.top(1), strict=True):
        print(f"{number:3}  {name:<10}  {probability:.6f}")
    right = sum(map(str.__eq__, predicted.classes, table["species"].to_pylist()))
    print(f"{right} of {len(table)} are right")


if __name__ == "__main__":
    main()
