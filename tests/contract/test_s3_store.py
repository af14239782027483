"""Claims about the S3 store: servers that stop, fail, stay silent or refuse, and what the environment says."""

from __future__ import annotations

import hashlib
import io
import os
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from modelhopper_contract.errors import (
    ExitCode,
    ObjectNotFound,
    StoreUnavailable,
    UserError,
)
from modelhopper_contract.stores import open_store
from modelhopper_contract.stores.patience import Patience
from modelhopper_contract.stores.s3 import open_s3
from modelhopper_contract.stores.s3_endpoint import _HTTPConnection as HTTPConnection
from modelhopper_contract.stores.s3_endpoint import endpoint_from
from tests import faults
from tests.servers import SECRET, S3Server, new_bucket, use_server

QUICK = Patience(first_wait_s=0.01, connect_s=1.0, read_s=0.3)


def test_a_store_needs_no_prefix(s3_url: str) -> None:
    bucket = s3_url.removeprefix("s3://").split("/")[0]
    store = open_store(f"s3://{bucket}")
    open_store(s3_url).put("a", b"1")
    store.put("a", b"2")
    assert [entry.name for entry in store.list("")] == ["a", "runs of today/a"]
    assert open_store(f"s3://{bucket}/").url == store.url == f"s3://{bucket}"


def test_stores_with_similar_prefixes_do_not_mix(s3_url: str) -> None:
    one, two = open_store(s3_url), open_store(s3_url + "2")
    two.put("a", b"")
    assert one.list("") == []


def test_a_large_object_goes_up_in_parts_and_comes_back_whole(s3_url: str) -> None:
    store = open_s3(s3_url, part_size_bytes=5 << 20)
    data = os.urandom(12 << 20)
    store.put("a", data)
    assert store.get("a") == data
    assert [entry.size_bytes for entry in store.list("")] == [len(data)]


def test_files_come_and_go_in_pieces(s3_url: str, tmp_path: Path) -> None:
    store = open_s3(s3_url, part_size_bytes=5 << 20)
    data = os.urandom(24 << 20)
    (tmp_path / "a").write_bytes(data)
    tracemalloc.start()
    store.upload("a", tmp_path / "a")
    digest = store.download("a", tmp_path / "b")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 << 20
    assert digest == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "b").read_bytes() == data
    with pytest.raises(ObjectNotFound):
        store.download("c", tmp_path / "b")
    with pytest.raises(StoreUnavailable, match="no such file or directory while reading it"):
        store.upload("c", tmp_path / "c")


def test_a_folder_placeholder_of_another_tool_is_not_listed(s3_url: str) -> None:
    store = open_s3(s3_url)
    store._upload("runs of today/folder/", io.BytesIO(), 0)
    store.put("a", b"")
    assert [entry.name for entry in store.list("")] == ["a"]


# --- Servers that fail ------------------------------------------------------------------------------------------------


def test_a_stopped_server_is_unavailable_in_bounded_time_and_then_goes_on(own_s3_server: S3Server) -> None:
    store = open_s3(f"s3://{new_bucket(own_s3_server)}/iris", QUICK)
    store.put("a", b"before")
    own_s3_server.kill()
    began_s = time.monotonic()
    calls: list[Callable[[], object]] = [
        lambda: store.put("a", b"lost"),
        lambda: store.get("a"),
        lambda: store.list(""),
        lambda: store.delete("a"),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable) as caught:
            call()
        host = f"127.0.0.1:{own_s3_server.port}"
        assert f"{store.url}: no answer from {host} (connection refused) after 5 tries in 0." in str(caught.value)
        assert caught.value.exit_code is ExitCode.RETRYABLE
    assert time.monotonic() - began_s < 10
    own_s3_server.start()
    assert store.get("a") == b"before"
    store.put("a", b"after")
    assert store.get("a") == b"after"


def test_a_server_that_comes_back_in_time_is_not_noticed(own_s3_server: S3Server) -> None:
    store = open_s3(f"s3://{new_bucket(own_s3_server)}/iris")
    store.put("a", b"1")
    own_s3_server.stop()
    own_s3_server.start()
    assert store.get("a") == b"1"


def test_a_large_put_to_a_stopped_server_is_unavailable(own_s3_server: S3Server) -> None:
    store = open_s3(f"s3://{new_bucket(own_s3_server)}/iris", QUICK, part_size_bytes=5 << 20)
    own_s3_server.kill()
    with pytest.raises(StoreUnavailable, match="refused"):
        store.put("a", bytes(11 << 20))


