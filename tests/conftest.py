"""Fixtures and settings of all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

pytest_plugins = ["tests.disks", "tests.markers", "tests.servers"]
pytest.register_assert_rewrite("tests.store_contract", "tests.search_contract")

# `default` keeps everyday runs short; HYPOTHESIS_PROFILE=thorough looks longer. No deadline: a busy machine is no bug.
settings.register_profile("default", deadline=None, max_examples=25, stateful_step_count=20)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
