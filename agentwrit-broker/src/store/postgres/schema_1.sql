-- Times are microseconds since the epoch. Scopes are separated by spaces, which no scope contains. Every number that orders
-- something comes from `head`, so that it is given in the order of commits.

-- Every transaction that writes locks this row, and writes it last. Rewritten by each commit: the free space keeps its
-- versions on one page.
CREATE TABLE head (
    one            smallint PRIMARY KEY CHECK (one = 1),
    schema_version bigint NOT NULL,
    generation     bigint NOT NULL CHECK (generation >= 0), -- plus 1 with each commit
    epoch          text   NOT NULL, -- identifies the revocation log
    audit_seq      bigint NOT NULL,
    audit_hash     bytea  NOT NULL,
    audit_at       bigint NOT NULL,
    cursor         bigint NOT NULL, -- of the latest revocation or change of the keys ever
    keys_cursor    bigint NOT NULL, -- of the latest change of the keys
    last_name      bigint NOT NULL,
    last_launch    bigint NOT NULL,
    certain_time   bigint,
    nonces_forgotten_until bigint NOT NULL,
    probes         bigint NOT NULL,
    last_time      bigint NOT NULL, -- of the latest job: the next one is not earlier, unless the clock was set back
    housekept_at   bigint NOT NULL, -- when a broker last deleted expired rows
    identity       text   NOT NULL  -- of the database and its copies
) WITH (fillfactor = 10);

-- Rows stay for ever: the trail refers to them.
CREATE TABLE names (
    id   bigint PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    app  bigint -- of an agent, the app that it belongs to
);

CREATE TABLE apps (
    id              bigint  PRIMARY KEY, -- `app:<app_id>` in `names`
    app_id          text COLLATE "C" NOT NULL UNIQUE,
    name            text COLLATE "C" NOT NULL,
    client_id       text COLLATE "C" NOT NULL UNIQUE,
    secret_digest   bytea   NOT NULL,
    scopes          text    NOT NULL,
    token_ttl       bigint  NOT NULL,
    active          boolean NOT NULL,
    suspended       boolean NOT NULL,
    created_at      bigint  NOT NULL,
    updated_at      bigint  NOT NULL,
    deregistered_at bigint,
    sender_constrained boolean NOT NULL, -- its agents' tokens are
    former_digest   bytea, -- of the secret before the latest rotation
    former_expires_at bigint
);
CREATE UNIQUE INDEX apps_by_active_name ON apps (name) WHERE active;

CREATE TABLE launch_tokens (
    seq           bigint  PRIMARY KEY,
    id            bytea   NOT NULL UNIQUE,
    digest        bytea   NOT NULL UNIQUE,
    agent_name    text    NOT NULL,
    allowed_scope text    NOT NULL,
    max_ttl       bigint  NOT NULL,
    single_use    boolean NOT NULL,
    created_at    bigint  NOT NULL,
    expires_at    bigint  NOT NULL,
    created_by    text COLLATE "C" NOT NULL,
    app_id        text COLLATE "C",
    orch_id       text,
    task_id       text,
    consumed_at   bigint,
    minted_in     bytea,
    sender_constrained boolean NOT NULL
);
CREATE INDEX launch_tokens_by_expiry ON launch_tokens (expires_at);
CREATE INDEX launch_tokens_by_app ON launch_tokens (app_id) WHERE app_id IS NOT NULL;
CREATE INDEX launch_tokens_by_session ON launch_tokens (minted_in) WHERE minted_in IS NOT NULL;

CREATE TABLE agents (
    id              bigint PRIMARY KEY,
    app             bigint,
    task            bigint NOT NULL,
    scope           text   NOT NULL,
    public_key      bytea  NOT NULL,
    launch_token_id bytea, -- that it registered with
    registered_at   bigint NOT NULL,
    expires_at      bigint NOT NULL,
    revoked_at      bigint,
    sender_constrained boolean NOT NULL, -- all of its tokens are
    attested_by     text,  -- trust rule that it registered with, in place of a launch token
    attested_issuer text, -- of its assertion
    attested_subject text,
    pod_uid         text COLLATE "C"
);
CREATE INDEX agents_by_app ON agents (app, id) WHERE app IS NOT NULL;
CREATE INDEX agents_by_task ON agents (task, id);
CREATE INDEX agents_by_pod ON agents (pod_uid) WHERE pod_uid IS NOT NULL;

CREATE TABLE tokens (
    jti                bytea  PRIMARY KEY,
    sid                bytea  NOT NULL,
    subject            bigint NOT NULL,
    app                bigint,
    task               bigint,
    root               bigint, -- the first delegator
    issued_at          bigint NOT NULL,
    expires_at         bigint NOT NULL,
    original_ttl       bigint NOT NULL,
    session_started_at bigint NOT NULL,
    ended_at           bigint, -- released, renewed or revoked
    sender_constrained boolean NOT NULL, -- bound to the key of the subject
    scope              text -- where it is not that of the subject's registration
);
CREATE INDEX tokens_by_subject ON tokens (subject);
CREATE INDEX tokens_by_task ON tokens (task) WHERE task IS NOT NULL;
CREATE INDEX tokens_by_root ON tokens (root) WHERE root IS NOT NULL;
CREATE INDEX tokens_by_session ON tokens (sid) WHERE sid <> jti; -- the first of a session is found by its jti
CREATE INDEX tokens_by_expiry ON tokens (expires_at);
CREATE INDEX tokens_by_issue ON tokens (issued_at, jti);

