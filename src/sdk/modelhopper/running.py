"""Running an experiment on this machine: what joins the scheduler's engines with the trainer's station."""

from __future__ import annotations

import _thread
import importlib.util
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modelhopper.defaults import DEFAULT_STORE
from modelhopper.specify import specified
from modelhopper.steering import cancelled
from modelhopper.warm_start import begun_with
from modelhopper_contract.cancellation import go_on
from modelhopper_contract.early_stopping import check_early_stopping
from modelhopper_contract.errors import Cancelled, UserError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.manifest import Manifest
from modelhopper_contract.messages import Event
from modelhopper_contract.metrics import check_objective
from modelhopper_contract.names import Names
from modelhopper_contract.records import Configuration, Split
from modelhopper_contract.searches import Custom
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.submission import put_manifests
from modelhopper_scheduler.conduct import begun, check_continued, conduct
from modelhopper_scheduler.engines.devices import station_gpus
from modelhopper_scheduler.engines.engine import Engine
from modelhopper_scheduler.exclusion import exclusive
from modelhopper_scheduler.lookout import Lookout
from modelhopper_scheduler.searches.making import planned
from modelhopper_trainer.notices import without_notices

if TYPE_CHECKING:
    from modelhopper_scheduler.engines.standby import Standby

EngineName = Literal["local", "inline"]


@dataclass(frozen=True)
class Job:
    """An experiment made ready to run: everything is read and checked that needs no TensorFlow."""

    specification: Specification
    configurations: list[Configuration]
    store: Store
    engine: EngineName
    gpus: list[str | None]  # one entry per station: its GPU, or None for a CPU station
    has_begun: bool  # the store holds the beginning of this run
    extend: bool = False  # what has begun may be shorter
    manifests: Mapping[Split, Manifest] = field(default_factory=dict)  # of the data sets
    note: str = ""  # what to say of it at the start
    standby: Standby | None = None  # where stations come from and go to, as far as there are some

    @property
    def stations(self) -> int:
        """How many stations will serve."""
        return 1 if self.engine == "inline" else len(self.gpus)

    @property
    def hops(self) -> int:
        """Hops of all configurations together."""
        return len(self.configurations) * self.specification.ring.hops


def make_ready(
    experiment: Experiment,
    folder: Path,
    *,
    engine: EngineName = "local",
    store: str | Store | None = None,
    extend: bool = False,
) -> Job:
    """Check an experiment and what it reads, and open its store.

    Relative paths in the experiment begin at `folder`; the default store, and one given here, at the working
    directory. Raises UserError for any mistake that can be found without building the models.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError("Training needs TensorFlow, which is not installed: pip install 'modelhopper[cpu]', or [gpu].")
    specification, manifests = specified(experiment, folder)
    chosen = planned(specification)
    outputs = [output.name for output in manifests["training"].outputs]
    validated = specification.is_validated
    check_objective(experiment.objective, chosen, outputs, validated=validated)
    check_early_stopping(experiment.early_stopping, experiment.objective, chosen, outputs, validated=validated)
    opened = _opened(store, experiment, folder)
    specification, chosen, note = begun_with(specification, chosen, opened)
    stored = begun(specification, opened, extend=extend)
    if stored is not None:
        check_continued(specification, stored, chosen)
    # How many a search of the user's own has at work later on, only it knows.
    at_work = 2 * specification.shards if isinstance(experiment.search, Custom) else len(chosen)
    if specification.ring.merges:  # each is on all its shards at once
        at_work *= specification.ring.shards
    gpus = station_gpus(experiment.devices, max(at_work, len(chosen)))
    all_of_them = list({one.number: one for one in [*chosen, *(stored or ())]}.values())
    return Job(specification, all_of_them, opened, engine, gpus, stored is not None, extend, manifests, note)


def run_job(job: Job, on_event: Callable[[Event], None]) -> None:
    """Run a job until every configuration has an outcome; go on where an earlier run stopped.

    `on_event` hears of every hop, evaluation and outcome. Raises what `conduct` raises; KeyboardInterrupt stops the
    stations and loses nothing, and so does Cancelled. An earlier cancellation is forgotten.
    """
    name = job.specification.experiment.name
    with exclusive(job.store.url, name) as lock, _logs(job.store, name) as logs, _cancellable(job) as lookout:
        put_manifests(job.store, Names(name), job.manifests)
        engine = _engine(job, Path(logs), lock, lookout)
        conduct(job.specification, job.configurations, job.store, engine, on_event, extend=job.extend)


@contextmanager
def _cancellable(job: Job) -> Iterator[Lookout]:
    """Look out for a cancellation, and say it in words when it comes."""
    name = job.specification.experiment.name
    go_on(job.store, name)
    # What trains in this process ends between two hops; one that takes long is interrupted, as by Ctrl-C.
    is_here = job.engine == "inline" and threading.current_thread() is threading.main_thread()
    lookout = Lookout(job.store, name, _thread.interrupt_main if is_here else None)
    try:
        with lookout:
            yield lookout
    except (Cancelled, KeyboardInterrupt):
        if lookout.seen:
            raise Cancelled(cancelled(job.store, name)) from None
        raise


def _engine(job: Job, logs: Path, lock: int, lookout: Lookout) -> Engine:
    if job.engine == "inline":
        return _inline(job, lookout)
    from modelhopper_scheduler.engines.local import LocalEngine
    from modelhopper_scheduler.engines.outfit import outfits

    specification = job.specification
    needed = outfits(specification.experiment.devices, job.gpus, specification.folder, specification.files)
    return LocalEngine(
        job.store, specification.experiment.name, needed, logs, (lock,), lambda: lookout.seen, job.standby
    )


def _inline(job: Job, lookout: Lookout) -> Engine:
    from modelhopper_scheduler.engines.inline import InlineEngine

    def make_station(specification: Specification, report: Callable[[Event], None]) -> Any:
        # TensorFlow starts here, and only here.
        with without_notices():
            from modelhopper_trainer.device import configure
            from modelhopper_trainer.station import Station

        devices = specification.experiment.devices
        gpu = job.gpus[0] is not None
        configure(threads=devices.threads, gpu=gpu, deterministic=devices.deterministic)
        return Station(job.store, specification, 0, 1, report)

    return InlineEngine(make_station, lambda: lookout.seen)


def _logs(store: Store, name: str) -> AbstractContextManager[str | Path]:
    if isinstance(store, DirectoryStore):
        return nullcontext(_made(Path(store.url, Names(name).logs()), store.url))
    return _Uploaded(store, name)


def _made(folder: Path, store: str) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{store} cannot be a store: {error.strerror} ({folder}). Give --store a folder that you may write to."
        ) from error
    return folder


class _Uploaded:
    """A local folder for log files whose contents go to the store in the end."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._names = Names(name)
        self._folder = tempfile.TemporaryDirectory(prefix="modelhopper-")

    def __enter__(self) -> str:
        return self._folder.name

    def __exit__(self, kind: object, *_: object) -> None:
        with self._folder as folder:
            for path in sorted(Path(folder).iterdir()) if kind is None else []:
                self._store.put(self._names.log(path.name), path.read_bytes())


def _opened(store: str | Store | None, experiment: Experiment, folder: Path) -> Store:
    if store is not None and not isinstance(store, str):
        return store
    return open_store(store or (_within(folder, experiment.store) if experiment.store else DEFAULT_STORE))


def _within(folder: Path, written: str) -> str:
    return written if ":" in written else str(Path(folder, written))
