"""Tokens decoded and altered without the key, as an attacker could."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def header(token: str) -> dict[str, Any]:
    return json.loads(decode(token.split(".")[0]))


def claims(token: str) -> dict[str, Any]:
    """Claims of the token, signature unchecked."""
    return json.loads(decode(token.split(".")[1]))


def with_claims(token: str, **changes: object) -> str:
    """Other claims under the old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{encode(json.dumps(claims(token) | changes).encode())}.{signature}"


def unsigned(token: str) -> str:
    """`alg` `none`, RFC 7519 §6."""
    return f"{encode(json.dumps(header(token) | {'alg': 'none'}).encode())}.{token.split('.')[1]}."


def signed_by_another_key(token: str) -> str:
    signed = token.rpartition(".")[0]
    return f"{signed}.{encode(Ed25519PrivateKey.generate().sign(signed.encode()))}"


def spoilt(token: str) -> str:
    """One byte of the signature changed."""
    signed, _, signature = token.rpartition(".")
    first, *rest = decode(signature)
    return f"{signed}.{encode(bytes([first ^ 1, *rest]))}"


def wait_until_expired(token: str) -> None:
    """By this machine's clock, which is the broker's too."""
    while (left := claims(token)["exp"] - time.time()) > 0:
        time.sleep(left)
