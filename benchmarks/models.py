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


def image_cnn():
    """A small convolutional network for 32x32x3 images."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
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