@pytest.mark.parametrize("fault", [faults.slow_down, faults.bad_gateway, faults.hang_up, faults.stay_silent])
def test_a_fault_that_passes_is_tried_again(
    fault: faults.Fault, s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.proxy(s3_server.port, fault, fault) as proxy:
        use_server(monkeypatch, proxy.port)
        store = open_s3(s3_url, QUICK)
        store.put("a", b"1")
        assert proxy.asked == 3
        proxy.plan.extend([fault, fault])
        assert store.get("a") == b"1"
        proxy.plan.extend([fault, fault])
        assert [entry.name for entry in store.list("")] == ["a"]
        proxy.plan.extend([fault, fault])
        store.delete("a")
        assert store.list("") == []


def test_an_answer_that_stops_half_way_is_asked_for_again(
    s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with faults.proxy(s3_server.port) as proxy:
        use_server(monkeypatch, proxy.port)
        store = open_s3(s3_url, QUICK)
        store.put("a", b"whole")
        proxy.plan.append(faults.stop_half_way)
        assert store.get("a") == b"whole"
        proxy.plan.append(faults.stop_half_way)
        store.download("a", tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == b"whole"
        (tmp_path / "a").write_bytes(b"another")
        proxy.plan.append(faults.slow_down)
        store.upload("a", tmp_path / "a")
        assert store.get("a") == b"another"


def test_a_fault_that_stays_ends_after_a_bounded_number_of_tries(
    s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.proxy(s3_server.port, *[faults.slow_down] * 100) as proxy:
        use_server(monkeypatch, proxy.port)
        with pytest.raises(StoreUnavailable, match=r"answered 503 SlowDown after 5 tries in 0\.\d s\.$"):
            open_s3(s3_url, QUICK).list("")
        assert proxy.asked == 5


def test_a_full_server_is_unavailable_and_not_tried_again(
    s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.proxy(s3_server.port, faults.storage_full) as proxy:
        use_server(monkeypatch, proxy.port)
        with pytest.raises(StoreUnavailable, match="free some space and run the same command again"):
            open_s3(s3_url, QUICK).put("a", b"")
        assert proxy.asked == 1


def test_a_server_that_does_not_speak_s3_is_a_clear_error(
    s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faults.proxy(s3_server.port, faults.web_page) as proxy:
        use_server(monkeypatch, proxy.port)
        with pytest.raises(UserError, match="does not speak S3"):
            open_s3(s3_url, QUICK).list("")


def test_https_to_a_server_of_http_is_a_clear_error(
    s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{s3_server.port}")
    with pytest.raises(UserError, match="http://"):
        open_s3(s3_url, QUICK).list("")


def test_every_call_is_one_request(s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with faults.proxy(s3_server.port) as proxy:
        use_server(monkeypatch, proxy.port)
        monkeypatch.delenv("AWS_REGION")
        store = open_store(s3_url)
        assert proxy.asked == 0
        store.put("a", bytes(6 << 20))
        store.get("a")
        store.list("")
        store.delete("a")
        assert proxy.asked == 4


def test_patience_is_about_12_seconds_and_bounded_when_the_server_hangs() -> None:
    patience = Patience()
    for chance in [0.0, 0.5, 1.0]:
        assert 8 < sum(patience.wait_s(tried, chance) for tried in range(1, patience.tries)) < 16
    assert not patience.is_over(1, 1000.0)
    assert patience.is_over(2, 1000.0)
    assert patience.is_over(5, 0.0)


def test_a_large_body_is_sent_in_pieces_that_each_have_their_own_time_limit() -> None:
    sent: list[bytes] = []

    class Socket:
        def sendall(self, data: bytes) -> None:
            sent.append(bytes(data))

    body = bytes(range(256)) * 10_000
    connection = HTTPConnection("minio")
    connection.sock = Socket()
    connection.send(body)
    assert b"".join(sent) == body
    assert [len(piece) for piece in sent] == [1 << 20, 1 << 20, len(body) - (2 << 20)]


# --- Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "says"),
    [("AWS_ACCESS_KEY_ID", "does not know this access key"), ("AWS_SECRET_ACCESS_KEY", "does not fit")],
)
def test_a_wrong_key_is_said_at_once_without_showing_it(
    variable: str, says: str, s3_kind: str, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if s3_kind == "moto":
        pytest.skip("moto checks no keys")
    monkeypatch.setenv(variable, "hunter2hunter2")
    store = open_store(s3_url)
    for call in [lambda: store.put("a", b""), lambda: store.get("a"), lambda: store.list("")]:
        message = refused(call)
        assert says in message
        assert "AWS_SECRET_ACCESS_KEY" in message
        assert "hunter2" not in message
        assert SECRET not in message


def test_a_missing_bucket_is_said_at_once(s3_url: str) -> None:
    store = open_store("s3://no-such-bucket-here/runs")
    for call in [lambda: store.put("a", b""), lambda: store.get("a"), lambda: store.list("")]:
        assert "there is no bucket `no-such-bucket-here`" in refused(call)


def test_missing_keys_are_said_before_any_request(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    message = refused(lambda: open_store(s3_url))
    assert "There are no keys" in message
    assert "MINIO_SECRET_KEY" in message


@pytest.mark.parametrize("bucket", ["", "ab", "Upper", "under_score", "a..b", "-a-", "a" * 64, "a b", "models:9000"])
def test_a_bad_bucket_name_is_refused(bucket: str, s3_url: str) -> None:
    assert "cannot be the name of a bucket" in refused(lambda: open_store(f"s3://{bucket}/runs"))


@pytest.mark.parametrize("prefix", ["../up", "a//b", "a" * 256, "/".join(["a" * 200] * 2)])
def test_a_bad_prefix_is_refused(prefix: str, s3_url: str) -> None:
    refused(lambda: open_store(f"s3://bucket/{prefix}"))


@pytest.mark.parametrize("value", ["minio:9000", "ftp://minio", "http://", "http://minio:9000/path", "http://m:port"])
def test_a_bad_endpoint_is_refused_with_an_example(value: str) -> None:
    for variable in ["AWS_ENDPOINT_URL", "MINIO_ENDPOINT"]:
        message = refused(partial(endpoint_from, {variable: value}))
        assert variable in message
        assert "http" in message


def test_an_endpoint_with_a_password_is_refused_without_showing_it() -> None:
    assert "hunter2" not in refused(lambda: endpoint_from({"AWS_ENDPOINT_URL": "http://me:hunter2@minio:9000"}))


def test_a_missing_certificate_file_is_refused() -> None:
    assert "AWS_CA_BUNDLE" in refused(lambda: endpoint_from({"AWS_CA_BUNDLE": "/no/such/file"}))


# --- Environment ------------------------------------------------------------------------------------------------------


def test_the_endpoint_comes_from_the_first_variable_that_is_set() -> None:
    environment = {"MINIO_ENDPOINT": "http://three:9000"}
    assert endpoint_from(environment).host == "three:9000"
    environment["AWS_ENDPOINT_URL"] = "https://two"
    assert endpoint_from(environment).host == "two"
    assert endpoint_from(environment).secure
    environment["AWS_ENDPOINT_URL_S3"] = "http://one:1/"
    assert endpoint_from(environment).host == "one:1"
    assert not endpoint_from(environment).secure


def test_without_an_endpoint_it_is_aws() -> None:
    endpoint = endpoint_from({"AWS_DEFAULT_REGION": "eu-central-1"})
    assert (endpoint.host, endpoint.secure, endpoint.region) == ("s3.amazonaws.com", True, "eu-central-1")


def test_minio_variables_are_accepted(s3_server: S3Server, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for ours, theirs in [("AWS_ENDPOINT_URL", "MINIO_ENDPOINT"), ("AWS_ACCESS_KEY_ID", "MINIO_ACCESS_KEY")]:
        monkeypatch.setenv(theirs, os.environ[ours])
        monkeypatch.delenv(ours)
    monkeypatch.setenv("MINIO_SECRET_KEY", SECRET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-another-server")
    store = open_store(s3_url)
    store.put("a", b"")
    assert [entry.name for entry in store.list("")] == ["a"]


def test_a_profile_is_accepted(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = os.environ["AWS_ACCESS_KEY_ID"]
    profile = f"[lab]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(profile)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store(s3_url)
    with pytest.raises(ObjectNotFound):
        store.get("a")


def refused(call: Callable[[], object]) -> str:
    """Return the message of the UserError that the call raises."""
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)
