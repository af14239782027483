"""Scoring: models applied to data of any size, in parts that any worker may do.

What lives here: cutting data into parts, reading a part's rows, a part's result, and merging results. What never
happens here: deciding who does a part, or starting processes.
"""
