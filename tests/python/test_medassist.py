"""MedAssist in Debian's chromium: every scenario, the audit chain with a tampered event, the operator, hostile strings, three widths.

AGENTWRIT_DOC_IMAGES=docs/images makes the pictures of the docs.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from brokers import ADMIN_SECRET, REPOSITORY, Broker, free_port
from demos import START_TIMEOUT, Demo, HeldModel, binary, check, measured, opened, tool_call
from demos import medassist as start

WIDTHS = {"phone": (360, 740), "laptop": (1024, 768), "wide": (2560, 1440)}
#: Each encounter has tasks of its own.
REVOKE_CLINICAL = re.compile("^Revoke clinical-P-1042-[0-9a-f]{8}…$")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">\u202egnp.exe" + "x" * 10_000


@pytest.fixture
def medassist(tmp_path: Path) -> Iterator[Demo]:
    program = start(tmp_path)
    yield program
    program.stop()


@pytest.fixture
def page(chromium: Chromium, medassist: Demo) -> Iterator[Page]:
    """The Encounter page."""
    with opened(chromium, medassist.url) as page:
        page.get_by_role("button", name="Chart and labs").wait_for()
        yield page


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
    page.get_by_role("button", name=REVOKE_CLINICAL).click()
    would_end = "Dry run: 2 live tokens of 2 agents in 1 task would end. Nothing is revoked yet."
    expect(page.locator("#revoked")).to_have_text(would_end)
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#revoked")).to_have_text(would_end)
    page.get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator("#revoked")).to_have_text("Revoked: 2 live tokens ended.")
    page.get_by_role("tab", name="Encounter").click()
    expect(page.locator("#cards > [data-state=revoked]")).to_have_count(2)
    assert states(page) == {"clinical": "revoked", "delegated": "revoked", "prescription": "live"}


def test_expired_agent_is_shown_as_expired(page: Page, medassist: Demo) -> None:
    def short(route: object, request: object) -> None:
        body = request.post_data_json | {"ttl": 2}  # type: ignore[attr-defined]
        route.continue_(post_data=body)  # type: ignore[attr-defined]

    page.route("**/api/encounters", short)
    page.get_by_label("Leave the agents live").check()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#cards > li")).to_have_attribute("data-state", "expired")


def test_audit_chain_is_verified_in_browser_and_shows_tampered_event(page: Page, medassist: Demo) -> None:
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


def test_shows_steps_while_model_has_not_replied(chromium: Chromium, tmp_path: Path) -> None:
    model = HeldModel(tool_call("read_labs", patient_id="P-1042"), "**Raised** NT-proBNP.")
    program = start(tmp_path, **model.settings)
    try:
        with opened(chromium, program.url) as page:
            page.get_by_role("button", name="Chart and labs").click()
            page.locator("#trace > [data-kind=model_started]").wait_for()
            assert page.locator("#trace > li").count() == 3
            model.release()
            page.locator("#trace > [data-kind=tool_allowed]").wait_for()
            assert page.locator("#cards > [data-state=live]").count() == 1
            assert page.locator("#state").inner_text() == "Running …"
            model.release()
            finished(page)
            expect(page.locator("#answer strong")).to_have_text("Raised")
    finally:
        model.stop()
        program.stop()


def test_shows_reply_as_markdown_without_html_and_links(chromium: Chromium, tmp_path: Path) -> None:
    hostile = "[click](javascript:document.title='owned') <img src=x onerror=\"document.title='owned'\"> ![x](http://evil.example/x)"
    model = HeldModel(f"# Findings\n\n- **one**\n- `two`\n\n1. *three*\n\n```\n<b>four</b>\n```\n{hostile}")
    program = start(tmp_path, **model.settings)
    try:
        with opened(chromium, program.url) as page:
            model.release()
            play(page, "Chart and labs")
            answer = page.locator("#answer")
            assert answer.locator("h3").inner_text() == "Findings"
            assert answer.locator("ul > li").all_inner_texts() == ["one", "two"]
            assert answer.locator("ol > li > em").inner_text() == "three"
            assert answer.locator("pre").inner_text().strip() == "<b>four</b>"
            assert answer.locator("p").last.inner_text() == hostile
            assert answer.locator("a, img, b").count() == 0
            assert page.title() == "MedAssist"
    finally:
        model.stop()
        program.stop()


def test_stopping_releases_agents_while_model_hangs(chromium: Chromium, tmp_path: Path) -> None:
    model = HeldModel(tool_call("read_labs", patient_id="P-1042"), "never sent")
    program = start(tmp_path, **model.settings)
    try:
        with opened(chromium, program.url) as page:
            model.release()
            page.get_by_role("button", name="Chart and labs").click()
            page.locator("#cards > [data-state=live]").wait_for()
            page.locator("#trace > [data-kind=tool_allowed]").wait_for()
            page.get_by_role("button", name="Stop").click()
            expect(page.locator("#state")).to_have_text("Stopped: the agents are released.")
            assert states(page) == {"clinical": "released"}
            page.get_by_role("tab", name="Operator").click()
            expect(page.locator("#health div", has_text="live tokens").locator("dd")).to_have_text("0")
    finally:
        model.stop()
        program.stop()


def test_verdict_on_scope_is_shown_where_scope_decided(chromium: Chromium, tmp_path: Path) -> None:
    model = HeldModel(
        tool_call("read_chart", patient_id="P-1042"), tool_call("read_chart", patient_id="P-1042/../P-2077"), "Done."
    )
    program = start(tmp_path, **model.settings)
    try:
        with opened(chromium, program.url) as page:
            for _ in range(3):
                model.release()
            play(page, "Chart and labs")
            page.eval_on_selector_all("#trace details", "all => all.forEach(d => { d.open = true; })")
            expect(page.locator("#trace > .success .rule")).to_contain_text("needs read:records:P-1042 · held")
            expect(page.locator("#trace > .denied .rule")).to_contain_text("needs read:records:P-1042/../P-2077 · not held")
    finally:
        model.stop()
        program.stop()


def test_registers_itself_once_and_again_after_restart_of_both(chromium: Chromium, tmp_path: Path) -> None:
    broker = Broker(tmp_path, AA_PORT=str(port := free_port()))
    for start_number in range(2):
        program = start(tmp_path, "--broker", f"http://127.0.0.1:{port}", AGENTWRIT_ADMIN_SECRET=ADMIN_SECRET)
        with opened(chromium, program.url) as page:
            assert ("delegated", "success") in play(page, "Prescription by delegation")
        program.stop()
        apps = broker.admin("GET", "/v1/admin/apps")["apps"]
        assert [app["name"] for app in apps] == ["medassist"]
        broker.stop()
        if start_number == 0:
            broker = Broker(tmp_path, AA_PORT=str(port))  # with the database of the first


def test_two_instances_at_one_broker_work_side_by_side(chromium: Chromium, tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    programs = []
    try:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            programs.append(start(tmp_path / name, "--broker", broker.url, AGENTWRIT_ADMIN_SECRET=ADMIN_SECRET))
        for program in programs:
            with opened(chromium, program.url) as page:
                assert ("delegated", "success") in play(page, "Prescription by delegation")
                page.get_by_role("tab", name="Operator").click()
                expect(page.locator("#ceiling")).to_contain_text("write:prescriptions:*")
        names = sorted(app["name"] for app in broker.admin("GET", "/v1/admin/apps")["apps"])
        assert names[0] == "medassist" and re.fullmatch(r"medassist-[0-9a-f]{8}", names[1]), names
        kept = tmp_path / "first/.local/state/agentwrit/medassist.json"
        assert kept.stat().st_mode & 0o777 == 0o600
    finally:
        for program in programs:
            program.stop()
        broker.stop()


def test_says_why_it_does_not_start_without_authorities_for_language_model(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "none.pem").touch()
    settings = {"LLM_BASE_URL": "https://llm.example/v1", "LLM_API_KEY": "k", "LLM_MODEL": "m"}
    no_authorities = {"SSL_CERT_FILE": str(empty / "none.pem"), "SSL_CERT_DIR": str(empty)}
    ran = subprocess.run(
        [binary("medassist"), "--listen", "127.0.0.1:0"], env=settings | no_authorities, capture_output=True, text=True,
        timeout=START_TIMEOUT,
    )  # fmt: skip
    assert ran.returncode == 1
    assert re.search("the model's server cannot be reached: .*No CA certificates", ran.stderr), ran.stderr


def test_prints_address_to_open_when_it_listens_on_every_address(tmp_path: Path) -> None:
    program = start(tmp_path, listen="0.0.0.0:0")
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
    chromium: Chromium, medassist: Demo, tmp_path: Path, width: str, scheme: str
) -> None:
    shots = Path(os.environ.get("AGENTWRIT_SCREENSHOTS") or tmp_path)
    with measured(chromium, medassist.url, WIDTHS[width], scheme) as page:
        check(page, shots / f"medassist-start-{width}-{scheme}.png")
        page.get_by_label("Leave the agents live").check()
        play(page, "Prescription by delegation")
        check(page, shots / f"medassist-encounter-{width}-{scheme}.png")
        page.get_by_role("tab", name="Audit").click()
        expect(page.locator("#chain")).to_contain_text("The chain holds")
        check(page, shots / f"medassist-audit-{width}-{scheme}.png")
        page.get_by_role("tab", name="Operator").click()
        page.get_by_role("button", name=REVOKE_CLINICAL).click()
        page.get_by_role("button", name="Dry run").click()
        expect(page.locator("#revoked")).to_contain_text("Dry run")
        check(page, shots / f"medassist-operator-{width}-{scheme}.png")


def test_makes_pictures_of_docs(chromium: Chromium, medassist: Demo, tmp_path: Path) -> None:
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
            page.get_by_role("button", name=REVOKE_CLINICAL).wait_for()
        page.set_viewport_size({"width": 1280, "height": 1480 if name == "Encounter" else 800})
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=images / f"medassist-{name.lower()}.png")
    context.close()
