"""How configurations are compiled, and who trains side by side: chosen once, when they begin. Pure.

Without `fuse` or `auto` every configuration trains alone as its compile parameters say. Otherwise the choice is made by
a measurement, and recorded: what follows from it is the same whenever, wherever and however often it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from modelhopper_contract.experiment import Experiment
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration, Kind, Measurement, Precision, Program, Variant

AUTO = "auto"
_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_MOST_ROUNDS = 8  # of improving one kind after another; two are nearly always enough


def must_measure(experiment: Experiment, configurations: Sequence[Configuration]) -> bool:
    """Say whether anything is to be chosen by a measurement."""
    if experiment.fuse is not False and len(configurations) > 1:
        return True
    return any(map(is_open, configurations))


def is_open(configuration: Configuration) -> bool:
    """Say whether a configuration leaves it open in which precision it trains, or whether with XLA."""
    return AUTO in _asked(configuration)


def alone(configuration: Configuration, like: Program | None = None) -> Program:
    """Return the program of a configuration that trains alone; `like` says what `auto` comes to, by default neither."""
    jit, precision = _asked(configuration)
    like = like or Program()
    return Program(
        jit_compile=like.jit_compile if jit == AUTO else bool(jit),
        precision=like.precision if precision == AUTO else precision,
    )


def by_model(configurations: Iterable[Configuration]) -> dict[str, Program]:
    """Return the program of the first configuration of each model, by which those that start later are compiled."""
    found: dict[str, Program] = {}
    for one in sorted(configurations, key=lambda one: one.number):
        found.setdefault(one.model, one.program)
    return found


def chosen(
    experiment: Experiment,
    configurations: Sequence[Configuration],
    measurement: Measurement | None,
    stations: int,
    shards: int,
) -> dict[int, Program]:
    """Return the program of each configuration, by number; `stations` is how many serve the run.

    `fuse: N` takes the most lanes up to N that were found to be right, however fast they are; `auto` takes what lets
    the whole run end first: fewer, fuller programs leave stations without work. What `auto` comes to for precision and
    XLA is the same for all configurations of a model, so that they can be compared.
    """
    known = {one.number: one for one in configurations}
    found = {number: alone(one) for number, one in known.items()}
    kinds = [] if measurement is None else [_Known(kind, known) for kind in measurement.kinds]
    kinds = [kind for kind in kinds if kind.members]
    pace = _Pace(experiment, stations, experiment.iterations * shards)
    for kind, variant in zip(kinds, _fastest(kinds, pace), strict=True):
        found |= dict.fromkeys((one.number for one in kind.members), variant.program)
    return found


def convoys(configurations: Iterable[Configuration], measurement: Measurement | None) -> list[list[int]]:
    """Return who travels together, by number: as many of a kind as their program has lanes, in the order of numbers."""
    kinds = {} if measurement is None else dict(_numbered(measurement))
    together: dict[tuple[object, ...], list[int]] = {}
    lanes: dict[int, int] = {}
    for one in sorted(configurations, key=lambda one: one.number):
        is_fused = one.program.lanes > 1 and one.number in kinds
        shared = (kinds[one.number], canonical_json(one.fit), one.program.to_json()) if is_fused else (-one.number,)
        together.setdefault(shared, []).append(one.number)
        lanes[one.number] = one.program.lanes
    return [
        group[at : at + lanes[group[0]]] for group in together.values() for at in range(0, len(group), lanes[group[0]])
    ]


def merged(before: Measurement | None, after: Measurement) -> Measurement:
    """Return an earlier measurement with what was measured for configurations that came later."""
    return after if before is None else before.model_copy(update={"kinds": (*before.kinds, *after.kinds)})


def measured_numbers(measurement: Measurement | None) -> set[int]:
    """Return the configurations that were measured."""
    return set() if measurement is None else {number for number, _ in _numbered(measurement)}


def _numbered(measurement: Measurement) -> Iterator[tuple[int, int]]:
    for index, kind in enumerate(measurement.kinds):
        yield from ((number, index) for number in kind.configurations)


def _asked(configuration: Configuration) -> tuple[Any, Any]:
    """Return what the user wrote for XLA and precision."""
    return configuration.compile.get("jit_compile", False), configuration.compile.get("precision", "float32")


@dataclass(frozen=True)
class _Pace:
    """What a run may do, with how many stations, and how many hops each configuration has."""

    experiment: Experiment
    stations: int
    hops: int


class _Known:
    """A kind, with those of its configurations that a choice is made for."""

    def __init__(self, kind: Kind, known: Mapping[int, Configuration]) -> None:
        self.kind = kind
        self.members = [known[number] for number in kind.configurations if number in known]
        self.models = {one.model for one in self.members}

    def variants(self, experiment: Experiment, way: Program) -> list[Variant]:
        """Return the variants among which to choose, where `auto` comes to what `way` says; never none.

        One that the user asked for in so many words is taken also when it could not be measured.
        """
        wanted = alone(self.members[0], way)
        right = [one for one in self.kind.variants if one.seconds is not None and _is_like(one.program, wanted)]
        single = [one for one in right if one.program.lanes == 1] or [Variant(program=wanted)]
        fused = [one for one in right if 1 < one.program.lanes <= _most_lanes(experiment)]
        if experiment.fuse == AUTO:
            return [*single[:1], *fused]
        return [max(fused, key=lambda one: one.program.lanes)] if fused else single[:1]

    def is_open_to(self, way: Program) -> bool:
        """Say whether the kind can be compiled so, as far as it leaves that open."""
        wanted = alone(self.members[0], way)
        if wanted == alone(self.members[0]):
            return True
        return any(one.seconds is not None and _is_like(one.program, wanted) for one in self.kind.variants)

    def seconds(self, variant: Variant) -> float:
        """Return what a convoy of this kind takes for a hop."""
        known = [one.seconds for one in (variant, *self.kind.variants) if one.seconds is not None]
        return variant.program.lanes * known[0] if known else 0.0

    def convoys(self, variant: Variant) -> int:
        # Also of those that are recorded already: they are in the same convoys.
        return -(-len(self.kind.configurations) // variant.program.lanes)


Choice = list[Variant]  # one for each kind


def _fastest(kinds: Sequence[_Known], pace: _Pace) -> Choice:
    """Return the choice with the shortest run that changing one kind, or one group of models, does not shorten."""
    found = [min(kind.variants(pace.experiment, Program()), key=kind.seconds) for kind in kinds]
    for _ in range(_MOST_ROUNDS):
        before = found
        for group in _groups(kinds):
            found = _improved(kinds, group, found, pace)
        if found == before:
            break
    return found


def _improved(kinds: Sequence[_Known], group: Sequence[int], choice: Choice, pace: _Pace) -> Choice:
    """Return the best choice for kinds that are compiled alike, the others left as they are."""

    def length(choice: Choice) -> tuple[float, float]:
        return _length_s(kinds, choice, pace)

    tried = []
    for way in _ways():
        if all(kinds[at].is_open_to(way) for at in group):
            candidate = list(choice)
            for at in [*group, *group]:  # twice: what is best for one depends on the others
                options = kinds[at].variants(pace.experiment, way)
                candidate = min(([*candidate[:at], one, *candidate[at + 1 :]] for one in options), key=length)
            tried.append(candidate)
    return min(tried, key=length)


def _length_s(kinds: Sequence[_Known], choice: Choice, pace: _Pace) -> tuple[float, float]:
    """Return about how long a run takes, and then how much work it is.

    The ring comes close to what no schedule can beat: all stations always train, or the longest convoy always does.
    Each station compiles each program once.
    """
    each = list(zip(kinds, choice, strict=True))
    work = sum(kind.convoys(one) * kind.seconds(one) for kind, one in each)
    longest = max((kind.seconds(one) for kind, one in each), default=0.0)
    starting = sum(one.compile_s for one in choice)
    return max(work / pace.stations, longest) * pace.hops + starting, work


def _groups(kinds: Sequence[_Known]) -> list[list[int]]:
    """Return kinds that share models, directly or through others: what `auto` comes to is the same for them."""
    groups: list[tuple[set[str], list[int]]] = []
    for at, kind in enumerate(kinds):
        same = [group for group in groups if group[0] & kind.models]
        models = kind.models.union(*(names for names, _ in same))
        members = sorted([at, *(one for _, members in same for one in members)])
        groups = [*(group for group in groups if group not in same), (models, members)]
    return [members for _, members in groups]


def _ways() -> list[Program]:
    """Return what `auto` can come to, the plainest first: it wins where it takes no longer."""
    return [Program(jit_compile=jit, precision=one) for one in _PRECISIONS for jit in (False, True)]


def _is_like(program: Program, wanted: Program) -> bool:
    return (program.jit_compile, program.precision) == (wanted.jit_compile, wanted.precision)


def _most_lanes(experiment: Experiment) -> float:
    return float("inf") if experiment.fuse == AUTO else float(experiment.fuse or 1)
