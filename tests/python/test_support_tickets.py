"""The support desk in Debian's chromium: every ticket, hostile text, three widths, and what axe-core finds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from brokers import ADMIN_SECRET, Broker
from demos import HeldModel, check, measured, opened, send, support_desk, tool_call

WIDTHS = {"phone": (360, 740), "laptop": (1280, 800), "4k": (3840, 2160)}
HOSTILE = "\"><img src=x onerror=\"document.title='owned'\">\u202egnp.exe" + "x" * 200


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running desk whose model is the planner."""
    program = support_desk(tmp_path_factory.mktemp("desk"), "--expiry", "3")
    yield program.url
    program.stop()


@pytest.fixture
def page(chromium: Chromium, desk: str) -> Iterator[Page]:
    """The page."""
    with opened(chromium, desk) as page:
        yield page


def cards(page: Page, verdict: str) -> list[str]:
    return page.locator(f"#scopes li.{verdict}").all_inner_texts()


def test_refunds_charge_and_tokens_are_rejected_at_the_end(page: Page) -> None:
    send(page, "Charged twice", "Answered, 3 of 3 tokens rejected at the end")
    assert "refunded 24.00 EUR" in page.locator("#reply").inner_text()
    assert cards(page, "refused") == []
    assert page.locator("#agents li").count() == 3
    assert page.locator("#agents li.released").count() == 3
    for text in page.locator("#agents li").all_inner_texts():
        assert "proof: 401 at the service, invalid at the broker" in text


def test_shows_rule_that_refuses_deletion(page: Page) -> None:
    send(page, "Delete my account", "Answered, 3 of 3")
    (card,) = cards(page, "refused")
    assert "refused 403" in card and "delete_account" in card
    assert "requires delete:account:C-2077" in card and "refused by the ticket service" in card


def test_shows_rule_that_refuses_another_customers_balance(page: Page) -> None:
    send(page, "Another customer's data", "Answered, 2 of 2")
    (card,) = cards(page, "refused")
    assert "requires read:billing:C-2041" in card
    assert "your own account only" in page.locator("#reply").inner_text()


def test_stops_borrowed_name_at_identity_gate(page: Page) -> None:
    send(page, "A borrowed name", "Stopped at the identity gate, 1 of 1")
    assert page.locator("#agents li").count() == 1
    assert "is no customer's address" in page.locator("#stream").inner_text()


def test_replies_directly_when_nothing_is_needed(page: Page) -> None:
    send(page, "A word of thanks", "Answered, 1 of 1")
    assert "kind words" in page.locator("#reply").inner_text()
    assert "needs nothing" in page.locator("#stream").inner_text()
    assert page.locator("#agents li").count() == 1


def test_counts_down_until_token_expires(page: Page) -> None:
    page.get_by_role("button", name="Natural expiry", exact=True).click()
    card = page.locator("#agents li")
    expect(card.locator(".state")).to_have_text("active")
    expect(card.locator(".left")).to_have_text(re.compile(r"^[1-3] s left$"))
    expect(card.locator("progress")).to_have_count(1)
    expect(card).to_have_class("expired")
    expect(card.locator(".state")).to_have_text("expired")
    expect(page.locator("#live")).to_contain_text("Token expired by itself, 1 of 1")


def test_refuses_and_runs_nothing_of_hostile_ticket(page: Page) -> None:
    send(page, "Hostile instructions", "Answered, 3 of 3")
    refused = cards(page, "refused")
    assert len(refused) == 4
    assert "above the limit of 9.00 EUR" in refused[0]
    assert "requires write:email:external" in refused[1]
    assert "ceiling" in refused[2] and "refused by the broker" in refused[2]
    assert "onerror" in page.locator("#mail-title").inner_text()
    assert page.title() != "owned"
    assert page.locator("main img, main script").count() == 0


