"""What a station writes last must not undo what another station did since."""

from __future__ import annotations

from collections.abc import Callable

from modelhopper_contract.experiment import Experiment, validated
from modelhopper_contract.messages import Ended, Event
from modelhopper_contract.names import Names, checkpoint_number
from modelhopper_contract.records import Configuration, Outcome, ShardMetrics, Stay, Token
from modelhopper_contract.specification import Specification
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_contract.tokens import tokens_of
from modelhopper_trainer.publishing import Publisher, Result

NAMES = Names("race")
INBOXES = (f"{NAMES.inbox()}00000/", f"{NAMES.inbox()}00001/")


class QuickNeighbour(MemoryStore):
    """A store whose other station serves a token before the call that put it has returned."""

    def __init__(self, serve: Callable[[str], None]) -> None:
        super().__init__()
        self._serve = serve

    def put(self, name: str, data: bytes) -> None:
        super().put(name, data)
        if name.startswith(INBOXES[1]):
            self._serve(name)


def race(iterations: int) -> Specification:
    value = {
        "name": "race",
        "data": {"train": "train"},
        "models": "models.py:mlp",
        "search": {"method": "list", "configurations": [{}]},
        "iterations": iterations,
    }
    experiment = validated(Experiment, value)
    return Specification(experiment=experiment, folder="/", shards=2, validation_shards=0, digests={})


def test_a_token_that_comes_back_before_the_own_one_is_deleted_stays() -> None:
    specification = race(iterations=5)
    configuration = Configuration(number=1, name="", model="model", parameters={}, compile={}, fit={})

    def publish(hop: int, station: int, token: str) -> None:
        stay = Stay(
            configuration=1, first_hop=hop, end_hop=hop + 1, station=station, started_s=0.0, train_s=0.0, overhead_s=0.0
        )
        publisher.stays([Result(configuration, b"state", stay, token)])

    store = QuickNeighbour(lambda name: publish(1, 1, name))
    publisher = Publisher(store, specification, 2, _ignore)
    publisher.announce(configuration, 0)
    (own,) = tokens_of(specification, 2, configuration, 0)
    publish(0, 0, own)

    (entry,) = store.list(NAMES.inbox())
    assert Token.from_json(store.get(entry.name)).hop == 2
    assert entry.name.startswith(INBOXES[0])


def test_who_ends_a_configuration_removes_what_killed_stations_could_not() -> None:
    store = MemoryStore()
    for hop in range(5):
        store.put(NAMES.checkpoint(1, hop), b"state")
    publisher = Publisher(store, race(iterations=2), 2, _ignore)
    for shard in (0, 1):
        token = NAMES.evaluation_token(shard, 1, 2)
        found = ShardMetrics(metrics={})
        publisher.evaluation(1, 2, {("training", shard): found}, token, lambda _: {"loss": 1.0})
    assert [entry.name for entry in store.list(NAMES.checkpoints(1))] == [NAMES.checkpoint(1, 4)]
    assert Outcome.from_json(store.get(NAMES.outcome(1))).state == "finished"


def _ignore(_: Event) -> None:
    return None


def early(iterations: int) -> Specification:
    made = race(iterations)
    experiment = validated(Experiment, made.experiment.model_dump() | {"early_stopping": 1})
    return made.model_copy(update={"experiment": experiment})


def a_stay(first: int) -> Stay:
    return Stay(
        configuration=1, first_hop=first, end_hop=first + 1, station=0, started_s=0.0, train_s=0.0, overhead_s=0.0
    )


def test_a_checkpoint_that_comes_after_the_end_is_taken_back_and_announces_nothing() -> None:
    store, heard = MemoryStore(), list[Event]()
    configuration = Configuration(number=1, name="", model="model", parameters={}, compile={}, fit={})
    outcome = Outcome(configuration=1, state="stopped", hops=2, trained=4)
    store.put(NAMES.checkpoint(1, 2), b"state")
    store.put(NAMES.outcome(1), outcome.to_json())
    publisher = Publisher(store, early(iterations=5), 2, heard.append)
    publisher.stays([Result(configuration, b"state", a_stay(4), NAMES.training_token(0, 1, 4))])
    assert [entry.name for entry in store.list(NAMES.checkpoints())] == [NAMES.checkpoint(1, 2)]
    assert store.list(NAMES.inbox()) == []
    # Whoever ended it may have been killed before it could tell.
    assert heard == [Ended(outcome=outcome)]


def test_the_best_iteration_stays_while_it_is_the_best() -> None:
    store = MemoryStore()
    publisher = Publisher(store, early(iterations=5), 2, _ignore)
    for hop in (2, 4, 5):
        store.put(NAMES.checkpoint(1, hop), b"state")
    configuration = Configuration(number=1, name="", model="model", parameters={}, compile={}, fit={})
    evaluate(publisher, 1, loss=0.5)
    assert left(store) == [2, 4, 5]  # 4 is not evaluated yet
    evaluate(publisher, 2, loss=0.4)
    assert left(store) == [4, 5]
    publisher.stays([Result(configuration, b"state", a_stay(5), "race/inbox/00000/none")])
    evaluate(publisher, 3, loss=0.6)
    assert left(store) == [4]
    assert Outcome.from_json(store.get(NAMES.outcome(1))).hops == 4


def evaluate(publisher: Publisher, iteration: int, loss: float) -> None:
    for shard in (0, 1):
        token = NAMES.evaluation_token(shard, 1, iteration)
        found = ShardMetrics(metrics={})
        publisher.evaluation(1, iteration, {("training", shard): found}, token, lambda _: {"loss": loss})


def left(store: MemoryStore) -> list[int]:
    return [checkpoint_number(entry.name)[1] for entry in store.list(NAMES.checkpoints(1))]


class Ledger(MemoryStore):
    """A store that notes what is done to it, and what of it need not outlive a power failure."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, str]] = []

    def put(self, name: str, data: bytes) -> None:
        self._note("put", name)
        super().put(name, data)

    def put_soft(self, name: str, data: bytes) -> None:
        self._note("put softly", name)
        super().put(name, data)

    def delete(self, name: str) -> None:
        self._note("delete", name)
        super().delete(name)

    def _note(self, what: str, name: str) -> None:
        self.done.append((what, name.split("/")[1]))


def test_what_others_follow_from_is_on_the_disk_before_anything_goes() -> None:
    store = Ledger()
    publisher = Publisher(store, race(iterations=2), 2, _ignore)
    configuration = Configuration(number=1, name="", model="model", parameters={}, compile={}, fit={})
    publisher.stays([Result(configuration, b"state", a_stay(2), NAMES.training_token(0, 1, 2))])
    assert store.done == [
        ("put", "checkpoints"),
        ("put softly", "inbox"),
        ("delete", "inbox"),
        ("put softly", "journal"),
        ("delete", "checkpoints"),
    ]
    publisher.stays([Result(configuration, b"state", a_stay(3), NAMES.training_token(1, 1, 3))])
    store.done.clear()
    evaluate(publisher, 2, loss=1.0)
    first, second = store.done[:2], store.done[2:]
    assert first == [("put softly", "metrics"), ("delete", "inbox")]
    assert second[0] == ("put softly", "metrics")
    assert second[1] == ("put", "history")
    assert second[2:] == [("put", "outcomes"), ("delete", "inbox")]
