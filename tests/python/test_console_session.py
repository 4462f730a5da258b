"""The end of a session as its pages show it, in Debian's chromium, with a broker whose clock the test moves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from brokers import ADMIN_SECRET, Broker
from test_console import sign_in

ENDED = "The session has ended: 15 minutes passed without a request"
MINUTE = 60


class MovedClock:
    """The clocks of a process, wall and monotonic, by Debian's `faketime`."""

    def __init__(self, file: Path) -> None:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        self._file = file
        self.move(0)
        self.settings = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}

    def move(self, minutes: int) -> None:
        """Sets the clocks ahead of the true time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"+{minutes * MINUTE}\n")
        os.replace(fresh, self._file)


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path / "clock")


@pytest.fixture
def moved_broker(tmp_path: Path, clock: MovedClock) -> Iterator[Broker]:
    broker = Broker(tmp_path, AA_CONSOLE="true", **clock.settings)
    yield broker
    broker.stop()


@pytest.fixture
def page(chromium: Chromium, moved_broker: Broker) -> Iterator[Page]:
    """A page that is signed in, and whose own clock the test moves too."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.clock.install()
    sign_in(page, moved_broker)
    yield page
    context.close()


def expect_end(page: Page, following: str) -> None:
    """Expects the sign-in page, which says why, and leads back to the page that was left."""
    page.get_by_role("status").get_by_text(ENDED).wait_for()
    page.get_by_label("Admin secret").fill(ADMIN_SECRET)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(following)


def test_idle_page_leads_to_sign_in_and_back(page: Page, moved_broker: Broker, clock: MovedClock) -> None:
    here = f"{moved_broker.url}/console/agents?task=task-1"
    page.goto(here)
    clock.move(14)
    with page.expect_response("**/console/session") as asked:
        page.clock.fast_forward("15:02")
    assert (asked.value.status, int(asked.value.text()) <= MINUTE) == (200, True), "the session has a minute left"
    clock.move(15)
    page.clock.fast_forward("01:02")
    expect_end(page, here)


def test_page_stays_while_another_one_is_used(page: Page, moved_broker: Broker, clock: MovedClock) -> None:
    page.goto(f"{moved_broker.url}/console/keys")
    other = page.context.new_page()
    clock.move(10)
    other.goto(f"{moved_broker.url}/console/agents")
    clock.move(20)
    with page.expect_response("**/console/session") as asked:
        page.clock.fast_forward("15:02")
    assert asked.value.status == 200
    page.get_by_role("heading", name="Signing keys").wait_for()
    clock.move(26)
    page.clock.fast_forward("15:02")
    expect_end(page, f"{moved_broker.url}/console/keys")


@pytest.mark.parametrize("path", ["", "/audit", "/verifiers"])
def test_page_that_follows_news_keeps_no_session_alive(
    page: Page, moved_broker: Broker, clock: MovedClock, path: str
) -> None:
    here = f"{moved_broker.url}/console{path}"
    page.goto(here)
    for minutes in (5, 10, 14):
        clock.move(minutes)
        with page.expect_response(lambda response: response.url == here) as refreshed:
            httpx.post(f"{moved_broker.url}/v1/admin/auth", json={"secret": "wrong"})
            page.clock.run_for(6_000)
        assert refreshed.value.status == 200
    clock.move(16)
    expect_end(page, here)


def test_link_and_form_of_ended_session(page: Page, moved_broker: Broker, clock: MovedClock) -> None:
    page.goto(f"{moved_broker.url}/console/keys")
    clock.move(16)
    kids = page.locator("tbody tr").count()
    page.get_by_role("button", name="Rotate", exact=True).click()
    page.get_by_text("the session has ended; nothing was done").wait_for()
    page.get_by_role("link", name="Go to the overview").click()
    expect_end(page, f"{moved_broker.url}/console")
    page.get_by_role("link", name="Keys").click()
    expect(page.locator("tbody tr")).to_have_count(kids)


def test_page_that_only_a_form_leads_to_is_left(page: Page, moved_broker: Broker, clock: MovedClock) -> None:
    page.goto(f"{moved_broker.url}/console/audit")
    page.get_by_role("button", name="Verify the chain").click()
    page.get_by_text("are linked without a break").wait_for()
    clock.move(16)
    page.clock.fast_forward("15:02")
    # A form alone leads to that page.
    expect_end(page, f"{moved_broker.url}/console")
