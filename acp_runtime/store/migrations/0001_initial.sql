-- The log is the truth; every table below it is a projection that `rebuild` can make again.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    wall TEXT NOT NULL,
    boot TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    UNIQUE (stream, version)
) STRICT;

-- A page of a stream is found by seq, which every index holds as its last column.
CREATE INDEX event_stream ON event (stream);

CREATE TABLE subagent (
    id TEXT PRIMARY KEY,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    agent TEXT NOT NULL,
    workspace TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    step TEXT,
    session_id TEXT,
    reason TEXT,
    error_kind TEXT,
    cause TEXT NOT NULL,
    confirmed INTEGER NOT NULL,
    -- What is shown of one subagent and never searched for: JSON, see `_shown` in projections.py.
    shown TEXT NOT NULL,
    created_seq INTEGER NOT NULL,
    created_wall TEXT NOT NULL,
    updated_seq INTEGER NOT NULL,
    updated_wall TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX subagent_parent ON subagent (parent, created_seq);

-- What is open is asked for at every turn and poll; what has ended grows without end.
CREATE INDEX subagent_open ON subagent (parent, created_seq)
WHERE status NOT IN ('completed', 'stopped', 'timed_out', 'error');

CREATE TABLE task (
    id TEXT PRIMARY KEY,
    subagent TEXT NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    state TEXT NOT NULL,
    verdict TEXT,
    cause TEXT NOT NULL,
    stop_reason TEXT,
    result TEXT NOT NULL,
    tools_completed INTEGER NOT NULL,
    tools_failed INTEGER NOT NULL,
    files_changed INTEGER,
    stderr_tail TEXT NOT NULL,
    queued_seq INTEGER NOT NULL,
    queued_wall TEXT NOT NULL,
    ended_seq INTEGER,
    ended_wall TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX task_subagent ON task (subagent, number);

-- Whether something is unread is asked at every turn; without this the long texts of all tasks would be read for it.
CREATE INDEX task_ended ON task (subagent, ended_seq);

CREATE TABLE request (
    subagent TEXT NOT NULL,
    id TEXT NOT NULL,
    task TEXT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    options TEXT NOT NULL,
    answer TEXT,
    answered_by TEXT,
    opened_seq INTEGER NOT NULL,
    closed_seq INTEGER,
    PRIMARY KEY (subagent, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX request_open ON request (subagent, opened_seq) WHERE closed_seq IS NULL;

-- The outbox. One row for each fact that a parent must be told; `id` is derived from the fact.
CREATE TABLE nudge (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN (
        'completed', 'failed', 'refused', 'timed_out', 'needs_permission', 'needs_input',
        'channel_lost', 'recovered', 'stopped', 'budget'
    )),
    parent TEXT NOT NULL,
    subagent TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    headline TEXT NOT NULL,
    cause TEXT NOT NULL,
    result TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'claimed', 'committed', 'superseded', 'dead')),
    turn TEXT,
    created_seq INTEGER NOT NULL,
    created_wall TEXT NOT NULL,
    closed_seq INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX nudge_parent ON nudge (parent, state, created_seq);

-- A turn of a parent: what was shown in it, by which door, and whether it was acknowledged.
CREATE TABLE turn (
    token TEXT PRIMARY KEY,
    parent TEXT NOT NULL,
    door TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    text TEXT NOT NULL,
    nudges TEXT NOT NULL,
    boot TEXT NOT NULL,
    expires INTEGER NOT NULL,
    begun_seq INTEGER NOT NULL,
    committed_seq INTEGER,
    UNIQUE (parent, turn_id)
) STRICT, WITHOUT ROWID;

-- How far each parent has read each of its subagents.
CREATE TABLE cursor (
    parent TEXT NOT NULL,
    subagent TEXT NOT NULL,
    read_seq INTEGER NOT NULL,
    PRIMARY KEY (parent, subagent)
) STRICT, WITHOUT ROWID;
