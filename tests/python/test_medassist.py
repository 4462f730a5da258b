"""MedAssist in Debian's chromium: every scenario, the audit chain with a tampered event, the operator, hostile strings, three widths.

AGENTWRIT_DOC_IMAGES=docs/images makes the pictures of the docs.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect, sync_playwright

from brokers import ADMIN_SECRET, REPOSITORY, Broker

AXE = REPOSITORY / "tests/node/node_modules/axe-core/axe.min.js"
WIDTHS = {"phone": (360, 740), "laptop": (1024, 768), "wide": (2560, 1440)}
HOSTILE = "<img src=x onerror=\"document.title='owned'\">\u202egnp.exe" + "x" * 10_000
START_TIMEOUT = 30.0


def program_binary() -> Path:
    binary = Path(os.environ.get("AGENTWRIT_MEDASSIST_BIN") or REPOSITORY / "target/debug/medassist")
    if not binary.is_file():
        pytest.fail(f"no program at {binary}: build it with `cargo build -p medassist`")
    return binary


class MedAssist:
    """The program on a free port. `log` is what it printed."""

    def __init__(
        self, directory: Path, *arguments: str, pace: int = 0, listen: str = "127.0.0.1:0", **settings: str
    ) -> None:
        self._log_path = directory / f"medassist-{time.monotonic_ns()}.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [program_binary(), "--listen", listen, "--pace", str(pace), *arguments],
                cwd=directory, env={"HOME": str(directory), **settings}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )
        self.url = self.printed(r"open (http://\S+)")

    def printed(self, pattern: str) -> str:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if found := re.search(pattern, self._log_path.read_text()):
                return found.group(1)
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        pytest.fail(f"medassist did not start:\n{self._log_path.read_text()}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=START_TIMEOUT)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    path = shutil.which("chromium") or "/usr/bin/chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def medassist(tmp_path: Path) -> Iterator[MedAssist]:
    program = MedAssist(tmp_path)
    yield program
    program.stop()


@pytest.fixture
def page(chromium: Chromium, medassist: MedAssist) -> Iterator[Page]:
    """The Encounter page. An error of the page, or one in its console, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(medassist.url)
    page.get_by_role("button", name="Chart and labs").wait_for()
    yield page
    context.close()
    assert not errors


def play(page: Page, scenario: str) -> list[tuple[str, str]]:
    """Plays a scenario. Returns kind and status of each step."""
    page.get_by_role("button", name=scenario, exact=True).click()
    return finished(page)


def finished(page: Page) -> list[tuple[str, str]]:
    expect(page.locator("#state")).to_contain_text("Complete", timeout=20_000)
    steps = page.eval_on_selector_all("#trace > li", "steps => steps.map(s => [s.dataset.kind, s.dataset.status])")
    return [(kind, status) for kind, status in steps]


def states(page: Page) -> dict[str, str]:
    return dict(page.eval_on_selector_all("#cards > li", "cards => cards.map(c => [c.dataset.key, c.dataset.state])"))


@pytest.mark.parametrize(
    ("scenario", "refused", "cards"),
    [
        ("Chart and labs", 0, {"clinical": "released"}),
        ("Billing and insurance", 0, {"billing": "released"}),
        (
            "Prescription by delegation", 1,
            {"clinical": "released", "prescription": "released", "delegated": "released"},
        ),
        (
            "Full encounter", 1,
            {"clinical": "released", "billing": "released", "prescription": "released", "delegated": "released"},
        ),
        (
            "Severe interaction", 2,
            {"clinical": "released", "prescription": "released", "delegated": "released"},
        ),
        ("Another patient's data", 4, {"clinical": "released", "prescription": "released"}),
        ("Unknown patient", 0, {}),
        (
            "Takeover and revocation", 2,
            {"clinical": "revoked", "delegated": "revoked", "prescription": "released", "billing": "released"},
        ),
    ],
)
def test_plays_scenario(page: Page, scenario: str, refused: int, cards: dict[str, str]) -> None:
    steps = play(page, scenario)
    assert [status for _, status in steps].count("denied") == refused
    assert "error" not in [status for _, status in steps]
    assert states(page) == cards
    assert page.locator("#answer-panel").is_visible() == (scenario != "Unknown patient")


def test_says_that_no_language_model_is_in_use(page: Page) -> None:
    expect(page.locator("#model")).to_contain_text("No language model in use")


