"""Runs pods as processes of this machine."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from tests.argo.mounts import Mount
from tests.argo.pods import PodRun
from tests.argo.refusals import ManifestError

INHERITED = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")
# A mount below one of these must not take its neighbours, such as /dev/null, with it.
OF_THE_SYSTEM = ("/", "/dev", "/usr", "/etc", "/var")


class ProcessRunner:
    """A runner for `FakeArgo`: each pod is a process with a private folder that stands for the container's root.

    A mount's path is a folder below that root, or a link to the claim's folder. Paths of mounts, and of the folder
    around them (an argument may hold a pattern such as /data/training/{shard}), are rewritten in arguments and
    environment, longest first. `claims` are folders by their claim's name; `extra_env` goes over the pod's environment.
    The programs `python` and `python3` are this `python`; others are looked for in PATH. A pod that is asked to stop
    has its own grace, but at most `grace_s`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        python: str = sys.executable,
        claims: Mapping[str, Path] | None = None,
        extra_env: Mapping[str, str] | None = None,
        grace_s: float = 5,
    ) -> None:
        self._folder, self._python = folder, python
        self._claims, self._extra_env, self._grace_s = claims or {}, extra_env or {}, grace_s
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started = threading.Condition()

    def __call__(self, pod: PodRun) -> int:
        """Run the pod's process to its end; an exit code as the shell and Kubernetes give it: 137 after a SIGKILL."""
        root = self.root(pod.name)
        root.mkdir(parents=True)
        for mount in pod.mounts:
            self._place(mount, root)
        rewritten = _Rewriting(pod, root)
        command = [self._program(pod), *(rewritten(word) for word in (*pod.command[1:], *pod.args))]
        env = {name: rewritten(value) for name, value in pod.env.items()}
        code = self._ended(pod, command, self._environment(env, root))
        for path in pod.output_paths:
            self._read_output(pod, path, root)
        return code if code >= 0 else 128 - code

    def root(self, pod: str) -> Path:
        """The folder that stands for the root of this pod's container."""
        return self._folder / pod / "root"

    def log(self, pod: str) -> str:
        """What the pod has printed so far."""
        return (self._folder / pod / "log.txt").read_text(encoding="utf-8", errors="replace")

    def kill(self, pod: str) -> None:
        """End the pod's process with SIGKILL, as a node that runs out of memory does: Failed with exit code 137."""
        with self._started:
            if not self._started.wait_for(lambda: pod in self._processes, timeout=60):
                raise TimeoutError(f"pod {pod} has not started within 60 s")
            self._processes[pod].kill()

    def _place(self, mount: Mount, root: Path) -> None:
        local = _local(mount.path, root)
        if mount.claim is None:
            local.mkdir(parents=True, exist_ok=True)
            for name, text in (mount.files or {}).items():
                (local / name).write_text(text, encoding="utf-8")
            return
        if mount.claim not in self._claims:
            raise ManifestError(f"there is no claim '{mount.claim}'; there are {', '.join(sorted(self._claims))}")
        source = self._claims[mount.claim] / mount.sub_path
        source.mkdir(parents=True, exist_ok=True)  # the kubelet makes a missing subPath, too
        local.parent.mkdir(parents=True, exist_ok=True)
        local.symlink_to(source.resolve(), target_is_directory=True)

    def _program(self, pod: PodRun) -> str:
        if pod.command[0] in ("python", "python3"):
            return self._python
        program = shutil.which(pod.command[0])
        if program is None:
            raise ManifestError(f"pod {pod.name} runs '{pod.command[0]}', which is not on this machine's PATH")
        return program

    def _environment(self, env: Mapping[str, str], root: Path) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        temporary = {"TMPDIR": str(root / "tmp")} if (root / "tmp").is_dir() else {}
        return {"HOME": str(root)} | inherited | temporary | dict(env) | dict(self._extra_env)

    def _ended(self, pod: PodRun, command: list[str], env: Mapping[str, str]) -> int:
        log, root = self._folder / pod.name / "log.txt", self.root(pod.name)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=root,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self._started:
                self._processes[pod.name] = process
                self._started.notify_all()
            with self._killed_after_grace(pod, process):
                code = process.wait()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its first process, a container loses all others
            return code

    @contextmanager
    def _killed_after_grace(self, pod: PodRun, process: subprocess.Popen[bytes]) -> Iterator[None]:
        killer = threading.Timer(min(self._grace_s, pod.grace_s), process.kill)

        def end() -> None:
            process.terminate()
            killer.start()

        pod.deletion.listen(end)
        try:
            yield
        finally:
            killer.cancel()

    def _read_output(self, pod: PodRun, path: str, root: Path) -> None:
        local = _local(path, root)
        if local.is_file():
            pod.outputs[path] = local.read_text(encoding="utf-8")


class _Rewriting:
    """Replaces the container's paths in a text by those below the pod's root."""

    def __init__(self, pod: PodRun, root: Path) -> None:
        around = {str(PurePosixPath(mount.path).parent) for mount in pod.mounts}
        outputs = {str(PurePosixPath(path).parent) for path in pod.output_paths}
        paths = {mount.path for mount in pod.mounts} | (around | outputs) - set(OF_THE_SYSTEM)
        longest_first = sorted(paths, key=lambda path: (-len(path), path))
        # Not inside another path or address (s3://bucket/tmp), and not the beginning of another name (/tmpfs).
        self._pattern = (
            re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, longest_first))})(?![\w.-])") if paths else None
        )
        self._root = root

    def __call__(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: str(_local(match[1], self._root)), text)


def _local(path: str, root: Path) -> Path:
    return root / PurePosixPath(path).relative_to("/")
