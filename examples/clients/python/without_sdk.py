"""An app lets two agents in; one hands part of its rights to the other, renews, and releases its token when it is done.

With nothing but `httpx` and `cryptography`: every request that the protocol has for an agent.

    AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… python without_sdk.py
"""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


# ANCHOR: problem
class Problem(Exception):
    """The broker's error response (RFC 9457). `code` is for programs, the text for people."""

    def __init__(self, answer: httpx.Response) -> None:
        try:
            problem = answer.json()
            self.code = problem["error_code"]
            text = f"{answer.status_code} {self.code}: {problem['detail']} (request {problem['request_id']})"
        except (ValueError, KeyError, TypeError):
            self.code = None
            super().__init__(f"{answer.status_code} from {answer.url}: not a response of the broker")
            return
        if "Retry-After" in answer.headers:
            text += f"; try again in {answer.headers['Retry-After']} s"
        if "hint" in problem:
            text += f"\nhint: {problem['hint']}"
        super().__init__(text)


# ANCHOR_END: problem


class Broker:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)

    def call(self, method: str, path: str, body: object = None, *, bearer: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        answer = self._http.request(method, path, json=body, headers=headers)
        if not answer.is_success:
            raise Problem(answer)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise Problem(answer) from None

    # ANCHOR: app_auth
    def log_in(self, client_id: str, client_secret: str) -> str:
        """The app's own token. It lasts half an hour: keep it, don't log in for every agent."""
        body = {"client_id": client_id, "client_secret": client_secret}
        return self.call("POST", "/v1/app/auth", body)["access_token"]

    # ANCHOR_END: app_auth

    # ANCHOR: launch_token
    def launch_token(self, app_token: str, name: str, scope: list[str]) -> str:
        """Lets one agent register, within 30 seconds and with no more than this scope."""
        body = {"agent_name": name, "allowed_scope": scope, "max_ttl": 300}
        return self.call("POST", "/v1/app/launch-tokens", body, bearer=app_token)["launch_token"]

    # ANCHOR_END: launch_token

    # ANCHOR: register
    def register(self, launch_token: str, orch_id: str, task_id: str, scope: list[str]) -> dict[str, Any]:
        key = Ed25519PrivateKey.generate()
        nonce = self.call("GET", "/v1/challenge")["nonce"]
        # What is signed is the nonce's 32 bytes, not their hexadecimal text.
        signature = key.sign(bytes.fromhex(nonce))
        return self.call(
            "POST",
            "/v1/register",
            {
                "launch_token": launch_token,
                "nonce": nonce,
                "public_key": base64.b64encode(key.public_key().public_bytes_raw()).decode(),  # 32 bytes, no DER
                "signature": base64.b64encode(signature).decode(),
                "orch_id": orch_id,
                "task_id": task_id,
                "requested_scope": scope,
            },
        )

    # ANCHOR_END: register

    # ANCHOR: delegate
    def delegate(self, token: str, to: str, scope: list[str], ttl: int) -> dict[str, Any]:
        return self.call("POST", "/v1/delegate", {"delegate_to": to, "scope": scope, "ttl": ttl}, bearer=token)

    # ANCHOR_END: delegate

    # ANCHOR: renew
    def renew(self, token: str) -> dict[str, Any]:
        """Another token of the same scope and lifetime; the old one is rejected from then on. No answer? Register anew."""
        return self.call("POST", "/v1/token/renew", bearer=token)

    # ANCHOR_END: renew

    # ANCHOR: release
    def release(self, token: str) -> None:
        """Ends the token before its time. Releasing it twice is no error."""
        self.call("POST", "/v1/token/release", bearer=token)

    # ANCHOR_END: release

    # ANCHOR: validate
    def validate(self, token: str) -> dict[str, Any] | None:
        """The claims, or nothing if the token is not acceptable: what a service asks that doesn't verify by itself."""
        answer = self.call("POST", "/v1/token/validate", {"token": token})
        # A token with `cnf` is bound to a key: without a proof, which is not checked here, it must be rejected (RFC 9449 §7.2).
        return answer["claims"] if answer["valid"] and "cnf" not in answer["claims"] else None

    # ANCHOR_END: validate


def setting(name: str) -> str:
    return os.environ.get(name) or sys.exit(f"error: {name} is not set")


def main() -> None:
    broker = Broker(setting("AGENTWRIT_BROKER_URL"))
    app_token = broker.log_in(setting("AGENTWRIT_CLIENT_ID"), setting("AGENTWRIT_CLIENT_SECRET"))

    def admit(name: str, scope: list[str]) -> dict[str, Any]:
        agent = broker.register(broker.launch_token(app_token, name, scope), "demo", name, scope)
        print(f"registered: {agent['agent_id']}, {agent['expires_in']} s")
        return agent

    def use(who: str, token: str) -> None:
        claims = broker.validate(token)
        print(f"{who}: may {' '.join(claims['scope'])}" if claims else f"{who}: refused")

    lead = admit("lead", ["read:data:*"])
    helper = admit("helper", ["read:data:public"])
    token = lead["access_token"]
    use("lead", token)

    delegated = broker.delegate(token, helper["agent_id"], ["read:data:customers"], ttl=60)
    print(f"delegated: {delegated['expires_in']} s, chain of {len(delegated['delegation_chain'])}")
    use("helper", delegated["access_token"])

    renewed = broker.renew(token)
    print(f"renewed: {renewed['expires_in']} s")
    use("the old token", token)

    for done in (renewed["access_token"], helper["access_token"]):
        broker.release(done)
    print("released")
    use("the released token", renewed["access_token"])
    try:
        broker.renew(renewed["access_token"])
    except Problem as problem:
        print(f"too late to renew: 401 {problem.code}")


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except (httpx.HTTPError, httpx.InvalidURL) as trouble:
        sys.exit(f"error: cannot reach the broker: {trouble}")
