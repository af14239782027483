"""Engines: who starts the stations. All of them run the same plan, and none of them trains.

What never happens here: a decision that changes a result.
"""
