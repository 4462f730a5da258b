-- The broker's keys. Their secrets are in files: `sealed` is empty.
CREATE TABLE signing_keys (
    kid          TEXT    NOT NULL PRIMARY KEY,
    purpose      TEXT    NOT NULL,
    public       BLOB,
    sealed       BLOB    NOT NULL,
    state        TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    activates_at INTEGER,
    activated_at INTEGER,
    retire_at    INTEGER,
    changed_at   INTEGER NOT NULL,
    cursor       INTEGER NOT NULL
) STRICT;

-- Cursor of the latest change of the keys: it has no row in the log.
ALTER TABLE meta ADD COLUMN keys_cursor INTEGER NOT NULL DEFAULT 0;

-- Verifiers that the operator enrolled, and their instances. A removed one is kept while instances of it may accept tokens.

CREATE TABLE verifiers (
    name               TEXT    NOT NULL PRIMARY KEY,
    public_key         BLOB    NOT NULL,
    max_bound          INTEGER, -- seconds
    added_at           INTEGER NOT NULL UNIQUE,
    removed_at         INTEGER,
    former_bound       INTEGER, -- largest that was permitted until former_ended_at
    former_ended_at    INTEGER,
    instances_since    INTEGER NOT NULL,
    may_have_unbounded INTEGER NOT NULL -- reports of instances without a bound may be lost
) STRICT, WITHOUT ROWID;

-- Instances without a bound on staleness. Of the others memory alone is kept: they stop accepting tokens without reports.
CREATE TABLE verifier_instances (
    verifier TEXT    NOT NULL,
    instance TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    epoch    TEXT    NOT NULL,
    cursor   INTEGER NOT NULL,
    bound    INTEGER, -- seconds
    kids     TEXT,
    drained  INTEGER,
    leaving  INTEGER NOT NULL,
    heard_at INTEGER NOT NULL,
    signed   TEXT    NOT NULL, -- the report; empty if it is long
    is_ahead INTEGER NOT NULL, -- follows another database
    public_key BLOB  NOT NULL, -- that verified the report
    PRIMARY KEY (verifier, instance)
) STRICT, WITHOUT ROWID;

-- What the latest confirmations were decided by, for auditors.
CREATE TABLE confirmation_evidence (
    epoch      TEXT    NOT NULL,
    cursor     INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    document   BLOB    NOT NULL, -- JSON, compressed (zlib)
    PRIMARY KEY (epoch, cursor)
) STRICT;

-- Cursors whose confirmation is recorded in the trail.
CREATE TABLE confirmed_cursors (
    epoch        TEXT    NOT NULL,
    cursor       INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL,
    PRIMARY KEY (epoch, cursor)
) STRICT, WITHOUT ROWID;

-- Tokens of a task in the order of their expiry: those that are added together lie together.
DROP INDEX tokens_by_task;
CREATE INDEX tokens_by_task ON tokens (task, expires_at) WHERE task IS NOT NULL;

-- Tokens that are bound to the key of their subject, and the apps, launch tokens and agents whose tokens are.
ALTER TABLE apps ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE launch_tokens ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tokens ADD COLUMN sender_constrained INTEGER NOT NULL DEFAULT 0;

-- Foreign tokens with which agents register. Claims are JSON: a list of names and conditions.
CREATE TABLE trust_rules (
    rule_id       TEXT    NOT NULL PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    app_id        TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    issuer        TEXT    NOT NULL,
    jwks_url      TEXT,
    jwks          TEXT,
    audience      TEXT    NOT NULL,
    claims        TEXT    NOT NULL,
    allowed_scope TEXT    NOT NULL,
    max_ttl       INTEGER NOT NULL,
    task_template TEXT,
    orch_template TEXT,
    token_review  INTEGER NOT NULL,
    created_at    INTEGER NOT NULL UNIQUE,
    created_by    TEXT    NOT NULL
) STRICT;
CREATE INDEX trust_rules_by_issuer ON trust_rules (issuer, kind);

-- Foreign tokens that registered an agent, until they expire.
CREATE TABLE used_assertions (
    assertion  BLOB    PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_assertions_by_expiry ON used_assertions (expires_at);

-- An agent has registered with a launch token, or with an assertion by a trust rule.
CREATE TABLE agents_4 (
    id                 INTEGER PRIMARY KEY REFERENCES names,
    app                INTEGER REFERENCES names,
    task               INTEGER NOT NULL REFERENCES names,
    scope              TEXT    NOT NULL,
    public_key         BLOB    NOT NULL,
    launch_token_id    BLOB,
    registered_at      INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,
    revoked_at         INTEGER,
    sender_constrained INTEGER NOT NULL DEFAULT 0,
    attested_by        TEXT, -- the trust rule
    attested_issuer    TEXT, -- of the assertion
    attested_subject   TEXT,
    pod_uid            TEXT
) STRICT;
-- The task of `spiffe://domain/agent/orchestration/task/instance`: without an instance of 16 characters, the last part.
CREATE TEMP TABLE agent_tasks AS
    SELECT id, substr(path, length(rtrim(path, replace(path, '/', ''))) + 1) AS task
    FROM (SELECT id, substr(names.name, 1, length(names.name) - 17) AS path FROM agents JOIN names USING (id));
INSERT OR IGNORE INTO names (name) SELECT DISTINCT task FROM agent_tasks ORDER BY id;
INSERT INTO agents_4 (id, app, task, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at)
    SELECT agents.id, agents.app, names.id, scope, public_key, launch_token_id, registered_at, expires_at, revoked_at
    FROM agents JOIN agent_tasks USING (id) JOIN names ON names.name = task ORDER BY agents.id;
DROP TABLE agent_tasks;
DROP TABLE agents;
ALTER TABLE agents_4 RENAME TO agents;
CREATE INDEX agents_by_app ON agents (app) WHERE app IS NOT NULL;
CREATE INDEX agents_by_task ON agents (task);
CREATE INDEX agents_by_pod ON agents (pod_uid) WHERE pod_uid IS NOT NULL;

-- The secret of an app before the latest rotation.
ALTER TABLE apps ADD COLUMN former_digest BLOB;
ALTER TABLE apps ADD COLUMN former_expires_at INTEGER;

-- Scopes of a token, where they are not those of the registration of its subject.
ALTER TABLE tokens ADD COLUMN scope TEXT;

-- Tokens in the order of issue: those that are added together lie together.
CREATE INDEX tokens_by_issue ON tokens (issued_at);
