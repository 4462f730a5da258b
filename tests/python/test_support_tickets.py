"""The support desk in Debian's chromium: every ticket, hostile text, three widths, and what axe-core finds."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect, sync_playwright

from brokers import REPOSITORY

AXE = REPOSITORY / "tests/node/node_modules/axe-core/axe.min.js"
WIDTHS = {"phone": (360, 740), "laptop": (1280, 800), "4k": (3840, 2160)}
HOSTILE = "\"><img src=x onerror=\"document.title='owned'\">\u202egnp.exe" + "x" * 200
MODEL_VARIABLES = ("LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL")


def binary() -> Path:
    """The program, in the directory of the broker's binary."""
    built = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug"
    path = Path(os.environ.get("AGENTWRIT_BIN_DIR", built)) / "support-tickets"
    assert path.exists(), f"not built: cargo build -p support-tickets ({path})"
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    path = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def desk() -> Iterator[str]:
    """The address of a running desk whose model is the planner."""
    environment = {name: value for name, value in os.environ.items() if name not in MODEL_VARIABLES}
    command = [str(binary()), "--pace", "0", "--expiry", "3"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        for printed in process.stdout or ():
            if address := re.search(r"http://\S+", printed):
                yield address[0]
                break
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.fixture
def page(chromium: Chromium, desk: str) -> Iterator[Page]:
    """The page. An error of the page, or one in its console, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(desk)
    yield page
    context.close()
    assert not errors


def send(page: Page, ticket: str, end: str) -> None:
    """Sends a prepared ticket and waits for its end."""
    page.get_by_role("button", name=ticket, exact=True).click()
    expect(page.locator("#live")).to_contain_text(end, timeout=20_000)


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
    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_contain_text("Answered", timeout=20_000)


def test_shows_error_when_ticket_is_rejected(chromium: Chromium, desk: str) -> None:
    page = chromium.new_page()
    page.goto(desk)
    page.get_by_text("Write a ticket of your own").click()
    page.get_by_label("Text", exact=True).fill("   ")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#live")).to_contain_text("a ticket needs a sender")
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_and_is_accessible(chromium: Chromium, desk: str, tmp_path: Path, width: str, scheme: str) -> None:
    across, down = WIDTHS[width]
    context = chromium.new_context(
        viewport={"width": across, "height": down}, color_scheme=scheme, reduced_motion="reduce"
    )
    # The policy of the page forbids scripts of others, which axe-core is.
    context.add_init_script(AXE.read_text())
    page = context.new_page()
    page.goto(desk)
    shots = Path(os.environ.get("AGENTWRIT_SCREENSHOTS") or tmp_path)
    check(page, shots / f"support-start-{width}-{scheme}.png")
    for ticket, end, name in [
        ("Charged twice", "Answered", "refund"),
        ("Hostile instructions", "Answered", "hostile"),
        ("Natural expiry", "Token expired", "expiry"),
    ]:
        send(page, ticket, end)
        check(page, shots / f"support-{name}-{width}-{scheme}.png")
    context.close()


def check(page: Page, shot: Path) -> None:
    """Asserts that the page is no wider than the window, and that axe-core finds nothing."""
    # The header stays in view: at the top of the page it hides nothing of the picture.
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=shot, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "too wide"
    found = page.evaluate("axe.run().then(({violations}) => violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    assert found == []
