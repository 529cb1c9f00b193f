package rpm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/rpm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
)

// line is one line of rpm's output in QueryFormat.
func line(fields ...string) string { return strings.Join(append(fields, "."), "\x1f") + "\n" }

func TestReadInstalled(t *testing.T) {
	out := line("user", "0", "1.0", "1.el9", "x86_64", "1704067200", "1704060000", "liblam.so.1\x1erpmlib(X)\x1e/bin/sh\x1eliblam.so.1\x1e", "user\x1e") +
		line("gpg-pubkey", "0", "aa", "bb", "", "1704067200", "1704067200", "", "") +
		line("lambda", "3", "2.0^git", "1", "noarch", "0", "0", "", "lambda\x1eliblam.so.1\x1e") +
		line("kernel", "0", "6.10", "1", "x86_64", "1", "1", "", "") + line("kernel", "0", "6.9", "1", "x86_64", "1", "1", "", "")
	got, err := rpm.ReadInstalled("rpm -qa", strings.NewReader(out), nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]patch.Installed{
		{Name: "kernel", Arch: "x86_64", Version: "6.9-1", InstalledAt: time.Unix(1, 0).UTC()},
		{Name: "kernel", Arch: "x86_64", Version: "6.10-1", InstalledAt: time.Unix(1, 0).UTC()},
		{Name: "lambda", Arch: "noarch", Version: "3:2.0^git-1"},
		{Name: "user", Arch: "x86_64", Version: "1.0-1.el9", InstalledAt: time.Unix(1704067200, 0).UTC(), Requires: []string{"lambda"}},
	}, rpm.InstalledPackages(got)))
	require.Equal(t, time.Unix(1704060000, 0).UTC(), got[3].Built)
	for n := 1; n < len(out)-1; n++ {
		if out[n-1] == '\n' || out[n] == '\n' {
			continue // whole lines
		}
		_, err := rpm.ReadInstalled("rpm -qa", strings.NewReader(out[:n]), nil)
		require.ErrorContains(t, err, "rpm -qa:", "cut off after %d", n)
	}
	for name, text := range map[string]string{
		"no name":          line("", "0", "1", "1", "noarch", "0", "0", "", ""),
		"no release":       line("a", "0", "1", "", "noarch", "0", "0", "", ""),
		"an epoch of none": line("a", "(none)", "1", "1", "noarch", "0", "0", "", ""),
		"a time of none":   line("a", "0", "1", "1", "noarch", "x", "0", "", ""),
		"a message":        "error: cannot open Packages database\n",
	} {
		_, err := rpm.ReadInstalled("rpm -qa", strings.NewReader(line("ok", "0", "1", "1", "noarch", "0", "0", "", "")+text), nil)
		require.ErrorContains(t, err, "rpm -qa:2", name)
	}
	_, err = rpm.ReadInstalled("rpm -qa", strings.NewReader(out), &rpm.Limits{Token: 20})
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
	_, err = rpm.ReadInstalled("rpm -qa", strings.NewReader(out), &rpm.Limits{Total: 100})
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))

	rpm.Lock(got, "# locks\nAdded: x y\nlambda-3:2.0^git-1.*\n!user-0:1.0-*\nkernel-0:6.1?-1.x86_64\n")
	held := map[string]bool{}
	for _, p := range got {
		held[p.Name+p.Version] = p.Held
	}
	require.Equal(t, map[string]bool{"kernel6.9-1": false, "kernel6.10-1": true, "lambda3:2.0^git-1": true, "user1.0-1.el9": false}, held)
}

