"""Agreement with PyJWT: on thousands of tokens, good and spoilt, whatever our verifier accepts PyJWT accepts with the
same claims. Where it accepts more, WHY_WE_REFUSE says why that is meant.

`cargo test -p agentwrit-verify --all-features` writes the corpus; scripts/test.sh runs it first.
"""

import base64
import collections
import json
import os
import pathlib

import jwt

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).parents[2] / "target"))
CORPUS = TARGET / "tmp" / "agreement" / "corpus.jsonl"

# Tokens that PyJWT accepts and we refuse, by the name of our error.
WHY_WE_REFUSE = {
    "TooLong": "it reads tokens of any length",
    "UnexpectedType": "it leaves `typ` to its caller: a feed would pass for a token",
    "KeyInHeader": "it ignores keys in the header, as it may; to us they are an attack",
    "UnknownKey": "it is handed one key and never looks at `kid`",
    "Chain": "it knows nothing of delegation",
    "Malformed.KeyId": "it never looks at what `kid` is made of",
    "Malformed.Header": "it takes `null` members, one of two members of a name, and deeper nesting",
    "Malformed.Claims": "it leaves the claims that are ours to its caller, and takes one of two members of a name",
}
# Tokens that we accept and PyJWT refuses, by its error.
WHY_THEY_REFUSE = {
    "InvalidAlgorithmError": "it doesn't know the name that RFC 9864 gave to EdDSA with this curve",
    "DecodeError": "it reads `b64` (RFC 7797), which without `crit` is a member like any other to us",
}


def test_what_we_accept_pyjwt_accepts_with_the_same_claims():
    first, *cases = (json.loads(line) for line in CORPUS.read_text().splitlines())
    key = jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": first["x"]})
    both = neither = 0
    disagreements = collections.Counter()
    for case in cases:
        try:
            theirs = jwt.decode(
                case["token"],
                key,
                algorithms=["EdDSA"],
                audience=first["audience"],
                issuer=first["issuer"],
                options={"require": ["exp", "nbf", "iat", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            theirs, refusal = None, type(error).__name__
        if case["accepted"] and theirs:
            assert {name: theirs[name] for name in case["claims"]} == case["claims"]
            both += 1
        elif not case["accepted"] and not theirs:
            neither += 1
        elif case["accepted"]:
            header = json.loads(base64.urlsafe_b64decode(case["token"].split(".")[0] + "=="))
            assert header["alg"] == "Ed25519" or header.get("b64") is False, f"only we accept {case['token']}"
            disagreements[refusal] += 1
        else:
            disagreements[case["error"]] += 1
    assert both > 2000 and neither > 1000
    # Each disagreement is explained, and no explanation is left over from what has long been mended.
    assert set(disagreements) == set(WHY_WE_REFUSE) | set(WHY_THEY_REFUSE)