def test_shows_rule_of_refusal_and_delegation_tree(page: Page) -> None:
    play(page, "Prescription by delegation")
    rule = page.locator("#trace > .denied .rule")
    expect(rule).to_contain_text("POST /patients/P-1042/prescriptions responded 403")
    expect(rule).to_contain_text("needs write:prescriptions:P-1042 · not held")
    expect(page.locator("#tree > li > ul > li", has_text="clinical").locator("ul > li")).to_contain_text(
        "prescription (delegated write:prescriptions:P-1042)"
    )


def test_counts_down_live_agents_until_operator_revokes(page: Page) -> None:
    page.get_by_label("Request").fill("Read the labs, and prescribe furosemide.")
    page.get_by_label("Leave the agents live").check()
    page.get_by_role("button", name="Run", exact=True).click()
    finished(page)
    assert set(states(page).values()) == {"live"}
    left = page.locator("#cards > li").first.locator(".left")
    first = left.inner_text()
    assert re.fullmatch(r"[45]:\d\d left", first)
    expect(left).not_to_have_text(first)

    page.get_by_role("tab", name="Operator").click()
    page.get_by_role("button", name="Revoke clinical-P-1042…", exact=True).click()
    would_end = "Dry run: 2 live tokens of 2 agents in 1 task would end. Nothing is revoked yet."
    expect(page.locator("#revoked")).to_have_text(would_end)
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#revoked")).to_have_text(would_end)
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator("#revoked")).to_have_text("Revoked: 2 live tokens ended.")
    page.get_by_role("tab", name="Encounter").click()
    expect(page.locator("#cards > [data-state=revoked]")).to_have_count(2)
    assert states(page) == {"clinical": "revoked", "delegated": "revoked", "prescription": "live"}


def test_expired_agent_is_shown_as_expired(page: Page, medassist: MedAssist) -> None:
    def short(route: object, request: object) -> None:
        body = request.post_data_json | {"ttl": 2}  # type: ignore[attr-defined]
        route.continue_(post_data=body)  # type: ignore[attr-defined]

    page.route("**/api/encounters", short)
    page.get_by_label("Leave the agents live").check()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#cards > li")).to_have_attribute("data-state", "expired")


def test_audit_chain_is_verified_in_browser_and_shows_tampered_event(page: Page, medassist: MedAssist) -> None:
    play(page, "Another patient's data")
    page.get_by_role("tab", name="Audit").click()
    expect(page.locator("#chain")).to_contain_text("The chain holds")
    count = int(page.locator("#audit-place").inner_text().split()[4].rstrip(","))
    assert page.locator("#events tr").first.locator("th").inner_text() == f"evt-{count:06}", "the newest first"
    page.get_by_label("Outcome").select_option("denied")
    expect(page.locator("#events tr")).to_have_count(1)
    expect(page.locator("#events tr")).to_contain_text("delegation_attenuation_violation")
    page.get_by_label("Outcome").select_option("")

    database = sqlite3.connect(medassist.printed(r"database is (\S+)"))
    with database:
        assert database.execute("UPDATE audit_events SET detail = 'nothing happened' WHERE seq = 3").rowcount == 1
    database.close()
    page.get_by_role("button", name="Load and verify").click()
    expect(page.locator("#chain")).to_contain_text("The chain is broken at evt-000003: its contents do not have its hash.")
    expect(page.locator("tr.broken th")).to_have_text("evt-000003")


def test_runs_no_hostile_text(page: Page) -> None:
    for patient, request in [(HOSTILE, "chart"), ("P-1042", HOSTILE), ("P-1042", f"Add a note: {HOSTILE[:500]}")]:
        page.get_by_label("or any number").fill(patient)
        page.get_by_label("Request").fill(request)
        page.get_by_role("button", name="Run", exact=True).click()
        finished(page)
        page.eval_on_selector_all("#trace details", "all => all.forEach(d => { d.open = true; })")
        assert page.title() == "MedAssist"
        assert page.locator("#trace img, #answer img").count() == 0
        assert "onerror" in page.locator("#trace").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_stopping_releases_agents(page: Page, chromium: Chromium, tmp_path: Path) -> None:
    slow = MedAssist(tmp_path, pace=400)
    try:
        page.goto(slow.url)
        page.get_by_role("button", name="Chart and labs").click()
        page.locator("#cards > [data-state=live]").wait_for()
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#state")).to_contain_text("Stopped")
        page.get_by_role("tab", name="Operator").click()
        figure = page.locator("#health div", has_text="live tokens").locator("dd")
        deadline = time.monotonic() + 10
        while figure.inner_text() != "0" and time.monotonic() < deadline:
            page.get_by_role("tab", name="Operator").click()
            page.wait_for_timeout(100)
        expect(figure).to_have_text("0")
    finally:
        slow.stop()


