-- What subagents whose logs were deleted count for in the budgets of each of those who were above them, and in that of
-- their own tree. Money in nano-dollars.
CREATE TABLE bygone (
    above TEXT NOT NULL,
    subagent TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    unpriced TEXT NOT NULL,
    PRIMARY KEY (above, subagent)
) STRICT, WITHOUT ROWID;

-- Of those that were deleted before, only their parent is known.
INSERT INTO bygone SELECT parent, subagent, 0, 0, '' FROM forgotten;
