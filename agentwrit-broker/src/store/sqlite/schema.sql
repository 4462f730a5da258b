-- Times are microseconds since the epoch. Scopes are separated by spaces, which no scope contains.

CREATE TABLE meta (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    epoch  TEXT    NOT NULL, -- identifies the revocation log
    probes INTEGER NOT NULL DEFAULT 0,
    nonces_forgotten_until INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO meta (one, epoch) VALUES (1, lower(hex(randomblob(8))));

-- Subjects and task ids as small numbers in the order of first use: what refers to recent ones lies close together,
-- so that a transaction touches few pages. Rows stay for ever: the trail refers to them.
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    name TEXT    NOT NULL UNIQUE,
    app  INTEGER REFERENCES names -- of an agent, the app that it belongs to
) STRICT;

CREATE TABLE apps (
    id              INTEGER PRIMARY KEY REFERENCES names, -- `app:<app_id>`
    app_id          TEXT    NOT NULL UNIQUE,
    name            TEXT    NOT NULL,
    client_id       TEXT    NOT NULL UNIQUE,
    secret_digest   BLOB    NOT NULL,
    scopes          TEXT    NOT NULL,
    token_ttl       INTEGER NOT NULL,
    active          INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deregistered_at INTEGER
) STRICT;
CREATE UNIQUE INDEX apps_by_active_name ON apps (name) WHERE active;

CREATE TABLE launch_tokens (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT, -- a cursor that is never used twice
    id            BLOB    NOT NULL UNIQUE,
    digest        BLOB    NOT NULL UNIQUE,
    agent_name    TEXT    NOT NULL,
    allowed_scope TEXT    NOT NULL,
    max_ttl       INTEGER NOT NULL,
    single_use    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    app_id        TEXT,
    orch_id       TEXT,
    task_id       TEXT,
    consumed_at   INTEGER
) STRICT;
CREATE INDEX launch_tokens_by_expiry ON launch_tokens (expires_at);
CREATE INDEX launch_tokens_by_app ON launch_tokens (app_id) WHERE app_id IS NOT NULL;

CREATE TABLE agents (
    id              INTEGER PRIMARY KEY REFERENCES names,
    app             INTEGER REFERENCES names,
    scope           TEXT    NOT NULL,
    public_key      BLOB    NOT NULL,
    launch_token_id BLOB    NOT NULL,
    registered_at   INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    revoked_at      INTEGER
) STRICT;
CREATE INDEX agents_by_app ON agents (app) WHERE app IS NOT NULL;
CREATE INDEX agents_by_expiry ON agents (expires_at);

CREATE TABLE tokens (
    jti                BLOB    PRIMARY KEY,
    sid                BLOB    NOT NULL,
    subject            INTEGER NOT NULL REFERENCES names,
    app                INTEGER,
    task               INTEGER,
    root               INTEGER, -- the first delegator
    issued_at          INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,
    original_ttl       INTEGER NOT NULL,
    session_started_at INTEGER NOT NULL,
    ended_at           INTEGER -- released, renewed or revoked
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_subject ON tokens (subject);
CREATE INDEX tokens_by_task ON tokens (task) WHERE task IS NOT NULL;
CREATE INDEX tokens_by_root ON tokens (root) WHERE root IS NOT NULL;
CREATE INDEX tokens_by_session ON tokens (sid) WHERE sid <> jti; -- the first of a session is found by its jti
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- The delegators of a delegated token, root first.
CREATE TABLE token_delegators (
    jti   BLOB    NOT NULL REFERENCES tokens ON DELETE CASCADE,
    hop   INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    sid   BLOB    NOT NULL,
    PRIMARY KEY (jti, hop)
) STRICT, WITHOUT ROWID;
CREATE INDEX token_delegators_by_agent ON token_delegators (agent);
CREATE INDEX token_delegators_by_session ON token_delegators (sid);

CREATE TABLE spent_nonces (
    nonce      BLOB    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_nonces_by_expiry ON spent_nonces (expires_at);

CREATE TABLE revocations (
    cursor     INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: followers ask for what came after one
    level      TEXT    NOT NULL,
    target     TEXT    NOT NULL,
    revoked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_by TEXT    NOT NULL,
    reason     TEXT,
    listed     INTEGER NOT NULL -- somebody asked for it; others follow from releases, renewals and other revocations
) STRICT;
CREATE INDEX revocations_marks ON revocations (target, revoked_at) WHERE level IN ('agent', 'task', 'chain', 'issuer');
CREATE INDEX revocations_listed ON revocations (cursor) WHERE listed;
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

-- The trail, numbered without gaps. `kind` is event type and outcome in one. Each event knows its number among the
-- events of its kind: in the whole trail, of its agent, task and app, of agent and task, and of task and app. So how
-- many there are between any two events is the difference of two numbers, and `total` never counts rows. The numbers
-- and small columns come first, for the look-ups that need no more.
CREATE TABLE audit_events (
    seq              INTEGER PRIMARY KEY,
    at               INTEGER NOT NULL,
    kind             INTEGER NOT NULL,
    agent            INTEGER,
    task             INTEGER,
    app              INTEGER,
    n_all            INTEGER NOT NULL,
    n_agent          INTEGER,
    n_task           INTEGER,
    n_app            INTEGER,
    n_agent_task     INTEGER,
    n_task_app       INTEGER,
    orch             TEXT,
    detail           TEXT    NOT NULL,
    resource         TEXT,
    deleg_depth      INTEGER,
    deleg_chain_hash TEXT,
    bytes            INTEGER,
    hash             BLOB    NOT NULL,
    prev_hash        BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_by_kind ON audit_events (kind);
CREATE INDEX audit_by_agent ON audit_events (agent, kind) WHERE agent IS NOT NULL;
CREATE INDEX audit_by_task ON audit_events (task, kind) WHERE task IS NOT NULL;
CREATE INDEX audit_by_app ON audit_events (app, kind) WHERE app IS NOT NULL;
CREATE INDEX audit_by_agent_task ON audit_events (agent, task, kind) WHERE agent IS NOT NULL AND task IS NOT NULL;
CREATE INDEX audit_by_task_app ON audit_events (task, app, kind) WHERE task IS NOT NULL AND app IS NOT NULL;

-- Where the clock was set back: from each of these to the next, events are in the order of time.
CREATE TABLE audit_runs (
    first INTEGER PRIMARY KEY
) STRICT;
