-- Suspended apps, the minters of launch tokens, and the time that the store knows to have passed.

-- A suspended app keeps its name: `active` says that it is not deregistered.
ALTER TABLE apps ADD COLUMN suspended INTEGER NOT NULL DEFAULT 0;

-- The session of the token that asked for the launch token; none where the broker itself did.
ALTER TABLE launch_tokens ADD COLUMN minted_in BLOB;
CREATE INDEX launch_tokens_by_session ON launch_tokens (minted_in) WHERE minted_in IS NOT NULL;

-- The time that has passed for certain: what expired until then may be deleted. None in a store without records.
ALTER TABLE meta ADD COLUMN certain_time INTEGER;
UPDATE meta SET certain_time = (SELECT at FROM audit_events ORDER BY seq DESC LIMIT 1);
