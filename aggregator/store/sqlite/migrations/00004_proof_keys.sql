-- The proof keys that the federation adopted, oldest first.

-- +goose Up
CREATE TABLE proof_keys (
    seq      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- the newest is the one in use
    document BLOB NOT NULL UNIQUE REFERENCES documents (digest)
) STRICT;
-- +goose StatementBegin
CREATE TRIGGER proof_keys_keep BEFORE UPDATE ON proof_keys
BEGIN SELECT RAISE (ABORT, 'proof keys are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER proof_keys_stay BEFORE DELETE ON proof_keys
BEGIN SELECT RAISE (ABORT, 'proof keys are append-only'); END;
-- +goose StatementEnd
