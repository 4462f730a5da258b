#!/usr/bin/env python3
"""Takes the figures of BENCHMARKS.md on registrations, renewals, several brokers, growth and confirmed revocation, in one
go: on a machine that does nothing else, with two processors, in about fifteen minutes.

    CARGO_PROFILE_RELEASE_LTO=thin cargo build --release --all-features -p agentwrit-broker -p load
    python3 scripts/figures.py                 # everything
    python3 scripts/figures.py stores growth   # only these sections

Sections: `stores` (SQLite, PostgreSQL with one and with three brokers), `statements` (of an idle and of a busy broker),
`growth` (10,000 and 1,000,000 events), `confirmation` (reports of 10,000 instances, and the benches `revocation` and
`rotation`, which cargo builds first). Rounds of the configurations that are compared interleave; each table has the
median of the rounds, and all rounds behind it. Needs Debian's `postgresql` and, as root, `runuser`.
"""

import argparse
import contextlib
import json
import os
import pathlib
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SECRET = "correct-horse-battery-staple"
SMALL, LARGE = 10_000, 1_000_000
EVENTS_OF_A_REGISTRATION = 3


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Postgres:
    """A server in a directory of its own, with its defaults."""

    def __enter__(self):
        script = ROOT / "tests/postgres/src/server.sh"
        shell = ["sh", "-c", script.read_text(), "server.sh", "initialise"]
        if os.geteuid() == 0:
            shell = ["runuser", "-u", "postgres", "--", *shell]
        self.shell = subprocess.Popen(shell, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.directory, self.port = self.shell.stdout.readline().strip(), free_port()
        self._run(f"start -p {self.port} -c listen_addresses=127.0.0.1 -c max_connections=300")
        self.databases = 0
        return self

    def __exit__(self, *_):
        self.shell.stdin.close()
        self.shell.wait()

    def _run(self, command):
        print(command, file=self.shell.stdin, flush=True)
        if self.shell.stdout.readline().strip() != "done":
            raise SystemExit(f"PostgreSQL did not {command}")

    @property
    def pid(self):
        return int((pathlib.Path(self.directory) / "data/postmaster.pid").read_text().split()[0])

    def query(self, database, sql):
        psql = ["psql", "-h", self.directory, "-p", str(self.port), "-U", "agentwrit", "-d", database, "-XAtqc", sql]
        return subprocess.run(psql, check=True, capture_output=True, text=True).stdout

    def transactions(self, database):
        """Transactions that have ended, also those that only read. Counted once a second by idle connections."""
        counted = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{database}'"
        return int(self.query("postgres", counted))

    def commits(self, database):
        return int(self.query(database, "SELECT generation FROM head"))

    def new_database(self):
        self.databases += 1
        name = f"figures_{self.databases}"
        self.query("postgres", f"CREATE DATABASE {name}")
        return name

    def url(self, database):
        return f"postgres://agentwrit@127.0.0.1:{self.port}/{database}?sslmode=disable"


class Brokers:
    """Brokers on one store: a SQLite file, or a database that they share."""

    def __init__(self, directory, count=1, database_url=None, settings=()):
        self.directory, self.database_url = pathlib.Path(directory), database_url
        self.settings, self.count, self.processes, self.urls = dict(settings), count, [], []
        self.directory.mkdir(exist_ok=True)
        if database_url and not (key := self.directory / "key").exists():
            key.touch(0o600)
            key.write_text(secrets.token_hex(32))

    def environment(self, number, port):
        environment = {"PATH": os.environ["PATH"], "AA_ADMIN_SECRET": SECRET, "AA_LOG_LEVEL": "standard"}
        environment |= {"AA_PORT": str(port), "AA_SESSION_BUDGET": "off", **self.settings}
        if self.database_url:
            state = self.directory / f"broker-{number}.state"
            paths = {"AA_KEY_ENCRYPTION_KEY_PATH": self.directory / "key", "AA_STATE_PATH": state}
            environment["AA_DATABASE_URL"] = self.database_url
        else:
            paths = {"AA_DB_PATH": self.directory / "data.db", "AA_SIGNING_KEY_PATH": self.directory / "signing.key"}
        return environment | {name: str(path) for name, path in paths.items()}

    def __enter__(self):
        for number in range(self.count):
            port = free_port()
            log = open(self.directory / f"broker-{number}.log", "a")
            broker = [BINARIES / "agentwrit-broker"]
            self.processes.append(
                subprocess.Popen(broker, env=self.environment(number, port), stdout=log, stderr=log)
            )
            self.urls.append(f"http://127.0.0.1:{port}")
            self._await(self.urls[-1], self.processes[-1])
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait()
        self.processes, self.urls = [], []

    def _await(self, url, process):
        for _ in range(200):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{url}/v1/health").read()
                return
            if process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"a broker did not start: see {self.directory}")

    def load(self, *arguments, database_pid=None):
        command = [BINARIES / "load", *arguments, "--json"]
        for url, process in zip(self.urls, self.processes):
            command += ["--url", url, "--broker-pid", str(process.pid)]
        if database_pid:
            command += ["--database-pid", str(database_pid)]
        run = subprocess.run(command, env={**os.environ, "AACTL_ADMIN_SECRET": SECRET}, capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"{command}: {run.stdout}{run.stderr}")
        return Result(json.loads(run.stdout))

    def resident(self):
        """Resident memory of the brokers, in MiB."""
        status = (pathlib.Path(f"/proc/{process.pid}/status").read_text() for process in self.processes)
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in status) / 1024


