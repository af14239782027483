"""Writes and packs two CSV tables whose rows are rarely of the class that matters: 2 in 100 of 6,000.

The rows are drawn at random, so that no download is needed.

    python examples/imbalance/prepare.py
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

import modelhopper as mh

DATA = Path(__file__).parent / "data"
COLUMNS = [f"sensor_{number:02}" for number in range(1, 13)]
RARE_SHARE = 0.02


def main():
    DATA.mkdir(exist_ok=True)
    generator = np.random.default_rng(1)
    effects = generator.normal(size=len(COLUMNS))  # how much each column says; the same in both tables
    csv.write_csv(table(generator, effects, 4800), DATA / "train.csv")
    csv.write_csv(table(generator, effects, 1200), DATA / "validation.csv")

    # `id` is in the table and not among the features, so it is not packed.
    packed = mh.pack(
        DATA / "train.csv", DATA / "train", shards=4, features="sensor_*", labels="state", seed=1, overwrite=True
    )
    mh.pack(DATA / "validation.csv", DATA / "validation", shards=2, against=DATA / "train", overwrite=True)
    print(mh.describe(packed))


def table(generator, effects, rows):
    """Return rows whose state follows from the sensors, and from chance."""
    sensors = generator.normal(size=(rows, len(effects)))
    strength = sensors @ effects + generator.logistic(size=rows)
    is_rare = strength >= np.quantile(strength, 1 - RARE_SHARE)
    columns = {"id": np.arange(rows), **dict(zip(COLUMNS, sensors.T.round(4), strict=True))}
    return pa.table({**columns, "state": np.where(is_rare, "rare", "normal")})


if __name__ == "__main__":
    main()
