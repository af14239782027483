"""The records that stations, engines and users exchange through the store."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from modelhopper_contract.record import Record, is_unused

Split = Literal["training", "validation"]
Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]  # names of Keras' dtype policies


class Token(Record):
    """A configuration is ready: to train hop `hop`, or to be evaluated at checkpoint `hop`."""

    action: Literal["train", "evaluate"]
    configuration: int
    hop: int
    until: int | None = None  # iterations; a search decides what comes after them. None: there is nothing to decide


class HopRecord(Record):
    """What a hop did; the header of the checkpoint it made. A pure function of experiment, configuration and hop."""

    configuration: int
    hop: int  # the hop that made this checkpoint; -1 in checkpoint 0
    shard: int | None  # None in checkpoint 0, and where replicas of several were merged
    steps: int  # optimizer steps since the start of the run
    loss: float | None  # mean training loss over the hop's batches; None in checkpoint 0


class Stay(Record):
    """A line of the journal: who trained the hops that led to a checkpoint, and what it took. Times are measured."""

    configuration: int
    first_hop: int
    end_hop: int  # exclusive; the checkpoint's number
    station: int
    started_s: float  # seconds since 1970
    train_s: float
    overhead_s: float  # the rest of the stay: reading and writing state


class Retried(Record):
    """A configuration was at a station that died; what it was at is done again."""

    configuration: int
    action: Literal["train", "evaluate"]
    hop: int
    station: int
    reason: str  # how the station died


class MetricState(Record):
    """What one shard adds to a metric: exact sums, so that any order of merging gives the same value.

    `kind` "mean": `sums` holds one exact sum (see `exact`) of the rows' values. `kind` "sum": `sums` holds the exact
    sums of the metric's Keras variables, flattened, which the metric's own `result` turns into a value.
    """

    kind: Literal["mean", "sum"]
    sums: tuple[str, ...]
    rows: int


class ShardMetrics(Record):
    """The metric states of one configuration, at one iteration, on one shard, by metric name."""

    metrics: dict[str, MetricState]


class History(Record):
    """The metrics of one configuration at one evaluated iteration, merged over all shards."""

    configuration: int
    iteration: int
    training: dict[str, float]
    validation: dict[str, float] | None


class Failure(Record):
    """Why a configuration cannot go on."""

    reason: str  # one line
    hop: int
    shard: int | None
    station: int | None
    traceback: str | None
    output: str | None  # the last lines that were printed during the hop


class Origin(Record):
    """Whose state a configuration begins with."""

    experiment: str | None = None  # in the same store; None: of this experiment
    configuration: int
    hop: int  # the checkpoint's number


class Outcome(Record):
    """How a configuration ended."""

    configuration: int
    state: Literal["finished", "stopped", "failed"]
    hops: int  # hops that count: the result is the checkpoint of this number
    failure: Failure | None = None
    reason: str | None = None  # why it was stopped, in words
    trained: int | None = None  # hops after which it ended, where an earlier checkpoint is the result

    @property
    def hops_trained(self) -> int:
        """Hops that it had done when it ended. Whatever it did meanwhile, before that was known, does not count."""
        return self.hops if self.trained is None else self.trained


class Program(Record):
    """How a configuration is compiled: as the experiment says, or as it was measured when the run began."""

    lanes: int = 1  # configurations that one compiled step trains side by side; 1: alone
    jit_compile: bool = False
    precision: Precision = "float32"


class Configuration(Record):
    """One configuration as it runs: what the search chose, and what building it once told."""

    number: int  # from 1
    name: str  # the model's name and the parameters that vary, for people
    model: str  # a name in the experiment's models
    parameters: dict[str, Any]  # of the model's function
    compile: dict[str, Any]  # optimizer, loss, metrics, loss_weights
    fit: dict[str, Any]  # batch_size, epochs, shuffle, class_weight
    offset: int = 0  # the shard of hop 0
    weights: int | None = None  # numbers in the model's state, known once built
    cost: float = 1.0  # relative cost of a hop, known once built
    first_hop: int = 0  # of its own; larger for one that goes on from a copy of another configuration of this run
    origin: Origin | None = None  # whose state it begins with; None: its own initial state
    program: Program = Program()
    # The fold that it skips, or the group that it trains on, from 0; None: it trains on all shards.
    part: int | None = Field(default=None, exclude_if=lambda part: part is None)
    part_name: str | None = Field(default=None, exclude_if=is_unused)  # for people: "fold 3", "country DE"


class Variant(Record):
    """A way to compile a kind of configuration, tried on some rows of a shard."""

    program: Program
    seconds: float | None = None  # of a hop of one configuration, warm, by some batches; None: it cannot be used
    compile_s: float = 0.0  # to trace and compile it, once in each station
    note: str | None = None  # why it cannot be used


class Kind(Record):
    """Configurations that one compiled program can train side by side, and what was measured for them."""

    configurations: tuple[int, ...]
    variants: tuple[Variant, ...]  # the first is each alone in float32, without XLA, if anything was tried


class Measurement(Record):
    """What was measured when a run began, by which its configurations are compiled."""

    device: str  # "CPU", or the GPU's name
    rows: int  # of the shard that a hop in `seconds` trains on
    kinds: tuple[Kind, ...]
