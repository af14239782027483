"""What the doctor found, in words: problems first, then the machine, and for an experiment a table for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelhopper.diagnosis import plan
from modelhopper.display.words import count
from modelhopper.tables import Column, Table
from modelhopper_contract.records import Kind, Program, Variant

if TYPE_CHECKING:
    from modelhopper.diagnosis import Diagnosis
    from modelhopper.examining import Examination
    from modelhopper.machine import Machine
    from modelhopper.store_trial import StoreTrial

_USES = {
    "cluster": "to render and submit Workflows",
    "search": "for `tpe` and `optuna`",
    "postgres": "to read and write tables of PostgreSQL",
    "imbalance": "to make up rows by SMOTE",
}


def text(diagnosis: Diagnosis, *, store_was_given: bool) -> str:
    """Return a machine as lines: what is wrong, what there is, what a run does, and what would be better."""
    machine = diagnosis.machine
    rows = [
        ("system", f"{machine.system}, Python {machine.python}, modelhopper {machine.modelhopper}"),
        ("TensorFlow", _tensorflow(machine)),
        ("cores", _cores(machine)),
        ("GPUs", _gpus(machine)),
        ("memory", f"{_gigabytes(machine.memory_bytes)}, of which {_gigabytes(machine.memory_free_bytes)} are free"),
        ("store", _store(diagnosis.store, was_given=store_was_given)),
        ("extras", _extras(machine.missing_extras)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {value}" for name, value in rows]
    troubles = [one.text for one in diagnosis.troubles]
    said = [] if troubles else [plan(machine)]
    return "\n".join([*troubles, *([""] if troubles else []), *lines, "", *said, *diagnosis.advice]).rstrip()


def experiment_text(examination: Examination) -> str:
    """Return an examined experiment as lines: a table for each kind, what `auto` would choose, and what to write."""
    experiment, measurement = examination.experiment, examination.measurement
    number = count(len(examination.configurations), "configuration")
    kinds = count(len(measurement.kinds), "kind")
    head = f"{experiment.name}: {number} of {kinds}, measured on this machine's {measurement.device}"
    parts = [part for kind in measurement.kinds for part in ["", *_kind(examination, kind)]]
    return "\n".join([head, *parts, "", *_advised(examination)])


def way(program: Program) -> str:
    """Return a program in words: "6 side by side, XLA, mixed_bfloat16"."""
    parts = ["alone" if program.lanes == 1 else f"{program.lanes} side by side"]
    parts += ["XLA"] if program.jit_compile else []
    parts += [program.precision] if program.precision != "float32" else []
    return ", ".join(parts)


def numbers(found: Sequence[int]) -> str:
    """Return numbers in words: "1 to 6, 9"."""
    parts: list[list[int]] = []
    for one in found:
        if parts and one == parts[-1][-1] + 1:
            parts[-1].append(one)
        else:
            parts.append([one])
    return ", ".join(f"{part[0]} to {part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


def _kind(examination: Examination, kind: Kind) -> list[str]:
    names = {one.number: one.name for one in examination.configurations}
    first = kind.configurations[0]
    plural = "s" if len(kind.configurations) > 1 else ""
    title = f"configuration{plural} {numbers(kind.configurations)}: {names[first]}"
    title += f", and {len(kind.configurations) - 1} alike" if plural else ""
    return [title, *(f"  {line}" for line in _table(examination, kind).lines()), *_choices(examination, kind)]


def _table(examination: Examination, kind: Kind) -> Table:
    plain = kind.variants[0].seconds
    notes = {at: one.note for at, one in enumerate(kind.variants) if one.note is not None}
    return Table(
        [
            Column("", [way(one.program) for one in kind.variants], is_number=False),
            Column("iteration", [_seconds(examination.iteration_s(one)) for one in kind.variants]),
            Column("of alone", [_share(one, plain) for one in kind.variants]),
            Column("compiling", [_seconds(one.compile_s) for one in kind.variants]),
        ],
        notes,
    )


def _choices(examination: Examination, kind: Kind) -> list[str]:
    from modelhopper.examining import FUSE, PRECISION, XLA

    first = kind.configurations[0]
    written = examination.choice()[first]
    found = []
    for key in (FUSE, XLA, PRECISION):
        program = examination.choice(key)[first]
        found.append(f"  {key} takes {way(program)}{_why(kind, written, program)}")
    return found


def _why(kind: Kind, written: Program, program: Program) -> str:
    if program == written:
        return ", as it is: with compiling, nothing that was tried makes the run shorter"
    times = {one.program: one.seconds for one in kind.variants}
    before, after = times.get(written), times.get(program)
    if not before or not after:
        return ""
    others = ", for others of its model gain more" if after > before else ""
    return f": {after / before:.2f} of the time{others}"


def _advised(examination: Examination) -> list[str]:
    lines = examination.lines()
    if not lines:
        return ["What the experiment says is the fastest here, but for other precisions, which change what is learnt."]
    told = "Fastest here, with results that differ by rounding only (a precision would change what is learnt):"
    return [told, *(f"  {line}" for line in lines)]


def _share(variant: Variant, plain: float | None) -> str:
    return f"{variant.seconds / plain:.2f}" if variant.seconds is not None and plain else ""


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{1e3 * value:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def _tensorflow(machine: Machine) -> str:
    if machine.sight is None:
        return "not installed" if machine.build is None else f"installed ({machine.build}), and cannot be used"
    kind = f"the build for GPUs, CUDA {machine.sight.cuda}" if machine.sight.is_cuda_build else "the build for CPUs"
    return f"{machine.sight.tensorflow}, {kind} ({machine.build}); Keras {machine.sight.keras}"


def _cores(machine: Machine) -> str:
    of_all = "" if machine.cores == machine.cores_installed else f" of {machine.cores_installed}"
    quota = "" if machine.core_quota is None else f", of which this container may use {machine.core_quota:g} on average"
    return f"{machine.cores}{of_all}{quota}"


def _gpus(machine: Machine) -> str:
    if not machine.gpus:
        return "none that nvidia-smi shows"
    one = machine.gpus[0]
    alike = len({(gpu.name, gpu.memory) for gpu in machine.gpus}) == 1
    names = f"{len(machine.gpus)} x {one.name}, {one.memory}" if alike else ", ".join(gpu.name for gpu in machine.gpus)
    seen = 0 if machine.sight is None else len(machine.sight.gpus)
    return f"{names}, driver {one.driver}; TensorFlow can use {seen}"


def _store(store: StoreTrial, *, was_given: bool) -> str:
    parts = [] if store.free_bytes is None else [f"{_gigabytes(store.free_bytes)} free"]
    if store.large_s is not None and store.small_per_s is not None:
        parts += [f"10 MB are safe after {_seconds(store.large_s)}", f"{store.small_per_s:,.0f} small records a second"]
    hint = "" if was_given else " (--store tries another)"
    return f"{store.url}: {', '.join(parts) or 'cannot be used'}{hint}"


def _extras(missing: Sequence[str]) -> str:
    if not missing:
        return "all installed"
    return "; ".join(f"{name} is missing, {_USES[name]}: pip install 'modelhopper[{name}]'" for name in missing)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
