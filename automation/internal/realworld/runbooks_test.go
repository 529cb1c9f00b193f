package realworld

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRealRunbooks runs runbooks that AWS publishes. With -short those with scripts are left out: TestOwn has some.
func TestRealRunbooks(t *testing.T) {
	docs := openCorpus(t)
	ran := map[string]bool{}
	for _, row := range slices.Concat(instances(), approvals(), flows(), scripted()) {
		if testing.Short() && row.scripts > 0 {
			continue
		}
		ran[row.runbook] = true
		t.Run(strings.TrimSuffix(row.runbook+" "+row.how, " "), func(t *testing.T) {
			t.Parallel()
			row.tell(t, docs)
		})
	}
	if !testing.Short() {
		require.GreaterOrEqual(t, len(ran), 30, "so many runbooks of AWS's run to their end")
	}
}
