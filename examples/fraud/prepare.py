"""Makes a table of the shape of the credit card transactions of the article, and packs a part of it to train on.

    python examples/fraud/prepare.py                          12,000 made-up rows, 150 of them frauds
    python examples/fraud/prepare.py --full                   as many as the real table has: 284,807, and 492 frauds
    python examples/fraud/prepare.py --table creditcard.csv   the real one
    python examples/fraud/prepare.py --database ADDRESS       packs from PostgreSQL, where it puts the table first

The real table is not part of this repository (https://www.kaggle.com/datasets/mlg-ulb/creditcardfraud). Its columns
are Time, V1 to V28, Amount, and Class, which is 1 for a fraud. Made-up rows have the same, and what is measured on them
says nothing about real ones; of few rows more are frauds, so that each of ten folds has some. An `id` is added, and the
rows are dealt to three tables: to train on (60 in 100), to choose a threshold by (20), and new ones to score (20).

ADDRESS is as in postgresql://user@host/database. The tables are made there as fraud_train, fraud_validation and
fraud_new. Needs `modelhopper[postgres]`. Oversampling needs `modelhopper[imbalance]`.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

import modelhopper as mh

DATA = Path(__file__).parent / "data"
FEATURES = [f"V{number}" for number in range(1, 29)]
SMALL, FULL = (12_000, 150), (284_807, 492)  # rows, and frauds among them
PARTS = {"train": 0.6, "validation": 0.2, "new": 0.2}


def main():
    given = arguments()
    DATA.mkdir(exist_ok=True)
    table = csv.read_csv(given.table) if given.table else made_up(*(FULL if given.full else SMALL))
    for name, part in dealt(table).items():
        csv.write_csv(part, DATA / f"{name}.csv")
        if given.database:
            load(part, given.database, f"fraud_{name}")
    packed = mh.pack(
        f"{given.database}?table=fraud_train" if given.database else DATA / "train.csv",
        DATA / "train",
        shards=10,  # one for each fold
        features=FEATURES,
        labels="Class",
        id="id",
        stratify="Class",  # each shard has as many frauds, give or take one
        oversample="smote",  # each shard gets frauds made of its own ones; they are trained on, never evaluated on
        seed=1,
        overwrite=True,
    )
    print(mh.describe(packed))


def made_up(rows, frauds):
    """Return transactions of which some differ from the others: in several columns, and some more than others."""
    generator = np.random.default_rng(1)
    spread = np.linspace(1.96, 0.33, len(FEATURES))  # as of principal components: the first vary most
    values = generator.normal(size=(rows, len(FEATURES))) * spread
    is_fraud = np.zeros(rows, bool)
    is_fraud[generator.choice(rows, frauds, replace=False)] = True
    direction = generator.normal(size=len(FEATURES)) * spread
    strength = generator.gamma(4, 0.4, size=(frauds, 1))
    values[is_fraud] = values[is_fraud] * 1.5 + strength * direction
    columns = {
        "Time": np.sort(generator.integers(2 * 24 * 3600, size=rows)),  # seconds of two days
        **dict(zip(FEATURES, values.T.round(6), strict=True)),
        "Amount": generator.lognormal(3, 1.5, size=rows).round(2),
        "Class": is_fraud.astype(np.int64),
    }
    return pa.table(columns)


def dealt(table):
    """Return the rows by part, each with its share of frauds, in the order of their ids."""
    table = table.add_column(0, "id", pa.array(np.arange(1, len(table) + 1)))
    found = {name: [] for name in PARTS}
    generator = np.random.default_rng(1)
    for kind in (0, 1):
        rows = generator.permutation(np.flatnonzero(table["Class"].to_numpy() == kind))
        ends = np.rint(np.cumsum(list(PARTS.values())) * len(rows)).astype(int)
        for name, part in zip(PARTS, np.split(rows, ends[:-1]), strict=True):
            found[name].append(part)
    return {name: table.take(np.sort(np.concatenate(parts))) for name, parts in found.items()}


def load(table, database, name):
    """Put a table into PostgreSQL, as COPY would."""
    from adbc_driver_postgresql import dbapi  # noqa: PLC0415 -- only needed here

    with dbapi.connect(database) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest(name, table, mode="replace")
        connection.commit()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="as many rows as the real table has")
    parser.add_argument("--table", metavar="FILE", help="creditcard.csv")
    parser.add_argument("--database", metavar="ADDRESS", help="postgresql://user@host/database")
    return parser.parse_args()


if __name__ == "__main__":
    main()
