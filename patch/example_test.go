package patch_test

import (
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/patch"
)

func date(s string) time.Time {
	t, _ := time.Parse("2006-01-02", s)
	return t
}

// One package, one notice, one decision.
func ExampleEvaluate() {
	notice := &patch.Advisory{ID: "ALAS-2024-7", Type: "security", Severity: "important", Updated: date("2024-07-07"), CVEs: []string{"CVE-2024-7"}}
	installed := []patch.Installed{{Name: "bind", Arch: "x86_64", Version: "32:9.8.2-1"}}
	available := []patch.Available{{Name: "bind", Arch: "x86_64", Version: "32:9.8.2-2", Advisories: []*patch.Advisory{notice}}}

	baseline := patch.PredefinedDefault(patch.AmazonLinux2)
	for _, day := range []string{"2024-07-13", "2024-07-14"} {
		r, err := patch.Evaluate(baseline, patch.NodeFacts{}, installed, available, date(day))
		if err != nil {
			fmt.Println(err)
			return
		}
		p := r.Patches[0]
		fmt.Println(day, p.Key, p.State, p.CVEs, r.Compliance)
	}
	// Output:
	// 2024-07-13 bind.x86_64 InstalledOther [] COMPLIANT
	// 2024-07-14 bind.x86_64 Missing [CVE-2024-7] NON_COMPLIANT
}

// Why is this patch not approved, and what would have to change?
func ExampleResult_Explain() {
	notice := &patch.Advisory{ID: "ALAS-2024-7", Type: "security", Severity: "low", Updated: date("2024-07-10")}
	installed := []patch.Installed{{Name: "bind", Arch: "x86_64", Version: "32:9.8.2-1"}}
	available := []patch.Available{{Name: "bind", Arch: "x86_64", Version: "32:9.8.2-2", Advisories: []*patch.Advisory{notice}}}

	r, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, installed, available, date("2024-07-14"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(r.Explain(patch.Key{Name: "bind", Arch: "x86_64"}))
	// Output:
}
