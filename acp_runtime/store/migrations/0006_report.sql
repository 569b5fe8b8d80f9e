-- What its agent reported that a task came to, as JSON; empty where it reported nothing.
ALTER TABLE task ADD COLUMN report TEXT NOT NULL DEFAULT '';
