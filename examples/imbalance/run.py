"""Trains what experiment.yaml says, and lets the best model say which rows are rare.

python examples/imbalance/run.py
"""

from pathlib import Path

from prepare import COLUMNS
from pyarrow import csv

import modelhopper as mh

HERE = Path(__file__).parent


def main():
    run = mh.load_experiment(HERE / "experiment.yaml").run(store=str(HERE / "runs"))
    print(run.leaderboard())

    best = run.best()  # by the experiment's objective
    print(f"\nThe best is {best}")
    rows = csv.read_csv(HERE / "data/validation.csv")
    predictions = best.predict(rows.select(COLUMNS))  # the packed columns are found by their names
    rare = predictions.names.index("rare")
    surest = predictions.probabilities[:, rare].argsort()[::-1][:10]
    for row in surest.tolist():
        probability = predictions.probabilities[row, rare]
        print(f"row {rows['id'][row]}: {predictions.classes[row]} ({probability:.2f}); it is {rows['state'][row]}")


if __name__ == "__main__":
    main()
