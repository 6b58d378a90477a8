-- What nodes committed to train a job on: one table of rows a node and job.

-- +goose Up
CREATE TABLE datasets (
    job      TEXT NOT NULL REFERENCES jobs (job),
    node     TEXT NOT NULL,
    document BLOB NOT NULL UNIQUE REFERENCES documents (digest),
    PRIMARY KEY (job, node)
) STRICT, WITHOUT ROWID;
-- +goose StatementBegin
CREATE TRIGGER datasets_keep BEFORE UPDATE ON datasets
BEGIN SELECT RAISE (ABORT, 'dataset commitments are append-only'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER datasets_stay BEFORE DELETE ON datasets
BEGIN SELECT RAISE (ABORT, 'dataset commitments are append-only'); END;
-- +goose StatementEnd
