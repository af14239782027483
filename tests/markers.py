"""Options that run what is skipped by default: `--cluster`, `--gpu`, `--slow`.

A pytest plugin; `tests/conftest.py` loads it by `pytest_plugins = ["tests.markers"]`.
"""

from __future__ import annotations

import pytest

# Marker and option have the same name; the text is the reason that a skipped test shows.
NEEDS = {
    "cluster": "needs a Kubernetes cluster with Argo Workflows",
    "gpu": "needs a GPU",
    "slow": "takes longer than everyday work allows",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add one option per marker."""
    group = parser.getgroup("modelhopper")
    for name, need in NEEDS.items():
        group.addoption(f"--{name}", action="store_true", help=f"also run the tests marked `{name}`: {need}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip every test that has a marker whose option is not given, and say which option runs it."""
    skipped = {name: need for name, need in NEEDS.items() if not config.getoption(f"--{name}")}
    for item in items:
        for name, need in skipped.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"{need}; --{name} runs it"))
