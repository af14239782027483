"""The two convolutional networks of the slides, for images of 32 x 32 pixels in 3 colours and 10 classes.

At `width` 32 they are as they were published; a smaller width makes every layer narrower by the same factor.
"""

import keras
from keras import layers


def one_layer(width=32):
    """One convolution. At width 32: 72,906 numbers."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(width, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def six_layers(width=32, dropout=0.2):
    """Six convolutions and two dense layers, some behind a dropout. At width 32: 2,395,434 numbers."""
    found = [keras.Input((32, 32, 3))]
    for block in range(3):
        filters = width * 2**block
        found += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.Dropout(dropout)]
        found += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]
    found += [layers.Flatten(), layers.Dropout(dropout)]
    found += [layers.Dense(32 * width, activation="relu"), layers.Dropout(dropout)]
    return keras.Sequential([*found, layers.Dense(10, activation="softmax")])
