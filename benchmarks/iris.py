"""See comparison.py, and works.py for what is compared."""

from comparison import compared
from page import main


def section(repeats):
    """Compare iris: modelhopper, a sequential Keras program and Ray Tune."""
    return compared("iris", repeats, fuse=3)  # the three learning rates of a network and batch size


if __name__ == "__main__":
    main(section)
