// The test vectors of docs/audit-chain.md before the verification in a browser, examples/demo-common/assets/audit-chain.js.
//
//   node tests/node/audit_chain.mjs
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";

const read = (path) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
// A browser loads the file as a module by its address; to node its name says otherwise.
const source = read("examples/demo-common/assets/audit-chain.js");
const { eventHash, verifyChain } = await import(`data:text/javascript;base64,${Buffer.from(source).toString("base64")}`);

const { events } = JSON.parse(read("tests/vectors/audit-chain.json"));
const page = read("docs/audit-chain.md");
const copy = () => structuredClone(events);
const brokenAt = async (changed) => (await verifyChain(changed)).broken?.index;
let alterations = 0;

assert.equal(events.length, 3);
for (const event of events) assert.equal(await eventHash(event), event.hash, event.id);
assert.deepEqual(await verifyChain(events), { verified: 3, head: events[2].hash });
assert.ok(page.includes(`\`${events[0].hash}\``), "the page states the hash of the first event");
assert.deepEqual(await verifyChain([]), { verified: 0, head: "0".repeat(64) });

// Every member counts, whether it is altered, left out or added.
const members = /MEMBERS = \("([^)]*)"\)/.exec(page)[1].replaceAll(/["\s]+/g, " ").split(" ");
assert.equal(members.length, 13);
for (const [index, event] of events.entries()) {
  for (const member of [...members, "hash"]) {
    const values = ["another", event[member] === undefined ? "" : undefined, 7];
    for (const value of values) {
      const changed = copy();
      changed[index][member] = value;
      assert.equal(await brokenAt(changed), index, `${event.id}: ${member} = ${value}`);
      alterations += 1;
    }
  }
}
// An event that is removed, repeated or moved; one that is removed from the end leaves a whole chain.
assert.equal(await brokenAt([events[0], events[2]]), 1);
assert.equal(await brokenAt([events[0], events[0], events[1]]), 1);
assert.equal(await brokenAt([events[0], events[2], events[1]]), 1);
assert.equal(await brokenAt([events[1], events[2]]), 0);
assert.deepEqual(await verifyChain(events.slice(0, 2)), { verified: 2, head: events[1].hash });
// An event whose hash was computed anew breaks the chain at the next one.
const forged = copy();
forged[1].detail = "nothing happened";
forged[1].hash = await eventHash(forged[1]);
assert.equal(await brokenAt(forged), 2);

const altered = JSON.parse(read("tests/vectors/audit-break.json"));
const { verified, broken } = await verifyChain(altered.events);
assert.deepEqual([verified, broken.id], [1, altered.accepted.split(":")[0]]);

console.log(`audit-chain.js: the vectors hold, ${alterations} alterations are found`);
