"""What deploy/ holds, checked against the real broker and the real tools: metric names, alerts, dashboard, compose files.

scripts/deploy_lint.sh lints; here is what needs a running broker or a second look at the files.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from brokers import PostgresServer
from conftest import ADMIN_SECRET, REPOSITORY, Broker, broker_binary

DEPLOY = REPOSITORY / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yml"
DASHBOARD = DEPLOY / "grafana/agentwrit.json"
# What Prometheus adds to every series, and to alerts.
ADDED = {"instance", "job"}
METRIC = re.compile(r"\b(agentwrit_[a-z_]+)(?:\{([^}]*)\})?")


def rules() -> list[dict]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict:
    return json.loads(DASHBOARD.read_text())


def panels() -> list[dict]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def dashboard_expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.fixture
def exposed(broker: Broker, tmp_path: Path) -> dict[str, set[str]]:
    """Every series that the broker exposes, by name, with its labels: also those that appear with a first event."""
    httpx.post(f"{broker.url}/v1/admin/auth", json={"secret": "not the secret at all"})
    # A key whose owner reports nothing: any point of the curve.
    point = base64.b64encode(bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")).decode()
    broker.admin("POST", "/v1/admin/verifiers", {"name": "records-api", "public_key": point})
    httpx.post(f"{broker.url}/v1/verifiers/reports", content="no report", headers={"Content-Type": "application/jwt"})
    # The store breaks: what it cannot write counts as an error.
    with sqlite3.connect(tmp_path / "data.db") as store:
        store.execute("ALTER TABLE audit_events RENAME TO elsewhere")
    assert httpx.post(f"{broker.url}/v1/admin/auth", json={"secret": ADMIN_SECRET}).is_server_error
    found: dict[str, set[str]] = {}
    for line in httpx.get(f"{broker.url}/v1/metrics").text.splitlines():
        if not line.startswith("#"):
            name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})? \S+", line).groups()
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return found


def test_every_metric_and_label_in_alerts_and_dashboard_is_exposed(exposed: dict[str, set[str]]) -> None:
    expressions = [rule["expr"] for rule in rules()] + dashboard_expressions()
    used = {name for expression in expressions for name, _ in METRIC.findall(expression)}
    assert used <= exposed.keys(), used - exposed.keys()
    for expression in expressions:
        for name, labels in METRIC.findall(expression):
            named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
            assert named <= exposed[name] | ADDED, f"{expression}: {named - exposed[name] - ADDED}"
    # And the other way round: the dashboard leaves no metric out.
    shown = {family(name) for expression in dashboard_expressions() for name, _ in METRIC.findall(expression)}
    assert shown == {family(name) for name in exposed}


def family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


def test_event_types_and_routes_in_expressions_exist() -> None:
    document = (REPOSITORY / "docs/openapi.json").read_text()
    for rule in rules():
        for value in re.findall(r'event_type=~?"([^"]+)"', rule["expr"]):
            for event_type in value.split("|"):
                assert f'"{event_type}"' in document, event_type
    for expression in [rule["expr"] for rule in rules()] + dashboard_expressions():
        for route in re.findall(r'endpoint!?=~?"([^"]+)"', expression):
            assert route in json.loads(document)["paths"], route


def test_every_alert_says_what_it_is_and_has_a_case_that_fires() -> None:
    cases = yaml.safe_load((ALERTS.parent / "alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in cases for case in test.get("alert_rule_test", []) if case.get("exp_alerts")
    } | {
        re.search(r'alertname="(\w+)"', sample["labels"])[1]
        for test in cases
        for case in test.get("promql_expr_test", [])
        for sample in case["exp_samples"]
        if 'alertstate="firing"' in sample["labels"]
    }
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    assert set(names) == fired
    for rule in rules():
        name = rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"see docs: Operators / Alerts / {name}"


def test_the_dashboard_is_whole() -> None:
    board = dashboard()
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "instance"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert grid["x"] + grid["w"] <= 24 and not cells & taken, f"{panel['title']} overlaps"
        taken |= cells
    for panel in panels():
        assert panel["title"] and panel["description"], panel["id"]
        for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            assert source == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"]), panel["title"]


def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    records = [
        {"record": f"panel:{index}", "expr": re.sub(r"\$__rate_interval", "5m", expr).replace("$instance", ".*")}
        for index, expr in enumerate(dashboard_expressions())
    ]
    file = tmp_path / "dashboard.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    said = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(records)} rules found" in said.stdout


@pytest.fixture
def prometheus(broker: Broker, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus with our configuration, its times shortened, that scrapes the broker."""
    home = tmp_path / "prometheus"
    home.mkdir()
    shutil.copy(ALERTS, home)
    config = (DEPLOY / "prometheus/prometheus.yml").read_text()
    config = config.replace("15s", "1s").replace("127.0.0.1:8080", broker.url.removeprefix("http://"))
    (home / "prometheus.yml").write_text(config)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        ["prometheus", f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"]
        + [f"--web.listen-address={address}"],
        stdout=(home / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    yield f"http://{address}"
    process.kill()
    process.wait()


def test_a_real_prometheus_scrapes_the_broker_and_evaluates_every_alert(broker: Broker, prometheus: str) -> None:
    def evaluated() -> dict[str, dict] | None:
        groups = httpx.get(f"{prometheus}/api/v1/rules").json()["data"]["groups"]
        found = {rule["name"]: rule for group in groups for rule in group["rules"]}
        return found if all(rule["health"] != "unknown" for rule in found.values()) else None

    def value(expression: str) -> str | None:
        result = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}).json()["data"]["result"]
        return result[0]["value"][1] if result else None

    wait_until(lambda: value('up{job="agentwrit"}') == "1")
    assert value("agentwrit_active_agents") == "0"
    # The one login was the fixture's.
    assert value('agentwrit_admin_auth_total{status="success"}') == "1"
    found = wait_until(evaluated)
    assert found.keys() == {rule["alert"] for rule in rules()}
    assert {rule["health"] for rule in found.values()} == {"ok"}, found
    assert {name for name, rule in found.items() if rule["state"] == "firing"} == set()
    broker.stop()
    wait_until(lambda: (rule := evaluated()) and rule["AgentWritBrokerDown"]["state"] == "pending")


