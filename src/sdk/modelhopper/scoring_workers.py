"""Workers on this machine: a child process for each device, parts dealt to them, and those that die started again."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, Self, cast

from modelhopper.scoring_dealing import Dealer
from modelhopper_contract.errors import ExitCode, ModelhopperError, StoreUnavailable, UserError
from modelhopper_contract.experiment import Devices
from modelhopper_contract.log_lines import last_lines
from modelhopper_contract.record import Record
from modelhopper_contract.scoring import DoneMerge, DonePart, DoPart, Job, MergeParts, Part, Trouble, read_word
from modelhopper_contract.store import Store
from modelhopper_scheduler.engines.devices import station_gpus
from modelhopper_scheduler.engines.outfit import Outfit, outfits

MOST_DEATHS = 3  # at one part

_MODULE = "modelhopper_trainer.scoring"
_PARTING_S = 5.0
_LOG_LINES = 12


class Workers:
    """Child processes that do the parts of one job. As a context manager, it ends them when it is left."""

    def __init__(self, store: Store, name: str, job: Job, devices: Sequence[Outfit]) -> None:
        self._store, self._name, self._job = store, name, job
        self._outfits = list(devices)
        self._processes: dict[int, WorkerProcess] = {}
        self._deaths: Counter[int | None] = Counter()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for process in self._processes.values():
            process.close()
        for process in self._processes.values():
            process.stop(_PARTING_S if kind is None else 0)  # a part in progress is dropped, and will be done again
        self._selector.close()

    def do(self, parts: Sequence[Part], on_done: Callable[[Part], None]) -> None:
        """Let the workers do parts, each of them once; raise what stops a worker."""
        dealer, left = Dealer(parts), len(parts)
        for number in range(min(len(self._outfits), left)):
            self._deal(number, dealer)
        while left:
            for process, word in self._arrivals():
                if isinstance(word, DonePart):
                    left -= 1
                    on_done(self._job.parts[word.number])
                    self._deal(process.number, dealer)
                elif word is None:
                    self._bury(process, dealer)

    def merge(self) -> None:
        """Let one worker merge all parts."""
        process = next(iter(self._processes.values()), None) or self._started(0)
        process.send(MergeParts())
        while True:
            for one, word in self._arrivals():
                if isinstance(word, DoneMerge):
                    return
                if word is None and one is process:
                    raise self._dead(one, "while merging the parts")

    def _deal(self, number: int, dealer: Dealer) -> None:
        part = dealer.next(number)
        if part is not None:
            process = self._processes.get(number) or self._started(number)
            process.part = part
            process.send(DoPart(number=part.number))

    def _started(self, number: int) -> WorkerProcess:
        process = WorkerProcess(number, self._store.url, self._name, self._outfits[number])
        self._processes[number] = process
        self._selector.register(process.words_fd, selectors.EVENT_READ, process)
        return process

    def _arrivals(self) -> Iterator[tuple[WorkerProcess, Any]]:
        for key, _ in self._selector.select():
            process: WorkerProcess = key.data
            for word in process.words():
                if isinstance(word, Trouble):
                    raise _error(word)
                if word is None:
                    self._selector.unregister(process.words_fd)
                yield process, word

    def _bury(self, process: WorkerProcess, dealer: Dealer) -> None:
        """Start a worker that died again, with the part that it was at."""
        part = process.part
        self._deaths[None if part is None else part.number] += 1
        if self._deaths[None if part is None else part.number] >= MOST_DEATHS:
            raise self._dead(process, _where(part))
        process.stop(0)
        del self._processes[process.number]
        if part is not None:
            dealer.give_back(part)
        self._deal(process.number, dealer)

    def _dead(self, process: WorkerProcess, where: str) -> ModelhopperError:
        lines = process.last_lines()
        said = f" It said last:\n{lines}" if lines else ""
        return ModelhopperError(
            f"the worker died {self._deaths.total() or 1} times {where} ({process.how()}), most likely for lack of "
            f"memory: take a smaller --batch-size, or fewer --workers.{said}"
        )


class WorkerProcess:
    """A child process that scores: commands in, events out. It ends when this process ends, however that happens."""

    def __init__(self, number: int, store: str, job: str, outfit: Outfit) -> None:
        self.number = number
        self.part: Part | None = None
        self._rest = b""
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 -- as long as the process lives
        self.words_fd, write_end = os.pipe()
        command = [sys.executable, "-m", _MODULE, "--store", store, "--job", job, "--events", str(write_end)]
        self._process = subprocess.Popen(
            [*command, "--threads", str(outfit.threads), *(["--gpu"] if outfit.gpu is not None else [])],
            stdin=subprocess.PIPE,
            stdout=self._printed,
            stderr=self._printed,
            cwd=outfit.folder,
            env=outfit.environment,
            pass_fds=(write_end,),
            start_new_session=True,  # Ctrl-C is for the parent
        )
        self._orders = cast("IO[bytes]", self._process.stdin)
        os.close(write_end)
        os.set_blocking(self.words_fd, False)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def send(self, order: Record) -> None:
        """Send a command; one to a dead worker is lost, which its events' end tells."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.write(order.to_json() + b"\n")
            self._orders.flush()

    def words(self) -> Iterator[Any]:
        """Yield the events that have arrived; None at the end, when the process has gone."""
        while True:
            try:
                data = os.read(self.words_fd, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                yield None
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            yield from map(read_word, lines)

    def close(self) -> None:
        """Let it end by itself."""
        with contextlib.suppress(BrokenPipeError):
            self._orders.close()

    def stop(self, timeout_s: float) -> None:
        """Wait for its end so long, then end it."""
        self.close()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self.words_fd)
        self._printed.close()

    def how(self) -> str:
        """Say how it ended."""
        code = self._process.wait()
        return f"by signal {-code}" if code < 0 else f"with exit code {code}"

    def last_lines(self) -> str:
        """Return the end of what it printed."""
        self._printed.seek(0)
        return "\n".join(last_lines(self._printed.read().decode(errors="replace"), _LOG_LINES))


def devices_of(workers: int | None, parts: int) -> list[Outfit]:
    """Return what each worker runs on: a GPU or a CPU core each, and never more of them than parts."""
    devices = Devices(stations=workers)
    return outfits(devices, station_gpus(devices, max(parts, 1)))


def _where(part: Part | None) -> str:
    if part is None:
        return "before it did anything"
    return f"at rows {part.first + 1:,} to {part.first + part.rows:,}"


def _error(trouble: Trouble) -> ModelhopperError:
    kinds = {ExitCode.RETRYABLE: StoreUnavailable, ExitCode.MISTAKE: UserError}
    error = kinds.get(trouble.exit_code, ModelhopperError)(trouble.message)
    if trouble.traceback and not isinstance(error, UserError):
        error.add_note(trouble.traceback)
    return error
