package sealtest_test

import (
	"fmt"
	"testing"

	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/sealtest"
)

// The test of a key service: its keys, how to rotate and how to lose them.
func Example() {
	test := func(t *testing.T) {
		sealtest.RunWrapper(t, func(testing.TB) sealtest.Keys { return newToy().subject() })
		sealtest.RunBox(t, func(testing.TB) sealtest.Subject {
			k := newToy().subject()
			return sealtest.Subject{Box: sealtest.Of(seal.NewBox(k, nil)), Keys: k}
		})
	}
	_ = test
	fmt.Println(len(sealtest.WrapperCases()), "rules of wrappers,", len(sealtest.BoxCases()), "of boxes")
	// Output: 12 rules of wrappers, 14 of boxes
}
