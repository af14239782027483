"""The network of the article."""

import keras
from keras import layers


def mlp(activation="sigmoid", dropout=0.2):
    """28-256-128-64-32-1 units: 50,689 numbers to train. Gives the probability of the second class: of 1, a fraud."""
    hidden = [layers.Dense(units, activation=activation) for units in (256, 128, 64, 32)]
    end = [layers.Dropout(dropout), layers.Dense(1, activation="sigmoid")]
    return keras.Sequential([keras.Input((28,)), *hidden, *end])
