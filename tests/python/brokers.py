"""The real broker as a process, or several on one PostgreSQL database behind HAProxy."""

from __future__ import annotations

import os
import random
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

ADMIN_SECRET = "correct-horse-battery-staple"
REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT = 30.0
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") or "haproxy"


@dataclass(frozen=True)
class Credentials:
    app_id: str
    client_id: str
    client_secret: str


class BrokerProcess:
    """A broker process with its files in a directory of its own."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self._log_path = directory / "broker.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [broker_binary()],
                cwd=directory,
                env={
                    "HOME": str(directory),
                    "AA_ADMIN_SECRET": ADMIN_SECRET,
                    "AA_PORT": "0",
                    "AA_DB_PATH": str(directory / "data.db"),
                    "AA_SIGNING_KEY_PATH": str(directory / "signing.key"),
                    **settings,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_listening(self) -> str:
        """Returns the address, `host:port`."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if found := re.search(r"listening.*address=([^,\s]+)", self.log()):
                return found.group(1)
            if self._process.poll() is not None:
                pytest.fail(f"the broker ended with {self._process.returncode}:\n{self.log()}")
            time.sleep(0.02)
        pytest.fail(f"the broker does not say where it listens:\n{self.log()}")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=START_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")


class Broker:
    """One broker, and the operator's requests to it. With an authority to trust it speaks TLS."""

    #: Number of processes that share the requests.
    processes = 1

    def __init__(self, directory: Path, authority: Path | None = None, **settings: str) -> None:
        self._names = count(1)
        self._stops: list[Callable[[], None]] = []
        try:
            self.url = f"{'https' if authority else 'http'}://{self._start(directory, settings)}"
            self._http = httpx.Client(base_url=self.url, verify=ssl.create_default_context(cafile=authority))
            answer = self._http.post("/v1/admin/auth", json={"secret": ADMIN_SECRET}).raise_for_status()
            self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        except BaseException:
            self.stop()
            raise

    def _start(self, directory: Path, settings: dict[str, str]) -> str:
        """Returns the address, `host:port`."""
        process = BrokerProcess(directory, **settings)
        self._stops.append(process.stop)
        return process.wait_until_listening()

    def stop(self) -> None:
        while self._stops:
            self._stops.pop()()

    def admin(self, method: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
        """What the operator does, by HTTP alone; it must succeed."""
        answer = self._http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def create_app(self, scopes: list[str], **options: object) -> Credentials:
        body = self.admin("POST", "/v1/admin/apps", {"name": f"app-{next(self._names)}", "scopes": scopes, **options})
        return Credentials(body["app_id"], body["client_id"], body["client_secret"])

    def revoke(self, level: str, target: str) -> dict[str, Any]:
        return self.admin("POST", "/v1/revoke", {"level": level, "target": target})

    def audit_events(self, event_type: str | None = None) -> list[dict[str, Any]]:
        query = f"&event_type={event_type}" if event_type else ""
        answer = self.admin("GET", f"/v1/audit/events?limit=1000{query}")
        assert answer["total"] == len(answer["events"]), "more events than a page holds"
        return answer["events"]

    def denials(self, event_type: str) -> list[dict[str, Any]]:
        """Refusals, which the broker may answer before it has written them down; so this waits for the first."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if events := self.audit_events(event_type):
                assert {event["outcome"] for event in events} == {"denied"}
                return events
            time.sleep(0.02)
        pytest.fail(f"no {event_type} in the audit trail")


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def broker_binary() -> str:
    path = Path(os.environ.get("AGENTWRIT_BROKER_BIN") or REPOSITORY / "target/debug/agentwrit-broker")
    if not path.is_file():
        pytest.fail(f"no broker at {path}: build it with `cargo build -p agentwrit-broker` or set AGENTWRIT_BROKER_BIN")
    return str(path.resolve())


class Brokers(Broker):
    """Brokers on one database. Each request goes to the next one, through HAProxy with the configuration of deploy/."""

    def __init__(self, directory: Path, number: int, postgres: PostgresServer) -> None:
        self.processes = number
        self._postgres = postgres
        self._database = postgres.create_database()
        super().__init__(directory)

    def _start(self, directory: Path, settings: dict[str, str]) -> str:
        self._stops.append(lambda: self._postgres.drop_database(self._database))
        key = directory / "encryption.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(32))
        shared = {
            "AA_DATABASE_URL": self._postgres.url(self._database),
            "AA_KEY_ENCRYPTION_KEY_PATH": str(key),
            "AA_TRUSTED_PROXIES": "127.0.0.1",
        }
        processes = []
        for number in range(self.processes):
            own = directory / f"broker-{number + 1}"
            own.mkdir()
            processes.append(BrokerProcess(own, **shared, **settings))
            self._stops.append(processes[-1].stop)
        proxy = HaProxy(directory, [process.wait_until_listening() for process in processes])
        self._stops.append(proxy.stop)
        return proxy.address


class PostgresServer:
    """A PostgreSQL server, by the script that the tests in Rust use."""

    def __init__(self) -> None:
        script = (REPOSITORY / "tests/postgres/src/server.sh").read_text()
        command = ["sh", "-c", script, "server.sh", "initialise"]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        self._shell = subprocess.Popen(command, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._directory = self._shell.stdout.readline().strip()
        if not self._directory:
            pytest.fail("no PostgreSQL server: install Debian's `postgresql`")
        self._port = free_port()
        self._names = count(1)
        self._shell.stdin.write(f"start -p {self._port} -c listen_addresses=127.0.0.1 -c max_connections=300\n")
        self._shell.stdin.flush()
        started = self._shell.stdout.readline().strip()
        if started != "done":
            pytest.fail(f"PostgreSQL did not start:\n{(Path(self._directory) / 'control').read_text()}")

    def create_database(self) -> str:
        """Returns the name of a new database."""
        name = f"brokers_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, database: str) -> str:
        return f"postgres://agentwrit@{self.address}/{database}?sslmode=disable"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def execute(self, statement: str) -> str:
        """Runs a statement as the superuser, and returns what it selects."""
        psql = ["psql", "-h", self._directory, "-p", str(self._port), "-U", "agentwrit", "-d", "postgres"]
        return subprocess.run([*psql, "-XAtqc", statement], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def stop(self) -> None:
        self._shell.stdin.close()
        self._shell.wait(timeout=START_TIMEOUT)


class HaProxy:
    """HAProxy in front of brokers: two in the shipped configuration, further ones as its last line."""

    def __init__(self, directory: Path, brokers: list[str]) -> None:
        lines = []
        for line in (REPOSITORY / "deploy/haproxy/haproxy.cfg").read_text().splitlines():
            lines.append(line)
            if line.strip().startswith("server broker-2 "):
                options = line.rsplit('"', 1)[1]
                for number, address in enumerate(brokers[2:], 3):
                    further = options.replace("broker-2", f"broker-{number}")
                    lines.append(f"    server broker-{number} {address}{further}")
        file = directory / "haproxy.cfg"
        file.write_text("\n".join(lines) + "\n")
        self.address = f"127.0.0.1:{free_port()}"
        variables = {"AGENTWRIT_BIND": self.address, "AGENTWRIT_BROKER_1": brokers[0], "AGENTWRIT_BROKER_2": brokers[1]}
        self._process = subprocess.Popen(
            [HAPROXY, "-db", "-f", file],
            env={**os.environ, **variables},
            stdout=(directory / "haproxy.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            try:
                return socket.create_connection(self.address.split(":"), timeout=1).close()
            except OSError:
                time.sleep(0.02)
        pytest.fail("HAProxy does not listen")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """Returns a port below those that the system gives to outgoing connections."""
    while True:
        port = random.randrange(10_000, 15_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
