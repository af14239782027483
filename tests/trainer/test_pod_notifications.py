"""Hearing of tokens at once, from servers that tell, that keep silent, that refuse, and that are none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from modelhopper_contract.stores import listen, open_store
from modelhopper_contract.stores.memory import MemoryStore
from modelhopper_trainer.pod.vigil import Bell
from tests.servers import server_kind, use_server

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, and from then on with the last."""

    daemon_threads = True

    def __init__(self, *answers: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.asked: list[str] = []
        self.put = threading.Event()  # something is put into the bucket
        self.over = threading.Event()
        self.began = threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers
        self.server.began.release()
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def begin(self, content_type: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def write(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Stay silent."""


def tell(handler: Handler) -> None:
    """As MinIO does: blanks to show that it is there, and a line for each object."""
    handler.begin()
    while not handler.server.over.is_set():
        handler.write(b" ")
        if handler.server.put.wait(0.05):
            handler.server.put.clear()
            handler.write(b'{"Records":[{}]}\n')


def hang_up(handler: Handler) -> None:
    handler.begin()
    handler.write(b" ")
    handler.write(b"")
    handler.close_connection = True


def keep_silent(handler: Handler) -> None:
    """As MinIO does where its answer is held back in a buffer."""
    handler.server.over.wait()
    handler.close_connection = True


def refuse(handler: Handler) -> None:
    handler.send_error(403)


def list_objects(handler: Handler) -> None:
    """As servers do that do not know the request."""
    handler.begin("application/xml")
    handler.write(b"<ListBucketResult/>")
    handler.write(b"")


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def serve(*answers: Answer) -> Server:
        server = Server(*answers)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        use_server(monkeypatch, int(server.server_address[1]))
        started.append(server)
        return server

    yield serve
    for server in started:
        server.over.set()
        server.shutdown()
        server.server_close()


def heard(server: Server) -> None:
    """Wait until a put is heard of; a put before the server listens is heard of, too."""
    rung = threading.Event()
    listening = listen("s3://bucket/runs", "small/inbox/00001/", rung.set)
    assert listening is not None
    with listening:
        assert rung.wait(5)  # it listens
        rung.clear()
        server.put.set()
        assert rung.wait(5)
        assert listening.are_live


def test_a_put_is_heard_of(serving: Callable[..., Server]) -> None:
    server = serving(tell)
    heard(server)
    query = parse_qs(urlsplit(server.asked[0]).query)
    assert query["prefix"] == ["runs/small/inbox/00001/"]
    assert query["events"] == ["s3:ObjectCreated:*"]
    assert urlsplit(server.asked[0]).path == "/bucket"


def test_a_connection_that_ends_is_made_again(serving: Callable[..., Server]) -> None:
    server = serving(hang_up, tell)
    rung = threading.Event()
    listening = listen("s3://bucket/runs", "small/", rung.set)
    assert listening is not None
    with listening:
        assert server.began.acquire(timeout=5)
        assert server.began.acquire(timeout=5)
        rung.clear()
        server.put.set()
        assert rung.wait(5)


@pytest.mark.parametrize("answer", [refuse, list_objects])
def test_a_server_that_cannot_tell_is_asked_once(serving: Callable[..., Server], answer: Answer) -> None:
    server = serving(answer)
    listening = listen("s3://bucket/runs", "small/", lambda: None)
    assert listening is not None
    with listening:
        listening._thread.join(5)
        assert not listening._thread.is_alive()
        assert not listening.are_live
    assert len(server.asked) == 1


def test_a_server_that_keeps_silent_is_not_relied_on(serving: Callable[..., Server]) -> None:
    server = serving(keep_silent)
    listening = listen("s3://bucket/runs", "small/", lambda: None)
    assert listening is not None
    with listening:
        assert server.began.acquire(timeout=5)
        assert not listening.are_live


def test_only_buckets_outside_of_aws_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    use_server(monkeypatch, 1)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert listen("s3://bucket", "small/", lambda: None) is None
    assert listen("memory:", "small/", lambda: None) is None
    assert listen("/somewhere", "small/", lambda: None) is None


def test_the_real_server_accepts_the_question(s3_url: str) -> None:
    if s3_url and server_kind() != "minio":
        pytest.skip("moto does not know the question")
    listening = listen(s3_url, "small/inbox/", lambda: None)
    assert listening is not None
    with listening:
        # Whoever is refused is answered at once; a release of MinIO that holds events back says nothing.
        listening._thread.join(0.5)
        assert listening._thread.is_alive()


def test_a_waiting_station_is_woken(serving: Callable[..., Server]) -> None:
    server = serving(tell)
    store = MemoryStore()
    store.url = "s3://bucket/runs"
    with Bell(store, "small/inbox/00001/") as bell:
        bell.wait(0)
        looks = threading.Thread(target=bell.wait, args=(30,))
        looks.start()
        server.put.set()
        looks.join(1.0)  # of the 2 s that it would wait
        assert not looks.is_alive()


class Impatient(threading.Event):
    """Notes how long somebody would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return False


def test_without_anybody_who_tells_waits_grow_to_a_second() -> None:
    with Bell(open_store("memory:"), "small/inbox/00001/") as bell:
        bell._rung = rung = Impatient()
        for looks in (0, 100_000):
            bell.wait(looks)
    assert rung.waits == [0.02, 1.0]
