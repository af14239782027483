"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

pytest_plugins = ["tests.databases", "tests.disks", "tests.markers", "tests.servers"]
pytest.register_assert_rewrite("tests.store_contract", "tests.search_contract")

# `default` keeps everyday runs short; HYPOTHESIS_PROFILE=thorough looks longer. No deadline: a busy machine is no bug.
settings.register_profile("default", deadline=None, max_examples=25, stateful_step_count=20)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# A shell that starts the tests in the background lets them, and every process that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
