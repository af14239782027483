"""What a user writes without modelhopper: twelve configurations, one after another, with Keras' fit."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from models import iris_mlp
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split


def main():
    iris = load_iris()
    x, x_valid, y, y_valid = train_test_split(
        iris.data, iris.target, test_size=30, random_state=1, stratify=iris.target
    )
    y, y_valid = np.eye(3)[y], np.eye(3)[y_valid]
    scores = []
    for hidden in (2, 3):
        for rate in (0.1, 0.01, 0.001):
            for batch_size in (4, 8):
                model = iris_mlp(hidden)
                model.compile(keras.optimizers.Adam(rate), "categorical_crossentropy", metrics=["accuracy"])
                for _ in range(2):  # evaluated after iterations 5 and 10, on both sets, as the experiment is
                    model.fit(x, y, batch_size=batch_size, epochs=5, verbose=0)
                    model.evaluate(x, y, verbose=0)
                    scores.append(model.evaluate(x_valid, y_valid, verbose=0)[1])
    print(f"best validation accuracy {max(scores):.3f}")


if __name__ == "__main__":
    main()
