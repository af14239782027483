"""Packs images of the shape of CIFAR-10: 32 x 32 pixels, 3 colours, 10 classes.

    python examples/cifar/prepare.py                         a few made-up images: enough to see it work
    python examples/cifar/prepare.py --full                  as many as CIFAR-10 has, in 16 shards
    python examples/cifar/prepare.py --cifar FILE [--full]   the real ones, the first of them or all

CIFAR-10 is not part of this repository. FILE is its binary version, `cifar-10-binary.tar.gz`, as its authors give it
(Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html). Made-up images show a pattern of their class at a random
place, under noise: what is measured on them says nothing about CIFAR-10.
"""

import argparse
import tarfile
from pathlib import Path

import numpy as np

import modelhopper as mh

DATA = Path(__file__).parent / "data"
CLASSES = np.array(["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"])
SMALL, FULL = (640, 320, 2), (50_000, 10_000, 16)  # rows to train on, rows to validate with, shards


def main():
    given = arguments()
    rows, validation_rows, shards = FULL if given.full else SMALL
    train, validation = read(given.cifar) if given.cifar else made_up(rows, validation_rows)
    # Stored as bytes; a model gets numbers from 0 to 1.
    packed = mh.pack(first(train, rows), DATA / "train", shards=shards, normalize=255, seed=1, overwrite=True)
    valid = first(validation, validation_rows)
    mh.pack(valid, DATA / "validation", shards=shards, against=DATA / "train", overwrite=True)
    print(mh.describe(packed))


def first(data, rows):
    images, labels = data
    return images[:rows], CLASSES[labels[:rows]]


def read(archive):
    """Return the training and the test data of CIFAR-10's binary version."""
    with tarfile.open(archive) as opened:
        content = {Path(one.name).name: opened.extractfile(one).read() for one in opened if one.name.endswith(".bin")}
    train = b"".join(content[f"data_batch_{number}.bin"] for number in range(1, 6))
    return records(train), records(content["test_batch.bin"])


def records(content):
    """Return images and labels: a record is the label's byte, then the three colours one after another."""
    table = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return table[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), table[:, 0]


def made_up(rows, validation_rows):
    """Return images that show a soft pattern of their class, cut out at a random place, under noise."""
    generator = np.random.default_rng(1)
    coarse = generator.uniform(0, 255, size=(len(CLASSES), 3, 3, 3))
    patterns = coarse.repeat(16, axis=1).repeat(16, axis=2).astype(np.int16)  # 48 x 48
    return images_of(patterns, generator, rows), images_of(patterns, generator, validation_rows)


def images_of(patterns, generator, rows):
    labels = generator.integers(len(patterns), size=rows)
    corners = generator.integers(48 - 32, size=(2, rows, 1))
    down, across = corners + np.arange(32)
    images = np.empty((rows, 32, 32, 3), np.uint8)
    for start in range(0, rows, 1000):  # all at once would take much memory
        part = slice(start, start + 1000)
        cut = patterns[labels[part, None, None], down[part, :, None], across[part, None, :]]
        noise = generator.normal(0, 50, size=cut.shape)
        images[part] = np.clip(cut + noise, 0, 255)
    return images, labels


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="as many images and shards as in the article")
    parser.add_argument("--cifar", metavar="FILE", help="cifar-10-binary.tar.gz")
    return parser.parse_args()


if __name__ == "__main__":
    main()
