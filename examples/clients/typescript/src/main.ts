// An app lets two agents in; one hands part of its rights to the other, renews, and releases its token when it is done.
//
//   AGENTWRIT_BROKER_URL=… AGENTWRIT_CLIENT_ID=… AGENTWRIT_CLIENT_SECRET=… npm start
import { Broker, Problem, setting, type Agent } from "./broker.js";

async function main(): Promise<void> {
  const broker = new Broker(setting("AGENTWRIT_BROKER_URL"));
  const appToken = await broker.logIn(setting("AGENTWRIT_CLIENT_ID"), setting("AGENTWRIT_CLIENT_SECRET"));

  async function admit(name: string, scope: string[]): Promise<Agent> {
    const agent = await broker.register(await broker.launchToken(appToken, name, scope), "demo", name, scope);
    console.log(`registered: ${agent.agent_id}, ${agent.expires_in} s`);
    return agent;
  }

  async function use(who: string, token: string): Promise<void> {
    const validity = await broker.validate(token);
    console.log(`${who}: ${validity.valid ? `may ${validity.claims.scope.join(" ")}` : "refused"}`);
  }

  const lead = await admit("lead", ["read:data:*"]);
  const helper = await admit("helper", ["read:data:public"]);
  await use("lead", lead.access_token);

  const delegation = await broker.delegate(lead.access_token, helper.agent_id, ["read:data:customers"], 60);
  console.log(`delegated: ${delegation.expires_in} s, chain of ${delegation.delegation_chain.length}`);
  await use("helper", delegation.access_token);

  const renewed = await broker.renew(lead.access_token);
  console.log(`renewed: ${renewed.expires_in} s`);
  await use("the old token", lead.access_token);

  for (const done of [renewed, helper]) await broker.release(done.access_token);
  console.log("released");
  await use("the released token", renewed.access_token);
  try {
    await broker.renew(renewed.access_token);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    console.log(`too late to renew: ${error.status} ${error.code}`);
  }
}

main().catch((error: unknown) => {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
