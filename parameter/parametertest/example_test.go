package parametertest_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/parameter/parametertest"
)

// The rules that every implementation of parameter.Store is held to.
func ExampleCases() {
	for _, c := range parametertest.Cases()[:3] {
		fmt.Println(c.Rule, c.Text)
	}
	// Output:
	// S01 letters, digits and _.- in levels by slashes; spaces around are cut, inside refused; case counts
	// S02 aws and ssm may not begin a name, in whatever case
	// S03 a name with levels begins with a slash; /x and x are one
}