func TestAvailable(t *testing.T) {
	installed, err := rpm.ReadInstalled("rpm -qa", strings.NewReader(
		line("a", "0", "1", "1", "x86_64", "0", "0", "", "a\x1e")+line("moved", "0", "1", "1", "noarch", "0", "0", "", "")+line("lib", "0", "1", "1", "x86_64", "0", "0", "", "lib.so\x1e")), nil)
	require.NoError(t, err)
	first, second := &patch.Advisory{ID: "A-1"}, patch.Advisory{ID: "A-2"}
	base := &rpm.Repo{ID: "base", Priority: 99, Packages: []rpm.Package{
		{Name: "a", Arch: "x86_64", Version: "2-1", Requires: []patch.Relation{{Name: "lib.so"}, {Name: "rpmlib(X)"}, {Name: "self"}, {Name: "none", Flag: "GE", Version: "2-1"}}, Provides: []patch.Relation{{Name: "self"}}},
		{Name: "a", Arch: "src", Version: "2-1"}, {Name: "moved", Arch: "x86_64", Version: "2-1"}, {Name: "lib", Arch: "x86_64", Version: "9-1"}}}
	updates := &rpm.Repo{ID: "updates", Priority: 99, Packages: []rpm.Package{{Name: "a", Arch: "x86_64", Version: "3-1"}},
		Notices: []rpm.Notice{{Advisory: *first, Packages: []rpm.NoticePackage{{Name: "a", Arch: "x86_64", Version: "2-1"}, {Name: "a", Arch: "i686", Version: "3-1"}}},
			{Advisory: second, Packages: []rpm.NoticePackage{{Name: "a", Arch: "x86_64", Version: "2-1"}}}, {Advisory: second, Packages: []rpm.NoticePackage{{Name: "a", Arch: "x86_64", Version: "2-1"}}}}}
	preferred := &rpm.Repo{ID: "preferred", Priority: 1, Packages: []rpm.Package{{Name: "lib", Arch: "x86_64", Version: "2-1"}}}
	got := rpm.Available(installed, base, updates, preferred)
	require.Empty(t, cmp.Diff([]patch.Available{
		{Name: "a", Arch: "x86_64", Version: "2-1", Repo: "base", Advisories: []*patch.Advisory{first, &second}, Requires: []patch.Relation{{Name: "lib"}, {Name: "none", Flag: "GE", Version: "2-1"}}},
		{Name: "a", Arch: "x86_64", Version: "3-1", Repo: "updates"},
		{Name: "lib", Arch: "x86_64", Version: "2-1", Repo: "preferred"},
		{Name: "moved", Arch: "noarch", Version: "2-1", Repo: "base"},
	}, got))
}

func TestParseRepo(t *testing.T) {
	d := &rpm.RepoDefaults{GPGCheck: true, Vars: map[string]string{"releasever": "9", "basearch": "x86_64"}}
	got, err := rpm.ParseRepo("R", strings.NewReader(`# comment
[main]
gpgcheck=0
gpgcheck=1

[base-$releasever] ; behind
name = Base ${releasever} - $basearch $unknown ${open
baseurl=https://a.org/$releasever/$basearch/
   https://b.org/
; comment
exclude=kernel*, foo
gpgkey=file:///k
priority=10
cost=5

[off]
Enabled=False
mirrorlist=https://m.org/?r=$releasever
metalink=https://l.org
repo_gpgcheck=yes
gpgcheck=0
includepkgs=a b`), d, nil)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff([]rpm.Source{
		{File: "R", Line: 6, ID: "base-9", Name: "Base 9 - x86_64 $unknown ${open", BaseURLs: []string{"https://a.org/9/x86_64/", "https://b.org/"}, Enabled: true, Priority: 10, Cost: 5,
			GPGCheck: true, GPGKeys: []string{"file:///k"}, Exclude: []string{"kernel*", "foo"}},
		{File: "R", Line: 16, ID: "off", MirrorList: "https://m.org/?r=9", MetaLink: "https://l.org", Priority: 99, Cost: 1000, RepoGPGCheck: true, Include: []string{"a", "b"}},
	}, got, cmpopts.EquateEmpty()))
	crlf, err := rpm.ParseRepo("R", strings.NewReader("[a]\r\nname=x\r\nbaseurl=http://y\r\n z"), nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"http://y", "z"}, crlf[0].BaseURLs)
	for name, tc := range map[string]struct{ text, want string }{
		"an option before sections": {"a=b\n", "R:1"},
		"a section without an end":  {"[a]\nx=y\n[b\n", "R:3"},
		"a section without a name":  {"[]\n", "R:1"},
		"a section twice":           {"[a]\n[a]\n", "R:2"},
		"an option twice":           {"[a]\nname=b\nNAME=c\n", "R:3"},
		"no option":                 {"[a]\nhello\n", "R:2"},
		"a line that continues":     {"[a]\n  x\n", "R:2"},
		"a flag that is none":       {"[a]\nname=x\nenabled=maybe\n", "R:3"},
		"a number that is none":     {"[a]\npriority=high\n", "R:2"},
	} {
		_, err := rpm.ParseRepo("R", strings.NewReader(tc.text), nil, nil)
		require.ErrorContains(t, err, tc.want, name)
	}
	_, err = rpm.ParseRepo("R", strings.NewReader("[a]\nx="+strings.Repeat("y", 5<<20)), nil, nil)
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
}

