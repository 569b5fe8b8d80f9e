-- The whole schema, as the migrations make it one after the other. It is read, never run: change it by a migration.

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
    model TEXT,
    workspace TEXT NOT NULL,
    cwd TEXT NOT NULL,
    preset TEXT NOT NULL,
    keep INTEGER NOT NULL,
    one_shot INTEGER NOT NULL,
    output_file TEXT,
    lifecycle TEXT NOT NULL,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    step TEXT,
    session_id TEXT,
    container TEXT NOT NULL,
    pid INTEGER,
    opening TEXT,
    steering INTEGER NOT NULL,
    reason TEXT,
    error_kind TEXT,
    cause TEXT NOT NULL,
    confirmed INTEGER NOT NULL,
    exported INTEGER NOT NULL,
    queued INTEGER NOT NULL,
    created_seq INTEGER NOT NULL,
    created_wall TEXT NOT NULL,
    updated_seq INTEGER NOT NULL,
    updated_wall TEXT NOT NULL,
    budget TEXT NOT NULL
    DEFAULT '{"tokens": null, "cost": null, "soft_tokens": null, "soft_cost": null}',
    runtime TEXT NOT NULL DEFAULT '',
    unsafe TEXT NOT NULL DEFAULT '[]',
    role TEXT NOT NULL DEFAULT 'leaf',
    role_note TEXT NOT NULL DEFAULT '',
    depth INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;

-- All parents of each subagent: `up` is 1 for its own, and the highest for the root.
CREATE TABLE kin (
    subagent TEXT NOT NULL,
    above TEXT NOT NULL,
    up INTEGER NOT NULL,
    PRIMARY KEY (subagent, above)
) STRICT, WITHOUT ROWID;

CREATE INDEX kin_above ON kin (above, subagent);

CREATE INDEX subagent_parent ON subagent (parent, created_seq);

-- What is open is asked for at every turn and poll; what has ended grows without end.
CREATE INDEX subagent_open ON subagent (parent, created_seq)
WHERE status NOT IN ('completed', 'stopped', 'timed_out', 'error');

-- Admission counts what may still hold a sandbox, also one that is being stopped.
CREATE INDEX subagent_alive ON subagent (parent, created_seq) WHERE lifecycle NOT IN ('stopped', 'failed');

-- What has ended is looked through when streams are deleted.
CREATE INDEX subagent_over ON subagent (updated_seq) WHERE lifecycle IN ('stopped', 'failed');

-- `transcript`: what was said in an ended task, cut; it is there to be searched.
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
    retries INTEGER NOT NULL,
    transcript TEXT NOT NULL,
    queued_seq INTEGER NOT NULL,
    queued_wall TEXT NOT NULL,
    started_seq INTEGER,
    started_wall TEXT,
    ended_seq INTEGER,
    ended_wall TEXT,
    report TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE INDEX task_subagent ON task (subagent, number);

-- Whether something is unread is asked at every turn; without this the long texts of all tasks would be read for it.
CREATE INDEX task_ended ON task (subagent, ended_seq);

CREATE INDEX task_active ON task (subagent, number) WHERE state IN ('running', 'cancelling');

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
    opened_wall TEXT NOT NULL,
    closed_seq INTEGER,
    writing TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    fields TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (subagent, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX request_open ON request (subagent, opened_seq) WHERE closed_seq IS NULL;

-- The outbox. One row for each fact that a parent must be told; `id` is derived from the fact. `dead` says why it is
-- not offered any more, `dead_seq` since when.
CREATE TABLE nudge (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN (
        'completed', 'failed', 'refused', 'timed_out', 'needs_permission', 'needs_input',
        'channel_lost', 'recovered', 'stopped', 'budget'
    )),
    parent TEXT NOT NULL,
    subagent TEXT NOT NULL,
    about TEXT NOT NULL,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    headline TEXT NOT NULL,
    cause TEXT NOT NULL,
    result TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'claimed', 'committed', 'superseded', 'dead')),
    turn TEXT,
    offers INTEGER NOT NULL,
    dead TEXT NOT NULL,
    dead_seq INTEGER,
    created_seq INTEGER NOT NULL,
    created_wall TEXT NOT NULL,
    closed_seq INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX nudge_parent ON nudge (parent, state, created_seq);

CREATE INDEX nudge_subagent ON nudge (subagent, state);

CREATE INDEX nudge_turn ON nudge (turn);

-- For the operator, who sees those of all parents in the order in which they were made.
CREATE INDEX nudge_made ON nudge (created_seq);

-- A turn of a parent: what was shown in it, by which door, and whether it was acknowledged.
CREATE TABLE turn (
    token TEXT PRIMARY KEY,
    parent TEXT NOT NULL,
    door TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    text TEXT NOT NULL,
    nudges TEXT NOT NULL,
    boot TEXT NOT NULL,
    expires INTEGER NOT NULL,
    begun_seq INTEGER NOT NULL,
    committed_seq INTEGER,
    UNIQUE (parent, turn_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX turn_begun ON turn (begun_seq);

-- Who has begun turns: `wakes` counts the newest ones in a row that a wake-up began.
CREATE TABLE parent (
    id TEXT PRIMARY KEY,
    wakes INTEGER NOT NULL,
    turn_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Other names of a parent. Never a chain: `parent` is no alias itself.
CREATE TABLE alias (
    alias TEXT PRIMARY KEY,
    parent TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX alias_parent ON alias (parent);

-- How far each parent has read each of its subagents.
CREATE TABLE cursor (
    parent TEXT NOT NULL,
    subagent TEXT NOT NULL,
    read_seq INTEGER NOT NULL,
    PRIMARY KEY (parent, subagent)
) STRICT, WITHOUT ROWID;

CREATE INDEX cursor_subagent ON cursor (subagent);

-- Subagents whose log was deleted, so that a cursor into it is answered.
CREATE TABLE forgotten (
    subagent TEXT PRIMARY KEY,
    parent TEXT NOT NULL,
    name TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    wall TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX forgotten_parent ON forgotten (parent);

-- What can be searched, one row for each task. The index holds words only; texts are read from the tables.
CREATE UNIQUE INDEX task_queued ON task (queued_seq);

CREATE VIEW document AS
SELECT task.queued_seq AS id, subagent.name || ' ' || subagent.purpose AS name, task.text AS text,
    task.result AS result, task.transcript AS transcript
FROM task JOIN subagent ON subagent.id = task.subagent;

CREATE VIRTUAL TABLE search USING fts5(
    name, text, result, transcript,
    content = 'document', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);

-- What calls of models used, summed for each task and model of a subagent; `task` is empty for calls outside of one.
-- Money in nano-dollars.
CREATE TABLE spent (
    subagent TEXT NOT NULL,
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unknown INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached_input INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    output INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    estimate INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    estimate_cost INTEGER NOT NULL,
    PRIMARY KEY (subagent, task, model)
) STRICT, WITHOUT ROWID;

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
