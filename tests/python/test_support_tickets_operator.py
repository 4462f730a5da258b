"""The support desk beside a running broker: registration, its end, and the audit and operator panels in Debian's chromium.

AGENTWRIT_DOC_IMAGES=docs/images makes the pictures of the docs.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from brokers import ADMIN_SECRET, REPOSITORY, Broker, free_port
from demos import Demo, check, measured, opened, send, support_desk

WIDTHS = {"phone": (360, 740), "laptop": (1280, 800), "4k": (3840, 2160)}


def start_desk(directory: Path, broker_url: str, *arguments: str) -> Demo:
    directory.mkdir(exist_ok=True)
    return support_desk(directory, "--broker", broker_url, *arguments, AGENTWRIT_ADMIN_SECRET=ADMIN_SECRET)


def events(url: str, ticket: str, last: str = "finished") -> Iterator[dict[str, Any]]:
    """Starts a prepared ticket, and yields its events up to the first of type `last`."""
    run = httpx.post(f"{url}/runs", json={"ticket": ticket}).raise_for_status().json()["run"]
    with httpx.stream("GET", f"{url}/runs/{run}/events", timeout=30) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                yield event
                if event["type"] == last:
                    return


def outcome(url: str, ticket: str) -> tuple[str, int, int]:
    *_, end = events(url, ticket)
    return end["outcome"], end["tokens"], end["rejected"]


def live_agents(broker: Broker) -> list[str]:
    tokens = broker.admin("GET", "/v1/admin/tokens?state=live&limit=1000")["tokens"]
    return [token["sub"] for token in tokens if token["sub"].startswith("spiffe://")]


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def desk(own_broker: Broker, tmp_path: Path) -> Iterator[str]:
    """The address of a desk at the broker, with tokens that expire after 30 s if nothing ends them."""
    program = start_desk(tmp_path / "desk", own_broker.url, "--expiry", "30")
    yield program.url
    program.stop()


def test_desk_that_starts_before_its_broker_waits_for_it(tmp_path: Path) -> None:
    port = free_port()
    waiting, url = r"(waiting for the broker at http://127\.0\.0\.1)", f"http://127.0.0.1:{port}"
    secret = {"AGENTWRIT_ADMIN_SECRET": ADMIN_SECRET}
    desk = Demo(tmp_path, "support-tickets", waiting, "--pace", "0", "--broker", url, **secret)
    broker = Broker(tmp_path, AA_PORT=str(port))
    try:
        assert outcome(desk.printed(r"Support desk at (http://\S+)"), "refund") == ("answered", 3, 3)
        desk.stop()
    finally:
        broker.stop()


def test_sigterm_during_run_leaves_no_agent_live(own_broker: Broker, tmp_path: Path) -> None:
    program = start_desk(tmp_path / "desk", own_broker.url, "--expiry", "300")
    *_, waiting = events(program.url, "expiry", last="waiting")
    assert waiting["role"] == "triage"
    assert len(live_agents(own_broker)) == 1
    program.stop()
    assert live_agents(own_broker) == []


def test_desks_and_foreign_app_of_same_name_keep_their_secrets(own_broker: Broker, tmp_path: Path) -> None:
    foreign = own_broker.admin("POST", "/v1/admin/apps", {"name": "support-tickets", "scopes": ["read:invoices:*"]})
    first = start_desk(tmp_path / "first", own_broker.url)
    second = start_desk(tmp_path / "second", own_broker.url)
    assert [outcome(desk.url, "refund") for desk in (first, second)] == [("answered", 3, 3)] * 2
    first.stop()
    first = start_desk(tmp_path / "first", own_broker.url)
    assert [outcome(desk.url, "refund") for desk in (first, second)] == [("answered", 3, 3)] * 2
    first.stop()
    second.stop()

    apps = own_broker.admin("GET", "/v1/admin/apps")["apps"]
    assert len(apps) == 3, "the restarted desk has kept its app"
    assert all(re.fullmatch(r"support-tickets(-[0-9a-f]{8})?", app["name"]) for app in apps)
    (kept,) = [app for app in apps if app["app_id"] == foreign["app_id"]]
    assert kept["scopes"] == ["read:invoices:*"]
    credentials = {"client_id": foreign["client_id"], "client_secret": foreign["client_secret"]}
    assert httpx.post(f"{own_broker.url}/v1/app/auth", json=credentials).status_code == 200


@pytest.fixture
def page(chromium: Chromium, desk: str) -> Iterator[Page]:
    """The page."""
    with opened(chromium, desk) as page:
        yield page


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    if name == "Audit":
        expect(page.locator("#chain")).not_to_have_text(re.compile("^(Not verified|Loading)"))
    if name == "Operator":
        expect(page.locator("#health dd").first).to_have_text("ok")


def test_audit_is_verified_in_browser_and_shows_tampered_event(page: Page, tmp_path: Path) -> None:
    send(page, "A borrowed name", "Stopped at the identity gate")
    open_tab(page, "Audit")
    expect(page.locator("#chain")).to_contain_text("The chain holds")
    shown = page.locator("#events th").all_inner_texts()
    assert shown == sorted(shown, reverse=True) and shown[-1] == "evt-000001", "the newest first"
    page.get_by_label("Type").select_option("agent_registered")
    expect(page.locator("#events tr")).to_have_count(1)
    page.get_by_label("Type").select_option("")
    page.get_by_label("Contains").fill("no such text")
    expect(page.locator("#audit-place")).to_have_text("No event matches.")
    page.get_by_label("Contains").fill("")

    database = sqlite3.connect(tmp_path / "data.db")
    with database:
        assert database.execute("UPDATE audit_events SET detail = 'nothing happened' WHERE seq = 2").rowcount == 1
    database.close()
    page.get_by_role("button", name="Load and verify").click()
    expect(page.locator("#chain")).to_contain_text("The chain is broken at evt-000002: its contents do not have its hash.")
    expect(page.locator("tr.broken th")).to_have_text("evt-000002")


def test_operator_ends_run_by_revoking_its_agent(page: Page) -> None:
    page.get_by_role("button", name="Natural expiry", exact=True).click()
    expect(page.locator("#agents .state")).to_have_text("active")
    open_tab(page, "Operator")
    assert page.locator("#ceiling code").count() == 8
    row = page.locator("#holders tr")
    expect(row).to_contain_text("read:tickets:T-1001")
    row.get_by_role("button", name="Revoke T-1001-").click()
    assert page.get_by_label("Target").input_value().startswith("spiffe://agentwrit.local/agent/support/T-1001-")
    would_end = "Dry run: 1 live token of 1 agent in 1 task would end. Nothing is revoked yet."
    expect(page.locator("#revoked")).to_have_text(would_end)
    expect(row).to_have_count(1)
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator("#revoked")).to_have_text("Revoked: 1 live token ended.")
    expect(row).to_have_count(0)
    open_tab(page, "Desk")
    expect(page.locator("#agents .state")).to_have_text("revoked")
    expect(page.locator("#live")).to_contain_text("Stopped by the end of a token, 1 of 1 tokens rejected at the end")
    assert page.locator("#reply").inner_text() == ""
    open_tab(page, "Audit")
    page.get_by_label("Contains").fill("T-1001")
    expect(page.locator("#events")).to_contain_text("revoked")


def test_live_list_follows_run_and_keeps_focus(page: Page, desk: str) -> None:
    open_tab(page, "Operator")
    expect(page.locator("#holders-count")).to_have_text("No agent of this app holds a live token.")
    *_, _ = events(desk, "expiry", last="waiting")
    revoke = page.locator("#holders").get_by_role("button", name="Revoke T-1001-")
    revoke.focus()
    count = page.locator("#health div", has_text="audit events").locator("dd")
    first = count.inner_text()
    *_, _ = events(desk, "expiry", last="waiting")
    expect(count).not_to_have_text(first)
    expect(page.locator("#holders tr")).to_have_count(2)
    expect(revoke).to_be_focused()


def test_shows_that_operators_secret_is_missing(chromium: Chromium, own_broker: Broker, tmp_path: Path) -> None:
    app = own_broker.create_app(["read:tickets:*"])
    credentials = {"AGENTWRIT_CLIENT_ID": app.client_id, "AGENTWRIT_CLIENT_SECRET": app.client_secret}
    program = support_desk(tmp_path, "--broker", own_broker.url, **credentials)
    page = chromium.new_page()
    page.goto(program.url)
    page.get_by_role("tab", name="Operator").click()
    expect(page.locator("#operator-error")).to_contain_text("start it with AGENTWRIT_ADMIN_SECRET")
    page.get_by_role("tab", name="Audit").click()
    expect(page.locator("#chain")).to_contain_text("start it with AGENTWRIT_ADMIN_SECRET")
    page.close()
    program.stop()


def test_tabs_are_used_with_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("tab", name="Desk")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-audit")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator("#panel-operator")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-desk")).to_be_visible()


def prepare(page: Page) -> None:
    """Leaves a run whose agent lives, after one with refusals."""
    send(page, "Hostile instructions", "Answered")
    page.get_by_role("button", name="Natural expiry", exact=True).click()
    expect(page.locator("#agents .state")).to_have_text("active")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_panels_fit_and_are_accessible(chromium: Chromium, desk: str, tmp_path: Path, width: str, scheme: str) -> None:
    shots = Path(os.environ.get("AGENTWRIT_SCREENSHOTS") or tmp_path)
    with measured(chromium, desk, WIDTHS[width], scheme) as page:
        prepare(page)
        for name in ("Audit", "Operator"):
            open_tab(page, name)
            if name == "Operator":
                page.locator("#holders").get_by_role("button", name="Revoke T-").click()
                expect(page.locator("#revoked")).to_contain_text("Dry run")
            check(page, shots / f"support-live-{name.lower()}-{width}-{scheme}.png")


def test_makes_pictures_of_docs(chromium: Chromium, desk: str, tmp_path: Path) -> None:
    """Makes them in the directory of `AGENTWRIT_DOC_IMAGES`, or in a temporary one."""
    images = REPOSITORY / os.environ.get("AGENTWRIT_DOC_IMAGES", tmp_path)
    with measured(chromium, desk, (1280, 800), "light") as page:
        prepare(page)
        for name in ("Audit", "Operator"):
            open_tab(page, name)
            page.screenshot(path=images / f"support-{name.lower()}.png")
