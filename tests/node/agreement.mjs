// Agreement with `jose`: on thousands of tokens, good and spoilt, whatever our verifier accepts jose accepts with the
// same claims. Where it accepts more, WHY_WE_REFUSE says why that is meant.
//
//   node tests/node/agreement.mjs target/tmp/agreement/corpus.jsonl
//
// `cargo test -p agentwrit-verify --all-features` writes the corpus.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import { importJWK, jwtVerify } from "jose";

// Tokens that jose accepts and we refuse, by the name of our error.
const WHY_WE_REFUSE = {
  TooLong: "it reads tokens of any length",
  UnexpectedType: "it leaves `typ` to its caller: a feed would pass for a token",
  KeyInHeader: "it ignores keys in the header, as it may; to us they are an attack",
  UnknownKey: "it is handed one key and never looks at `kid`",
  NotYetValid: "it doesn't judge `iat`",
  Chain: "it knows nothing of delegation",
  "Malformed.KeyId": "it never looks at `kid`, nor at what it is made of",
  "Malformed.Header": "it takes a `typ` that is no string, `null` members, one of two members of a name, deeper nesting",
  "Malformed.Claims": "it leaves the claims that are ours to its caller, and takes one of two members of a name",
  "Malformed.Base64": "it takes stray trailing bits, padding, white space and the other alphabet in the signature",
};

const [first, ...cases] = readFileSync(process.argv[2], "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
const key = await importJWK({ kty: "OKP", crv: "Ed25519", x: first.x }, "EdDSA");
const counts = { both: 0, neither: 0 };
const disagreements = {};
for (const { token, accepted, claims, error } of cases) {
  let theirs, refusal;
  try {
    ({ payload: theirs } = await jwtVerify(token, key, {
      issuer: first.issuer,
      audience: first.audience,
      clockTolerance: 0,
      requiredClaims: ["exp", "nbf", "iat", "iss", "aud", "sub"],
    }));
  } catch (thrown) {
    refusal = thrown.code ?? thrown.message;
  }
  if (accepted && theirs) {
    for (const [name, value] of Object.entries(claims)) assert.deepEqual(theirs[name], value, name);
    counts.both += 1;
  } else if (!accepted && !theirs) {
    counts.neither += 1;
  } else {
    assert.ok(!accepted, `only we accept ${token}: ${refusal}`);
    assert.ok(WHY_WE_REFUSE[error], `${error}, but jose accepts ${token}`);
    disagreements[error] = (disagreements[error] ?? 0) + 1;
  }
}
assert.ok(counts.both > 2000 && counts.neither > 1000, JSON.stringify(counts));
// No explanation is left over from what has long been mended.
assert.deepEqual(Object.keys(disagreements).sort(), Object.keys(WHY_WE_REFUSE).sort());
console.log(`jose: ${counts.both} accepted by both with the same claims, ${counts.neither} refused by both`);
for (const [error, count] of Object.entries(disagreements)) console.log(`  ${count} ${error}: ${WHY_WE_REFUSE[error]}`);