def wait_until(condition, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := condition():
                return answer
        except (httpx.TransportError, KeyError, json.JSONDecodeError):
            pass
        time.sleep(0.1)
    pytest.fail(f"nothing of the kind within {seconds} s")


@pytest.mark.parametrize("overlay", [None, "tls", "mtls"])
def test_compose_files_are_valid_and_stay_hardened(overlay: str | None, tmp_path: Path) -> None:
    (tmp_path / "broker.env").write_text("AA_ADMIN_SECRET=correct-horse-battery-staple\n")
    files = ["-f", DEPLOY / "compose.yaml", *(["-f", DEPLOY / f"compose.{overlay}.yaml"] if overlay else [])]
    said = subprocess.run(
        ["docker-compose", *files, "config"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "AGENTWRIT_STATE_DIR": str(tmp_path)},
    )
    assert said.returncode == 0, said.stderr
    broker = yaml.safe_load(said.stdout)["services"]["broker"]
    assert broker["read_only"] is True
    assert broker["cap_drop"] == ["ALL"]
    assert broker["security_opt"] == ["no-new-privileges:true"]
    assert broker["user"] == "65532:65532"
    # Compose 1 prints text, Compose 2 an object.
    assert len(broker["ports"]) == 1 and "127.0.0.1" in str(broker["ports"])
    assert "privileged" not in broker and "cap_add" not in broker
    # Everything that it says to the broker is a variable of the broker, and no secret.
    known = subprocess.run([broker_binary(), "--help"], capture_output=True, text=True).stdout
    for name, setting in broker["environment"].items():
        assert f"`{name}`" in known, name
        assert name == "AA_ADMIN_SECRET" or setting == overlay or setting.startswith("/run/tls/"), name
    assert broker["environment"].get("AA_TLS_MODE") == overlay


def test_compose_file_of_several_brokers_is_valid_and_as_hardened_as_that_of_one(tmp_path: Path) -> None:
    (tmp_path / "broker.env").write_text("AA_ADMIN_SECRET=correct-horse-battery-staple\n")
    (tmp_path / "owner.env").write_text("AA_DATABASE_URL=postgres://agentwrit_owner:secret@172.30.78.20/agentwrit\n")
    (tmp_path / "database.env").write_text("AA_DATABASE_URL=postgres://agentwrit_broker:secret@172.30.78.20/agentwrit\n")
    (tmp_path / "postgres.env").write_text("POSTGRES_PASSWORD=secret\n")

    def services(file: str) -> dict:
        said = subprocess.run(
            ["docker-compose", "-f", DEPLOY / file, "config"],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], "AGENTWRIT_STATE_DIR": str(tmp_path)},
        )
        assert said.returncode == 0, said.stderr
        return yaml.safe_load(said.stdout)["services"]

    one, several = services("compose.yaml")["broker"], services("compose.postgres.yaml")
    assert several.keys() == {"broker-1", "broker-2", "haproxy", "postgres", "schema", "key-encryption-key"}
    # Only `schema` has the owner's URL, and brokers wait until it has ended.
    urls = {name: service.get("environment", {}).get("AA_DATABASE_URL", "") for name, service in several.items()}
    assert [name for name, url in urls.items() if "agentwrit_owner" in url] == ["schema"]
    for name in ("broker-1", "broker-2"):
        assert "agentwrit_broker" in urls[name]
        assert several[name]["depends_on"]["schema"]["condition"] == "service_completed_successfully"
    known = subprocess.run([broker_binary(), "--help"], capture_output=True, text=True).stdout
    differs = {"environment", "volumes", "ports", "networks", "depends_on"}
    for name in ("broker-1", "broker-2"):
        assert {key: value for key, value in several[name].items() if key not in differs} == {
            key: value for key, value in one.items() if key not in differs
        }
        for variable in several[name]["environment"]:
            assert f"`{variable}`" in known, variable
    # Only HAProxy can be reached from outside, and only from this machine.
    assert [name for name, service in several.items() if service.get("ports")] == ["haproxy"]
    assert "127.0.0.1" in str(several["haproxy"]["ports"])
    for name, service in several.items():
        assert service["cap_drop"] == ["ALL"] and "no-new-privileges:true" in service["security_opt"], name
    # The addresses that HAProxy, the brokers and the URL of the database name are those of the containers.
    address = {
        name: network["ipv4_address"]
        for name, service in several.items()
        for network in (service.get("networks") or {}).values()
        if network and "ipv4_address" in network
    }
    haproxy = several["haproxy"]["environment"]
    for index in ("1", "2"):
        assert haproxy[f"AGENTWRIT_BROKER_{index}"] == f"{address[f'broker-{index}']}:8080"
        assert several[f"broker-{index}"]["environment"]["AA_TRUSTED_PROXIES"] == f"{address['haproxy']}/32"
    assert f"@{address['postgres']}/agentwrit" in (REPOSITORY / "scripts/stack_up.sh").read_text()


