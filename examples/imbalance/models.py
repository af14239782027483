"""One unit: logistic regression."""

import keras


def unit():
    """Gives the probability of the second class in ascending order: of `rare`, not of `normal`."""
    return keras.Sequential([keras.Input((12,)), keras.layers.Dense(1, activation="sigmoid")])
