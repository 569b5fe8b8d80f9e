-- Who leads whom. Those from before there were trees are leaves of outer parents.
ALTER TABLE subagent ADD COLUMN role TEXT NOT NULL DEFAULT 'leaf';
ALTER TABLE subagent ADD COLUMN role_note TEXT NOT NULL DEFAULT '';
ALTER TABLE subagent ADD COLUMN depth INTEGER NOT NULL DEFAULT 1;

-- All parents of each subagent: `up` is 1 for its own, and the highest for the root.
CREATE TABLE kin (
    subagent TEXT NOT NULL,
    above TEXT NOT NULL,
    up INTEGER NOT NULL,
    PRIMARY KEY (subagent, above)
) STRICT, WITHOUT ROWID;

CREATE INDEX kin_above ON kin (above, subagent);

INSERT INTO kin SELECT id, parent, 1 FROM subagent;