def test_uses_running_broker_and_registers_itself_once(chromium: Chromium, tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    try:
        for _ in range(2):
            program = MedAssist(tmp_path, "--broker", broker.url, AGENTWRIT_ADMIN_SECRET=ADMIN_SECRET)
            page = chromium.new_page()
            page.goto(program.url)
            assert ("delegated", "success") in play(page, "Prescription by delegation")
            page.close()
            program.stop()
        apps = broker.admin("GET", "/v1/admin/apps")["apps"]
        assert [app["name"] for app in apps] == ["medassist"]
    finally:
        broker.stop()


def test_says_why_it_does_not_start_without_authorities_for_language_model(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "none.pem").touch()
    settings = {"LLM_BASE_URL": "https://llm.example/v1", "LLM_API_KEY": "k", "LLM_MODEL": "m"}
    no_authorities = {"SSL_CERT_FILE": str(empty / "none.pem"), "SSL_CERT_DIR": str(empty)}
    ran = subprocess.run(
        [program_binary(), "--listen", "127.0.0.1:0"], env=settings | no_authorities, capture_output=True, text=True,
        timeout=START_TIMEOUT,
    )  # fmt: skip
    assert ran.returncode == 1
    assert re.search("the model's server cannot be reached: .*No CA certificates", ran.stderr), ran.stderr


def test_prints_address_to_open_when_it_listens_on_every_address(tmp_path: Path) -> None:
    program = MedAssist(tmp_path, listen="0.0.0.0:0")
    program.stop()
    assert program.url.startswith("http://127.0.0.1:")


def test_is_used_with_keyboard_alone(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-audit").is_visible()
    page.keyboard.press("End")
    assert page.locator("#panel-operator").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-encounter").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_and_are_accessible(
    chromium: Chromium, medassist: MedAssist, tmp_path: Path, width: str, scheme: str
) -> None:
    across, down = WIDTHS[width]
    context = chromium.new_context(
        viewport={"width": across, "height": down}, color_scheme=scheme, reduced_motion="reduce"
    )
    # The policy of the pages forbids scripts of others, which axe-core is.
    context.add_init_script(AXE.read_text())
    page = context.new_page()
    page.goto(medassist.url)
    shots = Path(os.environ.get("AGENTWRIT_SCREENSHOTS") or tmp_path)
    check(page, shots / f"medassist-start-{width}-{scheme}.png")
    page.get_by_label("Leave the agents live").check()
    play(page, "Prescription by delegation")
    check(page, shots / f"medassist-encounter-{width}-{scheme}.png")
    page.get_by_role("tab", name="Audit").click()
    expect(page.locator("#chain")).to_contain_text("The chain holds")
    check(page, shots / f"medassist-audit-{width}-{scheme}.png")
    page.get_by_role("tab", name="Operator").click()
    page.get_by_role("button", name="Revoke clinical-P-1042…", exact=True).click()
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#revoked")).to_contain_text("Dry run")
    check(page, shots / f"medassist-operator-{width}-{scheme}.png")
    context.close()


def check(page: Page, shot: Path) -> None:
    """Asserts that the page is no wider than the window, and that axe-core finds nothing."""
    # The line with the state stays in view: at the top of the page it hides nothing of the picture.
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=shot, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{page.url} is too wide"
    found = page.evaluate("axe.run().then(({violations}) => violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    assert found == [], page.url


def test_makes_pictures_of_docs(chromium: Chromium, medassist: MedAssist, tmp_path: Path) -> None:
    """Makes them in the directory of `AGENTWRIT_DOC_IMAGES`, or in a temporary one."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce")
    page = context.new_page()
    page.goto(medassist.url)
    page.get_by_label("Leave the agents live").check()
    play(page, "Prescription by delegation")
    images = REPOSITORY / os.environ.get("AGENTWRIT_DOC_IMAGES", tmp_path)
    for name in ("Encounter", "Audit", "Operator"):
        page.get_by_role("tab", name=name).click()
        if name == "Audit":
            expect(page.locator("#chain")).to_contain_text("The chain holds")
        if name == "Operator":
            page.get_by_role("button", name="Revoke clinical-P-1042…", exact=True).wait_for()
        page.set_viewport_size({"width": 1280, "height": 1480 if name == "Encounter" else 800})
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=images / f"medassist-{name.lower()}.png")
    context.close()
