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
