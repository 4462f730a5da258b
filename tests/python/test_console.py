"""The operator's console in Debian's chromium: what an operator does, at three widths, and what axe-core finds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from agentwrit import AgentWritApp
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect, sync_playwright

from brokers import ADMIN_SECRET, REPOSITORY, Broker

AXE = REPOSITORY / "tests/node/node_modules/axe-core/axe.min.js"
WIDTHS = {"phone": (360, 740), "laptop": (1280, 800), "4k": (3840, 2160)}
PAGES = ("", "/agents", "/revoke", "/apps", "/launch-tokens", "/verifiers", "/keys", "/audit")
HOSTILE = "\"><img src=x onerror=\"document.title='owned'\">\u202egnp.exe" + "x" * 100


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    path = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def console_broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path, AA_CONSOLE="true")
    yield broker
    broker.stop()


@pytest.fixture
def page(chromium: Chromium, console_broker: Broker) -> Iterator[Page]:
    """A page that is signed in. An error of the page, or one in its console, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    sign_in(page, console_broker)
    yield page
    context.close()
    assert not errors


def sign_in(page: Page, broker: Broker) -> None:
    page.goto(f"{broker.url}/console")
    page.get_by_label("Admin secret").fill(ADMIN_SECRET)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Overview").wait_for()


def agents(broker: Broker, *tasks: str) -> list[object]:
    """Registers an agent for each task, by the SDK, with an app of its own."""
    credentials = broker.create_app(["read:data:*"])
    app = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
    registered = [
        app.create_agent("intake", task, [f"read:data:{task}"]) for task in tasks
    ]
    app.close()
    return registered


def test_revokes_agent_after_showing_what_would_end(page: Page, console_broker: Broker) -> None:
    agents(console_broker, "task-1", "task-2")
    page.get_by_role("link", name="Agents").click()
    page.get_by_label("Scope that it allows").fill("read:data:task-1")
    page.get_by_role("button", name="Search").click()
    assert page.get_by_role("status").inner_text() == "1 live agents"
    page.get_by_role("link", name="task-1").click()
    assert "agent_registered" in page.get_by_role("main").inner_text()
    page.get_by_role("link", name="Revoke agent…").click()
    assert page.locator("dl.figures div", has_text="live tokens").locator("dd").inner_text() == "1"
    assert not [event for event in console_broker.audit_events("token_revoked")]
    page.get_by_label("Reason").fill("seen in a browser")
    page.get_by_role("button", name="Revoke now").click()
    page.get_by_text("no enrolled verifier accepts what was revoked").wait_for()
    (event,) = console_broker.audit_events("token_revoked")
    assert "via=console" in event["detail"]
    page.get_by_role("link", name="Agents").click()
    page.get_by_label("State").select_option("all")
    page.get_by_role("button", name="Search").click()
    assert page.locator("tr", has_text="task-1").locator(".tag").inner_text() == "revoked"


def test_registers_app_and_shows_its_secret_once(page: Page, console_broker: Broker) -> None:
    page.get_by_role("link", name="Apps").click()
    page.get_by_text("Register an app").click()
    page.get_by_label("Name").fill("invoice-desk")
    page.get_by_label("Ceiling of its agents' scopes").fill("read:invoices:* write:reminders:*")
    page.get_by_role("button", name="Register").click()
    secret = page.locator(".secret").inner_text()
    assert len(secret) == 64
    page.get_by_role("link", name="I have stored it").click()
    assert secret not in page.content()
    page.get_by_role("button", name="Suspend").click()
    assert page.locator("h1 .tag").inner_text() == "suspended"
    page.get_by_role("button", name="Resume").click()
    assert page.locator("h1 .tag").inner_text() == "active"
    page.get_by_role("button", name="Rotate the secret").click()
    assert page.locator(".secret").inner_text() != secret


def test_overview_refreshes_itself(page: Page, console_broker: Broker) -> None:
    agents(console_broker, "later")
    figure = page.locator("dl.figures div", has_text="live agents").locator("dd")
    expect(figure).to_have_text("1", timeout=15_000)


def test_runs_no_hostile_text(page: Page, console_broker: Broker) -> None:
    policy = {"agent_name": HOSTILE, "allowed_scope": ["read:data:<b>"], "ttl": 600}
    console_broker.admin("POST", "/v1/admin/launch-tokens", policy)
    console_broker.revoke("task", "no-such-task")
    for path in ("/launch-tokens", "/audit", "/agents"):
        page.goto(f"{console_broker.url}/console{path}")
        assert page.title() != "owned"
        assert page.locator("img").count() == 0
    page.goto(f"{console_broker.url}/console/launch-tokens")
    assert "onerror" in page.get_by_role("main").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_is_used_with_keyboard_alone(page: Page, console_broker: Broker) -> None:
    page.goto(f"{console_broker.url}/console")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_and_are_accessible(
    chromium: Chromium, console_broker: Broker, tmp_path: Path, width: str, scheme: str
) -> None:
    agent = agents(console_broker, "task-1", "task-2")[0]
    console_broker.admin("POST", "/v1/admin/launch-tokens", {"agent_name": "reader", "allowed_scope": ["read:data:x"]})
    httpx.post(f"{console_broker.url}/v1/admin/auth", json={"secret": "wrong"})
    console_broker.denials("admin_auth_failed")
    across, down = WIDTHS[width]
    context = chromium.new_context(
        viewport={"width": across, "height": down}, color_scheme=scheme, reduced_motion="reduce"
    )
    # The policy of the pages forbids scripts of others, which axe-core is.
    context.add_init_script(AXE.read_text())
    page = context.new_page()
    page.goto(f"{console_broker.url}/console/sign-in")
    paths = [*PAGES, f"/agent?id={agent.agent_id}", f"/revoke?level=agent&target={agent.agent_id}"]
    shots = Path(os.environ.get("AGENTWRIT_SCREENSHOTS") or tmp_path)
    check(page, shots / f"sign-in-{width}-{scheme}.png")
    sign_in(page, console_broker)
    for path in paths:
        page.goto(f"{console_broker.url}/console{path}")
        name = path.split("?")[0].strip("/") + ("-preview" if path.startswith("/revoke?") else "") or "overview"
        check(page, shots / f"{name}-{width}-{scheme}.png")
    context.close()


def check(page: Page, shot: Path) -> None:
    """Asserts that the page is no wider than the window, and that axe-core finds nothing."""
    page.screenshot(path=shot, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{page.url} is too wide"
    found = page.evaluate("axe.run().then(({violations}) => violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    assert found == [], page.url
