"""The pages of docs/attestation: each rule takes the token that its page shows, and rejects every near miss that the page lists.

A page has one block of claims (`json`), shell blocks for the rule and for its end, and a table whose first column is a changed claim. The
issuer is played by keys of this test; the broker and `awrit` are the real ones.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from conftest import ADMIN_SECRET, REPOSITORY, Broker, broker_binary
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from test_docs import Block, blocks_of
from wire import serving

DIRECTORY = REPOSITORY / "docs/attestation"
PAGES = sorted(path for path in DIRECTORY.glob("*.md") if path.name != "README.md")
KINDS = {"github-actions": "oidc", "gitlab-ci": "oidc", "kubernetes": "kubernetes", "spire": "spiffe"}
#: The API server, as the brokers of deploy/kubernetes know it.
API_SERVER = re.search(r"^  AA_KUBERNETES_API_URL: (\S+)$", (REPOSITORY / "deploy/kubernetes/settings.yaml").read_text(), re.M)[1]
Claims = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """What a page says."""

    name: str
    claims: Claims
    rule: str
    end: str
    scopes: str
    near_misses: list[tuple[str, str]]


def read(path: Path) -> Page:
    blocks = blocks_of(path)

    def code(section: str, info: str) -> str:
        [block] = [block for block in blocks if block.section == section and block.info == info]
        return block.code

    [claims] = [json.loads(block.code) for block in blocks if block.info == "json"]
    section = path.read_text().split("## Near misses\n")[1].split("\n## ")[0]
    misses = re.findall(r"^\| `([^`=]+)=([^`]*)` \|", section, re.M)
    assert len(misses) == section.count("\n| ") - 1, "a row of another form"
    shown = [re.search(r"agent register [^#]*?--scopes (\S+)", without_line_ends(block)) for block in blocks]
    [scopes] = {found[1] for found in shown if found}
    return Page(path.stem, claims, code("The rule", "sh"), code("Revoke", "sh"), scopes, misses)


def without_line_ends(block: Block) -> str:
    return re.sub(r"\\\n\s*", " ", block.code)


class Issuer:
    """Signs tokens as the platform of a page does."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._lifetimes = count(300)
        self._key = ECKey.generate_key("P-256") if kind == "spiffe" else RSAKey.generate_key(2048)

    def key_set(self) -> str:
        use = "jwt-svid" if self._kind == "spiffe" else "sig"
        return json.dumps({"keys": [{**self._key.as_dict(private=False), "kid": "k1", "use": use}]})

    def token(self, claims: Claims) -> str:
        # No two tokens are equal: without `jti` that would be the same assertion.
        now, lifetime = int(time.time()), next(self._lifetimes)
        alg = "ES256" if self._kind == "spiffe" else "RS256"
        own = {"jti": str(uuid.uuid4())} if "jti" in claims else {}
        times = {"iat": now, "exp": now + lifetime} | ({} if self._kind == "spiffe" else {"nbf": now - 5})
        return jwt.encode({"typ": "JWT", "alg": alg, "kid": "k1"}, {**claims, **times, **own}, self._key, algorithms=[alg])


def changed(claims: Claims, name: str, value: str) -> Claims:
    """Returns the claims with one of them changed; `null` removes it."""
    claims = copy.deepcopy(claims)
    *path, last = name.removeprefix("/").split("/") if name.startswith("/") else [name]
    holder = claims
    for part in path:
        holder = holder[part]
    assert last in holder, f"the page's token has no claim {name}"
    if value == "null":
        del holder[last]
        return claims
    value_of_kind = [value] if isinstance(holder[last], list) else value
    assert holder[last] != value_of_kind, f"{name} is {value} already"
    holder[last] = value_of_kind
    return claims


OWN_TOKEN = "the-token-of-the-broker"


