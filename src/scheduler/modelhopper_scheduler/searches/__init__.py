"""Searches: which configurations to train, and which of them go on.

What lives here: pure functions of an experiment and of what has happened in it. What never happens here: reading the
store, a clock, or a random number that no seed decides.
"""
