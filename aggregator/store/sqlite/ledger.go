package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"credence/aggregator/store"
	"credence/fl"
	"credence/fl/credit"
)

// Transact implements store.Store.
func (s *Store) Transact(ctx context.Context, entry credit.Transaction) error {
	return s.update(ctx, "entering a transaction", func(t tx) error { return t.enter(entry) })
}

func (t tx) enterOptional(entry *credit.Transaction) error {
	if entry == nil {
		return nil
	}
	return t.enter(*entry)
}

// enter enters a transaction, once. What makes it the same transaction is its
// id, its reference and its postings; the time of the first entry stands.
func (t tx) enter(entry credit.Transaction) error {
	if err := entry.Validate(); err != nil { // among it: the postings sum to zero
		return err
	}
	if held, err := t.transaction(entry.ID); err != nil || held != nil {
		if err == nil && !same(*held, entry) {
			return fmt.Errorf("%w: transaction %s was entered with other content", store.ErrConflict, entry.ID)
		}
		return err
	}
	var seq int64
	if err := t.sql.QueryRowContext(t.ctx, "INSERT INTO transactions (id, ref, at) VALUES (?, ?, ?) RETURNING seq",
		entry.ID, entry.Ref[:], milliseconds(entry.At)).Scan(&seq); err != nil {
		return err
	}
	for leg, p := range entry.Postings {
		if err := t.exec("INSERT INTO postings (txn, leg, account, amount, memo) VALUES (?, ?, ?, ?, ?)", seq, leg, p.Account, p.Amount, p.Memo); err != nil {
			return err
		}
	}
	var failed error
	after, err := credit.Settle(entry, func(account string) (balance int64) {
		_, err := t.one("SELECT balance FROM accounts WHERE account = ?", []any{account}, &balance)
		failed = errors.Join(failed, err)
		return balance
	})
	if failed != nil {
		return failed
	}
	if overdraft := new(credit.Overdraft); errors.As(err, &overdraft) {
		return fmt.Errorf("%w: %w", store.ErrFunds, err)
	}
	if err != nil {
		return err
	}
	for account, balance := range after {
		if err := t.exec("INSERT INTO accounts (account, balance) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET balance = excluded.balance", account, balance); err != nil {
			return err
		}
	}
	return t.logTransaction(entry)
}

func same(a, b credit.Transaction) bool {
	return a.ID == b.ID && a.Ref == b.Ref && slices.Equal(a.Postings, b.Postings)
}

// transaction returns an entered transaction, nil when there is none.
func (t tx) transaction(id string) (*credit.Transaction, error) {
	found, err := t.transactions("WHERE t.id = ?", id)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil
}

func (t tx) transactions(where string, args ...any) (entries []credit.Transaction, err error) {
	last := int64(-1)
	err = t.each(`SELECT t.seq, t.id, t.ref, t.at, p.account, p.amount, p.memo
		FROM transactions t JOIN postings p ON p.txn = t.seq `+where+` ORDER BY t.seq, p.leg`, args,
		func(scan func(...any) error) error {
			var seq, at int64
			var entry credit.Transaction
			var ref digestColumn
			var p fl.Posting
			if err := scan(&seq, &entry.ID, &ref, &at, &p.Account, &p.Amount, &p.Memo); err != nil {
				return err
			}
			if seq != last {
				entry.Ref, entry.At, last = ref.digest(), instant(at), seq
				entries = append(entries, entry)
			}
			e := &entries[len(entries)-1]
			e.Postings = append(e.Postings, p)
			return nil
		})
	return entries, err
}

// Balances implements store.Store. An account appears once it has had a
// posting.
func (s *Store) Balances(ctx context.Context) (balances map[string]int64, err error) {
	balances = make(map[string]int64)
	err = s.view(ctx, "reading the balances", func(t tx) error {
		return t.each("SELECT account, balance FROM accounts", nil, func(scan func(...any) error) error {
			var account string
			var balance int64
			err := scan(&account, &balance)
			balances[account] = balance
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return balances, nil
}

// History implements store.Store.
func (s *Store) History(ctx context.Context, account string) (entries []credit.Transaction, err error) {
	err = s.view(ctx, "reading the ledger", func(t tx) error {
		if account == "" {
			entries, err = t.transactions("")
		} else {
			entries, err = t.transactions("WHERE t.seq IN (SELECT txn FROM postings WHERE account = ?)", account)
		}
		return err
	})
	return entries, err
}

// Check reads the whole database and reports everything that does not hold:
// damaged pages, dangling references, documents that do not match their
// digest, transactions that do not sum to zero, balances that are not the sum
// of their postings, a log that is not of the documents and transactions. It takes a while on a large database.
func (s *Store) Check(ctx context.Context) error {
	return s.view(ctx, "checking "+s.path, func(t tx) error {
		var findings []error
		report := func(format string, args ...any) { findings = append(findings, fmt.Errorf(format, args...)) }
		text := func(query, format string) error {
			return t.each(query, nil, func(scan func(...any) error) error {
				var what string
				err := scan(&what)
				if what != "ok" {
					report(format, what)
				}
				return err
			})
		}
		err := errors.Join(
			text("PRAGMA integrity_check", "damaged page: %s"),
			text(`SELECT "table" FROM pragma_foreign_key_check`, "dangling reference in table %s"),
			text("SELECT id FROM transactions t WHERE (SELECT coalesce(sum(amount), 1) FROM postings WHERE txn = t.seq) <> 0", "transaction %s does not sum to zero"),
			text("SELECT account FROM accounts a WHERE balance <> (SELECT coalesce(sum(amount), 0) FROM postings p WHERE p.account = a.account)", "the balance of %s is not the sum of its postings"),
			text("SELECT DISTINCT account FROM postings WHERE account NOT IN (SELECT account FROM accounts)", "account %s has postings and no balance"),
			t.each("SELECT digest, envelope FROM documents", nil, func(scan func(...any) error) error {
				var digest digestColumn
				var envelope []byte
				if err := scan(&digest, &envelope); err != nil {
					return err
				}
				if _, err := decodeDocument(digest.digest(), envelope); err != nil {
					findings = append(findings, err)
				}
				return nil
			}),
			t.checkLog(report))
		return errors.Join(append(findings, err)...)
	})
}
