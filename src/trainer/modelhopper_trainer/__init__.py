"""Training: what a station does with the configurations that arrive.

What lives here: shards, models, checkpoints, the hop, the station, evaluation and prediction. What never happens here:
importing the scheduler, the SDK, hera or Kubernetes; a weight that depends on timing, on the number of stations, or on
any random state but the hop's own seed.
"""
