// Package parametertest checks that an implementation of parameter.Store keeps the rules of Parameter Store.
//
//	func TestStore(t *testing.T) {
//		parametertest.Run(t, func(t testing.TB) parametertest.Subject { … })
//	}
//
// Each case has the name of the statement that it checks (S01 to S34, T19 to T21) and a fresh store.
package parametertest

import (
	"context"
	"testing"

	"github.com/fleetwright/fleetwright/parameter"
)

// Subject is a store under test: empty, with AWS's limits, and a caller who may do everything.
type Subject struct {
	parameter.Store
	// Context is what calls are made with; nil is context.Background.
	Context context.Context
	// NoKeys says that SecureStrings cannot be written; cases about them are skipped.
	NoKeys bool
	// Settle waits until what was written can be read, for stores that need a while; nil does not wait.
	Settle func()
}

// T is what a case needs of testing.T, so that wrong implementations can be shown to fail.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	FailNow()
	Skip(args ...any)
}

// Case checks one rule.
type Case struct {
	Rule string // S18
	Text string // what the rule says
	Run  func(t T, s Subject)
}

// Run runs every case on a fresh store. The factory cleans up with t.Cleanup.
func Run(t *testing.T, factory func(t testing.TB) Subject) {
	for _, c := range Cases() {
		t.Run(c.Rule+" "+c.Text, func(t *testing.T) { c.Run(t, factory(t)) })
	}
}

// Cases returns all cases.
func Cases() []Case {
	return []Case{
		{"S01", "letters, digits and _.- in levels by slashes; spaces around are cut, inside refused; case counts", names},
		{"S02", "aws and ssm may not begin a name, in whatever case", reserved},
		{"S03", "a name with levels begins with a slash; /x and x are one", slashes},
		{"S04", "at most 15 levels", levels},
		{"S05", "at most 1,011 characters with the beginning of the ARN", lengths},
		{"S06", "a name may be a leaf and a level", leafAndLevel},
		{"S08", "three types; needed to create, kept afterwards", types},
		{"S09", "a StringList has no spaces around its commas", lists},
		{"S10", "a value does not refer to another parameter", nesting},
		{"S11", "AllowedPattern is a regular expression that values match", patterns},
		{"S12", "descriptions and tags have limits", descriptions},
		{"S13", "what exists is overwritten only when asked", overwriting},
		{"S14", "Standard takes 4 KB, Advanced 8 KB and never goes back, Intelligent-Tiering chooses", tiers},
		{"S15", "text is the data type unless another is named", dataTypes},
		{"S16", "versions begin at 1 and have no gaps", versions},
		{"S17", "a selector means a version or a label, never another", selectors},
		{"S18", "labels: ten a version, moved, those that break the rules listed", labels},
		{"S19", "labels are taken from the version that is named", unlabelling},
		{"S20", "GetParameters and DeleteParameters take ten names and list those that are not there", many},
		{"S21", "a path lists what is below it", paths},
		{"S22", "DescribeParameters filters", describing},
		{"S23", "history has pages of all that is known of each version", history},
		{"S24", "without decryption a SecureString is ciphertext", decryption},
		{"S28", "only the value is encrypted", onlyValues},
		{"S30", "policies need the tier Advanced and have rules", policies},
		{"T19", "Tags and Overwrite exclude each other", tagsAndOverwrite},
		{"T20", "the 101st version drops the oldest, unless it has a label", dropping},
		{"T21", "pages go on by token until there is none", pages},
	}
}
