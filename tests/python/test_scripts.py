"""The operator's scripts: certificates, and a stack without containers (`stack_up.sh --local`) as an operator would use it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import REPOSITORY, broker_binary

Run = Callable[..., subprocess.CompletedProcess]


def run(*command: str | Path, **variables: str) -> subprocess.CompletedProcess:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=60, cwd="/"
    )


def certificates(*arguments: str | Path) -> subprocess.CompletedProcess:
    return run(REPOSITORY / "scripts/gen_test_certs.sh", *arguments)


def text_of(certificate: Path) -> str:
    return run("openssl", "x509", "-in", certificate, "-noout", "-text").stdout


def test_certificates_are_what_they_say(tmp_path: Path) -> None:
    said = certificates("--out", tmp_path / "c", "--client", "prometheus", "broker.example.com", "10.0.0.7", "fd00::7")
    assert said.returncode == 0, said.stderr
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "c").iterdir()}
    assert modes == {f"{name}.{kind}": mode for name in ("ca", "server", "client") for kind, mode in (("key", 0o600), ("crt", 0o644))}

    authority, server, client = (text_of(tmp_path / f"c/{name}.crt") for name in ("ca", "server", "client"))
    for text in (authority, server, client):
        assert "prime256v1" in text and "ecdsa-with-SHA256" in text
    assert "CA:TRUE, pathlen:0" in authority and "Certificate Sign, CRL Sign" in authority
    for text, use in ((server, "TLS Web Server Authentication"), (client, "TLS Web Client Authentication")):
        assert "CA:FALSE" in text and "Digital Signature\n" in text
        assert re.findall(r"Extended Key Usage: \n +(.*)", text) == [use]
    names = re.search(r"Subject Alternative Name: \n +(.*)", server)[1]
    assert names == (
        "DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, "
        "DNS:broker.example.com, IP Address:10.0.0.7, IP Address:FD00:0:0:0:0:0:0:7"
    )
    assert "CN = prometheus" in client
    within = lambda days: run("openssl", "x509", "-in", tmp_path / "c/server.crt", "-noout", "-checkend", str(days * 86400))
    assert within(29).returncode == 0 and within(31).returncode == 1


def test_certificates_are_not_overwritten_unasked(tmp_path: Path) -> None:
    assert certificates("--out", tmp_path).returncode == 0
    files = lambda: {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    first = files()
    refused = certificates("--out", tmp_path)
    assert refused.returncode == 1 and "is there already" in refused.stderr and files() == first

    assert certificates("--out", tmp_path, "--renew").returncode == 0
    renewed = files()
    assert {name for name in first if first[name] == renewed[name]} == {"ca.crt", "ca.key"}
    assert certificates("--out", tmp_path, "--force").returncode == 0
    assert not any(renewed[name] == content for name, content in files().items())


@pytest.mark.parametrize(
    "arguments",
    [["--days", "0"], ["--days", "91"], ["--days"], ["--client", "a/b"], ["not a name"], ["1.2.3.4,DNS:evil"]]
    + [["--renew", "--force"], ["--bogus"]],
)
def test_certificates_refuse_what_they_do_not_understand(arguments: list[str], tmp_path: Path) -> None:
    refused = certificates("--out", tmp_path / "c", *arguments)
    assert refused.returncode == 2 and "scripts/gen_test_certs.sh [options]" in refused.stderr
    assert not (tmp_path / "c").exists()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Run]:
    """`stack("up", …)` and `stack("down", …)` with a state of its own; what still runs at the end is stopped."""
    state = tmp_path / "state"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def call(which: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        settings = {"AGENTWRIT_STATE_DIR": str(state), "AGENTWRIT_BROKER_BIN": broker_binary(), "AGENTWRIT_PORT": port}
        return run(REPOSITORY / f"scripts/stack_{which}.sh", *arguments, **(settings | variables))

    call.state, call.port = state, port
    yield call
    if (state / "broker.pid").exists():
        call("down")


def test_a_stack_goes_up_answers_and_goes_down_with_its_data_kept(stack: Run) -> None:
    up = stack("up", "--local")
    assert up.returncode == 0, up.stderr
    assert f"http://localhost:{stack.port}" in up.stdout
    secret = (stack.state / "broker.env").read_text()
    assert re.fullmatch(r"AA_ADMIN_SECRET=[0-9a-f]{64}\n", secret)
    assert stat.S_IMODE(stack.state.stat().st_mode) == 0o700
    for file in stack.state.rglob("*"):
        assert file.is_dir() or stat.S_IMODE(file.stat().st_mode) == 0o600, file
    # The secret is in no argument and no variable that others could read.
    assert secret.split("=")[1].strip() not in up.stdout
    # What it prints can be pasted.
    pasted = "\n".join(line for line in up.stdout.splitlines() if line.startswith("  "))
    assert '"access_token"' in run("bash", "-euc", pasted).stdout

    again = stack("up", "--local")
    assert again.returncode == 1 and "runs already" in again.stderr
    keys = httpx.get(f"http://localhost:{stack.port}/.well-known/jwks.json").json()
    down = stack("down")
    assert down.returncode == 0 and "the data is kept" in down.stdout, down.stderr
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://localhost:{stack.port}/v1/health")

    assert stack("up", "--local").returncode == 0
    assert httpx.get(f"http://localhost:{stack.port}/.well-known/jwks.json").json() == keys
    unasked = stack("down", "--volumes")
    assert unasked.returncode == 1 and "say --yes" in unasked.stderr
    assert httpx.get(f"http://localhost:{stack.port}/v1/health").status_code == 200
    assert stack("down", "--volumes", "--yes").returncode == 0
    assert sorted(file.name for file in stack.state.iterdir()) == ["broker.env", "broker.log"]


@pytest.mark.parametrize("mode", ["tls", "mtls"])
def test_a_stack_speaks_tls(stack: Run, mode: str) -> None:
    up = stack("up", "--local", f"--{mode}")
    assert up.returncode == 0, up.stderr
    pasted = "\n".join(line for line in up.stdout.splitlines() if line.startswith("  "))
    assert '"access_token"' in run("bash", "-euc", pasted).stdout
    bare = run("curl", "-sS", "--cacert", stack.state / "certs/ca.crt", f"https://localhost:{stack.port}/v1/health")
    assert (bare.returncode == 0) == (mode == "tls"), bare.stderr
    # The broker gets neither the authority's key nor the client's.
    assert sorted(file.name for file in (stack.state / "tls").iterdir()) == ["client-ca.crt", "server.crt", "server.key"]
    assert stack("down").returncode == 0


def test_a_stack_says_what_is_wrong(stack: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(stack.port)))
        taken.listen()
        said = stack("up", "--local")
        assert said.returncode == 1 and "listens on port" in said.stderr
    (stack.state / "broker.env").write_text("AA_ADMIN_SECRET=short\n")
    said = stack("up", "--local")
    assert said.returncode == 1 and "AA_ADMIN_SECRET" in said.stderr, said.stderr
    for arguments in (["--tls", "--mtls"], ["--postgres", "--tls"], ["--postgres", "--local"], ["--port"], ["--port", "0"], ["--bogus"]):
        assert stack("up", *arguments).returncode == 2, arguments

    # Neither Docker nor Podman in sight.
    bare = tmp_path / "bin"
    bare.mkdir()
    for tool in ("bash", "sed", "dirname", "mkdir", "chmod", "openssl", "curl", "env"):
        (bare / tool).symlink_to(shutil.which(tool))
    said = stack("up", PATH=str(bare))
    assert said.returncode == 1 and "--local" in said.stderr, said.stderr


def test_a_stack_asks_the_compose_command_for_the_right_files(stack: Run, tmp_path: Path) -> None:
    """A stand-in for Compose notes what it is asked: containers cannot run everywhere that these tests do."""
    compose = tmp_path / "compose"
    compose.write_text(f'#!/bin/sh\necho "$AGENTWRIT_PORT $@" >>{tmp_path}/asked\n')
    compose.chmod(0o755)
    variables = {"AGENTWRIT_COMPOSE": str(compose)}
    said = stack("up", "--mtls", "--build", "--timeout", "1", **variables)
    assert said.returncode == 1 and "not healthy after 1 seconds" in said.stderr, said.stderr
    assert stack("down", "--volumes", "--yes", **variables).returncode == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"{stack.port} -p agentwrit -f deploy/compose.yaml -f deploy/compose.mtls.yaml up -d --build",
        f"{stack.port} -p agentwrit -f deploy/compose.yaml logs",
        f"{stack.port} -p agentwrit -f deploy/compose.yaml down --volumes",
    ]


def test_stack_of_several_brokers_is_a_project_of_its_own(stack: Run, tmp_path: Path) -> None:
    compose = tmp_path / "compose"
    compose.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    compose.chmod(0o755)
    variables = {"AGENTWRIT_COMPOSE": str(compose)}
    assert stack("up", "--postgres", "--timeout", "1", **variables).returncode == 1
    assert stack("down", "--postgres", **variables).returncode == 0
    assert (tmp_path / "asked").read_text().splitlines() == [
        "-p agentwrit-several -f deploy/compose.postgres.yaml up -d",
        "-p agentwrit-several -f deploy/compose.postgres.yaml logs",
        "-p agentwrit-several -f deploy/compose.postgres.yaml down",
    ]
    # PostgreSQL gets every password; the URL of each role is in a file of its own. All are closed to others.
    files = {name: (stack.state / name).read_text() for name in ("postgres.env", "owner.env", "database.env")}
    names = ("POSTGRES", "AGENTWRIT_OWNER", "AGENTWRIT_BROKER")
    made = re.fullmatch("".join(rf"{name}_PASSWORD=([0-9a-f]{{64}})\n" for name in names), files["postgres.env"])
    assert len({*made.groups()}) == 3
    for file, role, password in (("owner.env", "agentwrit_owner", made[2]), ("database.env", "agentwrit_broker", made[3])):
        assert files[file] == f"AA_DATABASE_URL=postgres://{role}:{password}@172.30.78.20/agentwrit?sslmode=disable\n"
    assert all(stat.S_IMODE((stack.state / name).stat().st_mode) == 0o600 for name in files)
    # A second start keeps them: the database has that password.
    assert stack("up", "--postgres", "--timeout", "1", **variables).returncode == 1
    assert files == {name: (stack.state / name).read_text() for name in files}
