// Two agents whose tokens are bound to their keys (DPoP, RFC 9449). The service takes tokens with the scope
// `read:records:P-1`, and proofs.
//
//   AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… AGENTWRIT_SERVICE_URL=… npm run proofs
import { Broker, problemOf, setting, type Agent, type Renewal } from "./broker.js";
import { Key } from "./dpop.js";

async function main(): Promise<void> {
  const url = setting("AGENTWRIT_BROKER_URL").replace(/\/+$/, "");
  const broker = new Broker(url);
  const appToken = await broker.logIn(setting("AGENTWRIT_CLIENT_ID"), setting("AGENTWRIT_CLIENT_SECRET"));
  const record = `${setting("AGENTWRIT_SERVICE_URL").replace(/\/+$/, "")}/records/P-1`;
  const scope = ["read:records:P-1"];

  async function admit(name: string, key: Key): Promise<Agent> {
    const launchToken = await broker.launchToken(appToken, name, scope);
    const agent = await broker.registerBound(launchToken, "demo", name, scope, key);
    console.log(`registered: ${agent.agent_id}, ${agent.token_type}`);
    return agent;
  }

  async function read(who: string, key: Key, token: string): Promise<void> {
    console.log(`${who}: ${(await key.send("GET", record, token)).status}`);
  }

  /** Sends a request to the broker, and returns the access token of its response. */
  async function ask(key: Key, path: string, token: string, body?: object): Promise<string> {
    const response = await key.send("POST", url + path, token, body);
    if (!response.ok) throw await problemOf(response);
    return response.status === 204 ? "" : ((await response.json()) as Renewal).access_token;
  }

  const [leadKey, helperKey] = [new Key(), new Key()];
  const lead = await admit("lead", leadKey);
  const helper = await admit("helper", helperKey);
  await read("lead", leadKey, lead.access_token);
  const stolen = await fetch(record, { headers: { Authorization: `Bearer ${lead.access_token}` } });
  console.log(`the token alone: ${stolen.status}`);

  // The delegated token is bound to the helper's key: the lead carries it, and can't use it.
  const delegation = { delegate_to: helper.agent_id, scope, ttl: 60 };
  const delegated = await ask(leadKey, "/v1/delegate", lead.access_token, delegation);
  await read("helper", helperKey, delegated);
  await read("lead with the helper's token", leadKey, delegated);

  const renewed = await ask(leadKey, "/v1/token/renew", lead.access_token);
  await read("renewed", leadKey, renewed);
  await ask(leadKey, "/v1/token/release", renewed);
  await ask(helperKey, "/v1/token/release", helper.access_token);
  console.log("released");
}

main().catch((error: unknown) => {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
