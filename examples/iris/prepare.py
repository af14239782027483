"""Packs scikit-learn's iris data: 120 rows to train on, in 4 shards, and 30 to validate with.

python examples/iris/prepare.py
"""

from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

import modelhopper as mh

DATA = Path(__file__).parent / "data"


def main():
    iris = load_iris()
    names = iris.target_names[iris.target]  # labels stay names; packing gives each its place in the one-hot code
    x_train, x_valid, y_train, y_valid = train_test_split(
        iris.data, names, test_size=30, random_state=1, stratify=names
    )
    # The same rows give the same bytes, so packing again changes nothing, and a run that has begun goes on.
    packed = mh.pack((x_train, y_train), DATA / "train", shards=4, seed=1, overwrite=True)
    mh.pack((x_valid, y_valid), DATA / "validation", shards=1, against=DATA / "train", overwrite=True)
    print(mh.describe(packed))


if __name__ == "__main__":
    main()
