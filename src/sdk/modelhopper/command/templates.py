"""The files that `modelhopper init` writes."""

from __future__ import annotations

EXPERIMENT = """\
# An experiment: what to train on what. `modelhopper configs experiment.yaml` lists what it makes,
# `modelhopper run experiment.yaml` trains it.

name: {name}                # its results are kept under this name

data:                       # packed by `modelhopper pack`; paths begin at this file's folder
  train: data/train
  validation: data/validation

models:                     # file.py:function, called with the parameters beside it
  small: models.py:mlp
  deep: {{build: models.py:mlp, layers: 3}}

compile:                    # Keras' compile parameters, the same for all configurations
  loss: categorical_crossentropy
  metrics: [accuracy]

fit:                        # Keras' fit parameters, the same for all configurations
  epochs: 1                 # passes over a shard before a model hops on

search:
  method: grid              # all combinations. Others: list, random, hyperband, halving, asha, median, tpe, pbt,
                            # file.py:Class. All but grid and list draw, also from ranges: {{log: [0.0001, 0.1]}}
  space:                    # what varies
    model: [small, deep]
    optimizer:              # each optimizer expands by its own parameters only
      - {{name: Adam, learning_rate: [0.001, 0.01]}}
      - {{name: SGD, learning_rate: 0.1, momentum: [0.0, 0.9]}}
    batch_size: [8, 32]

iterations: 10              # passes over all training data
evaluate_every: 5           # iterations; by default only after the last
objective: validation accuracy
seed: 1                     # the same seed gives the same results, bit for bit on a CPU
"""

MODELS = '''\
"""The models of experiment.yaml. A function returns a Keras model; its parameters can vary in the search."""

import keras


def mlp(layers=2, units=16):
    """Dense layers for rows of 4 numbers in 3 classes: change these two to what your data holds."""
    return keras.Sequential(
        [keras.Input((4,))]
        + [keras.layers.Dense(units, activation="relu") for _ in range(layers)]
        + [keras.layers.Dense(3, activation="softmax")]
    )
'''

CLUSTER = """\
# A cluster with Argo Workflows: where `modelhopper submit experiment.yaml` sends an experiment. Nothing in this file
# changes a result. A key that is left out has the value that stands beside it after a #.

namespace: default
store: s3://modelhopper/experiments   # as pods reach it; everything that a run keeps
endpoint: http://minio:9000           # the S3 server, as pods reach it; left out: AWS
credentials: modelhopper-store        # a Secret with accessKey and secretKey; null: the pods' own identity

resources:                            # of a pod that trains
  cpu: "1"
  memory: 2Gi                         # also the limit
  gpu: nvidia.com/gpu                 # the resource's name, such as nvidia.com/mig-1g.10gb; null: train on CPUs

# images: {trainer: registry.example.com/team/trainer:1}      # modelhopper/trainer of this version

# data:                               # pods fetch their shards from the s3:// address that the experiment gives
#   training: {claims: "train-{shard}"}          # a volume for each shard, or
#   validation: {claim: shared, path: "validation/{shard}"}   # one volume for all

# placement:                          # where pods may run, in Kubernetes' own words
#   node_selector: {pool: gpu}
#   labels: {kueue.x-k8s.io/queue-name: team}

# shape: station                      # chosen by predicted time: hop, convoy or station
# hop_s: 9.4                          # seconds that a hop trains, for the prediction
"""