def test_runs_nothing_of_hostile_text_in_own_ticket(page: Page) -> None:
    page.get_by_text("Write a ticket of your own").click()
    page.get_by_label("Sender's address").fill(HOSTILE)
    page.get_by_label("Subject").fill(HOSTILE)
    page.get_by_label("Text", exact=True).fill(HOSTILE * 20)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#live")).to_contain_text("Stopped at the identity gate", timeout=20_000)
    assert page.title() != "owned"
    assert page.locator("main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_sends_ticket_with_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the live stream"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Desk"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text("Answered", timeout=20_000)


def test_shows_error_when_ticket_is_rejected(chromium: Chromium, desk: str) -> None:
    page = chromium.new_page()  # whose console shows the rejection
    page.goto(desk)
    page.get_by_text("Write a ticket of your own").click()
    page.get_by_label("Text", exact=True).fill("   ")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#live")).to_contain_text("a ticket needs a sender")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.close()


def test_shows_events_while_model_has_not_replied(chromium: Chromium, tmp_path: Path) -> None:
    triage = '{"priority": "P3", "category": "billing", "needs_knowledge": false}'
    model = HeldModel(triage, tool_call("customer_profile", customer_id="C-2041"), "Dear **Greta**")
    program = support_desk(tmp_path, **model.settings)
    try:
        with opened(chromium, program.url) as page:
            page.get_by_role("button", name="Charged twice", exact=True).click()
            expect(page.locator("#scopes li")).to_have_count(1)
            assert page.locator("#live").inner_text() == "Running"
            model.release()
            expect(page.locator("#agents li")).to_have_count(2)
            assert page.locator("#live").inner_text() == "Running"
            for _ in range(2):
                model.release()
            expect(page.locator("#live")).to_contain_text("Answered, 2 of 2")
            expect(page.locator("#reply strong")).to_have_text("Greta")
    finally:
        model.stop()
        program.stop()


def test_audit_chain_is_verified_and_operator_revokes_run(chromium: Chromium, tmp_path: Path) -> None:
    model = HeldModel('{"needs_knowledge": false}', tool_call("customer_profile", customer_id="C-2041"), "never")
    program = support_desk(tmp_path, **model.settings)
    try:
        with opened(chromium, program.url) as page:
            page.get_by_role("button", name="Charged twice", exact=True).click()
            model.release()
            expect(page.locator("#agents li")).to_have_count(2)
            page.get_by_role("tab", name="Audit").click()
            expect(page.locator("#chain")).to_contain_text("The chain holds")
            page.get_by_role("tab", name="Operator").click()
            page.get_by_role("button", name="Revoke T-").click()
            expect(page.locator("#revoked")).to_contain_text("Dry run: 1 live token of 1 agent in 1 task")
            page.get_by_role("button", name="Revoke", exact=True).click()
            expect(page.locator("#revoked")).to_have_text("Revoked: 1 live token ended.")
            expect(page.locator("#health div", has_text="live tokens").locator("dd")).to_have_text("0")
            page.get_by_role("tab", name="Desk").click()
            model.release()
            card = page.locator("#scopes li.refused", has_text="customer_profile")
            expect(card).to_contain_text("refused 401")
            expect(page.locator("#agents .revoked .state")).to_have_text("revoked")
            expect(page.locator("#live")).to_contain_text("Stopped by the end of a token, 2 of 2 tokens rejected at the end")
    finally:
        model.stop()
        program.stop()


def test_registers_itself_at_running_broker_and_uses_kept_credentials(chromium: Chromium, tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    try:
        for settings in ({"AGENTWRIT_ADMIN_SECRET": ADMIN_SECRET}, {}):
            program = support_desk(tmp_path, "--broker", broker.url, **settings)
            with opened(chromium, program.url) as page:
                send(page, "Charged twice", "Answered, 3 of 3")
            program.stop()
        apps = broker.admin("GET", "/v1/admin/apps")["apps"]
        assert [app["name"] for app in apps] == ["support-tickets"]
    finally:
        broker.stop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_and_is_accessible(chromium: Chromium, desk: str, tmp_path: Path, width: str, scheme: str) -> None:
    shots = Path(os.environ.get("AGENTWRIT_SCREENSHOTS") or tmp_path)
    with measured(chromium, desk, WIDTHS[width], scheme) as page:
        check(page, shots / f"support-start-{width}-{scheme}.png")
        for ticket, end, name in [
            ("Charged twice", "Answered", "refund"),
            ("Hostile instructions", "Answered", "hostile"),
            ("Natural expiry", "Token expired", "expiry"),
        ]:
            send(page, ticket, end)
            check(page, shots / f"support-{name}-{width}-{scheme}.png")
        for tab in ("Audit", "Operator"):
            page.get_by_role("tab", name=tab).click()
            page.locator("#chain.good" if tab == "Audit" else "#health div").first.wait_for()
            check(page, shots / f"support-{tab.lower()}-{width}-{scheme}.png")