-- The delegators of a delegated token, root first.
CREATE TABLE token_delegators (
    jti   bytea  NOT NULL REFERENCES tokens ON DELETE CASCADE,
    hop   bigint NOT NULL,
    agent bigint NOT NULL,
    sid   bytea  NOT NULL,
    PRIMARY KEY (jti, hop)
);
CREATE INDEX token_delegators_by_agent ON token_delegators (agent);
CREATE INDEX token_delegators_by_session ON token_delegators (sid);

CREATE TABLE spent_nonces (
    nonce      bytea  PRIMARY KEY,
    expires_at bigint NOT NULL
);
CREATE INDEX spent_nonces_by_expiry ON spent_nonces (expires_at);

-- Foreign tokens with which agents register. Claims are JSON: a list of names and conditions.
CREATE TABLE trust_rules (
    rule_id       text COLLATE "C" PRIMARY KEY,
    name          text COLLATE "C" NOT NULL UNIQUE,
    app_id        text COLLATE "C" NOT NULL,
    kind          text    NOT NULL CHECK (kind IN ('oidc', 'kubernetes', 'spiffe')),
    issuer        text COLLATE "C" NOT NULL,
    jwks_url      text,
    jwks          text,
    audience      text    NOT NULL,
    claims        text    NOT NULL,
    allowed_scope text    NOT NULL,
    max_ttl       bigint  NOT NULL,
    task_template text,
    orch_template text,
    token_review  boolean NOT NULL,
    created_at    bigint  NOT NULL UNIQUE,
    created_by    text COLLATE "C" NOT NULL
);
CREATE INDEX trust_rules_by_issuer ON trust_rules (issuer, kind);

-- Foreign tokens that registered an agent, until they expire.
CREATE TABLE used_assertions (
    assertion  bytea  PRIMARY KEY,
    expires_at bigint NOT NULL
);
CREATE INDEX used_assertions_by_expiry ON used_assertions (expires_at);