func TestReadZypper(t *testing.T) {
	text := `<?xml version='1.0'?>
<stream>
<message type="info">Loading</message><message type="warning">old
data</message>
<update-status version="0.6"><update-list>
<update kind="patch" name="SUSE-1" edition="1" arch="noarch" status="needed" category="security" severity="important" pkgmanager="true" restart="true" interactive="true"><summary>S &amp; T</summary><description>d</description><license/><source url="u" alias="upd"/><issue-date time_t="1717545600" text="x"/><issue-list><issue type="cve" id="CVE-2024-2"><title>t</title></issue><issue type="bugzilla" id="12"/></issue-list></update>
<update kind="package" name="alpha" edition="1:1.2-1" arch="noarch" edition-old="1.0-1"><summary/></update>
</update-list><blocked-update-list><update kind="patch" name="SUSE-2" status="not-needed"/></blocked-update-list></update-status>
</stream>
`
	rep, err := rpm.ReadZypper("zypper lp", strings.NewReader(text), nil)
	require.NoError(t, err)
	require.Equal(t, []string{`old\ndata`}, rep.Warnings)
	require.Empty(t, cmp.Diff([]rpm.ZypperUpdate{
		{Kind: "patch", Name: "SUSE-1", Edition: "1", Arch: "noarch", Summary: "S & T", Repo: "upd", Status: "needed", Category: "security", Severity: "important",
			PackageManager: true, Restart: true, Interactive: true, Issued: time.Unix(1717545600, 0).UTC(), CVEs: []string{"CVE-2024-2"}, Bugzilla: []string{"12"}},
		{Kind: "package", Name: "alpha", Edition: "1:1.2-1", EditionOld: "1.0-1", Arch: "noarch"},
		{Kind: "patch", Name: "SUSE-2", Status: "not-needed"},
	}, rep.Updates))
	require.Len(t, rep.Needed(), 1)
	require.Empty(t, cmp.Diff(patch.Advisory{ID: "SUSE-1", Type: "security", Severity: "important", Title: "S & T", Issued: time.Unix(1717545600, 0).UTC(),
		Updated: time.Unix(1717545600, 0).UTC(), CVEs: []string{"CVE-2024-2"}, Bugzilla: []string{"12"}, RebootSuggested: true}, rep.Updates[0].Advisory()))
	for name, tc := range map[string]struct{ text, want string }{
		"an error of zypper": {`<stream><message type="error">Repository 'x' not found.</message></stream>`, "Repository 'x' not found"},
		"a table":            {"<stream>\nName | Status\n</stream>", "no list of updates"},
		"cut off":            {text[:len(text)/2], "zypper lp:"},
		"no name":            {strings.Replace(text, `name="SUSE-1"`, "", 1), "zypper lp:6"},
		"no XML":             {"System management is locked by the application with pid 1.", "zypper lp:1"},
	} {
		_, err := rpm.ReadZypper("zypper lp", strings.NewReader(tc.text), nil)
		require.ErrorContains(t, err, tc.want, name)
	}
}
