"""Measuring, before a run begins, in which way its configurations are best compiled, on the device that trains them.

The ways are those that the experiment leaves open: alone or in lanes side by side (`fuse`), with XLA or without
(`jit_compile`), in which precision. What is found is recorded with the run; the choice is made by whoever asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from modelhopper_contract.errors import HopError, SpecError
from modelhopper_contract.experiment import Fuse
from modelhopper_contract.record import canonical_json
from modelhopper_contract.records import Configuration, Kind, Measurement, Precision, Program, Variant
from modelhopper_contract.specification import Specification
from modelhopper_trainer.assembly import program_key
from modelhopper_trainer.preparation import build
from modelhopper_trainer.trial import Ground, Trial, check_lanes, reason_of
from modelhopper_trainer.workshop import Workshop

_REPEATS = 3
_MOST_LANES = 128
_SIZES = 4  # numbers of lanes that are tried: all members, half of them, ...
_WORTH = 0.95  # of the time of one alone; where the most lanes take more, fewer are not tried

_PLAIN = Program()

Clock = Callable[[], float]


class Patience(NamedTuple):
    """For how long to measure."""

    kind_s: float = 10.0  # after which nothing more of a kind is tried
    total_s: float = 60.0  # after which no more kinds are
    is_thorough: bool = False  # try also where all training takes less time than trying


class _Members(NamedTuple):
    """Configurations that could train in the lanes of one program; or, for a `reason`, each alone in one."""

    configurations: tuple[Configuration, ...]
    reason: str | None


def measure(
    specification: Specification,
    configurations: Sequence[Configuration],
    workshop: Workshop,
    patience: Patience | None = None,
    clock: Clock = time.perf_counter,
) -> Measurement:
    """Build the configurations, find which are of a kind, and time each kind in every way that the experiment allows.

    Stops after `patience`, unless the experiment asks for one way only, which is then tried in any case. A time is that
    of a hop on shard 0, of which some batches are trained. Stores nothing. Raises SpecError, with the path inside the
    configuration, for one that cannot be built, and whatever a model's function raises.
    """
    patience = patience or Patience()
    found = _kinds(specification, configurations, workshop)
    began_s = clock()
    kinds: dict[tuple[int, ...], Kind] = {}
    for members in sorted(found, key=lambda one: -len(one.configurations)):
        numbers = tuple(one.number for one in members.configurations)
        left = patience._replace(kind_s=min(patience.kind_s, patience.total_s - (clock() - began_s)))
        variants = _measured(specification, members, workshop, left, clock)
        kinds[numbers] = Kind(configurations=numbers, variants=variants)
    rows = workshop.manifest.shards[0].rows
    return Measurement(device=device_name(), rows=rows, kinds=tuple(kinds[numbers] for numbers in sorted(kinds)))


def device_name() -> str:
    """Return "CPU", or the name of the GPU that TensorFlow uses."""
    gpus = tf.config.get_visible_devices("GPU")
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")) if gpus else "CPU"


def combinations(asked: Configuration, *, gpu: bool) -> list[Program]:
    """Return the ways to compile a configuration alone that it allows, in the order in which they are worth trying.

    On a CPU, where XLA takes long to compile and gains little, it comes last, and `precision: auto` leaves out
    mixed_float16, which CPUs compute more slowly than float32.
    """
    jit_compile, precision = asked.compile.get("jit_compile", False), asked.compile.get("precision", "float32")
    halves: tuple[Precision, ...] = ("mixed_bfloat16", "mixed_float16") if gpu else ("mixed_bfloat16",)
    precisions: tuple[Precision, ...] = ("float32", *halves) if precision == "auto" else (precision,)
    xla = (False, True) if jit_compile == "auto" else (bool(jit_compile),)
    found = [Program(jit_compile=one, precision=other) for other in precisions for one in xla]
    return found if gpu else sorted(found, key=lambda program: program.jit_compile)


def sizes(fuse: Fuse, members: int) -> list[int]:
    """Return the numbers of lanes to try: the one that was asked for, or all members, half of them, and so on."""
    if fuse is False or members < 2:
        return []
    if fuse != "auto":
        return [min(fuse, members)]
    most = min(members, _MOST_LANES)
    return sorted({-(-most // 2**halvings) for halvings in range(_SIZES)} - {1}, reverse=True)


def _kinds(specification: Specification, configurations: Sequence[Configuration], workshop: Workshop) -> list[_Members]:
    built: set[bytes] = set()
    found: dict[bytes, _Members] = {}
    for one in configurations:
        key = program_key(one, specification.experiment.models[one.model])
        if key not in built:
            _build(specification, one, workshop)
            built.add(key)
        shared, reason = _shared(one, key, workshop)
        before = found[shared].configurations if shared in found else ()
        found[shared] = _Members((*before, one), reason)
    return list(found.values())


def _build(specification: Specification, configuration: Configuration, workshop: Workshop) -> None:
    try:
        build(specification, configuration, workshop)
    except SpecError as error:
        error.args = (f"{error} (configuration {configuration.number} ({configuration.name}))",)
        raise


def _shared(configuration: Configuration, key: bytes, workshop: Workshop) -> tuple[bytes, str | None]:
    """Return what a configuration shares with others of its kind, and why it cannot train side by side with them."""
    asked = [configuration.compile.get("jit_compile", False), configuration.compile.get("precision", "float32")]
    try:
        return canonical_json([workshop.fuse_key(configuration).decode(), asked]), None
    except HopError as error:
        return canonical_json([key.decode(), configuration.fit, asked]), str(error)


class _Session:
    """The trials of one kind, one after another, until the time for them is over."""

    def __init__(
        self, ground: Ground, members: _Members, deadline_s: float, clock: Clock, asked: Program | None
    ) -> None:
        """Measure until `deadline_s`; `asked` is a way that is tried in any case, as is the same alone."""
        self.trials: list[Trial] = []
        self._refused: list[Variant] = []
        self._ground = ground
        self._members = members
        self._deadline_s = deadline_s
        self._clock = clock
        self._in_any_case = [] if asked is None else [asked, asked.model_copy(update={"lanes": 1})]
        self._over = "the time for measuring was over"

    def limit(self, deadline_s: float, over: str) -> None:
        """Stop at another time, where that comes first; `over` says why in words."""
        if deadline_s < self._deadline_s:
            self._deadline_s, self._over = deadline_s, over

    def attempt(self, program: Program) -> Trial | None:
        """Try a way, unless there is a reason not to; return its trial where it can be used."""
        note: str | None = self._members.reason if program.lanes > 1 else None
        if note is None and self._clock() > self._deadline_s and program not in self._in_any_case:
            note = f"not tried: {self._over}"
        if note is None:
            try:
                self.trials.append(self._tried(program))
                return self.trials[-1]
            except Exception as error:  # noqa: BLE001 -- whatever a model or TensorFlow raises: this way is none
                note = reason_of(error)
        self._refused.append(Variant(program=program, note=note))
        return None

    def in_lanes(self, alone: Trial, sizes: Sequence[int]) -> list[Trial]:
        """Try a way in lanes, the most first, as long as that is worth it; return those that can be used."""
        found: list[Trial] = []
        for size in sizes:
            trial = self.attempt(alone.program.model_copy(update={"lanes": size}))
            if trial is not None:
                found.append(trial)
            if trial is None or trial.estimate_s > _WORTH * alone.estimate_s:
                break  # fewer lanes gain less
        return found

    def variants(self) -> tuple[Variant, ...]:
        """Time what can be used, in turns; return all, the plainest first."""
        for repeat in range(_REPEATS):
            if repeat == 0 or self._clock() < self._deadline_s:
                for trial in self.trials:
                    trial.time()
        timed = [Variant(program=one.program, seconds=one.hop_s, compile_s=one.compile_s) for one in self.trials]
        return tuple(sorted([*timed, *self._refused], key=lambda variant: variant.program != _PLAIN))

    def _tried(self, program: Program) -> Trial:
        one, other = self._members.configurations[0], self._members.configurations[-1]
        trial = Trial(self._ground, program, [one, *[other] * (program.lanes - 1)])
        if program.lanes > 1:
            check_lanes(self._ground, trial, one, other)
        return trial


def _measured(
    specification: Specification, members: _Members, workshop: Workshop, patience: Patience, clock: Clock
) -> tuple[Variant, ...]:
    fuse, first = specification.experiment.fuse, members.configurations[0]
    ways, lanes = combinations(first, gpu=device_name() != "CPU"), sizes(fuse, len(members.configurations))
    if len(ways) == 1 and not lanes:
        return (Variant(program=ways[0], note="not tried: there is nothing to choose"),)
    is_open = fuse == "auto" or "auto" in (first.compile.get("jit_compile"), first.compile.get("precision"))
    began_s = clock()
    ground = Ground(specification, workshop.apart(), workshop.manifest.shards[0].rows, {}, {})
    asked = ways[0].model_copy(update={"lanes": lanes[0]}) if lanes and fuse != "auto" else None
    session = _Session(ground, members, began_s + patience.kind_s if is_open else float("inf"), clock, asked)
    plain = session.attempt(_PLAIN)
    if plain is not None and is_open and not patience.is_thorough:
        whole_s = plain.estimate_s * _batches(ground, members.configurations) * specification.ring.hops
        session.limit(began_s + whole_s, f"training alone takes about {whole_s:.1f} s in all")
    for way in ways:
        alone = plain if way == _PLAIN else session.attempt(way)
        if alone is not None:
            found = session.in_lanes(alone, lanes)
            # Where lanes gain nothing, they are done one after another, and XLA compiles that for many minutes.
            lanes = [] if fuse == "auto" and not _are_worth(found, alone) else _best(found) or lanes
    return session.variants()


def _are_worth(fused: Sequence[Trial], alone: Trial) -> bool:
    """Say whether lanes gain anything, as far as is known."""
    return not fused or any(trial.estimate_s <= _WORTH * alone.estimate_s for trial in fused)


def _best(fused: Sequence[Trial]) -> list[int]:
    """Return the size that other ways are tried with, when one was found."""
    return [min(fused, key=lambda trial: trial.estimate_s).program.lanes] if fused else []


def _batches(ground: Ground, configurations: Sequence[Configuration]) -> int:
    return sum(-(-ground.shard_rows // int(one.fit["batch_size"])) * int(one.fit["epochs"]) for one in configurations)
