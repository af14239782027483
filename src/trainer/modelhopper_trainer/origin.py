"""Where a configuration's first state comes from: its own initial weights, or a checkpoint of another configuration.

From another come the weights and, where both optimizers are of one kind, the optimizer's state. The learning rate,
which Keras keeps among the optimizer's variables, is always the configuration's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

from modelhopper_contract import checkpoint
from modelhopper_contract.checkpoint import Checkpoint, State
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import ConflictError, CorruptObject, ObjectNotFound, SpecError
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, HopRecord, Origin
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_trainer.state import SEED_STATE, Array


def is_to_be_made(specification: Specification, configuration: Configuration, hop: int, store: Store) -> bool:
    """Say whether nobody has made the state before `hop` yet, because the search let the configuration start later on.

    A checkpoint that was lost is none that was never made: then there are traces of what came after it.
    """
    if not specification.is_judged or hop != configuration.first_hop:
        return False
    names, number = Names(specification.experiment.name), configuration.number
    traces = (names.outcome(number), names.checkpoints(number), names.journals(number), names.histories(number))
    return not any(store.list(trace) for trace in traces)


def first_checkpoint(
    specification: Specification, configuration: Configuration, own: State, store: Store
) -> Checkpoint:
    """Return the state that a configuration begins with, given the one that it was built with.

    A pure function of the experiment and the configuration. Raises SpecError when another's weights do not fit,
    ConflictError when an earlier experiment is not what it was, and CorruptObject when the checkpoint of another
    configuration of this experiment is missing.
    """
    state, steps, origin = own, 0, configuration.origin
    if origin is not None:
        found = _checkpoint_of(specification, configuration, origin, store)
        of = f"configuration {origin.configuration}" + (f" of {origin.experiment}" if origin.experiment else "")
        state = _with_weights(own, found.state, of)
        if _optimizer(configuration) == _optimizer(_configuration_of(specification, origin, store)):
            state = _with_optimizer(state, found.state)
        steps = 0 if origin.experiment else found.record.steps
    record = HopRecord(
        configuration=configuration.number, hop=configuration.first_hop - 1, shard=None, steps=steps, loss=None
    )
    return Checkpoint(dict(state), record)


def _checkpoint_of(
    specification: Specification, configuration: Configuration, origin: Origin, store: Store
) -> Checkpoint:
    name = Names(origin.experiment or specification.experiment.name).checkpoint(origin.configuration, origin.hop)
    try:
        data = store.get(name)
    except ObjectNotFound as error:
        missing = f"{name} is missing, and configuration {configuration.number} begins with it"
        if origin.experiment is None:
            raise CorruptObject(f"{missing}.") from error
        raise ConflictError(f"{missing}: {origin.experiment} has changed since. Run the same command again.") from error
    expected = specification.origins.get(configuration.number)
    if origin.experiment is not None and digest_bytes(data) != expected:
        raise ConflictError(
            f"{name} has changed since {specification.experiment.name} was made ready to begin with it. Run the same "
            "command again."
        )
    return checkpoint.from_bytes(data, name)


def _configuration_of(specification: Specification, origin: Origin, store: Store) -> Configuration:
    name = Names(origin.experiment or specification.experiment.name).configuration(origin.configuration)
    return Configuration.from_json(store.get(name), name)


def _optimizer(configuration: Configuration) -> str:
    return str(configuration.compile["optimizer"].get("name")).lower().replace("_", "")


def _with_weights(own: State, found: State, of: str) -> State:
    """Return `own` with the other's weights. The seeds of layers stay: every hop sets them anew."""
    mine, theirs = _weights(own), _weights(found)
    for at, (here, there) in enumerate(zip_longest(mine.items(), theirs.items())):
        if _form(here) != _form(there):
            raise SpecError(
                f"the weights of {of} do not fit this model: its variable {at} is {_described(here)}, and "
                f"{_described(there)} there.",
                ("warm_start",),
            )
    return {**own, **dict(zip(mine, theirs.values(), strict=True))}


def _with_optimizer(own: State, found: State) -> State:
    """Return `own` with the state of the other's optimizer where it has the same variables, and as it is elsewhere.

    They differ where a parameter adds some, such as a momentum that was 0, or other layers are frozen.
    """
    mine, theirs = _optimizer_state(own), _optimizer_state(found)
    if [_slot(one) for one in mine.items()] != [_slot(one) for one in theirs.items()]:
        return own
    return {**own, **dict(zip(mine, theirs.values(), strict=True))}


def _weights(state: State) -> Mapping[str, Array]:
    return _part(state, "model", but=SEED_STATE)


def _optimizer_state(state: State) -> Mapping[str, Array]:
    return _part(state, "optimizer", but="learning_rate")


def _part(state: State, part: str, but: str) -> Mapping[str, Array]:
    """Return the variables of a part in their order, but for those of one name."""
    found = [name for name in state if name.startswith(f"{part}/") and _own_name(name) != but]
    return {name: state[name] for name in sorted(found, key=lambda name: int(name.split("/")[1]))}


def _own_name(name: str) -> str:
    return name.split("/", 2)[2]


def _form(variable: tuple[str, Array] | None) -> tuple[str, tuple[int, ...], str] | None:
    return None if variable is None else (_own_name(variable[0]), variable[1].shape, str(variable[1].dtype))


def _slot(variable: tuple[str, Array]) -> tuple[str, tuple[int, ...], str]:
    # "sequential_dense_kernel_velocity": layers may be named otherwise, the last word says what it is.
    name, array = variable
    return _own_name(name).rpartition("_")[2], array.shape, str(array.dtype)


def _described(variable: tuple[str, Array] | None) -> str:
    if variable is None:
        return "missing"
    name, array = variable
    return f"`{_own_name(name)}` of shape {array.shape}" + (f", {array.dtype}" if array.dtype != "float32" else "")
