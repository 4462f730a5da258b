import nacl from "tweetnacl";

import type { Key } from "./dpop.js";

export function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

// ANCHOR: problem
/** The broker's error response (RFC 9457): `code` is for programs, the message for people. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;

  constructor(body: ProblemBody, retryAfter: string | null) {
    let text = `${body.status} ${body.error_code}: ${body.detail} (request ${body.request_id})`;
    if (retryAfter !== null) text += `; try again in ${retryAfter} s`;
    if (body.hint !== undefined) text += `\nhint: ${body.hint}`;
    super(text);
    this.status = body.status;
    this.code = body.error_code;
  }
}

interface ProblemBody {
  status: number;
  error_code: string;
  detail: string;
  request_id: string;
  hint?: string;
}

export async function problemOf(response: Response): Promise<Error> {
  const body = (await response.json().catch(() => null)) as ProblemBody | null;
  return body?.error_code === undefined ? foreign(response) : new Problem(body, response.headers.get("Retry-After"));
}

/** Response of another server: a proxy, a login page. */
function foreign(response: Response): Error {
  return new Error(`${response.status} from ${response.url}: not a response of the broker`);
}
// ANCHOR_END: problem

/** An agent and the token that it holds now. */
export interface Agent {
  agent_id: string;
  access_token: string;
  expires_in: number;
  /** `DPoP` when the token is bound to the agent's key. */
  token_type?: string;
}

export interface Renewal {
  access_token: string;
  expires_in: number;
}

export interface Delegation extends Renewal {
  delegation_chain: { agent: string; scope: string[] }[];
}

export type Validity = { valid: true; claims: Claims } | { valid: false; error: string };

export interface Claims {
  sub: string;
  scope: string[];
  /** Names the key that the token is bound to. */
  cnf?: { jkt: string };
}

export class Broker {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url.replace(/\/+$/, "");
  }

  // ANCHOR: app_auth
  /** The app's own token. It lasts half an hour: keep it, don't log in for every agent. */
  async logIn(clientId: string, clientSecret: string): Promise<string> {
    const credentials = { client_id: clientId, client_secret: clientSecret };
    return (await this.#call<{ access_token: string }>("POST", "/v1/app/auth", credentials)).access_token;
  }
  // ANCHOR_END: app_auth

  // ANCHOR: launch_token
  /** Lets one agent register, within 30 seconds and with no more than this scope. */
  async launchToken(appToken: string, name: string, scope: string[]): Promise<string> {
    const wanted = { agent_name: name, allowed_scope: scope, max_ttl: 300 };
    return (await this.#call<{ launch_token: string }>("POST", "/v1/app/launch-tokens", wanted, appToken)).launch_token;
  }
  // ANCHOR_END: launch_token

  // ANCHOR: register
  /** Makes a key, proves to hold it, and gives the agent with its first token. */
  async register(launchToken: string, orchId: string, taskId: string, scope: string[]): Promise<Agent> {
    const key = nacl.sign.keyPair();
    const { nonce } = await this.#call<{ nonce: string }>("GET", "/v1/challenge");
    // What is signed is the nonce's 32 bytes, not their hexadecimal text.
    const signature = nacl.sign.detached(Buffer.from(nonce, "hex"), key.secretKey);
    return await this.#call<Agent>("POST", "/v1/register", {
      launch_token: launchToken,
      nonce,
      public_key: Buffer.from(key.publicKey).toString("base64"), // the raw 32 bytes, no DER
      signature: Buffer.from(signature).toString("base64"),
      orch_id: orchId,
      task_id: taskId,
      requested_scope: scope,
    });
  }
  // ANCHOR_END: register

  // ANCHOR: register_bound
  /** Registers an agent whose tokens are bound to its key: the member `sender_constrained`. */
  async registerBound(launchToken: string, orchId: string, taskId: string, scope: string[], key: Key): Promise<Agent> {
    const { nonce } = await this.#call<{ nonce: string }>("GET", "/v1/challenge");
    const agent = await this.#call<Agent>("POST", "/v1/register", {
      launch_token: launchToken,
      nonce,
      public_key: Buffer.from(key.publicKey).toString("base64"),
      signature: Buffer.from(key.sign(Buffer.from(nonce, "hex"))).toString("base64"),
      orch_id: orchId,
      task_id: taskId,
      requested_scope: scope,
      sender_constrained: true,
    });
    if (agent.token_type !== "DPoP") throw new Error("the broker does not bind tokens");
    return agent;
  }
  // ANCHOR_END: register_bound

  // ANCHOR: renew
  /** Another token of the same scope and lifetime; the old one is rejected from then on. No answer? Register anew. */
  async renew(token: string): Promise<Renewal> {
    return await this.#call<Renewal>("POST", "/v1/token/renew", undefined, token);
  }
  // ANCHOR_END: renew

  // ANCHOR: release
  /** Ends the token before its time. Releasing it twice is no error. */
  async release(token: string): Promise<void> {
    await this.#call<undefined>("POST", "/v1/token/release", undefined, token);
  }
  // ANCHOR_END: release

  // ANCHOR: delegate
  /** Hands part of the token's scope, or all of it, to another registered agent for some seconds. */
  async delegate(token: string, to: string, scope: string[], seconds: number): Promise<Delegation> {
    return await this.#call<Delegation>("POST", "/v1/delegate", { delegate_to: to, scope, ttl: seconds }, token);
  }
  // ANCHOR_END: delegate

  // ANCHOR: validate
  /** What a service asks that gets a token with a request and doesn't verify by itself. */
  async validate(token: string): Promise<Validity> {
    const validity = await this.#call<Validity>("POST", "/v1/token/validate", { token });
    // Without a proof, which is not checked here, a bound token must be rejected (RFC 9449 §7.2).
    if (validity.valid && validity.claims.cnf !== undefined) return { valid: false, error: "the token is bound to a key" };
    return validity;
  }
  // ANCHOR_END: validate

  async #call<Answer>(method: string, path: string, body?: object, bearer?: string): Promise<Answer> {
    const headers = new Headers({ Accept: "application/json" });
    const request: RequestInit = { method, headers, redirect: "error", signal: AbortSignal.timeout(10_000) };
    if (bearer !== undefined) headers.set("Authorization", `Bearer ${bearer}`);
    if (body !== undefined) {
      headers.set("Content-Type", "application/json");
      request.body = JSON.stringify(body);
    }

    let response: Response;
    try {
      response = await fetch(this.#url + path, request);
    } catch (error) {
      throw new Error(`cannot reach the broker at ${this.#url}: ${reason(error)}`);
    }
    if (!response.ok) throw await problemOf(response);
    if (response.status === 204) return undefined as Answer;
    return (await response.json().catch(() => Promise.reject(foreign(response)))) as Answer;
  }
}

/** `fetch` says only that it failed; why is in the cause, and for a name with several addresses in the causes of that. */
function reason(error: unknown): string {
  const { cause, message } = error as Error & { cause?: Error & { code?: string } };
  return cause?.message || cause?.code || message;
}
