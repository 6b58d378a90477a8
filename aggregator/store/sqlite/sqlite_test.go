package sqlite

import (
	"context"
	"path/filepath"
	"testing"

	"credence/aggregator/store"
	"credence/aggregator/store/storetest"
)

func openIn(ctx context.Context, dir string) (store.Store, error) {
	return Open(ctx, filepath.Join(dir, "data", "aggregator.db"))
}

func TestConformance(t *testing.T) { storetest.Run(t, openIn) }
