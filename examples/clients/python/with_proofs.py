"""An agent whose token is bound to its key: a copy of the token is of no use without the key (DPoP, RFC 9449).

With `httpx` and `cryptography`. The service takes tokens with the scope `read:records:P-1`, and proofs.

    AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… AGENTWRIT_SERVICE_URL=… python with_proofs.py
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
import time
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from without_sdk import Broker, Problem, setting

HTTP = httpx.Client(timeout=10)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# ANCHOR: proof
class Key:
    """The agent's key. It signs one proof for each attempt of a request."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self._nonces: dict[str, str] = {}

    @property
    def public(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def proof(self, method: str, url: httpx.URL, token: str) -> str:
        """A proof for this method, this URL and this token, that a server accepts once, for a minute."""
        header = {
            "typ": "dpop+jwt",
            "alg": "EdDSA",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": base64url(self.public)},
        }
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": str(url.copy_with(query=None, fragment=None)),
            "iat": int(time.time()),
            "ath": base64url(hashlib.sha256(token.encode()).digest()),
        }
        if nonce := self._nonces.get(url.netloc.decode()):
            claims["nonce"] = nonce
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{base64url(self.private.sign(signed.encode()))}"

    def send(self, method: str, url: str, token: str, body: object = None) -> httpx.Response:
        """Sends a request with the token and a proof; once more, if the server wants its nonce signed (RFC 9449 §9)."""
        for _ in range(2):
            headers = {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, httpx.URL(url), token)}
            response = HTTP.request(method, url, json=body, headers=headers)
            if nonce := response.headers.get("DPoP-Nonce"):
                self._nonces[httpx.URL(url).netloc.decode()] = nonce
            if response.status_code != 401 or "use_dpop_nonce" not in response.headers.get("WWW-Authenticate", ""):
                break
        return response


# ANCHOR_END: proof


def checked(response: httpx.Response) -> Any:
    if not response.is_success:
        raise Problem(response)
    return response.json() if response.content else None


# ANCHOR: register_bound
def register(broker: Broker, launch_token: str, orch_id: str, task_id: str, scope: list[str], key: Key) -> dict[str, Any]:
    """Registers an agent whose tokens are bound to its key: the member `sender_constrained`."""
    nonce = broker.call("GET", "/v1/challenge")["nonce"]
    agent = broker.call(
        "POST",
        "/v1/register",
        {
            "launch_token": launch_token,
            "nonce": nonce,
            "public_key": base64.b64encode(key.public).decode(),
            "signature": base64.b64encode(key.private.sign(bytes.fromhex(nonce))).decode(),
            "orch_id": orch_id,
            "task_id": task_id,
            "requested_scope": scope,
            "sender_constrained": True,
        },
    )
    if agent.get("token_type") != "DPoP":
        sys.exit("error: the broker does not bind tokens")
    return agent


# ANCHOR_END: register_bound


def main() -> None:
    url = setting("AGENTWRIT_BROKER_URL").rstrip("/")
    broker = Broker(url)
    app_token = broker.log_in(setting("AGENTWRIT_CLIENT_ID"), setting("AGENTWRIT_CLIENT_SECRET"))
    record = setting("AGENTWRIT_SERVICE_URL").rstrip("/") + "/records/P-1"
    scope = ["read:records:P-1"]

    def admit(name: str, key: Key) -> dict[str, Any]:
        agent = register(broker, broker.launch_token(app_token, name, scope), "demo", name, scope, key)
        print(f"registered: {agent['agent_id']}, {agent['token_type']}")
        return agent

    lead_key, helper_key = Key(), Key()
    lead, helper = admit("lead", lead_key), admit("helper", helper_key)
    token = lead["access_token"]
    print(f"lead: {lead_key.send('GET', record, token).status_code}")
    stolen = HTTP.get(record, headers={"Authorization": f"Bearer {token}"})
    print(f"the token alone: {stolen.status_code}")

    # The delegated token is bound to the helper's key: the lead carries it, and can't use it.
    delegation = {"delegate_to": helper["agent_id"], "scope": scope, "ttl": 60}
    delegated = checked(lead_key.send("POST", f"{url}/v1/delegate", token, delegation))["access_token"]
    print(f"helper: {helper_key.send('GET', record, delegated).status_code}")
    print(f"lead with the helper's token: {lead_key.send('GET', record, delegated).status_code}")

    renewed = checked(lead_key.send("POST", f"{url}/v1/token/renew", token))["access_token"]
    print(f"renewed: {lead_key.send('GET', record, renewed).status_code}")
    checked(lead_key.send("POST", f"{url}/v1/token/release", renewed))
    checked(helper_key.send("POST", f"{url}/v1/token/release", helper["access_token"]))
    print("released")


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except (httpx.HTTPError, httpx.InvalidURL) as trouble:
        sys.exit(f"error: cannot reach the server: {trouble}")
