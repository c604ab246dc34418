"""Every address that MLflow knows is MLflow's to reach, what cannot keep runs is refused in one line, and no secret is shown."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgnet_records.addresses import shown, without_secrets
from mgnet_records.errors import InputError
from mgnet_train.tracking.calls import in_one_line
from mgnet_train.tracking.store import check_store
from mgnet_train.tracking.uri import store_name, store_uri
from mgnet_train.tracking.worker import Sender
from mlflow_server import FaultProxy, certificate, free_port, mlflow_server

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow's use of sqlalchemy

CANARY = "c4nary/s3cret@!"
PASSWORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=6, max_size=30).filter(
    lambda text: not text.isalpha()
)


def refusal(runs: Path) -> str:
    """The line for a store that cannot be used."""
    with pytest.raises(Exception) as caught:
        Sender().check(runs)
    line = in_one_line(caught.value, store_uri(runs))
    assert "\n" not in line
    return line


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials of the person who tests
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("value", [None, ""])
def test_an_unset_or_empty_variable_means_the_database_in_the_folder_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert store_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    check_store(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.filterwarnings("ignore:Selection of the SingletonThreadPool")
@pytest.mark.parametrize(
    "uri", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_database_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "an sqlite database in memory is gone with its process: name a file" in refusal(tmp_path)


REFUSED = {
    "http://127.0.0.1:{port}": "Connection refused",
    "https://127.0.0.1:{port}": "Connection refused",
    "http://127.0.0.1:99999": "99999",
    "http://127.0.0.1:port": "port",
    "http://": "resolve",
    "http://no.such.host.invalid:5000": "no.such.host.invalid",
    "postgresql://user:pw@127.0.0.1:{port}/x": "refused",
    "postgresql+psycopg://127.0.0.1:{port}/x": "refused",
    "mysql://127.0.0.1:{port}/x": "MySQLdb",
    "mysql+pymysql://127.0.0.1:{port}/x": "pymysql",
    "mssql://127.0.0.1/x": "pyodbc",
    "./mlruns": "MLFLOW_ALLOW_FILE_STORE",
    "file:///{tmp}/mlruns": "MLFLOW_ALLOW_FILE_STORE",
    "~/mlruns": "MLFLOW_ALLOW_FILE_STORE",
    "ftp://host/x": "unsupported URI 'ftp://host/x'.*Supported URI schemes",
    "localhost:5000": "unsupported URI|localhost",
    "uc:profile": "Unity Catalog",
    "databricks-uc": "Unity Catalog",
    "databricks": "(?i)databricks",
    "databricks://profile": "(?i)databricks|profile",
    "sqlite:////dev/null/mlflow.db": "Not a directory|unable to open|FileExists|File exists",
    "sqlite:///{tmp}": "unable to open database file",
    "sqlite:///{tmp}/notes.db": "file is not a database",
}
QUICK = (
    "http://127.0.0.1:{port}",
    "./mlruns",
    "ftp://host/x",
    "uc:profile",
    "databricks",
    "sqlite:///{tmp}",
    "sqlite:///{tmp}/notes.db",
)


@pytest.mark.parametrize("uri", [one if one in QUICK else pytest.param(one, marks=pytest.mark.nightly) for one in REFUSED])
def test_what_mlflow_cannot_use_is_refused_in_one_line_with_mlflows_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    (tmp_path / "notes.db").write_text("these are only notes, and more of them than a header has" * 30)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=free_port(), tmp=tmp_path))
    assert re.search(REFUSED[uri], refusal(tmp_path))


@pytest.mark.nightly
@pytest.mark.parametrize("uri", ["sqlite:///relative.db", "sqlite:///{tmp}/absolute.db", "sqlite:///{tmp}/a folder/ä%23.db"])
def test_a_database_file_is_used_as_mlflow_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(tmp=tmp_path))
    assert Sender().check(tmp_path) is False
    assert (tmp_path / unquote(uri.removeprefix("sqlite:///").removeprefix("{tmp}/"))).stat().st_size > 0


@pytest.mark.nightly
@pytest.mark.parametrize("uri", ["./files", "file:///{tmp}/files", "{tmp}/files"])
def test_a_folder_is_used_where_mlflow_is_told_to_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(tmp=tmp_path))
    assert Sender().check(tmp_path) is False
    assert (tmp_path / "files").is_dir()


def test_a_damaged_default_database_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3" + bytes(range(200)) * 50)
    with pytest.raises(InputError, match=r"mlflow\.db. is damaged"):
        check_store(tmp_path)


# Secrets


@given(
    password=PASSWORDS, user=st.sampled_from(["me", "a.b@corp"]), rest=st.sampled_from(["host:5000", "host/db?x=1", "[::1]:1/p"])
)
def test_no_password_of_an_address_is_shown_however_it_is_quoted(password: str, user: str, rest: str) -> None:
    for scheme in ("http", "postgresql+psycopg2"):
        for spelled in (quote(password, safe=""), quote(password)):
            uri = f"{scheme}://{quote(user)}:{spelled}@{rest}"
            basic = base64.b64encode(f"{user}:{password}".encode()).decode()
            text = f"cannot parse {uri!r}: bad login {password!r}, {spelled} in Basic {basic} at {scheme}://{user}:{spelled}@x"
            for told in (shown(uri), without_secrets(text, uri)):
                assert password not in told
                assert spelled not in told
                assert basic not in told


@pytest.mark.parametrize(
    "uri, name",
    [
        ("http://me:pw@host:5000/mlflow", "http://...@host:5000/mlflow"),
        ("http://me:p/w?x#@host:5000", "http://...@host:5000"),
        ("me:pw@host:5000", "...@host:5000"),
        ("https://token@host", "https://...@host"),
        ("postgresql://host/db?user=me&password=pw", "postgresql://host/db?..."),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dpw", "mssql+pyodbc:///?..."),
        ("databricks://profile", "databricks://profile"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(uri: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert store_name(Path("runs")) == name


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:{secret}@127.0.0.1:{port}",
        "http://me:{quoted}@127.0.0.1:{port}",
        "http://me:{secret}@127.0.0.1:port",
        "http://{quoted}@127.0.0.1:{port}",
        "postgresql://me:{quoted}@127.0.0.1:{port}/x",
        "postgresql://127.0.0.1:{port}/x?user=me&password={quoted}",
        "mysql://me:{quoted}@127.0.0.1:{port}/x",
        "ftp://me:{secret}@127.0.0.1",
        "me:{secret}@127.0.0.1:{port}",
        "uc:http://me:{quoted}@127.0.0.1",
    ],
)
def test_mlflows_own_messages_are_shown_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    uri = uri.format(secret=CANARY, quoted=quote(CANARY, safe=""), port=free_port())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    line = refusal(tmp_path) + store_name(tmp_path)
    for piece in (CANARY, quote(CANARY, safe=""), "c4nary", "s3cret"):
        assert piece not in line


# Credentials and TLS, at a real server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as port:
        yield port


LOGINS: dict[str, tuple[str, dict[str, str], str]] = {
    "in the address": ("http://me:{quoted}@127.0.0.1:{port}", {}, "Basic {basic}"),
    "user and password": (
        "http://127.0.0.1:{port}",
        {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": CANARY},
        "Basic {basic}",
    ),
    "a token": ("http://127.0.0.1:{port}", {"MLFLOW_TRACKING_TOKEN": CANARY}, "Bearer " + CANARY),
    "databricks": (
        "databricks",
        {"DATABRICKS_HOST": "http://127.0.0.1:{port}", "DATABRICKS_TOKEN": CANARY},
        "Bearer " + CANARY,
    ),
    "a profile of databricks": ("databricks://team", {}, "Bearer " + CANARY),
}


@pytest.mark.nightly
@pytest.mark.parametrize("login", LOGINS)
def test_a_server_that_wants_a_login_gets_it_as_mlflow_gives_it(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    uri, environment, wanted = LOGINS[login]
    basic = base64.b64encode(f"me:{CANARY}".encode()).decode()
    proxy = FaultProxy(server)
    (tmp_path / ".databrickscfg").write_text(f"[team]\nhost = http://127.0.0.1:{proxy.port}\ntoken = {CANARY}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(quoted=quote(CANARY, safe=""), port=proxy.port))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(port=proxy.port))
    proxy.authorization = wanted.format(basic=basic)
    assert Sender().check(tmp_path) is True
    proxy.authorization = "another"
    line = refusal(tmp_path)
    assert "401" in line or "login" in line
    assert CANARY not in line
    assert basic not in line
    proxy.close()


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_that_nobody_signed_is_refused_until_mlflows_variables_accept_it(
    server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = certificate(tmp_path)
    proxy = FaultProxy(server, certificate=files)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://127.0.0.1:{proxy.port}")
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(files[0]))
        assert Sender().check(tmp_path) is True
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert Sender().check(tmp_path) is True
    proxy.close()


@pytest.mark.nightly
def test_no_command_and_no_file_has_a_secret(server: int, tmp_path: Path) -> None:
    """All commands, with a password in the address, one in the environment, at a server that answers and at one that does not."""
    proxy = FaultProxy(server)
    proxy.authorization = "Basic " + base64.b64encode(f"me:{CANARY}".encode()).decode()
    hidden = (CANARY, quote(CANARY, safe=""), "c4nary", "s3cret", proxy.authorization.split()[1])
    told, seen = "", ""
    in_address, alone = f"me:{quote(CANARY, safe='')}@", {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": CANARY}
    small = ["MgNet[1,1]-[4]-B^l", "--epochs", "1", "--batch-size", "256"]
    all_commands = [["fit", *small], ["sync"], ["status"], ["doctor"], ["ui"]]
    tried: list[tuple[dict[str, str], list[list[str]]]] = [
        ({"MLFLOW_TRACKING_URI": f"http://{in_address}127.0.0.1:{proxy.port}"}, all_commands),
        ({"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{proxy.port}"} | alone, [["doctor"]]),
        ({"MLFLOW_TRACKING_URI": f"http://me:{CANARY}@127.0.0.1:{proxy.port}"}, [["doctor"]]),
        ({"MLFLOW_TRACKING_URI": f"postgresql://{in_address}127.0.0.1:{free_port()}/db"}, [["ui"]]),
        ({"MLFLOW_TRACKING_URI": f"http://{in_address}127.0.0.1:{free_port()}"}, [["fit", *small, "--allow-unreachable-store"]]),
    ]
    for number, (address, commands) in enumerate(tried):
        (tmp_path / str(number)).mkdir()
        for command in commands:
            environment = os.environ | address | {"PYTHONUNBUFFERED": "1"}
            environment.pop("MLFLOW_HTTP_REQUEST_TIMEOUT")
            process = subprocess.Popen(
                [sys.executable, "-m", "mgnet_train", *command],
                cwd=tmp_path / str(number),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            while process.poll() is None:
                seen += _arguments_of_all_processes()
                try:
                    process.wait(0.3)
                except subprocess.TimeoutExpired:
                    continue
            assert process.stdout is not None
            told += f"{process.args}: {process.stdout.read()}\n"
            process.stdout.close()
    proxy.close()
    assert "Traceback" not in told
    assert "can be used" in told
    assert "has all runs of runs: 1" in told
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"uploader.log", "mlflow.json", "config.json", "journal.jsonl"} <= {path.name for path in files}
    for piece in hidden:
        assert piece not in told
        assert piece not in seen
        assert not [path for path in files if piece.encode() in path.read_bytes()]


def _arguments_of_all_processes() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)
