package cli

import (
	"path/filepath"
	"testing"

	"github.com/vipd-io/vipd/internal/goldentest"
)

func golden(t *testing.T, name, got string) {
	t.Helper()
	goldentest.Fresh(t, filepath.Join("testdata/golden", name), got)
}
