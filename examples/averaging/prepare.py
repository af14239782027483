"""Packs images of the shape of CIFAR-10 in shards, one for each machine that is to train on its own images.

    python examples/averaging/prepare.py                         a few made-up images, in 4 shards
    python examples/averaging/prepare.py --full                  as many as CIFAR-10 has, in 20 shards as in the slides
    python examples/averaging/prepare.py --cifar FILE [--full]   the real ones, the first of them or all

CIFAR-10 is not part of this repository. FILE is its binary version, `cifar-10-binary.tar.gz`, as its authors give it
(Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html), or an .npz file with the arrays x_train, y_train, x_test and
y_test, as `keras.datasets.cifar10.load_data()` returns them. Images are made up as in the example cifar: what is
measured on them says nothing about CIFAR-10.
"""

import argparse
import runpy
import sys
from pathlib import Path

import numpy as np

import modelhopper as mh

HERE = Path(__file__).parent
DATA = HERE / "data"
IMAGES = runpy.run_path(str(HERE.parent / "cifar/prepare.py"))  # what it has to read and to make images
SMALL, FULL = (1280, 640, 4), (50_000, 10_000, 20)  # rows to train on, rows to validate with, shards


def main():
    given = arguments()
    rows, validation_rows, shards = FULL if given.full else SMALL
    train, validation = read(given.cifar) if given.cifar else IMAGES["made_up"](rows, validation_rows)
    packed = mh.pack(first(train, rows), DATA / "train", shards=shards, normalize=255, seed=1, overwrite=True)
    valid = first(validation, validation_rows)
    mh.pack(valid, DATA / "validation", shards=shards, against=DATA / "train", overwrite=True)
    print(mh.describe(packed))


def first(data, rows):
    images, labels = data
    return images[:rows], IMAGES["CLASSES"][labels[:rows]]


def read(file):
    """Return the training and the test data of CIFAR-10, each as images and labels."""
    if "python" in Path(file).name:
        sys.exit(
            f"{file} is the Python version, whose files are pickled and so could run anything: give the binary one."
        )
    if not file.endswith(".npz"):
        return IMAGES["read"](file)
    with np.load(file) as arrays:
        return [(arrays[f"x_{part}"], arrays[f"y_{part}"].ravel()) for part in ("train", "test")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="as many images and shards as in the slides")
    parser.add_argument("--cifar", metavar="FILE", help="cifar-10-binary.tar.gz, or an .npz file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
