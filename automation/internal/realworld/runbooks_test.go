package realworld

import (
	"slices"
	"strings"
	"testing"
)

// TestRealRunbooks runs runbooks that AWS publishes.
func TestRealRunbooks(t *testing.T) {
	docs := openCorpus(t)
	names := map[string]bool{}
	for _, row := range slices.Concat(instances(), approvals(), flows(), scripted()) {
		names[row.runbook] = true
		t.Run(strings.TrimSuffix(row.runbook+" "+row.how, " "), func(t *testing.T) {
			t.Parallel()
			row.tell(t, docs)
		})
	}
	t.Logf("%d runbooks", len(names))
}
