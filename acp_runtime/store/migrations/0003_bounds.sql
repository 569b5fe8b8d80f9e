-- What bounds and confines a subagent. Of those from before there was no such thing.
ALTER TABLE subagent ADD COLUMN budget TEXT NOT NULL
    DEFAULT '{"tokens": null, "cost": null, "soft_tokens": null, "soft_cost": null}';
ALTER TABLE subagent ADD COLUMN runtime TEXT NOT NULL DEFAULT '';
ALTER TABLE subagent ADD COLUMN unsafe TEXT NOT NULL DEFAULT '[]';
