"""A pytest plugin with S3 servers to test against: a real MinIO where there is one, otherwise moto.

MinIO's binary is looked for in $MODELHOPPER_MINIO, in PATH, and in `.tools/bin/minio`, where `make minio` puts it.
MODELHOPPER_S3_SERVER=moto or =minio asks for one of the two. The id of each test that uses a server names it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import urllib3

KEY = "test-key"
SECRET = "a-secret-of-the-tests"
REGION = "us-east-1"
MAKE_MINIO = Path(__file__).parents[1] / ".tools/bin/minio"


class S3Server(Protocol):
    """A server on a loopback port that keeps its port and its objects over stop and start."""

    kind: str
    port: int

    def start(self) -> None:
        """Start, and return when it answers."""

    def stop(self) -> None:
        """Stop in good order."""

    def kill(self) -> None:
        """Stop as by a power failure."""


class MinioServer:
    """A MinIO process with one folder of data."""

    kind = "minio"

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = _free_port()
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        console = f"127.0.0.1:{_free_port()}"
        address = f"127.0.0.1:{self.port}"
        command = [self._binary, "server", "--address", address, "--console-address", console]
        keys = {"MINIO_ROOT_USER": KEY, "MINIO_ROOT_PASSWORD": SECRET}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._folder), "MINIO_UPDATE": "off", **keys}
        with (self._folder / "log").open("ab") as log:
            data = str(self._folder / "data")
            self._process = subprocess.Popen([*command, data], env=environment, stdout=log, stderr=log)
        self._wait(f"http://{address}/minio/health/ready")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def _wait(self, url: str) -> None:
        try:
            with urllib3.PoolManager(retries=_until_it_answers()) as pool:
                pool.request("GET", url)
        except urllib3.exceptions.MaxRetryError as error:
            self.kill()
            log = (self._folder / "log").read_text(errors="replace")
            raise RuntimeError(f"MinIO did not start: {log[-2000:]}") from error


class MotoServer:
    """Moto's server, in a thread of this process. It checks no keys."""

    kind = "moto"

    def __init__(self) -> None:
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer

        self.port = _free_port()
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        if self._server._server:
            self._server._server.server_close()

    def kill(self) -> None:
        self.stop()


def find_minio() -> str | None:
    """Return the path of a MinIO binary; None when there is none, or moto is asked for."""
    if os.environ.get("MODELHOPPER_S3_SERVER") == "moto":
        return None
    if given := os.environ.get("MODELHOPPER_MINIO"):
        return given
    return shutil.which("minio") or (str(MAKE_MINIO) if MAKE_MINIO.exists() else None)


def server_kind() -> str:
    """Return which server tests get here: "minio" or "moto"."""
    kind = os.environ.get("MODELHOPPER_S3_SERVER") or ("minio" if find_minio() else "moto")
    if kind not in {"minio", "moto"}:
        raise pytest.UsageError(f"MODELHOPPER_S3_SERVER is `{kind}`, allowed are minio and moto.")
    return kind


def new_server(kind: str, folder: Path) -> S3Server:
    """Return a server of this kind, not started."""
    if kind == "moto":
        return MotoServer()
    binary = find_minio()
    if binary is None:
        raise pytest.UsageError("There is no MinIO: set MODELHOPPER_MINIO to the binary, or run `make minio`.")
    return MinioServer(binary, folder)


def use_server(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Make this process's environment, and that of its children, lead to the server at `port` and to no other."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MINIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


def new_bucket(server: S3Server) -> str:
    """Make a bucket on the server and return its name."""
    from minio import Minio  # here, so that runs without S3 start fast

    bucket = f"test-{uuid.uuid4().hex}"
    client = Minio(
        endpoint=f"127.0.0.1:{server.port}",
        access_key=KEY,
        secret_key=SECRET,
        region=REGION,
        secure=False,
        http_client=urllib3.PoolManager(retries=_until_it_answers()),
    )
    client.make_bucket(bucket_name=bucket)
    return bucket


def _until_it_answers() -> urllib3.Retry:
    # MinIO answers 503 for a moment after its health check passes, and then asks to come back after a minute.
    return urllib3.Retry(
        total=200, backoff_factor=0.02, backoff_max=0.1, status_forcelist=[503], respect_retry_after_header=False
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- Fixtures ---------------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Put the kind of server into the id of each test that uses one."""
    if "s3_kind" in metafunc.fixturenames:
        metafunc.parametrize("s3_kind", [server_kind()], scope="session")


@pytest.fixture(scope="session")
def s3_kind() -> str:
    """Which server tests get: "minio" or "moto"."""
    return server_kind()


@pytest.fixture(scope="session")
def start_s3_server(s3_kind: str) -> Iterator[Callable[[], S3Server]]:
    """A function that starts one more server; all of them stop at the end of the session."""
    started: list[S3Server] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:

        def start() -> S3Server:
            own = Path(folder) / str(len(started))
            own.mkdir()
            server = new_server(s3_kind, own)
            server.start()
            started.append(server)
            return server

        yield start
        for server in started:
            server.kill()


@pytest.fixture(scope="session")
def s3_server(start_s3_server: Callable[[], S3Server]) -> S3Server:
    """The S3 server that this process's tests share. Leave it running; to break one, take `own_s3_server`."""
    return start_s3_server()


@pytest.fixture
def s3_url(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store in a fresh bucket, with the environment set to reach it."""
    use_server(monkeypatch, s3_server.port)
    return f"s3://{new_bucket(s3_server)}/runs of today"


@pytest.fixture
def own_s3_server(start_s3_server: Callable[[], S3Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server to stop, kill and start, with the environment set to reach it."""
    server = start_s3_server()
    use_server(monkeypatch, server.port)
    yield server
    server.kill()
