"""Fixtures: the real broker, and apps that are registered at it by its HTTP interface alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import certifi
import pytest
from agentwrit import AgentWritApp
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import sync_playwright

from brokers import ADMIN_SECRET, REPOSITORY, START_TIMEOUT, Broker, Brokers, Credentials, PostgresServer, broker_binary

__all__ = ["ADMIN_SECRET", "REPOSITORY", "START_TIMEOUT", "Broker", "Credentials", "broker_binary"]


@pytest.fixture(scope="session", autouse=True)
def one_certificate_to_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing here speaks TLS, and httpx would read all of certifi's certificates for every client: 30 ms and more."""
    end = "-----END CERTIFICATE-----\n"
    first, end, _ = Path(certifi.where()).read_text().partition(end)
    file = tmp_path_factory.mktemp("trust") / "first.pem"
    file.write_text(first + end)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A database server, on which each test that asks for several brokers has a database of its own."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture
def broker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker for each test: its rate limits are per address, and all tests share one.

    `AGENTWRIT_BROKERS=3` starts that many on one PostgreSQL database behind HAProxy in its place.
    """
    number = int(os.environ.get("AGENTWRIT_BROKERS", "1"))
    broker = Broker(tmp_path) if number == 1 else Brokers(tmp_path, number, request.getfixturevalue("postgres"))
    yield broker
    broker.stop()


@pytest.fixture
def new_app(broker: Broker) -> Iterator[Callable[..., AgentWritApp]]:
    """Registers an app with a ceiling at the broker and opens the SDK with its credentials."""
    opened: list[AgentWritApp] = []

    def open_app(*scopes: str) -> AgentWritApp:
        credentials = broker.create_app(list(scopes))
        app = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
        opened.append(app)
        return app

    yield open_app
    for app in opened:
        app.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """Debian's chromium. One for each module: while it runs, the module's tests have a running event loop."""
    path = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
