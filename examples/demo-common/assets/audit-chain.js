// Verification of the audit chain (docs/audit-chain.md), with SubtleCrypto.

const MEMBERS = ["id", "timestamp", "event_type", "agent_id", "task_id", "orch_id", "detail", "resource", "outcome", "deleg_depth", "deleg_chain_hash", "bytes_transferred", "prev_hash"];
const FIRST = "0".repeat(64);
const text = new TextEncoder();

/** Returns the hash of an event, in lower-case hexadecimal. */
export async function eventHash(event) {
  const parts = [text.encode("agentwrit-audit-v1")];
  for (const member of MEMBERS) {
    const length = new DataView(new ArrayBuffer(4));
    const value = event[member];
    if (value === undefined) {
      length.setUint32(0, 0xffffffff);
      parts.push(new Uint8Array(length.buffer));
    } else {
      const bytes = text.encode(String(value));
      length.setUint32(0, bytes.length);
      parts.push(new Uint8Array(length.buffer), bytes);
    }
  }
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Follows the chain from the first event. Returns `{ verified, head }`, and `broken: { index, id, reason }` at the first link
 * that does not hold.
 */
export async function verifyChain(events) {
  let head = FIRST;
  for (const [index, event] of events.entries()) {
    const expected = `evt-${String(index + 1).padStart(6, "0")}`;
    let reason;
    if (event.id !== expected) reason = `${expected} is missing`;
    else if (event.prev_hash !== head) reason = "it does not carry the hash of the event before it";
    else if ((await eventHash(event)) !== event.hash) reason = "its contents do not have its hash";
    if (reason) return { verified: index, head, broken: { index, id: event.id, reason } };
    head = event.hash;
  }
  return { verified: events.length, head };
}
