"""A small convolutional network."""

import keras
from keras import layers


def cnn(filters=8, dropout=0.0):
    """Two convolutions and one dense layer. Dropout draws the same units however the run goes: a hop has its seed."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(2 * filters, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(dropout),
            layers.Dense(10, activation="softmax"),
        ]
    )
