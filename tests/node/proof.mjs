// A DPoP proof by panva's `dpop`.
//
//   echo '{"jwk": …, "method": …, "url": …, "token": …, "nonce": …}' | node tests/node/proof.mjs
import { json } from "node:stream/consumers";
import { generateProof } from "dpop";

const { jwk, method, url, token, nonce } = await json(process.stdin);
const { d, ...publicJwk } = jwk;
const pair = {
  privateKey: await crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["sign"]),
  publicKey: await crypto.subtle.importKey("jwk", publicJwk, "Ed25519", true, ["verify"]),
};
console.log(await generateProof(pair, url, method, nonce ?? undefined, token));
