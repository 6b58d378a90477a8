-- The first schema. Times are milliseconds since 1970 in UTC, digests are 32
-- bytes of SHA-256, amounts are credits. Every table is STRICT, so a value of
-- another type is an error and not a surprise.

-- +goose Up

PRAGMA application_id = 1129464133; -- "CRDE": the file says whose it is

-- Every signed document, once, whoever refers to it.
CREATE TABLE documents (
    digest   BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32), -- of kind, signer and payload
    kind     TEXT NOT NULL,                                         -- type and version, e.g. plan/v1
    signer   TEXT NOT NULL,                                         -- who signed it
    envelope BLOB NOT NULL                                          -- the envelope as it travelled
) STRICT, WITHOUT ROWID;

-- The founding document: at most one.
CREATE TABLE genesis (
    one      INTEGER NOT NULL PRIMARY KEY CHECK (one = 1), -- there is one federation in a database
    document BLOB NOT NULL REFERENCES documents (digest)
) STRICT;

-- Who may enrol, once each.
CREATE TABLE invitations (
    token      BLOB NOT NULL PRIMARY KEY CHECK (length(token) = 32), -- digest of the one-time token
    node       TEXT NOT NULL UNIQUE,                                 -- the name it invites: one invitation a name
    roles      TEXT NOT NULL,                                        -- JSON list of roles
    region     TEXT NOT NULL,                                        -- may be empty
    credits    INTEGER NOT NULL,                                     -- granted at enrolment
    expires_at INTEGER NOT NULL,                                     -- not usable from here on
    used_by    BLOB REFERENCES documents (digest)                    -- the enrolment; NULL while unused
) STRICT, WITHOUT ROWID;

-- Who belongs, or belonged, to the federation.
CREATE TABLE parties (
    node       TEXT NOT NULL PRIMARY KEY,
    enrolment  BLOB NOT NULL UNIQUE REFERENCES documents (digest),
    revocation BLOB REFERENCES documents (digest), -- NULL while the party belongs
    last_seen  INTEGER                             -- NULL if never
) STRICT, WITHOUT ROWID;

-- Collective keys, one an epoch.
CREATE TABLE epochs (
    number   INTEGER NOT NULL PRIMARY KEY CHECK (number >= 1),     -- without gaps, from 1
    plan     BLOB NOT NULL UNIQUE REFERENCES documents (digest),
    key      BLOB REFERENCES documents (digest)                    -- NULL until the epoch is closed
) STRICT;

-- What the members of an epoch published to make its key.
CREATE TABLE epoch_documents (
    epoch    INTEGER NOT NULL REFERENCES epochs (number),
    kind     TEXT NOT NULL,                               -- seal-key, commitment, reveal or dealing
    node     TEXT NOT NULL,                               -- the member
    document BLOB NOT NULL REFERENCES documents (digest),
    PRIMARY KEY (epoch, kind, node)                       -- one of each kind a member
) STRICT, WITHOUT ROWID;

-- Jobs and their progress.
CREATE TABLE jobs (
    seq          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,         -- order of submission
    job          TEXT NOT NULL UNIQUE,
    spec         BLOB NOT NULL UNIQUE REFERENCES documents (digest),
    phase        TEXT NOT NULL CHECK (phase IN ('running', 'done', 'cancelled', 'failed')),
    reason       TEXT NOT NULL,                                      -- why it ended; empty while it runs
    last_round   INTEGER NOT NULL CHECK (last_round >= 0),           -- highest round opened
    version      INTEGER NOT NULL CHECK (version >= 0),              -- of the newest model; 0: the initial one
    model        BLOB NOT NULL CHECK (length(model) = 32),           -- blob with its parameters
    submitted_at INTEGER NOT NULL
) STRICT;

-- Which nodes consented to a job.
CREATE TABLE job_joins (
    job      TEXT NOT NULL REFERENCES jobs (job),
    node     TEXT NOT NULL,
    document BLOB NOT NULL REFERENCES documents (digest),
    PRIMARY KEY (job, node)
) STRICT, WITHOUT ROWID;

-- Rounds: the plan, and the state of the round machine.
CREATE TABLE rounds (
    job     TEXT NOT NULL REFERENCES jobs (job),
    number  INTEGER NOT NULL CHECK (number >= 1),
    plan    BLOB NOT NULL UNIQUE REFERENCES documents (digest),
    phase   TEXT NOT NULL,                                      -- of the state, for look-ups
    state   BLOB NOT NULL,                                      -- encoded by the round machine
    version INTEGER NOT NULL CHECK (version >= 1),              -- counts the steps: the optimistic lock
    active  INTEGER NOT NULL CHECK (active IN (0, 1)),          -- 0 when the round is over
    step    BLOB,                                               -- digest of the last step: tells a repeat from a race
    PRIMARY KEY (job, number)
) STRICT;
CREATE INDEX rounds_active ON rounds (job, number) WHERE active = 1;

