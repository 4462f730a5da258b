"""A service that verifies tokens with PyJWT, and keeps the broker's key set.

    python live_keys.py client|cache JWKS_URL ISSUER

`client` is PyJWKClient, which fetches an unknown key; `cache` fetches the key set only when its copy is older than the
broker's `Cache-Control: max-age`. Reads a token per line from stdin, and prints "accepted" or "rejected: <reason>" for each.
The intervals are the defaults, divided by 300 as the broker's AA_KEY_PREPARE_FOR is in the test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import httpx
import jwt

LIFETIME = 300 / 300


def with_client(url: str) -> Callable[[str], jwt.PyJWK]:
    return jwt.PyJWKClient(url, lifespan=LIFETIME).get_signing_key_from_jwt


def with_cache(url: str) -> Callable[[str], jwt.PyJWK]:
    fetched_at, keys = float("-inf"), None

    def key_of(token: str) -> jwt.PyJWK:
        nonlocal fetched_at, keys
        if time.monotonic() - fetched_at >= LIFETIME:
            fetched_at, keys = time.monotonic(), jwt.PyJWKSet.from_dict(httpx.get(url).json())
        try:
            return keys[jwt.get_unverified_header(token)["kid"]]
        except KeyError as error:
            raise jwt.PyJWKClientError("unknown key") from error

    return key_of


def main(kind: str, url: str, issuer: str) -> None:
    key_of = {"client": with_client, "cache": with_cache}[kind](url)
    for line in sys.stdin:
        token = line.strip()
        try:
            # Our tokens name an audience, which the broker's configuration sets.
            jwt.decode(token, key_of(token), algorithms=["EdDSA"], issuer=issuer, options={"verify_aud": False})
            print("accepted", flush=True)
        except jwt.PyJWTError as error:
            print(f"rejected: {error}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
