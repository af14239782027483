"""Deciding what runs, where and when, and handing it to an engine.

What lives here: the plan, searches, cost estimates, rendering, and engines. What never happens here: importing
TensorFlow, Keras, the trainer or the SDK; a decision that reads a clock, a disk, the network or a global random state.
"""