-- The documents of a round, in the order they came.
CREATE TABLE round_documents (
    job      TEXT NOT NULL,
    round    INTEGER NOT NULL,
    seq      INTEGER NOT NULL,                            -- from 1 in each round
    document BLOB NOT NULL REFERENCES documents (digest),
    PRIMARY KEY (job, round, seq),
    UNIQUE (job, round, document),
    FOREIGN KEY (job, round) REFERENCES rounds (job, number)
) STRICT, WITHOUT ROWID;

-- Published models.
CREATE TABLE models (
    job      TEXT NOT NULL,
    version  INTEGER NOT NULL CHECK (version >= 1),              -- without gaps, from 1
    round    INTEGER NOT NULL,
    model    BLOB NOT NULL CHECK (length(model) = 32),           -- blob with the parameters
    manifest BLOB NOT NULL UNIQUE REFERENCES documents (digest),
    PRIMARY KEY (job, version),
    UNIQUE (job, round),                                         -- a round publishes once
    FOREIGN KEY (job, round) REFERENCES rounds (job, number)
) STRICT, WITHOUT ROWID;

-- The ledger: double entry.
CREATE TABLE transactions (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,  -- order of entry
    id  TEXT NOT NULL UNIQUE,                        -- what it is for: the same payment is entered once
    ref BLOB NOT NULL CHECK (length(ref) = 32),      -- the document it derives from
    at  INTEGER NOT NULL
) STRICT;
CREATE TABLE postings (
    txn     INTEGER NOT NULL REFERENCES transactions (seq),
    leg     INTEGER NOT NULL,                               -- from 0, in the transaction's order
    account TEXT NOT NULL CHECK (account <> ''),
    amount  INTEGER NOT NULL,                               -- into the account; negative: out of it
    memo    TEXT NOT NULL,                                  -- why
    PRIMARY KEY (txn, leg)
) STRICT, WITHOUT ROWID;
CREATE INDEX postings_account ON postings (account, txn);

-- The sum of each account's postings, kept so that it can be checked.
CREATE TABLE accounts (
    account TEXT NOT NULL PRIMARY KEY,
    balance INTEGER NOT NULL,
    CHECK (balance >= 0 OR account = 'issuer') -- only the issuer may owe
) STRICT, WITHOUT ROWID;

-- What was stored stays as it was stored.
-- +goose StatementBegin
CREATE TRIGGER documents_keep BEFORE UPDATE ON documents
BEGIN SELECT RAISE (ABORT, 'documents are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER documents_stay BEFORE DELETE ON documents
BEGIN SELECT RAISE (ABORT, 'documents are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER epoch_documents_keep BEFORE UPDATE ON epoch_documents
BEGIN SELECT RAISE (ABORT, 'epoch documents are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER epoch_documents_stay BEFORE DELETE ON epoch_documents
BEGIN SELECT RAISE (ABORT, 'epoch documents are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER job_joins_keep BEFORE UPDATE ON job_joins
BEGIN SELECT RAISE (ABORT, 'job joins are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER job_joins_stay BEFORE DELETE ON job_joins
BEGIN SELECT RAISE (ABORT, 'job joins are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER round_documents_keep BEFORE UPDATE ON round_documents
BEGIN SELECT RAISE (ABORT, 'round documents are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER round_documents_stay BEFORE DELETE ON round_documents
BEGIN SELECT RAISE (ABORT, 'round documents are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER models_keep BEFORE UPDATE ON models
BEGIN SELECT RAISE (ABORT, 'models are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER models_stay BEFORE DELETE ON models
BEGIN SELECT RAISE (ABORT, 'models are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transactions_keep BEFORE UPDATE ON transactions
BEGIN SELECT RAISE (ABORT, 'transactions are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER transactions_stay BEFORE DELETE ON transactions
BEGIN SELECT RAISE (ABORT, 'transactions are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER postings_keep BEFORE UPDATE ON postings
BEGIN SELECT RAISE (ABORT, 'postings are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER postings_stay BEFORE DELETE ON postings
BEGIN SELECT RAISE (ABORT, 'postings are append-only'); END;
-- +goose StatementEnd
