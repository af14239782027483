"""See comparison.py, and works.py for what is compared."""

from comparison import compared
from page import main


def section(repeats):
    """Compare images: modelhopper, a sequential Keras program and Ray Tune."""
    return compared("images", repeats)


if __name__ == "__main__":
    main(section, repeats=2)