CREATE TABLE revocations (
    cursor     bigint  PRIMARY KEY,
    level      text    NOT NULL,
    target     text COLLATE "C" NOT NULL,
    revoked_at bigint  NOT NULL,
    expires_at bigint  NOT NULL,
    revoked_by text    NOT NULL,
    reason     text,
    listed     boolean NOT NULL -- requested; others follow from releases, renewals and other revocations
);
CREATE INDEX revocations_marks ON revocations (target, revoked_at) WHERE level IN ('agent', 'task', 'chain', 'issuer');
CREATE INDEX revocations_listed ON revocations (cursor) WHERE listed;
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- Deletes up to `most` revocations that expired by `until`, and returns their cursors. A role that may execute it needs no
-- right to delete revocations: those in force stay, because the time is that of this server.
CREATE FUNCTION prune_revocations(until bigint, most bigint) RETURNS SETOF bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM revocations WHERE cursor IN (
        SELECT cursor FROM revocations
        WHERE expires_at <= least(until, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        ORDER BY expires_at LIMIT most
    ) RETURNING cursor
$$;
REVOKE ALL ON FUNCTION prune_revocations FROM PUBLIC;

-- The trail, numbered without gaps. `kind` is event type and outcome in one. Each event has its number among the events of
-- its kind in each of its lists: the number of events between any two is the difference of two numbers.
CREATE TABLE audit_events (
    seq              bigint PRIMARY KEY,
    at               bigint NOT NULL,
    kind             bigint NOT NULL,
    agent            bigint,
    task             bigint,
    app              bigint,
    n_all            bigint NOT NULL,
    n_agent          bigint,
    n_task           bigint,
    n_app            bigint,
    n_agent_task     bigint,
    n_task_app       bigint,
    orch             text,
    detail           text   NOT NULL,
    resource         text,
    deleg_depth      bigint,
    deleg_chain_hash text,
    bytes            bigint,
    hash             bytea  NOT NULL,
    prev_hash        bytea  NOT NULL
);
CREATE INDEX audit_by_kind ON audit_events (kind, seq);
CREATE INDEX audit_by_agent ON audit_events (agent, kind, seq) WHERE agent IS NOT NULL;
CREATE INDEX audit_by_task ON audit_events (task, kind, seq) WHERE task IS NOT NULL;
CREATE INDEX audit_by_app ON audit_events (app, kind, seq) WHERE app IS NOT NULL;
CREATE INDEX audit_by_agent_task ON audit_events (agent, task, kind, seq) WHERE agent IS NOT NULL AND task IS NOT NULL;
CREATE INDEX audit_by_task_app ON audit_events (task, app, kind, seq) WHERE task IS NOT NULL AND app IS NOT NULL;

-- First events of runs: where the clock was set back. From each of these to the next, events are in the order of time.
CREATE TABLE audit_runs (
    first bigint PRIMARY KEY
);

-- Settings on which the brokers of this database must agree.
CREATE TABLE cluster (
    one          smallint PRIMARY KEY CHECK (one = 1),
    issuer       text  NOT NULL,
    trust_domain text  NOT NULL,
    audience     text,
    max_ttl      bigint,
    admin_secret bytea NOT NULL, -- digest under a key that is not in this database
    sender_constrained text NOT NULL,
    key_rotation bigint, -- seconds
    key_prepare_for bigint NOT NULL -- seconds
);

-- Keys of all brokers. `sealed` is encrypted under a key that is not in this database.
CREATE TABLE signing_keys (
    kid          text COLLATE "C" PRIMARY KEY,
    purpose      text   NOT NULL CHECK (purpose IN ('token', 'nonce')),
    public       bytea           CHECK (octet_length(public) = 32),
    sealed       bytea  NOT NULL,
    state        text   NOT NULL CHECK (state IN ('prepared', 'active', 'retiring', 'retired', 'withdrawn')),
    created_at   bigint NOT NULL,
    activates_at bigint,
    activated_at bigint,
    retire_at    bigint,
    changed_at   bigint NOT NULL,
    cursor       bigint NOT NULL CHECK (cursor >= 0)
);

-- Keys that ended. They stay so, whatever their rows in `signing_keys` hold: brokers add rows here and change none.
CREATE TABLE ended_keys (
    kid    text COLLATE "C",
    state  text   NOT NULL CHECK (state IN ('retired', 'withdrawn')),
    cursor bigint NOT NULL, -- of the change
    PRIMARY KEY (kid, state)
);

-- Verifiers that the operator enrolled. A removed one is kept while instances of it may accept tokens.
CREATE TABLE verifiers (
    name               text COLLATE "C" PRIMARY KEY,
    public_key         bytea   NOT NULL,
    max_bound          bigint, -- seconds
    added_at           bigint  NOT NULL UNIQUE,
    removed_at         bigint,
    former_bound       bigint, -- largest that was permitted until former_ended_at
    former_ended_at    bigint,
    instances_since    bigint  NOT NULL,
    may_have_unbounded boolean NOT NULL -- reports of instances without a bound may be lost
);

-- Their instances, by the latest report that a broker accepted.
CREATE TABLE verifier_instances (
    verifier text COLLATE "C" NOT NULL,
    instance text COLLATE "C" NOT NULL,
    seq      bigint  NOT NULL,
    epoch    text    NOT NULL,
    cursor   bigint  NOT NULL,
    bound    bigint, -- seconds
    kids     text,
    drained  bigint,
    leaving  boolean NOT NULL,
    heard_at bigint  NOT NULL,
    signed   text    NOT NULL, -- the report; empty if it is long
    is_ahead boolean NOT NULL, -- follows another database
    public_key bytea NOT NULL, -- that verified the report
    change   bigint  NOT NULL DEFAULT 0, -- of `report_log`
    PRIMARY KEY (verifier, instance)
) WITH (fillfactor = 50);
CREATE INDEX verifier_instances_by_change ON verifier_instances (change);

-- A statement that writes instances locks this row, so that `change` is in the order of commits.
CREATE TABLE report_log (
    one            smallint PRIMARY KEY CHECK (one = 1),
    change         bigint NOT NULL,
    enrolments     bigint NOT NULL, -- plus 1 when brokers are to read everything anew
    kept_since     bigint NOT NULL, -- names the latest loss of reports, and is after the enrolments before it
    is_complete    boolean NOT NULL, -- a broker has followed reports for a lease since: every instance is known
    server_started bigint NOT NULL,
    timeline       text -- of the server's log; another one has been promoted, or restored
) WITH (fillfactor = 10);
INSERT INTO report_log (one, change, enrolments, kept_since, is_complete, server_started) VALUES (1, 0, 0, 0, false, 0);

-- What the latest confirmations were decided by, for auditors.
CREATE TABLE confirmation_evidence (
    epoch      text COLLATE "C" NOT NULL,
    cursor     bigint NOT NULL,
    decided_at bigint NOT NULL,
    document   bytea  NOT NULL, -- JSON, compressed (zlib)
    PRIMARY KEY (epoch, cursor)
);

-- Cursors whose confirmation is recorded in the trail.
CREATE TABLE confirmed_cursors (
    epoch        text COLLATE "C" NOT NULL,
    cursor       bigint NOT NULL,
    confirmed_at bigint NOT NULL,
    PRIMARY KEY (epoch, cursor)
);

INSERT INTO head (one, schema_version, generation, epoch, audit_seq, audit_hash, audit_at, cursor, keys_cursor, last_name,
                  last_launch, certain_time, nonces_forgotten_until, probes, last_time, housekept_at, identity)
VALUES (1, 1, 0, left(replace(gen_random_uuid()::text, '-', ''), 16), 0, decode(repeat('00', 32), 'hex'), 0, 0, 0, 0, 0,
        NULL, 0, 0, 0, 0, replace(gen_random_uuid()::text, '-', ''));
