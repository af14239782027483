"""A server that plays faults, one per request, and then passes requests on to the server behind it."""

from __future__ import annotations

import http.client
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Fault = Callable[["Handler", bytes], None]


class Proxy(ThreadingHTTPServer):
    """Listens on `port`; `plan` holds the faults still to come, `asked` counts requests."""

    daemon_threads = True

    def __init__(self, behind: int, plan: list[Fault]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = int(self.server_address[1])
        self.behind = behind
        self.plan = deque(plan)
        self.asked = 0
        self.over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def serve(self) -> None:
        self.server.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.plan.popleft() if self.server.plan else pass_on
        fault(self, body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve  # noqa: N815 -- the base class's names

    def answer(self, status: int, content_type: str, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        """Stay silent."""


@contextmanager
def proxy(behind: int, *plan: Fault) -> Iterator[Proxy]:
    """Run a proxy before the server at the port `behind`."""
    with Proxy(behind, list(plan)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def pass_on(handler: Handler, body: bytes) -> None:
    """No fault."""
    connection = http.client.HTTPConnection("127.0.0.1", handler.server.behind)
    connection.request(handler.command, handler.path, body, dict(handler.headers.items()))
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    if answer.status == 204:
        handler.send_response(204)
        handler.end_headers()
        return
    handler.answer(answer.status, answer.headers.get("Content-Type", ""), data)


def slow_down(handler: Handler, body: bytes) -> None:
    """S3's own way to say: later."""
    handler.answer(503, "application/xml", b"<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>")


def bad_gateway(handler: Handler, body: bytes) -> None:
    """What an ingress says while pods change."""
    handler.answer(502, "text/html", b"<html>Bad Gateway</html>")


def storage_full(handler: Handler, body: bytes) -> None:
    """MinIO without room."""
    handler.answer(507, "application/xml", b"<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>")


def hang_up(handler: Handler, body: bytes) -> None:
    """The connection ends without an answer."""
    handler.close_connection = True


def stop_half_way(handler: Handler, body: bytes) -> None:
    """The connection ends in the middle of an answer."""
    handler.answer(200, "application/octet-stream", b"only the beginning", length=1000)
    handler.close_connection = True


def stay_silent(handler: Handler, body: bytes) -> None:
    """Nothing comes."""
    handler.server.over.wait()
    handler.close_connection = True


def web_page(handler: Handler, body: bytes) -> None:
    """Something that is no S3 server, such as MinIO's console."""
    handler.answer(200, "text/html", b"<!doctype html><html><p>Welcome<br></html>")
