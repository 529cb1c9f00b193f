package patch_test

import (
	"path/filepath"
	"testing"
)

// TestRules runs this project's own worked examples; their names begin with the rule that they test.
func TestRules(t *testing.T) { runSuite(t, filepath.Join("testdata", "cases.json")) }
