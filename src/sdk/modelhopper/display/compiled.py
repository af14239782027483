"""How configurations are compiled, in sentences: side by side or alone, in which precision, with XLA or without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from modelhopper.display.words import count
from modelhopper_contract.messages import Chosen
from modelhopper_contract.records import Kind, Program, Variant


def chosen(event: Chosen, *, is_timed: bool = True) -> list[str]:
    """Return what to tell of a choice, the largest part first: how configurations train, and what that gains.

    "12 configurations train 3 at a time (fused): measured 2.6 times as fast"; or why some train alone although they
    were to train together. Where nothing else could be chosen, nothing is told. `is_timed`: False where times are those
    of another device, and say nothing.
    """
    kinds = [one for one in event.measurement.kinds if any(number in event.programs for number in one.configurations)]
    said = [
        f"{_counted(event, members)} {words(program, _verb(event, members))}{_gain(event, members) if is_timed else ''}"
        for program, members in _grouped(event, kinds)
        if program != Program()
    ]
    return [*said, *_alone(event, [kind for kind in kinds if _program(event, kind).lanes == 1])]


def words(program: Program, verb: str = "train") -> str:
    """Return how one program trains: "train 3 at a time (fused), in mixed_float16, with XLA"; "train alone"."""
    parts = [f"{verb} {program.lanes} at a time (fused)" if program.lanes > 1 else f"{verb} alone"]
    parts += [f"in {program.precision}"] if program.precision != "float32" else []
    parts += ["with XLA"] if program.jit_compile else []
    return ", ".join(parts)


def summary(programs: Collection[Program]) -> str:
    """Return in one line how the configurations of a run were compiled; "" where all of them were as by default."""
    found = Counter(program for program in programs if program != Program())
    largest = sorted(found.items(), key=lambda one: (-one[1], words(one[0])))
    return "; ".join(f"{count(members, 'configuration')} {words(program, 'trained')}" for program, members in largest)


def _alone(event: Chosen, kinds: Sequence[Kind]) -> Iterator[str]:
    """Yield why configurations train alone where training side by side was tried, each reason once."""
    reasons: dict[str, list[Kind]] = {}
    for kind in kinds:
        tried = [one for one in kind.variants if one.program.lanes > 1]
        if tried:
            notes = [one.note for one in tried if one.note is not None]
            slower = "that was measured to end sooner" if len(notes) < len(tried) else notes[0]
            reasons.setdefault(slower, []).append(kind)
    for reason, members in reasons.items():
        yield f"{_counted(event, members)} {_verb(event, members)} alone: {reason}"


def _grouped(event: Chosen, kinds: Iterable[Kind]) -> list[tuple[Program, list[Kind]]]:
    groups: dict[Program, list[Kind]] = {}
    for kind in kinds:
        groups.setdefault(_program(event, kind), []).append(kind)
    return sorted(groups.items(), key=lambda group: (-_total(event, group[1]), words(group[0])))


def _gain(event: Chosen, kinds: Sequence[Kind]) -> str:
    """Return how many times as fast it was measured to be, convoys that are not full included; "" if nobody knows."""
    before = after = 0.0
    for kind in kinds:
        program, plain = _program(event, kind), kind.variants[0].seconds
        taken = _variant(kind, program)
        if plain is None or taken is None or taken.seconds is None:
            return ""
        members = len(kind.configurations)
        before += members * plain
        after += -(-members // program.lanes) * program.lanes * taken.seconds
    return f": measured {before / after:.1f} times as fast" if after > 0 else ""


def _variant(kind: Kind, program: Program) -> Variant | None:
    return next((one for one in kind.variants if one.program == program), None)


def _program(event: Chosen, kind: Kind) -> Program:
    return next(event.programs[number] for number in kind.configurations if number in event.programs)


def _counted(event: Chosen, kinds: Iterable[Kind]) -> str:
    return count(_total(event, kinds), "configuration")


def _verb(event: Chosen, kinds: Iterable[Kind]) -> str:
    return "trains" if _total(event, kinds) == 1 else "train"


def _total(event: Chosen, kinds: Iterable[Kind]) -> int:
    return sum(number in event.programs for kind in kinds for number in kind.configurations)
