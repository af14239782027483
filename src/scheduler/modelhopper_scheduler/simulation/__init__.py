"""The simulated engine: any search played to its end by a clock that jumps, with nothing trained.

What lives here: curves that stand for what training would give, a search that is asked turn after turn, stations with
inboxes on a simulated clock. What never happens here: training, reading a clock, a store or a disk, or a change of any
result.
"""
