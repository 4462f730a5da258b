// A service that verifies tokens with `jose`, whose createRemoteJWKSet fetches and caches the broker's key set.
//
//   node tests/node/live_keys.mjs JWKS_URL ISSUER
//
// Reads a token per line from stdin, and prints "accepted" or "rejected: <reason>" for each. The intervals are jose's
// defaults, divided by 300 as the broker's AA_KEY_PREPARE_FOR is in the test.
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url, issuer] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url), { cooldownDuration: 30_000 / 300, cacheMaxAge: 600_000 / 300 });
for await (const token of createInterface({ input: process.stdin })) {
  try {
    await jwtVerify(token, keys, { issuer, algorithms: ["EdDSA"] });
    console.log("accepted");
  } catch (error) {
    console.log(`rejected: ${error.code ?? error.message}`);
  }
}
