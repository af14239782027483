"""The two networks of MADlib's iris example, as one function."""

import keras


def mlp(layers=2):
    """Hidden layers of 10 units: 193 numbers to train with two of them, 303 with three."""
    hidden = [keras.layers.Dense(10, activation="relu") for _ in range(layers)]
    return keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(3, activation="softmax")])
