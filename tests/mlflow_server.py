"""A real MLflow server, a PostgreSQL cluster, and a proxy that does to requests what networks and proxies do."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Fault = Callable[["Exchange"], None]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path, store: str = "", port: int = 0) -> Iterator[int]:
    """A real server on a free port; an sqlite file in the folder is its store unless another is given."""
    port = port or free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_BACKEND_STORE_URI": store or f"sqlite:///{folder / 'server.db'}",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    log = folder / "server.log"
    with open(log, "ab") as file:
        server = subprocess.Popen(command, env=environment, start_new_session=True, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 180
        while True:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 9)
        server.wait(timeout=60)


class Exchange(BaseHTTPRequestHandler):
    """One request at the proxy: forwarded to the server, or answered by a fault."""

    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def handle_one_request(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            super().handle_one_request()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.body = self.rfile.read(length)
        if self.server.authorization and self.headers.get("Authorization") != self.server.authorization:
            self.answer(401, b"give a login", "text/plain", WWW_Authenticate='Basic realm="mlflow"')
            return
        fault = self.server.fault_of(self)
        (fault or forward)(self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass

    def forwarded(self) -> tuple[int, bytes, str]:
        """What the real server answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "accept-encoding")}
        connection.request(self.command, self.path, self.body, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content, answer.headers.get("Content-Type", "application/json")

    def answer(self, status: int, content: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def close(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def forward(exchange: Exchange) -> None:
    exchange.answer(*exchange.forwarded())


def status(code: int, content: bytes = b"", kind: str = "text/html", **headers: str) -> Fault:
    """An answer of something before the server."""
    return lambda exchange: exchange.answer(code, content, kind, **headers)


def close(exchange: Exchange) -> None:
    """The request never reaches the server."""
    exchange.close()


def lose_answer(exchange: Exchange) -> None:
    """The server does what is asked, and its answer is lost."""
    exchange.forwarded()
    exchange.close()


def cut_answer(exchange: Exchange) -> None:
    """The server does what is asked, and half of its answer arrives."""
    code, content, kind = exchange.forwarded()
    exchange.send_response(code)
    exchange.send_header("Content-Type", kind)
    exchange.send_header("Content-Length", str(len(content) + 10))
    exchange.end_headers()
    exchange.wfile.write(content[: len(content) // 2])
    exchange.close()


def hang(exchange: Exchange) -> None:
    """No answer, and no end, until the proxy is healed."""
    exchange.server.healed.wait(120)
    exchange.close()


def slow(exchange: Exchange) -> None:
    """A byte each second, for ever: no time-out between two bytes ever strikes."""
    exchange.send_response(200)
    exchange.send_header("Content-Type", "application/json")
    exchange.send_header("Content-Length", "100000")
    exchange.end_headers()
    while not exchange.server.healed.wait(1.0):
        exchange.wfile.write(b" ")
        exchange.wfile.flush()
    exchange.close()


def twice(exchange: Exchange) -> None:
    """The server gets the request two times, as from a proxy that tries again."""
    exchange.forwarded()
    forward(exchange)


class FaultProxy(ThreadingHTTPServer):
    """A proxy before a server. `break_down` chooses a fault and the requests that meet it; `heal` ends that."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target: int, *, certificate: tuple[Path, Path] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.target, self.port = target, int(self.server_address[1])
        self.authorization = ""  # the header without which nothing is answered
        self.healed = threading.Event()
        self.heal()
        self._thread = threading.Thread(target=self.serve_forever, args=[0.05], daemon=True)
        self._thread.start()

    def break_down(self, fault: Fault, *, where: Callable[[str, str, bytes], bool] = lambda *_: True, times: int = 1 << 30) -> None:
        """Meet requests (method, path, body) with a fault, a number of times."""
        self.healed.clear()
        self._fault, self._where, self._times, self.met = fault, where, times, 0

    def heal(self) -> None:
        self.healed.set()
        self._fault, self._where, self._times, self.met = forward, lambda *_: False, 0, 0

    def fault_of(self, exchange: Exchange) -> Fault | None:
        if self.met >= self._times or not self._where(exchange.command, exchange.path, exchange.body):
            return None
        self.met += 1
        return self._fault

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away

    def close(self) -> None:
        self.heal()
        self.shutdown()
        self.server_close()
        self._thread.join(timeout=10)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    files = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run(command, check=True, capture_output=True)
    return files


def postgres_programs() -> Path | None:
    """The folder of initdb and pg_ctl, where Debian or PATH has one."""
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or ([Path(on_path)] if on_path else [])
    return found[-1].parent if found else None


@contextmanager
def postgres_cluster(password: str) -> Iterator[str]:
    """A cluster of its own, and the address of an empty database in it; PostgreSQL refuses to run as root."""
    programs = postgres_programs()
    assert programs is not None
    folder = Path(tempfile.mkdtemp(prefix="mgnet-postgres-"))  # pytest's folders are closed to other users
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        as_user = {"user": "postgres", "group": "postgres", "cwd": folder}
    port = free_port()
    secret = folder / "password"
    secret.write_text(password)
    secret.chmod(0o644)

    def call(program: str, *arguments: str) -> None:
        subprocess.run([programs / program, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=120, **as_user)

    data = str(folder / "data")
    call("initdb", "-D", data, "-U", "mgnet", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        call("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        yield f"postgresql://mgnet:{password}@127.0.0.1:{port}/postgres"
    finally:
        with suppress(subprocess.SubprocessError):
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
