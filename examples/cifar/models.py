"""Three convolutional networks for images of 32 x 32 pixels in 3 colours and 10 classes.

At `width` 32 they are as they were published; a smaller width makes every layer narrower by the same factor.
"""

import keras
from keras import layers


def vgg(blocks=3, width=32, dropout=0.0):
    """Blocks of two convolutions and a pooling, as VGG has them. Three blocks at width 32: 550,570 numbers."""
    found = [keras.Input((32, 32, 3))]
    for block in range(blocks):
        filters = width * 2**block
        found += [layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_uniform")]
        found += [layers.Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_uniform")]
        found += [layers.MaxPooling2D(2), layers.Dropout(dropout)]
    hidden = layers.Dense(4 * width, activation="relu", kernel_initializer="he_uniform")
    return keras.Sequential([*found, layers.Flatten(), hidden, layers.Dense(10, activation="softmax")])


def cnn(width=32):
    """The network of Keras' own example for CIFAR-10. At width 32: 1,250,858 numbers."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.Conv2D(width, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
            layers.Conv2D(2 * width, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(16 * width, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
