-- The transparency log: every stored document and every transaction of the
-- ledger, in the order in which they were stored, and the hashes of the Merkle
-- tree over them. What was stored before this migration is entered by the next
-- one (backfill.go), because SQL cannot hash.

-- +goose Up

-- An entry is a document or a transaction; its bytes are where they always
-- were.
CREATE TABLE log_entries (
    idx      INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0), -- without gaps, from 0
    kind     TEXT NOT NULL,                                 -- of the document, or transaction/v1
    document BLOB UNIQUE REFERENCES documents (digest),
    txn      INTEGER UNIQUE REFERENCES transactions (seq),
    CHECK ((document IS NULL) <> (txn IS NULL))
) STRICT;

-- The tree's hashes by their index in storage (tlog.StoredHashIndex).
CREATE TABLE log_hashes (
    idx  INTEGER NOT NULL PRIMARY KEY CHECK (idx >= 0), -- without gaps, from 0
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

-- The latest checkpoint that each witness cosigned.
CREATE TABLE cosignatures (
    witness TEXT NOT NULL PRIMARY KEY,
    size    INTEGER NOT NULL CHECK (size >= 0), -- of the log at the checkpoint; only grows
    note    BLOB NOT NULL                       -- the checkpoint with the log's and the witness' signature
) STRICT, WITHOUT ROWID;

-- Whether the large blobs of a round that is over were deleted.
ALTER TABLE rounds ADD COLUMN pruned INTEGER NOT NULL DEFAULT 0 CHECK (pruned IN (0, 1));
CREATE INDEX rounds_kept ON rounds (job, number) WHERE active = 0 AND pruned = 0;

-- +goose StatementBegin
CREATE TRIGGER log_entries_keep BEFORE UPDATE ON log_entries
BEGIN SELECT RAISE (ABORT, 'log entries are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER log_entries_stay BEFORE DELETE ON log_entries
BEGIN SELECT RAISE (ABORT, 'log entries are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER log_hashes_keep BEFORE UPDATE ON log_hashes
BEGIN SELECT RAISE (ABORT, 'log hashes are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER log_hashes_stay BEFORE DELETE ON log_hashes
BEGIN SELECT RAISE (ABORT, 'log hashes are append-only'); END;
-- +goose StatementEnd
