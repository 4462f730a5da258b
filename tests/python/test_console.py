"""The operator's console in Debian's chromium: what an operator does, at three widths, and what axe-core finds."""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from agentwrit import AgentWritApp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from brokers import ADMIN_SECRET, REPOSITORY, Broker
from test_proofs import Service

AXE = REPOSITORY / "tests/node/node_modules/axe-core/axe.min.js"
WIDTHS = {"phone": (360, 740), "laptop": (1280, 800), "4k": (3840, 2160)}
PAGES = ("", "/agents", "/revoke", "/apps", "/launch-tokens", "/trust-rules", "/verifiers", "/keys", "/audit")
HOSTILE = "\"><img src=x onerror=\"document.title='owned'\">\u202egnp.exe" + "x" * 100
#: Pictures of the documentation. `AGENTWRIT_PICTURES=1` makes them anew.
IMAGES = REPOSITORY / "docs/images"


@pytest.fixture
def console_broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path, AA_CONSOLE="true")
    yield broker
    broker.stop()


@pytest.fixture
def errors() -> list[str]:
    return []


@pytest.fixture
def page(chromium: Chromium, console_broker: Broker, errors: list[str]) -> Iterator[Page]:
    """A page that is signed in. An error of the page, or one in its console, fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
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
    assert page.get_by_role("status").inner_text() == "1 live agent"
    page.get_by_role("link", name="task-1", exact=True).click()
    assert "agent_registered" in page.get_by_role("main").inner_text()
    page.get_by_role("link", name="Revoke agent…").click()
    assert page.locator("dl.figures div", has_text="live tokens").locator("dd").inner_text() == "1"
    assert not [event for event in console_broker.audit_events("token_revoked")]
    page.get_by_label("Reason").fill("seen in a browser")
    page.get_by_role("button", name="Revoke now").click()
    page.get_by_text("No instance of an enrolled verifier reports").wait_for()
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


def enrol(broker: Broker, directory: Path, name: str) -> tuple[str, Path]:
    """Makes the key of a verifier. Returns its public half and its file."""
    key, path = Ed25519PrivateKey.generate(), directory / f"{name}.pem"
    path.touch(0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return base64.b64encode(key.public_key().public_bytes_raw()).decode(), path


def tab_to(page: Page, name: str) -> None:
    """Moves the focus forward, in the order of the document, until it is at the element of this name."""
    steps = """([name, last]) => {
        const at = document.activeElement, style = getComputedStyle(at);
        const isLater = !last || last.isSameNode(document.body)
            || Boolean(last.compareDocumentPosition(at) & Node.DOCUMENT_POSITION_FOLLOWING);
        const label = at.labels?.[0] ?? at;
        return [label.innerText.trim() === name, isLater, parseFloat(style.outlineWidth) >= 2 && style.outlineStyle];
    }"""
    for _ in range(60):
        last = page.evaluate_handle("document.activeElement")
        page.keyboard.press("Tab")
        found, is_later, outline = page.evaluate(steps, [name, last])
        assert is_later, f"the focus went back on the way to {name}"
        assert outline == "solid", f"the focus is not visible on the way to {name}"
        if found:
            return
    pytest.fail(f"{name} is not reached with the keyboard")


def test_confirmation_arrives_live_from_enrolled_verifier_by_keyboard_alone(
    page: Page, console_broker: Broker, tmp_path: Path
) -> None:
    public, key = enrol(console_broker, tmp_path, "records-api")
    page.get_by_role("link", name="Verifiers").click()
    page.get_by_text("Enrol a verifier").click()
    page.get_by_label("Name", exact=True).fill("records-api")
    page.get_by_label("Ed25519 key").fill(public)
    page.get_by_label("Largest bound").fill("60")
    page.get_by_role("button", name="Enrol").click()
    service = Service(tmp_path, console_broker.url, "--verifier", "records-api", "--key", str(key))
    try:
        page.get_by_role("table", name="Instances of records-api").wait_for()
        picture(page, "verifiers")
        (agent,) = agents(console_broker, "task-1")
        page.goto(f"{console_broker.url}/console")
        tab_to(page, "Agents")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Agents").wait_for()
        tab_to(page, "task-1")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="task-1").wait_for()
        tab_to(page, "Revoke agent…")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="What would end now").wait_for()
        os.kill(service._process.pid, signal.SIGSTOP)
        tab_to(page, "Reason, for the audit trail (optional)")
        page.keyboard.type("by keyboard")
        tab_to(page, "Revoke now")
        page.keyboard.press("Enter")
        page.get_by_text("Waiting for verifiers: 0 of 1").wait_for()
        page.get_by_role("table", name="Instances that have not confirmed").get_by_text("records-api").wait_for()
        picture(page, "confirmation-pending")
        page.evaluate("window.stays = true")
        os.kill(service._process.pid, signal.SIGCONT)
        page.get_by_text(re.compile("Confirmed after .*: no enrolled verifier accepts")).wait_for(timeout=30_000)
        assert page.evaluate("window.stays"), "the page was loaded again"
        picture(page, "confirmation")
        (event,) = console_broker.audit_events("revocation_confirmed")
        assert agent.agent_id and event["outcome"] == "success"
        page.goto(f"{console_broker.url}/console/verifiers")
        page.get_by_text("Remove a verifier").click()
        page.get_by_label("Type the name of the verifier").fill("records-api")
        page.get_by_role("button", name="Remove", exact=True).click()
        page.get_by_text(", removed ").wait_for()
    finally:
        os.kill(service._process.pid, signal.SIGCONT)
        service.stop()


def test_trail_is_followed_live_and_can_be_paused(page: Page, console_broker: Broker) -> None:
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Type").select_option("agent_registered")
    page.get_by_role("button", name="Search").click()
    follow = page.get_by_label("Follow new events")
    expect(follow).to_be_checked()
    rows = page.locator("table.events tbody tr")
    expect(rows).to_have_count(0)
    agents(console_broker, "task-1")
    expect(rows).to_have_count(1, timeout=5_000)
    with page.expect_request(lambda request: "/console/audit" in request.url):
        pass
    follow.uncheck()
    # The request that waited when the box was unchecked is answered, and not shown.
    with page.expect_response(lambda response: "/console/audit" in response.url, timeout=25_000):
        agents(console_broker, "task-2")
    expect(rows).to_have_count(1)
    follow.check()
    expect(rows).to_have_count(2, timeout=5_000)
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    assert len(download.value.path().read_text().splitlines()) == 2
    page.get_by_role("button", name="Verify the chain").click()
    page.get_by_text("are linked without a break").wait_for()


def test_adds_and_removes_trust_rule(page: Page, console_broker: Broker) -> None:
    app = console_broker.create_app(["read:data:*"])
    page.get_by_role("link", name="Trust rules").click()
    page.get_by_text("Add a rule").click()
    page.get_by_label("Name", exact=True).fill("ci")
    for label, text in {
        "App id": app.app_id,
        "Issuer": "https://ci.example",
        "URL of its key set": "https://ci.example/keys",
        "Audience": "agentwrit",
        "Claims that must be equal": "repository=acme/api\nrun:=74",
        "Scopes": "read:data:x",
    }.items():
        page.get_by_label(label).fill(text)
    page.get_by_role("button", name="Add the rule").click()
    page.get_by_text("run:=74").wait_for()
    page.get_by_text("Remove ci…").click()
    rule = page.locator("details .id").inner_text()
    page.get_by_label("Type the id of the rule").fill(rule)
    page.get_by_role("button", name="Remove: end registrations by it").click()
    page.get_by_text("No rule: agents register with launch tokens only.").wait_for()


def test_form_of_ended_session_does_nothing(page: Page, errors: list[str], console_broker: Broker) -> None:
    page.goto(f"{console_broker.url}/console/keys")
    other = page.context.new_page()
    other.goto(f"{console_broker.url}/console")
    other.get_by_role("button", name="Sign out").click()
    other.get_by_label("Admin secret").wait_for()
    kids = len(console_broker.admin("GET", "/v1/admin/keys")["keys"])
    with page.expect_response(lambda response: response.request.method == "POST") as answered:
        page.evaluate("document.querySelector('form[action=\"/console/keys\"]').submit()")
    assert answered.value.status == 401
    page.get_by_text("the session has ended; nothing was done").wait_for()
    errors.clear()  # The browser writes the status there.
    assert len(console_broker.admin("GET", "/v1/admin/keys")["keys"]) == kids


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_runs_nowhere_and_fits_every_page(
    chromium: Chromium, console_broker: Broker, width: str
) -> None:
    app = console_broker.create_app(["read:data:*"])
    console_broker.admin(
        "POST", "/v1/admin/launch-tokens", {"agent_name": HOSTILE, "allowed_scope": ["read:data:<b>"], "ttl": 600}
    )
    claims = {"sub": {"equals": (HOSTILE + "\u2066" + "W" * 1024)[:1000]}, "<img/src=x>": {"prefix": "\u202e" * 300}}
    rule = {"name": "ci", "app_id": app.app_id, "kind": "oidc", "issuer": "https://ci.example/" + "i" * 480,
            "jwks_url": "https://ci.example/" + "k" * 900, "audience": "<img/src=x/onerror=document.title=1>" + "a" * 400, "claims": claims,
            "allowed_scope": ["read:data:x"], "max_ttl": 60}  # fmt: skip
    console_broker.admin("POST", "/v1/admin/trust-rules", rule)
    (agent,) = agents(console_broker, "t" * 128)
    reason = (HOSTILE + "r" * 512)[:490]
    console_broker.admin("POST", "/v1/revoke", {"level": "agent", "target": agent.agent_id, "reason": reason})
    across, down = WIDTHS[width]
    context = chromium.new_context(viewport={"width": across, "height": down})
    page = context.new_page()
    page.set_default_timeout(10_000)
    sign_in(page, console_broker)
    long = quote(HOSTILE + "\u202e" + "<b>" + "y" * 10_000)
    for path in [
        *PAGES, "/agents?state=all", f"/agent?id={agent.agent_id}", f"/revoke?level=task&target={'t' * 128}",
        *(f"{path}{long}" for path in (
            "/agents?task=", "/agents?scope=", "/agents?orch=", "/agent?id=", "/app?id=", "/audit?actor=", "/audit?since=",
            "/revoke?level=agent&target=", "/confirmation?cursor=", "/trust-rules?cursor=", "/sign-in?next=",
        )),
    ]:  # fmt: skip
        page.goto(f"{console_broker.url}/console{path}")
        page.evaluate("document.querySelectorAll('main details').forEach((details) => { details.open = true; })")
        assert page.title() != "owned" and page.locator("img").count() == 0, path[:60]
        assert page.locator("main b").count() == 0, path[:60]
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path[:60]
    context.close()


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
    assert page.evaluate("matchMedia('(prefers-reduced-motion: reduce)').matches")
    sign_in(page, console_broker)
    for path in paths:
        page.goto(f"{console_broker.url}/console{path}")
        moving = "e => parseFloat(getComputedStyle(e).transitionDuration) > 0"
        assert not page.evaluate(f"[...document.querySelectorAll('*')].some({moving})"), "it moves"
        name = path.split("?")[0].strip("/") + ("-preview" if path.startswith("/revoke?") else "") or "overview"
        check(page, shots / f"{name}-{width}-{scheme}.png")
    context.close()


def check(page: Page, shot: Path) -> None:
    """Asserts that the page is no wider than the window, and that axe-core finds nothing."""
    page.screenshot(path=shot, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{page.url} is too wide"
    found = page.evaluate("axe.run().then(({violations}) => violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    assert found == [], page.url


def picture(page: Page, name: str) -> None:
    """Writes a picture of the documentation, if these are made anew."""
    if os.environ.get("AGENTWRIT_PICTURES"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"console-{name}.png", animations="disabled")


def a_day_at_work(broker: Broker, directory: Path) -> str:
    """Fills a broker with what an operator sees. Returns the id of an agent that has delegated."""
    desk = broker.admin("POST", "/v1/admin/apps", {"name": "patient-desk", "scopes": ["read:records:*", "write:notes:*"]})
    for name, scopes in {"invoice-runs": ["read:invoices:*"], "ticket-triage": ["read:tickets:*"]}.items():
        other = broker.admin("POST", "/v1/admin/apps", {"name": name, "scopes": scopes})
    broker.admin("POST", f"/v1/admin/apps/{other['app_id']}/suspend")
    app = AgentWritApp(broker.url, desk["client_id"], desk["client_secret"])
    doctor, *helpers = [
        app.create_agent("ward-3", task, ["read:records:P-1", f"write:notes:{task}"])
        for task in ("round-0700", "discharge-P-1", "medication-P-1", "round-0715")
    ]
    for helper in helpers[:2]:
        doctor.delegate(helper.agent_id, ["read:records:P-1"])
    app.close()
    public, _ = enrol(broker, directory, "records-api")
    broker.admin("POST", "/v1/admin/verifiers", {"name": "records-api", "public_key": public, "max_bound": 30})
    broker.admin("POST", "/v1/admin/launch-tokens", {
        "agent_name": "night-shift", "allowed_scope": ["read:records:P-2"], "ttl": 600, "task_id": "round-2300",
    })  # fmt: skip
    broker.admin("POST", "/v1/admin/trust-rules", {
        "name": "release-builds", "app_id": desk["app_id"], "kind": "oidc",
        "issuer": "https://token.actions.githubusercontent.com",
        "jwks_url": "https://token.actions.githubusercontent.com/.well-known/jwks", "audience": "agentwrit",
        "claims": {"repository_id": {"equals": "74"}, "ref": {"prefix": "refs/heads/release/"}},
        "allowed_scope": ["read:records:P-1"], "max_ttl": 300, "task_template": "run-{run_id}",
    })  # fmt: skip
    broker.admin("POST", "/v1/admin/keys/rotate")
    for _ in range(3):
        httpx.post(f"{broker.url}/v1/admin/auth", json={"secret": "wrong"})
    httpx.post(f"{broker.url}/v1/app/auth", json={"client_id": desk["client_id"], "client_secret": "wrong"})
    broker.denials("app_auth_failed")
    return str(doctor.agent_id)


def test_pictures_of_every_page_are_in_the_documentation(
    chromium: Chromium, console_broker: Broker, tmp_path: Path
) -> None:
    agent = a_day_at_work(console_broker, tmp_path)
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(10_000)
    page.goto(f"{console_broker.url}/console/sign-in")
    picture(page, "sign-in")
    sign_in(page, console_broker)
    names = {"sign-in", "confirmation", "confirmation-pending", "verifiers"}
    for name, path in {
        "agents": "/agents", "agent": f"/agent?id={agent}", "revoke": f"/revoke?level=agent&target={agent}", "apps": "/apps",
        "launch-tokens": "/launch-tokens", "trust-rules": "/trust-rules", "keys": "/keys",
        "audit": "/audit", "overview": "",
    }.items():  # fmt: skip
        page.goto(f"{console_broker.url}/console{path}")
        if name == "overview":
            # Three refreshes of the page draw three points.
            points = re.compile(r"^\S+ \S+ \S+")
            expect(page.locator(".chart polyline").first).to_have_attribute("points", points, timeout=40_000)
        picture(page, name)
        names.add(name)
    page.goto(f"{console_broker.url}/console/apps")
    page.get_by_role("link", name="patient-desk").click()
    picture(page, "app")
    names.add("app")
    context.close()
    text = (REPOSITORY / "docs/operators/console.md").read_text()
    shown = re.findall(r"!\[[^\]]{10,}\]\(\.\./images/console-([a-z-]+)\.png\)", text)
    assert sorted(shown) == sorted(names)
    for name in names:
        assert (IMAGES / f"console-{name}.png").stat().st_size < 150_000, name
