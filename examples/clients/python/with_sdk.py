"""An app lets two agents in; one hands part of its rights to the other, renews, and releases its token when it is done.

With the package `agentwrit` from PyPI.

    AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… python with_sdk.py
"""

import base64
import json
import os
import sys
from contextlib import closing

import httpx
from agentwrit import AgentWritApp, AgentWritError, ProblemResponseError


def main() -> None:
    # ANCHOR: app_auth
    app = AgentWritApp(
        setting("AGENTWRIT_BROKER_URL"),
        setting("AGENTWRIT_CLIENT_ID"),
        setting("AGENTWRIT_CLIENT_SECRET"),
    )
    # ANCHOR_END: app_auth
    with closing(app):
        # ANCHOR: register
        lead = app.create_agent("demo", "lead", ["read:data:*"], max_ttl=300)
        print(f"registered: {lead.agent_id}, {lead.expires_in} s")
        # ANCHOR_END: register
        helper = app.create_agent("demo", "helper", ["read:data:public"])
        print(f"registered: {helper.agent_id}, {helper.expires_in} s")
        use(app, "lead", lead.access_token)

        # ANCHOR: delegate
        delegated = lead.delegate(helper.agent_id, ["read:data:customers"], ttl=60)
        print(f"delegated: {delegated.expires_in} s, chain of {len(delegated.delegation_chain)}")
        # ANCHOR_END: delegate
        use(app, "helper", delegated.access_token)

        # ANCHOR: renew
        old = lead.access_token
        lead.renew()  # in place: lead.access_token is another one now, and the old one is rejected
        print(f"renewed: {lead.expires_in} s")
        # ANCHOR_END: renew
        use(app, "the old token", old)

        # ANCHOR: release
        lead.release()
        helper.release()
        print("released")
        # ANCHOR_END: release
        use(app, "the released token", lead.access_token)
        try:
            lead.renew()
        except AgentWritError as problem:
            print(f"too late to renew: {problem}")


# ANCHOR: validate
def use(app: AgentWritApp, who: str, token: str) -> None:
    """What a service does that gets the token with a request. It would send `agent.bearer_header`."""
    result = app.validate(token)
    accepted = result.valid and not is_bound(token)
    print(f"{who}: may {' '.join(result.claims.scope)}" if accepted else f"{who}: refused")


def is_bound(token: str) -> bool:
    """A token with `cnf` is bound to a key: without a proof, which is not checked here, it must be rejected (RFC 9449 §7.2).

    The SDK (0.3.0) leaves the claim out of its result.
    """
    return "cnf" in json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


# ANCHOR_END: validate


def setting(name: str) -> str:
    return os.environ.get(name) or sys.exit(f"error: {name} is not set")


# ANCHOR: problem
def explain(error: Exception) -> str:
    if isinstance(error, ProblemResponseError):
        problem = error.problem
        text = f"{error.status_code} {problem.error_code}: {problem.detail} (request {problem.request_id})"
        return f"{text}\nhint: {problem.hint}" if problem.hint else text
    if isinstance(error, ValueError):
        return f"not a response of the broker: {error}"
    return str(error)


# ANCHOR_END: problem

if __name__ == "__main__":
    try:
        main()
    # Of httpx's own errors the SDK lets some through, and all that `validate` meets; of json's those of a 200 not in JSON.
    except (AgentWritError, httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        sys.exit(f"error: {explain(error)}")
