"""Packs scikit-learn's handwritten digits: 1,497 images of 8 x 8 grey values to train on, in 4 shards, and 300 to
validate with.

    python examples/digits/prepare.py
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import modelhopper as mh

DATA = Path(__file__).parent / "data"


def main():
    digits = load_digits()
    images = digits.images.astype(np.uint8)[..., np.newaxis]  # (rows, 8, 8, 1); stored as bytes, a quarter of floats
    x_train, x_valid, y_train, y_valid = train_test_split(
        images, digits.target, test_size=300, random_state=1, stratify=digits.target
    )
    train = {"image": x_train}, {"digit": y_train}  # with names, inputs and outputs can be several
    valid = {"image": x_valid}, {"digit": y_valid}
    # Grey values go from 0 to 16. The division is done where the model reads them, and again for predictions.
    packed = mh.pack(train, DATA / "train", shards=4, normalize=16, seed=1, overwrite=True)
    mh.pack(valid, DATA / "validation", shards=1, against=DATA / "train", overwrite=True)
    print(mh.describe(packed))


if __name__ == "__main__":
    main()
