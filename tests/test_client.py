"""The client as a library: what each method sends, reads, and raises."""

import json
import platform
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.samples import THIS_UUID, filled
from tests.api.scripted import document, http, scripted
from tests.peers.instance import wait_until
from vtpmd.api import names, problems, schema
from vtpmd.api.codec import encode_report
from vtpmd.api.errors import UNREACHABLE, ClientError
from vtpmd.client import Client

Call = Callable[[Client], Any]

CLONE = schema.CloneRequest(name="b", uuid=THIS_UUID, confirmed=True)
# Route -> the call, the report that answers it (or another body), and the body that is sent.
CALLS: dict[names.Route, tuple[Call, Any, object]] = {
    names.EVENTS: (
        lambda c: c.events(schema.EventsRequest(after=3, instance="ä", wait=1)),
        schema.EventList,
        None,
    ),
    names.OPENAPI: (lambda c: c.openapi(), b'{"openapi": "3.1.0"}', None),
    names.TOP: (lambda c: c.top(), schema.UsageList, None),
    names.METRICS: (lambda c: c.metrics(), b"vtpmd_workers 1.0\n", None),
    names.CAPABILITIES: (lambda c: c.capabilities(), schema.Capabilities, None),
    names.DOCTOR: (lambda c: c.doctor(), schema.Diagnosis, None),
    names.DOCTOR_INSTANCE: (lambda c: c.doctor("a b"), schema.Diagnosis, None),
    names.LIST: (lambda c: c.list(), schema.InstanceList, None),
    names.CREATE: (
        lambda c: c.create(schema.CreateRequest(name="a", pcr_banks=("sha1",), start=False)),
        schema.InstanceInfo,
        {"name": "a", "pcr_banks": ["sha1"], "start": False},
    ),
    names.CREATE_INCOMING: (
        lambda c: c.create_incoming(schema.IncomingRequest(name="ä", start=False), b"ticket"),
        schema.InstanceInfo,
        b"ticket",
    ),
    names.INFO: (lambda c: c.info("a b"), schema.InstanceInfo, None),
    names.SET: (
        lambda c: c.set("a b", schema.SetRequest(owner="")),
        schema.InstanceInfo,
        {"owner": ""},
    ),
    names.RENAME: (
        lambda c: c.rename("a b", schema.RenameRequest(name="c")),
        schema.InstanceInfo,
        {"name": "c"},
    ),
    names.DELETE: (lambda c: c.delete("a b"), schema.Deletion, None),
    names.START: (lambda c: c.start("a b"), schema.InstanceInfo, None),
    names.STOP: (
        lambda c: c.stop("a b", schema.StopRequest(remember=False)),
        schema.InstanceInfo,
        {"remember": False},
    ),
    names.DA_RESET: (lambda c: c.da_reset("a b"), schema.LockoutResult, None),
    names.PCRS: (lambda c: c.pcrs("a b"), schema.Digests, None),
    names.UNLOCK: (lambda c: c.unlock("a b"), schema.InstanceInfo, None),
    names.UNLOCK_ALL: (
        lambda c: c.unlock_all(schema.UnlockRequest(provider="p")),
        schema.UnlockResult,
        {"provider": "p"},
    ),
    names.UPGRADE: (lambda c: c.upgrade("a b"), schema.Upgraded, None),
    names.UPGRADE_ALL: (lambda c: c.upgrade_all(), schema.UpgradeResult, None),
    names.MIGRATE: (
        lambda c: c.migrate("a b", schema.MigrateRequest(step="done")),
        schema.InstanceInfo,
        {"step": "done"},
    ),
    names.TAKE_BACK: (lambda c: c.take_back("a b"), schema.InstanceInfo, None),
    names.ACCEPT_ROLLBACK: (lambda c: c.accept_rollback("a b"), schema.InstanceInfo, None),
    names.REKEY: (
        lambda c: c.rekey("a b", schema.RekeyRequest(deep=True)),
        schema.RekeyResult,
        {"deep": True},
    ),
    names.CLONE: (
        lambda c: c.clone("a b", CLONE),
        schema.InstanceInfo,
        {"name": "b", "uuid": str(THIS_UUID), "confirmed": True},
    ),
    names.BACKUP: (lambda c: c.backup("a b"), b"\0\1", None),
    names.SNAPSHOTS: (lambda c: c.snapshots("a b"), schema.SnapshotList, None),
    names.SNAPSHOT: (
        lambda c: c.snapshot("a b", schema.SnapshotRequest(label="s")),
        schema.SnapshotInfo,
        {"label": "s"},
    ),
    names.SNAPSHOT_RESTORE: (
        lambda c: c.restore_snapshot("a b", schema.SnapshotRestoreRequest(snapshot="s")),
        schema.InstanceInfo,
        {"snapshot": "s"},
    ),
    names.SNAPSHOT_DELETE: (
        lambda c: c.delete_snapshot("a b", schema.SnapshotDeleteRequest(snapshot="s")),
        b"",
        {"snapshot": "s"},
    ),
    names.RESTORE: (
        lambda c: c.restore(b"\2", schema.RestoreRequest(name="ä&=", replace=True)),
        schema.InstanceInfo,
        b"\2",
    ),
    names.EK: (lambda c: c.ek("a b"), schema.EkInfo, None),
    names.EK_REQUESTS: (
        lambda c: c.ek_requests("a b", schema.EkRequestsRequest(kinds=("rsa-2048",))),
        schema.EkRequests,
        {"kinds": ["rsa-2048"]},
    ),
    names.EK_IMPORT: (
        lambda c: c.ek_import("a b", schema.EkImportRequest(files={"f": "eA=="})),
        schema.EkInfo,
        {"files": {"f": "eA=="}},
    ),
    names.EK_RENEW: (
        lambda c: c.ek_renew("a b", schema.EkRenewRequest(trust_now=True)),
        schema.EkInfo,
        {"trust_now": True},
    ),
    names.CA: (lambda c: c.ca(), schema.CaInfo, None),
    names.CA_CERTIFICATES: (lambda c: c.ca_certificates(), schema.CaCertificates, None),
    names.CA_CRL: (lambda c: c.ca_crl(), schema.CaRevocationLists, None),
    names.CA_REVOKE: (
        lambda c: c.ca_revoke(schema.CaRevokeRequest(subject="a", reason="superseded")),
        schema.CaRevocation,
        {"subject": "a", "reason": "superseded"},
    ),
    names.CA_REQUEST: (lambda c: c.ca_request(), schema.CaRequest, None),
    names.CA_IMPORT: (
        lambda c: c.ca_import(schema.CaImportRequest(file="f", chain="eA==")),
        schema.CaInfo,
        {"file": "f", "chain": "eA=="},
    ),
    names.CA_REKEY: (
        lambda c: c.ca_rekey(schema.CaRekeyRequest(provider="p")),
        schema.CaRekeyResult,
        {"provider": "p"},
    ),
    names.PROVIDERS: (lambda c: c.providers(), schema.ProviderList, None),
    names.ROTATE: (lambda c: c.rotate("a b"), schema.RotateResult, None),
    names.BACKUP_KEYS: (
        lambda c: c.backup_keys("a b", schema.BackupRequest(passphrase="x")),
        schema.KeyringBackup,
        {"passphrase": "x"},
    ),
    names.NOTE_BACKUP: (
        lambda c: c.note_backup("a b", schema.BackupNote(key_versions=("1", "2"))),
        b"",
        {"key_versions": ["1", "2"]},
    ),
    names.TICKET: (lambda c: c.ticket("a b"), b"ticket", None),
    names.MIGRATE_CHECK: (
        lambda c: c.migrate_check(b"ticket", schema.MigrateCheckRequest(name="b")),
        schema.MigrateCheck,
        b"ticket",
    ),
    names.IMPORT_KEYS: (
        lambda c: c.import_keys("a b", schema.KeyImportRequest(backup="eA==", passphrase="x")),
        schema.KeyImportResult,
        {"backup": "eA==", "passphrase": "x"},
    ),
}
QUERIES = {
    names.EVENTS: "?after=3&instance=%C3%A4&wait=1",
    names.RESTORE: "?name=%C3%A4%26%3D&replace=true",
    names.CREATE_INCOMING: "?name=%C3%A4&start=false",
    names.MIGRATE_CHECK: "?name=b",
}
MEDIA_TYPES = {names.RESTORE: names.BUNDLE_MEDIA_TYPE}
"""Of bodies that are files; tickets otherwise."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


def test_every_route_has_a_method() -> None:
    assert set(CALLS) == {value for value in vars(names).values() if isinstance(value, names.Route)}


@pytest.mark.parametrize("route", CALLS, ids=lambda route: route.path + route.method)
def test_a_method_sends_its_request_and_reads_its_report(path: Path, route: names.Route) -> None:
    call, answer, sent = CALLS[route]
    report, content = (answer, answer) if isinstance(answer, bytes) else filled(answer)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with scripted(path, [http(200, body)]) as asked:
        assert call(Client(str(path))) == (report or None)
    (request,) = asked
    target = route.path.replace("{name}", "a%20b") + QUERIES.get(route, "")
    assert (request.method, request.target) == (route.method, target)
    is_file = isinstance(sent, bytes)
    file_type = MEDIA_TYPES.get(route, names.TICKET_MEDIA_TYPE)
    media_type = file_type if is_file else "application/json"
    assert f"\r\nContent-Type: {media_type}\r\n" in request.head
    if sent is None:
        assert request.body == b""
    else:
        assert (request.body if is_file else json.loads(request.body)) == sent


@pytest.mark.parametrize("problem", problems.PROBLEMS.values(), ids=lambda problem: problem.code)
def test_a_problem_document_is_raised(path: Path, problem: problems.Problem) -> None:
    content = {"code": problem.code, "detail": "it is so", "newer": 1}
    with scripted(path, [document(problem.status, content)]), pytest.raises(ClientError) as raised:
        Client(str(path)).info("a")
    error = raised.value
    assert (error.problem, error.exit_status) == (problem, problem.exit_status)
    assert (str(error), error.detail, error.document) == ("it is so", "it is so", content)


@pytest.mark.parametrize(
    ("content", "code", "detail"),
    [
        ({"code": "newer", "detail": "it is new"}, "newer", "it is new"),
        ({"code": "exists"}, "exists", problems.EXISTS.title),
        ({"code": "exists", "detail": 7}, "exists", problems.EXISTS.title),
        ({"code": ["exists"]}, "internal", "The daemon's answer is not understood."),
        ([], "internal", "The daemon's answer is not understood."),
    ],
)
def test_a_problem_that_is_not_known_is_told_as_it_is(
    path: Path, content: object, code: str, detail: str
) -> None:
    with scripted(path, [document(500, content)]), pytest.raises(ClientError) as raised:
        Client(str(path)).info("a")
    assert (raised.value.problem.code, raised.value.detail) == (code, detail)
    assert raised.value.exit_status == problems.PROBLEMS.get(code, problems.INTERNAL).exit_status


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "not HTTP"),
        (b"SSH-2.0-x\r\n", "not HTTP"),
        (b"HTTP/1.1 200\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 x y\r\nContent-Length: 0\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 x\r\n\r\n{}", "not complete"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\n{}", "not complete"),
        (b"HTTP/1.1 200 x\r\nContent-Length: -2\r\n\r\n{}", "not complete"),
        (http(200, b"{"), "not JSON"),
        (http(200, b""), "not JSON"),
        (http(200, b"[" * 100_000), "not JSON"),
        (http(500, b"<html>"), "not JSON"),
        (http(200, b"[]"), "it is not an object"),
        (http(200, b'{"instances": [{"name": 1}]}'), "instances: name: str is expected"),
    ],
)
def test_what_no_daemon_would_say(path: Path, answer: bytes, reason: str) -> None:
    with scripted(path, [answer]), pytest.raises(ClientError) as raised:
        Client(str(path)).list()
    assert raised.value.problem is UNREACHABLE
    assert raised.value.detail.startswith(f"No answer from vtpmd on {path}: ")
    assert reason in raised.value.detail


def test_an_answer_without_end_is_not_read_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vtpmd.api.http.MAX_ANSWER", 100_000)
    with scripted(path, [http(200, bytes(100_001))]), pytest.raises(ClientError) as raised:
        Client(str(path)).backup("a")
    assert "more than 100000 bytes" in raised.value.detail


def test_a_daemon_that_is_not_there(path: Path) -> None:
    with pytest.raises(ClientError) as raised:
        Client(str(path)).list()
    assert raised.value.detail == f"No answer from vtpmd on {path}: No such file or directory."
    assert raised.value.document == {"code": "unreachable", "detail": raised.value.detail}


def test_a_place_is_waited_for_where_many_connect(path: Path) -> None:
    """Others who fill the backlog let nobody fail; they only make one wait."""
    connect = {"x86_64": "42", "aarch64": "203"}[platform.machine()]
    threads: list[int] = []

    def ask() -> schema.InstanceList:
        threads.append(threading.get_native_id())
        return Client(str(path)).list()

    def is_waiting() -> bool:
        if asking.done():
            asking.result()
        return Path(f"/proc/self/task/{threads[0]}/syscall").read_text().split()[0] == connect

    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as other,
        ThreadPoolExecutor() as pool,
    ):
        listener.bind(str(path))
        listener.listen(0)
        other.connect(str(path))
        asking = pool.submit(ask)
        wait_until(lambda: bool(threads) and is_waiting(), "waiting for a place")
        listener.accept()[0].close()
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(document(200, encode_report(schema.InstanceList(instances=()))))
        assert asking.result(60) == schema.InstanceList(instances=())


def test_the_answer_to_a_refused_upload_is_read(path: Path) -> None:
    """The daemon answers and closes while the client still writes: its pipe breaks."""
    refusal = document(413, {"code": "too-large", "detail": "far too large"})
    with scripted(path, [refusal], size=200), pytest.raises(ClientError) as raised:
        Client(str(path)).restore(bytes(names.MAX_BUNDLE))
    assert (raised.value.problem, raised.value.detail) == (problems.TOO_LARGE, "far too large")


def test_half_an_answer_before_a_reset_is_none(path: Path) -> None:
    half = document(413, {"code": "too-large", "detail": "far too large"})[:-5]
    with scripted(path, [half], size=200), pytest.raises(ClientError) as raised:
        Client(str(path)).restore(bytes(names.MAX_BUNDLE))
    assert raised.value.problem is UNREACHABLE


@pytest.mark.parametrize(
    ("name", "quoted"), [("\udcff", "%3F"), ("..", ".."), ("a/?#", "a%2F%3F%23")]
)
def test_any_name_makes_one_segment_of_a_path(path: Path, name: str, quoted: str) -> None:
    with scripted(path, [document(200, {})]) as asked:
        Client(str(path)).info(name)
    assert asked[0].target == f"/v1/instances/{quoted}"


def test_the_library_needs_nothing_but_the_standard_library() -> None:
    code = "import sys, vtpmd.client; print(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in output.decode().split()}
    foreign = {name for name in loaded - sys.stdlib_module_names if re.fullmatch(r"[a-z]\w*", name)}
    assert foreign <= {"vtpmd", "sitecustomize", "usercustomize"}


UPGRADED = encode_report(filled(schema.UpgradeResult)[0])


def in_chunks(*chunks: bytes) -> bytes:
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\n\r\n"


def progress(done: int) -> bytes:
    return json.dumps({"progress": {"done": done, "all": 2, "name": f"vm{done}"}}).encode() + b"\n"


def result(kind: str = "result", content: object = UPGRADED) -> bytes:
    return json.dumps({kind: content}).encode() + b"\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_how_far_it_is_is_told(path: Path, size: int) -> None:
    octets = progress(1) + progress(2) + result()
    chunks = [octets[at : at + size] for at in range(0, len(octets), size)]
    told: list[schema.Progress] = []
    with scripted(path, [in_chunks(*chunks)]) as asked:
        found = Client(str(path)).upgrade_all(told.append)
    assert found == filled(schema.UpgradeResult)[0]
    assert [(each.done, each.all, each.name, each.failure) for each in told] == [
        (1, 2, "vm1", None),
        (2, 2, "vm2", None),
    ]
    assert "\r\nAccept: application/x-ndjson\r\n" in asked[0].head


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (in_chunks(progress(1)), "ends before the result"),
        (in_chunks(progress(1))[:-7], "not complete"),
        (in_chunks(b"[]\n"), "not an object"),
        (in_chunks(b"{\n"), "not JSON"),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "a piece of the answer"),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "268435455 bytes"),
        (in_chunks(result("problem", {"code": "internal", "detail": "a defect"})), "a defect"),
        (document(403, {"code": "forbidden", "detail": "not you"}), "not you"),
    ],
)
def test_of_what_is_told_nothing_is_believed_that_makes_no_sense(
    path: Path, answer: bytes, reason: str
) -> None:
    with scripted(path, [answer]), pytest.raises(ClientError) as raised:
        Client(str(path)).upgrade_all()
    assert reason in raised.value.detail


@pytest.mark.parametrize("key", ["a\r\nX: y", "ä"])
def test_a_key_that_http_cannot_say_is_not_sent(path: Path, key: str) -> None:
    with scripted(path, []) as asked, pytest.raises(ClientError):
        Client(str(path)).create(schema.CreateRequest(name="a"), idempotency_key=key)
    assert asked == []
