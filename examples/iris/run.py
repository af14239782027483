"""The experiment of experiment.yaml in Python, and what can be done with its results.

It is the same experiment: after `modelhopper run experiment.yaml` in this folder, this trains nothing again.

    python examples/iris/run.py
"""

import os
from pathlib import Path

from models import mlp
from sklearn.datasets import load_iris

import modelhopper as mh


def main():
    os.chdir(Path(__file__).parent)  # relative paths begin at the working directory
    experiment = mh.Experiment(
        name="iris",
        data=mh.Data(train="data/train", validation="data/validation"),
        models={"small": mlp, "deep": mh.Model(mlp, layers=3)},
        compile={"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
        search=mh.Grid(
            model=["small", "deep"],
            optimizer=[{"name": "Adam", "learning_rate": [0.1, 0.01, 0.001]}],
            batch_size=[4, 8],
        ),
        iterations=10,
        evaluate_every=5,
        seed=1,
    )
    run = experiment.run()
    print(run.leaderboard())

    best = run.best("validation accuracy")
    print(f"\nThe best is {best}: {best.metrics['validation accuracy']:.3f}")
    flowers = load_iris().data[[0, 75, 149]]
    for flower, (name, probability) in zip(flowers, (top[0] for top in best.predict(flowers).top(1)), strict=True):
        print(f"{flower} is {name} ({probability:.0%})")


# Each station imports the file that a function comes from; a run that began there would never end.
if __name__ == "__main__":
    main()
