package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"credence/fl"
)

// backfillVersion is the migration that enters into the log what was stored
// before there was one. It is Go because SQL cannot hash.
const backfillVersion = 3

// backfillOrder lists the documents of a database without a log in the order
// in which they are entered: that of what they depend on. Nobody has seen a
// checkpoint of such a database, so any fixed order is as good as the one in
// which they came, which was not recorded for all of them.
var backfillOrder = []string{
	"SELECT document FROM genesis",
	"SELECT enrolment FROM parties ORDER BY node",
	`SELECT digest FROM (
		SELECT number AS epoch, 0 AS stage, '' AS node, plan AS digest FROM epochs
		UNION ALL
		SELECT epoch, CASE kind WHEN 'seal-key' THEN 1 WHEN 'commitment' THEN 2 WHEN 'reveal' THEN 3 WHEN 'dealing' THEN 4 ELSE 5 END, kind || ' ' || node, document FROM epoch_documents
		UNION ALL
		SELECT number, 9, '', key FROM epochs WHERE key IS NOT NULL
	) ORDER BY epoch, stage, node`,
	`SELECT digest FROM (
		SELECT seq, 0 AS round, 0 AS part, '' AS node, spec AS digest FROM jobs
		UNION ALL
		SELECT j.seq, 0, 1, n.node, n.document FROM job_joins n JOIN jobs j ON j.job = n.job
		UNION ALL
		SELECT j.seq, r.number, 0, '', r.plan FROM rounds r JOIN jobs j ON j.job = r.job
		UNION ALL
		SELECT j.seq, d.round, d.seq, '', d.document FROM round_documents d JOIN jobs j ON j.job = d.job
	) ORDER BY seq, round, part, node`,
	"SELECT revocation FROM parties WHERE revocation IS NOT NULL ORDER BY node",
	"SELECT digest FROM documents ORDER BY digest", // what nothing above refers to: cancellations
}

// backfill enters every document and every transaction that is not in the log
// yet. It runs in the transaction of its migration: all of it or nothing.
func backfill(ctx context.Context, t *sql.Tx) error {
	x := newTx(ctx, t)
	entered := map[fl.Digest]bool{}
	for _, query := range backfillOrder {
		var digests []fl.Digest
		err := x.each(query, nil, func(scan func(...any) error) error {
			var d digestColumn
			err := scan(&d)
			digests = append(digests, d.digest())
			return err
		})
		if err != nil {
			return fmt.Errorf("listing what belongs into the log: %w", err)
		}
		for _, digest := range digests {
			if entered[digest] {
				continue
			}
			entered[digest] = true
			e, err := x.document(digest)
			if err != nil {
				return fmt.Errorf("entering the stored documents into the log: %w", err)
			}
			if err := x.logDocument(digest, e); err != nil {
				return fmt.Errorf("entering document %s into the log: %w", digest, err)
			}
		}
	}
	entries, err := x.transactions("")
	if err != nil {
		return fmt.Errorf("listing the transactions that belong into the log: %w", err)
	}
	for _, entry := range entries {
		if err := x.logTransaction(entry); err != nil {
			return fmt.Errorf("entering transaction %s into the log: %w", entry.ID, err)
		}
	}
	return nil
}
