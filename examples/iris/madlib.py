"""What MADlib's page on `madlib_keras_fit_multiple_model` shows, step by step and in its order.

Twelve configurations are generated, trained for 10 iterations, evaluated, and asked for predictions; trained again with
a validation set that is looked at after every third iteration; and trained for 3 more iterations from where they are.

    python examples/iris/prepare.py
    python examples/iris/madlib.py
"""

import os
from pathlib import Path

import numpy as np
from models import mlp
from prepare import COLUMNS
from pyarrow import csv

import modelhopper as mh


def main():
    os.chdir(Path(__file__).parent)  # relative paths begin at the working directory
    title("Generate model configurations")
    configurations = mh.generate_model_configs(
        ["small", "deep"],
        {
            "loss": ["categorical_crossentropy"],
            "optimizer_params_list": [{"optimizer": ["Adam"], "lr": [0.001, 0.01, 0.1]}],
            "metrics": ["accuracy"],
        },
        {"batch_size": [4, 8], "epochs": [1]},
        "grid",
    )
    fit = experiment("iris-fit", configurations, mh.Data(train="data/train"), iterations=10)
    for one in fit.configurations():
        print(f"{one.number:2}  {one.name}")

    title("Train them for 10 iterations, without validation data")
    fitted = fit.run()
    print(fitted.leaderboard())

    title("Evaluate configuration 3 on the validation data")
    third = fitted.configuration(3)
    print(third.evaluate("data/validation"))

    title("Predict: the class of each row, and its probability")
    table = csv.read_csv("data/validation.csv")
    rows = np.stack([table[column] for column in COLUMNS], axis=-1)
    predicted = third.predict(rows)
    for number, (best, *_) in zip(table["id"].to_pylist(), predicted.top(1), strict=True):
        print(f"{number:3}  {best[0]:<10}  {best[1]:.6f}")
    wrong = sum(found != there for found, there in zip(predicted.classes, table["species"].to_pylist(), strict=True))
    print(f"{wrong} of {len(rows)} are wrong: {100 * (1 - wrong / len(rows)):.2f} % are right")

    title("Train with validation data, evaluated after every third iteration")
    both = mh.Data(train="data/train", validation="data/validation")
    validated = experiment("iris-validated", configurations, both, iterations=10, evaluate_every=3).run()
    print(validated.leaderboard())
    best = validated.best()
    print(f"\n{best}:\n{best.history}")

    title("Predict: every class with its probability and rank")
    ranked = validated.configuration(3).predict(rows).top(3)
    for number, classes in zip(table["id"].to_pylist(), ranked, strict=True):
        for rank, (name, probability) in enumerate(classes, start=1):
            print(f"{number:3}  {name:<10}  {probability:.8f}  {rank}")

    title("Warm start: 3 more iterations from where they are, each evaluated")
    more = experiment(
        "iris-more", configurations, both, iterations=3, evaluate_every=1, warm_start="iris-validated"
    ).run()
    print(more.leaderboard())
    print(f"\nconfiguration {best.number}, before and after:\n{best.history}\n{more.history(best.number)}")


def experiment(name, configurations, data, **more):
    """Return an experiment of these configurations, with one network as JSON of an old Keras, and one as a function."""
    models = {"small": "mlp-keras-2.json", "deep": mh.Model(mlp, layers=3)}
    return mh.Experiment(name=name, data=data, models=models, search=mh.Explicit(configurations), seed=1, **more)


def title(text):
    print(f"\n--- {text}")


if __name__ == "__main__":
    main()
