-- Fewer index entries for each registration.

-- A nonce determines its expiry, so that one tree both finds it and orders by expiry.
CREATE TABLE spent_nonces_3 (
    expires_at INTEGER NOT NULL,
    nonce      BLOB    NOT NULL,
    PRIMARY KEY (expires_at, nonce)
) STRICT, WITHOUT ROWID;
INSERT INTO spent_nonces_3 (expires_at, nonce) SELECT expires_at, nonce FROM spent_nonces ORDER BY expires_at, nonce;
DROP TABLE spent_nonces;
ALTER TABLE spent_nonces_3 RENAME TO spent_nonces;

-- An agent is deleted with the token that expires last. Those whose tokens were deleted before are found here.
DELETE FROM agents WHERE expires_at <= (SELECT certain_time FROM meta)
    AND NOT EXISTS (SELECT 1 FROM tokens WHERE subject = agents.id);
DROP INDEX agents_by_expiry;
