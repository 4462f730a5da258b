-- Rights of a role that brokers run as, each column that they change by name: it can't change or delete what the audit trail and
-- the revocations hold, nor put an ended key back, nor change what a token, an agent or a key is. It can change `head`: brokers
-- reject a row there that leaves revocations out, but not every other change. Rights that an earlier version gave are taken away.
REVOKE ALL ON head, names, apps, launch_tokens, agents, tokens, token_delegators, spent_nonces, revocations, audit_events,
    audit_runs, cluster, signing_keys, ended_keys, verifiers, verifier_instances, report_log, confirmation_evidence,
    confirmed_cursors, trust_rules, used_assertions FROM :role;
GRANT SELECT, UPDATE (generation, epoch, audit_seq, audit_hash, audit_at, cursor, keys_cursor, last_name, last_launch, certain_time,
    nonces_forgotten_until, probes, last_time, housekept_at) ON head TO :role;
GRANT SELECT, UPDATE (change, enrolments, kept_since, is_complete, server_started, timeline) ON report_log TO :role;
GRANT SELECT, INSERT ON names, revocations, audit_events, audit_runs, confirmed_cursors, ended_keys, token_delegators TO :role;
GRANT SELECT, INSERT, UPDATE (secret_digest, former_digest, former_expires_at, scopes, token_ttl, sender_constrained, active,
    suspended, updated_at, deregistered_at) ON apps TO :role;
GRANT SELECT, INSERT, DELETE, UPDATE (consumed_at) ON launch_tokens TO :role;
GRANT SELECT, INSERT, DELETE, UPDATE (expires_at, revoked_at) ON agents TO :role;
GRANT SELECT, INSERT, DELETE, UPDATE (ended_at) ON tokens TO :role;
GRANT SELECT, INSERT, DELETE ON spent_nonces, confirmation_evidence, trust_rules, used_assertions
    TO :role;
GRANT SELECT, INSERT, DELETE, UPDATE (may_have_unbounded) ON verifiers TO :role;
GRANT SELECT, INSERT, DELETE, UPDATE (seq, epoch, cursor, bound, kids, drained, leaving, heard_at, signed, public_key, is_ahead,
    change) ON verifier_instances TO :role;
GRANT SELECT, INSERT, UPDATE (max_ttl, admin_secret, sender_constrained, key_rotation, key_prepare_for) ON cluster TO :role;
GRANT SELECT, INSERT, UPDATE (sealed, state, activates_at, activated_at, retire_at, changed_at, cursor) ON signing_keys TO :role;
GRANT EXECUTE ON FUNCTION prune_revocations TO :role;
