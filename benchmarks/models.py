"""The networks that the benchmarks train."""

import keras
from keras import layers


def iris_mlp(hidden=2):
    """193 numbers with two hidden layers."""
    return keras.Sequential(
        [keras.Input((4,)), *[layers.Dense(10, "relu") for _ in range(hidden)], layers.Dense(3, "softmax")]
    )


def table_mlp():
    """50,689 numbers over 28 columns: the network of the fraud example in MADlib's and Greenplum's documents."""
    widths = (256, 128, 64, 32)
    return keras.Sequential(
        [keras.Input((28,)), *[layers.Dense(width, "relu") for width in widths], layers.Dense(1, "sigmoid")]
    )


def image_cnn(filters=(16, 32)):
    """A small convolutional network for 32x32x3 images, halved after each of its convolutions."""
    halved = [
        layer for count in filters for layer in (layers.Conv2D(count, 3, activation="relu"), layers.MaxPooling2D())
    ]
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *halved,
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, "softmax"),
        ]
    )


def megabyte_mlp():
    """263,663 numbers, 1.05 MB of weights."""
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(511, "relu"), layers.Dense(507), layers.Dense(3, "softmax")]
    )


def square_mlp(units=1576):
    """Two hidden layers of so many units over 4 columns: about 4 * units ** 2 bytes of weights."""
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(units, "relu"), layers.Dense(units, "relu"), layers.Dense(3, "softmax")]
    )
