-- Rights of a role that brokers run as: it can't change or delete what the audit trail and the revocations hold, nor put an
-- ended key back. It can change `head`: brokers reject a row there that leaves revocations out, but not every other change.
GRANT SELECT, UPDATE ON head, report_log TO :role;
GRANT SELECT, INSERT ON names, revocations, audit_events, audit_runs, confirmed_cursors, ended_keys TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON apps, launch_tokens, agents, tokens, token_delegators, spent_nonces, verifiers, verifier_instances,
    confirmation_evidence, trust_rules, used_assertions
    TO :role;
GRANT SELECT, INSERT, UPDATE ON cluster, signing_keys TO :role;
GRANT EXECUTE ON FUNCTION prune_revocations TO :role;