@pytest.fixture
def two_roles(postgres: PostgresServer) -> Iterator[dict[str, str]]:
    """Database and roles as PostgreSQL's container makes them; the URL of each role."""
    passwords = {"agentwrit_owner": "of-the-owner", "agentwrit_broker": "of-the-brokers"}
    host, port = postgres.address.split(":")
    subprocess.run(
        ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", "agentwrit", "-d", "postgres"]
        + ["-f", DEPLOY / "postgres/roles.sql"],
        env={**os.environ} | {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()},
        check=True,
    )
    yield {role: f"postgres://{role}:{word}@{postgres.address}/agentwrit" for role, word in passwords.items()}
    postgres.drop_database("agentwrit")
    for role in passwords:
        postgres.execute(f"DROP ROLE {role}")


def test_brokers_role_of_compose_file_serves_and_can_not_change_the_trail(
    two_roles: dict[str, str], postgres: PostgresServer, tmp_path: Path
) -> None:
    for role, url in two_roles.items():
        assert is_password_of(postgres.execute(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"), url.split(":")[2].split("@")[0])
    compose = yaml.safe_load((DEPLOY / "compose.postgres.yaml").read_text())

    def apply_schema(role: str) -> subprocess.CompletedProcess:
        command = [broker_binary(), *compose["services"]["schema"]["command"]]
        return subprocess.run(command, env={"AA_DATABASE_URL": two_roles[role], "HOME": str(tmp_path)}, capture_output=True, text=True)

    refused = apply_schema("agentwrit_broker")
    assert refused.returncode == 1 and "permission denied" in refused.stderr, refused.stderr
    assert "was created; granted" in apply_schema("agentwrit_owner").stdout
    # A container that is started again finds its work done.
    assert "was up to date; granted" in apply_schema("agentwrit_owner").stdout

    (tmp_path / "key").write_text(secrets.token_hex(32))
    (tmp_path / "key").chmod(0o600)
    broker = Broker(
        tmp_path,
        AA_DATABASE_URL=two_roles["agentwrit_broker"],
        AA_KEY_ENCRYPTION_KEY_PATH=str(tmp_path / "key"),
        AA_STATE_PATH=str(tmp_path / "state"),
        AA_DB_PATH="",
        AA_SIGNING_KEY_PATH="",
    )
    try:
        assert broker.create_app(["read:data:*"]).app_id.startswith("app-")
        assert broker.audit_events("app_registered")
    finally:
        broker.stop()
    for statement in ("DELETE FROM audit_events", "UPDATE revocations SET reason = ''", "DROP TABLE audit_events", "CREATE TABLE t ()"):
        denied = subprocess.run(["psql", two_roles["agentwrit_broker"], "-Xqc", statement], capture_output=True, text=True)
        assert denied.returncode != 0 and ("permission denied" in denied.stderr or "must be owner" in denied.stderr), statement


def is_password_of(verifier: str, password: str) -> bool:
    """Compares a password with what PostgreSQL stores of it (RFC 5802 §3)."""
    iterations, salt, stored = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(\S+)\$(\S+):\S+", verifier).groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    return hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest() == base64.b64decode(stored)


def test_image_holds_no_secret_and_runs_unprivileged() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    instructions = "\n".join(line for line in lines if not line.startswith("#"))
    final = instructions.rsplit("FROM ", 1)[1]
    assert final.startswith("scratch\n")
    assert "SECRET" not in instructions
    assert "USER 65532:65532" in final
    assert '"/usr/local/bin/agentwrit-broker", "health"' in final
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert {".git", "deploy", "certs", "**/*.key", "**/*.env"} <= set(ignored)


def is_ignored(path: Path, patterns: list[str]) -> bool:
    """Applies a `.dockerignore`: the last pattern that matches a path, or a directory above it, decides."""
    ignored = False
    for pattern in patterns:
        deep = pattern.removeprefix("!").removeprefix("**/")
        for above in [path, *path.parents]:
            if above.match(deep) if "**/" in pattern else fnmatch.fnmatch(str(above), deep):
                ignored = not pattern.startswith("!")
    return ignored


def test_context_of_images_holds_the_whole_workspace(tmp_path: Path) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if not is_ignored(Path(name), patterns):
            copy = tmp_path / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy, follow_symlinks=False)
    assert not (tmp_path / "deploy").exists() and not list(tmp_path.rglob("*.pem"))
    # As the builds read it: each member with its targets, by the lock file.
    command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    read = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    names = {package["name"] for package in json.loads(read.stdout)["packages"]}
    for dockerfile in ("deploy/Dockerfile", "examples/medassist/Dockerfile"):
        built = re.findall(r" -p ([\w-]+)", (REPOSITORY / dockerfile).read_text())
        assert built and set(built) <= names


def test_medassist_image_holds_authorities_for_a_language_model() -> None:
    final = (REPOSITORY / "examples/medassist/Dockerfile").read_text().rsplit("\nFROM ", 1)[1]
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    assert final.startswith("scratch\n") and f"COPY --from=build {bundle} {bundle}\n" in final
