"""Both stages: 96 configurations, then the best 12 of them for more iterations, and what the best one says of an image.

    python examples/cifar/prepare.py
    python examples/cifar/run.py

`--full` trains the networks in their published width, for 10 and then 50 iterations, as the article did on 16 GPUs;
prepare the data with `--full`, too.
"""

import argparse
from pathlib import Path

import modelhopper as mh

HERE = Path(__file__).parent
STORE = str(HERE / "runs")


def main():
    full = arguments().full
    experiment = mh.load_experiment(HERE / "experiment.yaml")
    first = (widened(experiment) if full else experiment).run(store=STORE)
    print(first.leaderboard().text(limit=12))

    # Good on images that they have not seen, and not much better on those that they have.
    rule = {"top": 12, "metric": "validation accuracy", "max_gap": 0.05}
    print(f"\n{first.select(**rule)}\n")
    second = first.refine(**rule, iterations=50 if full else 5).run()
    print(second.leaderboard())

    best = second.best("validation accuracy")
    print(f"\nThe best is {best}, which was {best.row.began_with}")
    predicted = best.predict(HERE / "data/validation")
    for row, classes in enumerate(predicted.top(3)[:3], start=1):
        said = ", ".join(f"{name} {probability:.3f}" for name, probability in classes)
        print(f"image {row}: {said}")


def widened(experiment):
    """Return the experiment at full size."""
    models = {
        name: model.model_copy(update={"parameters": {**model.parameters, "width": 32}})
        for name, model in experiment.models.items()
    }
    return experiment.model_copy(update={"name": "cifar-full", "models": models, "iterations": 10})


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the article's size")
    return parser.parse_args()


if __name__ == "__main__":
    main()
