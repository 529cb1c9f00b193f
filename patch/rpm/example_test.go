package rpm_test

import (
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
)

// What is installed comes from rpm, what is offered from the metadata of repositories; os.DirFS gives a folder that holds repodata/.
func ExampleReadRepo() {
	rpmOutput := strings.Join([]string{"a", "0", "1", "1", "x86_64", "0", "0", "", "", "."}, "\x1f") + "\n"
	installed, err := rpm.ReadInstalled("rpm -qa", strings.NewReader(rpmOutput), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	repo, err := rpm.ReadRepo(small(), &rpm.RepoOptions{ID: "updates", Keep: rpm.Keep(installed)})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, a := range rpm.Available(installed, repo) {
		if a.Name == "a" && patch.CompareRPM(a.Version, installed[0].Version) > 0 {
			fmt.Println(a.Name, a.Version, a.Advisories[0].ID, a.Advisories[0].Severity)
		}
	}
	// Output: a 2-1 A-1 Important
}

// The variables of dnf are handed in.
func ExampleParseRepo() {
	repos, err := rpm.ParseRepo("/etc/yum.repos.d/fx.repo", strings.NewReader("[fx]\nbaseurl=https://example.org/$releasever/$basearch\nenabled=1\n"),
		&rpm.RepoDefaults{Vars: map[string]string{"releasever": "9", "basearch": "x86_64"}}, nil)
	fmt.Println(repos[0].ID, repos[0].BaseURLs, repos[0].Enabled, err)
	// Output: fx [https://example.org/9/x86_64] true <nil>
}