@contextmanager
def api_server(key_set: str) -> Iterator[str]:
    """An API server that gives the broker its keys, and confirms every token for the audience that is asked about."""

    class ApiServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/openid/v1/jwks" and self.headers["Authorization"] == f"Bearer {OWN_TOKEN}"
            self.respond(200 if found else 404, key_set)

        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/apis/authentication.k8s.io/v1/tokenreviews":
                return self.respond(404, "{}")
            subject = json.loads(decoded(review["spec"]["token"].split(".")[1]))["sub"]
            audiences = review["spec"]["audiences"]
            review["status"] = {"authenticated": True, "audiences": audiences, "user": {"username": subject}}
            self.respond(201, json.dumps(review))

        def respond(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    yield from serving(ApiServer)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Machine:
    """A broker, and `awrit` in a directory that has the issuer's keys."""

    def __init__(self, directory: Path, api_server: str, issuer: Issuer) -> None:
        own_token = directory / "own.token"
        own_token.write_text(OWN_TOKEN)
        self.broker = Broker(directory, AA_KUBERNETES_API_URL=api_server, AA_KUBERNETES_TOKEN_PATH=str(own_token))
        self._issuer = issuer
        self._api_server = api_server
        self._directory = directory
        for name in ("jwks.json", "bundle.json"):
            (directory / name).write_text(issuer.key_set())

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{Path(broker_binary()).parent}:{os.environ['PATH']}",
            "HOME": str(self._directory),
            "AACTL_BROKER_URL": self.broker.url,
            "AACTL_ADMIN_SECRET": ADMIN_SECRET,
        }
        # Variables of one block are there for the next.
        code = f"set -euo pipefail\nif [ -e variables ]; then . ./variables; fi\n{code}\ndeclare -p APP RULE >variables 2>/dev/null || true\n"
        return subprocess.run(
            ["bash", "-c", code], cwd=self._directory, env=environment, capture_output=True, text=True, timeout=60
        )

    def follow(self, code: str) -> None:
        """Runs a block of the page. The rule has the API server or the keys of this test in place of the issuer's URL."""
        code = code.replace(f"--jwks-url {API_SERVER}/", f"--JWKS-URL {self._api_server}/")
        code = re.sub(r"--jwks-url \S+", "--jwks jwks.json", code).replace("--JWKS-URL", "--jwks-url")
        ran = self.run(code)
        assert ran.returncode == 0, f"{code}\n{ran.stdout}{ran.stderr}"

    def register(self, claims: Claims, kind: str, scopes: str) -> subprocess.CompletedProcess[str]:
        (self._directory / "token.jwt").write_text(self._issuer.token(claims))
        return self.run(f"awrit agent register --attestation token.jwt --attestation-kind {kind} --scopes {scopes} --json")

    def is_valid(self, token: str) -> bool:
        return self.run(f"awrit token validate {token}").stdout.startswith("valid")


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(request: pytest.FixtureRequest) -> Page:
    return read(request.param)


@pytest.fixture
def machine(tmp_path: Path, page: Page) -> Iterator[Machine]:
    issuer = Issuer(KINDS[page.name])
    with api_server(issuer.key_set()) as url:
        machine = Machine(tmp_path, url, issuer)
        yield machine
        machine.broker.stop()


def test_rule_of_page_takes_its_token_and_rejects_near_misses(page: Page, machine: Machine) -> None:
    kind = KINDS[page.name]
    machine.follow(page.rule)
    registered = machine.register(page.claims, kind, page.scopes)
    assert registered.returncode == 0, (registered.stderr, machine.broker.audit_events("attestation_failed"))
    agent = json.loads(registered.stdout)

    conditions = re.findall(r"--claim(?:-prefix)? ([^=\s]+)=", page.rule)
    assert conditions and set(conditions) <= {name for name, _ in page.near_misses}, "a condition without a near miss"
    for name, value in page.near_misses:
        rejected = machine.register(changed(page.claims, name, value), kind, page.scopes)
        assert rejected.returncode == 1 and "attestation failed" in rejected.stderr, (name, value, rejected.stdout)
    reasons = {re.search(r"reason=(\w+)", event["detail"])[1] for event in machine.broker.denials("attestation_failed")}
    assert reasons <= {"claims_mismatch", "audience_mismatch", "unknown_issuer", "invalid_subject"}, reasons

    # And not for every token that comes after them.
    assert machine.register(page.claims, kind, page.scopes).returncode == 0
    wider = machine.register(page.claims, kind, "write:everything:*")
    assert wider.returncode == 1 and "attestation failed" not in wider.stderr, wider.stderr

    assert machine.is_valid(agent["access_token"])
    machine.follow(page.end)
    assert not machine.is_valid(agent["access_token"])
    removed = machine.register(page.claims, kind, page.scopes)
    assert removed.returncode == 1 and "attestation failed" in removed.stderr


def test_reasons_of_overview_are_those_of_the_broker() -> None:
    page = (DIRECTORY / "README.md").read_text().split("## When it fails\n")[1]
    listed = [reason for cell in re.findall(r"^\| (`.*?) \|", page, re.M) for reason in re.findall(r"`(\w+)`", cell)]
    source = REPOSITORY / "agentwrit-broker/src"
    named = re.findall(r'Self::\w+ => "(\w+)"', (source / "attestation/error.rs").read_text())
    later = [text for path in (source / "service/registration").glob("*.rs") for text in re.findall(r'"([a-z]+(?:_[a-z]+)+)"', path.read_text())]
    # Reasons that the transaction finds, not the check of the token.
    own = {"rule_removed", "app_not_active", "assertion_used", "issued_before_revocation", "subject_unusable", "template_claim_unusable", "template_id_unusable"}
    assert own <= set(later), own - set(later)
    assert len(listed) == len(set(listed)) and set(listed) == set(named) | own, set(listed) ^ (set(named) | own)
