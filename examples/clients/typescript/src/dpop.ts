import nacl from "tweetnacl";
import { createHash, randomBytes } from "node:crypto";

// ANCHOR: proof
/** Key of an agent whose tokens are bound to it (DPoP, RFC 9449): a copy of the token is of no use without it. */
export class Key {
  readonly #pair = nacl.sign.keyPair();
  readonly #nonces = new Map<string, string>();

  get publicKey(): Uint8Array {
    return this.#pair.publicKey;
  }

  sign(message: Uint8Array): Uint8Array {
    return nacl.sign.detached(message, this.#pair.secretKey);
  }

  /** Signs a proof for this method, this URL and this token. A server accepts it once, for a minute. */
  proof(method: string, url: URL, token: string): string {
    const jwk = { kty: "OKP", crv: "Ed25519", x: base64url(this.publicKey) };
    const claims = {
      jti: base64url(randomBytes(16)),
      htm: method,
      htu: url.origin + url.pathname,
      iat: Math.floor(Date.now() / 1000),
      ath: createHash("sha256").update(token).digest("base64url"),
      nonce: this.#nonces.get(url.origin),
    };
    const parts = [{ typ: "dpop+jwt", alg: "EdDSA", jwk }, claims].map((part) => base64url(Buffer.from(JSON.stringify(part))));
    const signed = parts.join(".");
    return `${signed}.${base64url(this.sign(Buffer.from(signed)))}`;
  }

  /** Sends a request with the token and a proof; once more, if the server wants its nonce signed (RFC 9449 §9). */
  async send(method: string, target: string, token: string, body?: object): Promise<Response> {
    const url = new URL(target);
    for (let attempt = 0; ; attempt++) {
      const headers = new Headers({ Authorization: `DPoP ${token}`, DPoP: this.proof(method, url, token) });
      const request: RequestInit = { method, headers, redirect: "error", signal: AbortSignal.timeout(10_000) };
      if (body !== undefined) {
        headers.set("Content-Type", "application/json");
        request.body = JSON.stringify(body);
      }
      const response = await fetch(url, request);
      const nonce = response.headers.get("DPoP-Nonce");
      if (nonce !== null) this.#nonces.set(url.origin, nonce);
      const challenge = response.headers.get("WWW-Authenticate") ?? "";
      if (attempt > 0 || response.status !== 401 || !challenge.includes("use_dpop_nonce")) return response;
    }
  }
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64url");
}
// ANCHOR_END: proof
