"""Packs scikit-learn's iris data: 120 rows to train on, in 4 shards, and 30 to validate with.

python examples/iris/prepare.py
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split

import modelhopper as mh

DATA = Path(__file__).parent / "data"
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


def main():
    iris = load_iris()
    names = iris.target_names[iris.target]  # labels stay names; packing gives each its place in the one-hot code
    numbers = np.arange(1, len(names) + 1)  # ids of rows, as in a table
    x_train, x_valid, y_train, y_valid, _, ids = train_test_split(
        iris.data, names, numbers, test_size=30, random_state=1, stratify=names
    )
    # The same rows give the same bytes, so packing again changes nothing, and a run that has begun goes on.
    packed = mh.pack((x_train, y_train), DATA / "train", shards=4, seed=1, overwrite=True)
    mh.pack((x_valid, y_valid), DATA / "validation", shards=1, against=DATA / "train", overwrite=True)
    # The rows to validate with once more as a table, in the order of their ids: what predictions are made for.
    order = np.argsort(ids)
    columns = dict(zip(COLUMNS, x_valid[order].T, strict=True))
    csv.write_csv(pa.table({"id": ids[order], **columns, "species": y_valid[order]}), DATA / "validation.csv")
    print(mh.describe(packed))


if __name__ == "__main__":
    main()
