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
	// yes [C4] bind.x86_64: InstalledOther: no version on offer is approved
	//   yes [C11] installed: installed 32:9.8.2-1
	//   no  [E2] version 32:9.8.2-2: not approved
	//     no  under notice ALAS-2024-7: security low
	//       yes [E1] global filters
	//       no  [E2] rule 1
	//         yes [F1] filter CLASSIFICATION: security
	//         no  [F1] filter SEVERITY: low is none of Critical, Important (would change: put low into SEVERITY of rule 1)
	//         no  [A2] date: updated 2024-07-10 + 7 days = 2024-07-17, which has not come (would change: wait until 2024-07-17)
	//       no  [E2] rule 2
	//         no  [F1] filter CLASSIFICATION: security is none of Bugfix (would change: put security into CLASSIFICATION of rule 2)
	//         no  [A2] date: updated 2024-07-10 + 7 days = 2024-07-17, which has not come (would change: wait until 2024-07-17)
}

// When would the baseline have approved the fix of a CVE, had it been watching all along?
func ExampleSweep() {
	at := func(day, updated string) patch.Archive {
		notice := &patch.Advisory{ID: "ALAS-2024-7", Type: "security", Severity: "critical", Updated: date(updated), CVEs: []string{"CVE-2024-7"}}
		return patch.Archive{At: date(day), Available: []patch.Available{{Name: "bind", Arch: "x86_64", Version: "9.8.2-2", Advisories: []*patch.Advisory{notice}}}}
	}
	archives := []patch.Archive{at("2024-07-01", "2024-07-01"), at("2024-07-06", "2024-07-05"), at("2024-07-11", "2024-07-10")}

	story, err := patch.Sweep(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, archives, date("2024-07-31"), patch.ForCVE("CVE-2024-7"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range story {
		fmt.Println(s.Key, s.Version, "dates", s.Dates, "approved", s.Approved.Format("2006-01-02"))
	}
	story, _ = patch.Sweep(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, archives, date("2024-07-16"), nil)
	fmt.Println("kept moving:", story[0].Moving(date("2024-07-16")), "pending until", story[0].Pending.Format("2006-01-02"))
	// Output:
	// bind.x86_64 9.8.2-2 dates [2024-07-01 2024-07-05 2024-07-10] approved 2024-07-17
	// kept moving: true pending until 2024-07-17
}

// What a run would do to a node, without touching it.
func ExampleRun_Simulate() {
	notice := &patch.Advisory{ID: "ALAS-2024-7", Type: "security", Severity: "critical", Updated: date("2024-07-01")}
	installed := []patch.Installed{{Name: "bind", Arch: "x86_64", Version: "9.8.2-1"}}
	available := []patch.Available{{Name: "bind", Arch: "x86_64", Version: "9.8.2-2", Advisories: []*patch.Advisory{notice}}}
	before, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, installed, available, date("2024-07-31"))
	if err != nil {
		fmt.Println(err)
		return
	}
	run := patch.Run{Operation: patch.Install, RebootOption: patch.NoReboot}
	s, err := run.Simulate(before, nil, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range s.Plan.Steps {
		fmt.Println(step.Key, step.From, "->", step.To)
	}
	fmt.Println("reboot", s.Reboot, s.After.Patches[0].State, s.After.Compliance)
	// Output:
	// bind.x86_64 9.8.2-1 -> 9.8.2-2
	// reboot false InstalledPendingReboot NON_COMPLIANT
}

// From one baseline to another.
func ExampleDiff() {
	a, b := patch.PredefinedDefault(patch.AmazonLinux2), patch.PredefinedDefault(patch.AmazonLinux2)
	later := 30
	b.Rules[0].ApproveAfterDays = &later
	b.RejectedPatches = []string{"kernel-*"}
	list, err := patch.Diff(a, b)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, d := range list {
		fmt.Printf("%s: %q to %q\n", d.Path, d.From, d.To)
	}
	// Output:
	// $.ApprovalRules.PatchRules[0].ApproveAfterDays: "7" to "30"
	// $.RejectedPatches[0]: "" to "\"kernel-*\""
}