class Result:
    def __init__(self, report):
        self.operations = {row["operation"]: row for row in report["operations"]}
        self.figures = {figure["name"]: figure["value"] for figure in report["figures"]}

    def figure(self, *parts):
        return next((v for name, v in self.figures.items() if all(part in name for part in parts)), None)


class Table:
    """Rows of values by configuration, one value for each round."""

    def __init__(self, title, columns):
        self.title, self.columns, self.rows = title, columns, {}

    def add(self, row, column, value):
        self.rows.setdefault(row, {}).setdefault(column, []).append(value)

    def print(self):
        print(f"\n### {self.title}\n\n| | {' | '.join(self.columns)} |\n|---|{'---|' * len(self.columns)}")
        for row, cells in self.rows.items():
            print(f"| {row} | {' | '.join(self._cell(cells.get(column)) for column in self.columns)} |")
        sys.stdout.flush()

    @staticmethod
    def _cell(values):
        values = [value for value in values or [] if value is not None]
        if not values:
            return ""
        rounds = f" ({', '.join(map(rounded, values))})" if len(values) > 1 else ""
        return f"**{rounded(statistics.median(values))}**{rounds}"


def rounded(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def note(table, column, result, operation, command):
    row = result.operations[operation]
    table.add(f"{operation}s per second", column, row["per_second"])
    table.add(f"{operation}: p50, ms", column, row["p50_ms"])
    table.add(f"{operation}: p99, ms", column, row["p99_ms"])
    for process in ("broker", "database"):
        figure = result.figure(f"the {process}'s processor time", "Ed25519")
        table.add(f"{operation}: {process}'s processor time / `verify`", column, figure)
    if (per_fsync := result.figure("per fsync")) is not None:
        table.add(f"{operation}s per fsync", column, per_fsync)
        table.add("fsync: p50, ms", column, result.operations["fsync"]["p50_ms"])


def measure(table, column, brokers, seconds, fsync, database_pid=None):
    for command, operation in (("register", "full registration"), ("renew", "renew")):
        arguments = [command, "--time", str(seconds), "--health-time", "1", "--fsync", str(fsync)]
        note(table, column, brokers.load(*arguments, database_pid=database_pid), operation, command)


def stores(work, rounds, seconds):
    columns = ["SQLite", "PostgreSQL, 1 broker", "PostgreSQL, 3 brokers"]
    table = Table("Registrations and renewals, 64 clients", columns)
    with Postgres() as server:
        for number in range(rounds):
            for column, count in zip(columns, (1, 1, 3)):
                url = None if column == "SQLite" else server.url(server.new_database())
                with Brokers(work / f"stores-{number}-{column[:3]}-{count}", count, url) as brokers:
                    measure(table, column, brokers, seconds, work, server.pid if url else None)
    table.print()


def statements(work, rounds, seconds):
    columns = ["1 broker", "3 brokers"]
    table = Table("Transactions of PostgreSQL", columns)
    with Postgres() as server:
        for column, count in zip(columns, (1, 3)):
            database = server.new_database()
            with Brokers(work / f"statements-{count}", count, server.url(database)) as brokers:
                for _ in range(rounds):
                    time.sleep(2)
                    before = server.transactions(database)
                    time.sleep(seconds)
                    each = (server.transactions(database) - before) / seconds / count
                    table.add("transactions per second and idle broker", column, each)
                    before, commits = server.transactions(database), server.commits(database)
                    result = brokers.load("register", "--time", str(seconds), "--health-time", "1")
                    commits = max(server.commits(database) - commits, 1)
                    registrations = result.operations["full registration"]["count"]
                    table.add("commits per second, busy", column, commits / seconds)
                    table.add("writing requests per commit", column, 2 * registrations / commits)
                    time.sleep(1)
                    others = server.transactions(database) - before - commits
                    table.add("other transactions per commit", column, others / commits)
    table.print()


def growth(work, rounds, seconds):
    columns = [f"{events:,} events" for events in (SMALL, LARGE)]
    tables = {store: Table(f"Growth on {store}", columns) for store in ("SQLite", "PostgreSQL")}
    sqlite = {events: work / f"growth-{events}" for events in (SMALL, LARGE)}
    databases = {}
    with Postgres() as server:
        for events, directory in sqlite.items():
            with Brokers(directory) as brokers:
                brokers.load("register", "--count", str(events // EVENTS_OF_A_REGISTRATION), "--time", "3600")
            databases[events] = server.new_database()
            shared = Brokers(work / f"growth-shared-{events}", 1, server.url(databases[events]))
            migrate(directory, shared)
        for _ in range(rounds):
            for column, events in zip(columns, (SMALL, LARGE)):
                for store, directory, url in (
                    ("SQLite", sqlite[events], None),
                    ("PostgreSQL", work / f"growth-shared-{events}", server.url(databases[events])),
                ):
                    with Brokers(directory, 1, url) as brokers:
                        measure(tables[store], column, brokers, seconds, work, server.pid if url else None)
                        tables[store].add("resident memory of the broker, MiB", column, brokers.resident())
    for table in tables.values():
        table.print()


def migrate(directory, shared):
    source = Brokers(directory).environment(0, free_port())
    environment = source | shared.environment(0, free_port())
    command = [BINARIES / "agentwrit-broker", "migrate"]
    started = time.monotonic()
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"migrate: {run.stdout}{run.stderr}")
    print(f"migrate of {directory.name}: {time.monotonic() - started:.1f} s")


def confirmation(work, rounds, seconds):
    columns = ["SQLite", "PostgreSQL"]
    table = Table("10,000 instances that report without news, every 100 s", columns)
    with Postgres() as server:
        for column, url in zip(columns, (None, server.url(server.new_database()))):
            with Brokers(work / f"confirmation-{column}", 1, url) as brokers:
                pid = server.pid if url else None
                result = brokers.load("reports", "--time", str(4 * seconds), "--health-time", "1", database_pid=pid)
                for operation in ("first report", "report"):
                    row = result.operations[operation]
                    table.add(f"{operation}s per second", column, row["per_second"])
                    table.add(f"{operation}: p99, ms", column, row["p99_ms"])
                table.add("the broker's part of a core, %", column, result.figure("part of a core"))
                time_of_one = result.figure("the broker's processor time per report", "Ed25519")
                table.add("report: broker's processor time / `verify`", column, time_of_one)
                table.add("resident memory of the broker, MiB", column, brokers.resident())
    table.print()
    for package, bench in (("agentwrit-e2e", "revocation"), ("agentwrit-bench", "rotation")):
        print(f"\n### bench {bench}\n", flush=True)
        command = ["cargo", "bench", "--quiet", "--profile", "release", "-p", package, "--bench", bench]
        environment = {**os.environ, "AGENTWRIT_BROKER_BIN": str(BINARIES / "agentwrit-broker")}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)


SECTIONS = {"stores": stores, "statements": statements, "growth": growth, "confirmation": confirmation}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], default=[], metavar="section")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="duration of each measurement")
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    started = time.monotonic()
    print(f"commit {commit.stdout.strip()}, load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="agentwrit-figures-") as work:
        for section in options.sections or SECTIONS:
            SECTIONS[section](pathlib.Path(work), options.rounds, options.seconds)
    print(f"\ntook {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
