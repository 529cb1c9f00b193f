package patchbaseline

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// What os-release says becomes the operating system and the product that baselines name (F4).
func TestSystems(t *testing.T) {
	for text, want := range map[string]system{
		"ID=debian\nVERSION_ID=\"12\"\n": {patch.Debian, "Debian12", "12"},
		"ID=debian\n":                    {patch.Debian, "", ""},
		"ID=ubuntu\nVERSION_ID=\"22.04\"\nID_LIKE=debian\n":                  {patch.Ubuntu, "Ubuntu22.04", "22.04"},
		"ID=raspbian\nVERSION_ID='11'\nID_LIKE=debian\n":                     {patch.Raspbian, "Raspbian11", "11"},
		"ID=linuxmint\nVERSION_ID=21.3\nID_LIKE=\"ubuntu debian\"\n":         {patch.Ubuntu, "", "21.3"},
		"ID=kali\nVERSION_ID=2024.1\nID_LIKE=debian\n":                       {patch.Debian, "", "2024.1"},
		"ID=\"amzn\"\nVERSION_ID=\"2\"\nID_LIKE=\"centos rhel fedora\"\n":    {patch.AmazonLinux2, "AmazonLinux2", "2"},
		"ID=\"amzn\"\nVERSION_ID=\"2023\"\nID_LIKE=\"fedora\"\n":             {patch.AmazonLinux2023, "AmazonLinux2023", "2023"},
		"ID=\"amzn\"\nVERSION_ID=\"2018.03\"\n":                              {patch.AmazonLinux, "AmazonLinux2018.03", "2018.03"},
		"ID=\"rhel\"\nVERSION_ID=\"8.4\"\nID_LIKE=\"fedora\"\n":              {patch.RedHat, "RedhatEnterpriseLinux8.4", "8.4"},
		"ID=\"centos\"\nVERSION_ID=\"9\"\nID_LIKE=\"rhel fedora\"\n":         {patch.CentOS, "CentOS9", "9"},
		"ID=\"ol\"\nVERSION_ID=\"8.10\"\nID_LIKE=\"fedora\"\n":               {patch.OracleLinux, "OracleLinux8.10", "8.10"},
		"ID=\"rocky\"\nVERSION_ID=\"9.3\"\nID_LIKE=\"rhel centos fedora\"\n": {patch.RockyLinux, "RockyLinux9.3", "9.3"},
		"ID=\"almalinux\"\nVERSION_ID=\"9.3\"\n":                             {patch.AlmaLinux, "AlmaLinux9.3", "9.3"},
		"ID=\"sles\"\nVERSION_ID=\"15.5\"\nID_LIKE=\"suse\"\n":               {patch.SUSE, "Suse15.5", "15.5"},
		"ID=\"sles\"\nVERSION_ID=\"12\"\n":                                   {patch.SUSE, "Suse12.0", "12"},
		"ID=\"fedora\"\nVERSION_ID=\"40\"\n":                                 {"", "", "40"},
		"ID=\"acme\"\nVERSION_ID=\"1\"\nID_LIKE=\"rhel fedora\"\n":           {"", "", "1"},
		"# ID=debian\nnonsense\n":                                            {},
	} {
		require.Equal(t, want, fromRelease(osRelease([]byte(text))), text)
	}
}

// Links of a tree begin at its root, and none leads out of it.
func TestTheInsideOfATree(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"usr/lib/os-release": "here", "a/b/c": "deep"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for name, to := range map[string]string{"rel": "usr/lib/os-release", "abs": "/usr/lib/os-release", "folder": "/a", "twice": "folder", "up": "../../../../usr/lib/os-release", "loop": "loop", "host": "/etc/hostname",
		"a/b/back": "../../usr/lib/os-release", "none": "/nowhere"} {
		require.NoError(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	tr, err := openTree(dir, true)
	require.NoError(t, err)
	defer tr.done() //nolint:errcheck // read only
	for name, want := range map[string]string{"rel": "here", "abs": "here", "folder/b/c": "deep", "twice/b/c": "deep", "up": "here", "a/b/back": "here", "a/b/c": "deep"} {
		b, err := fs.ReadFile(tr, name)
		require.NoError(t, err, name)
		require.Equal(t, want, string(b), name)
	}
	for _, name := range []string{"loop", "host", "none", "../x", "a/../b", ""} {
		_, err := fs.ReadFile(tr, name)
		require.Error(t, err, name)
	}
	entries, err := fs.ReadDir(tr, "folder/b")
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

// What is installed is always something that can be done together, what can be done alone and disturbs nothing is always in it, and everything else has a reason.
func TestSolving(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "steps")
		steps := make([]patch.Step, n)
		for i := range steps {
			steps[i] = patch.Step{Key: patch.Key{Name: string(rune('a' + i)), Arch: "all"}, To: "1"}
		}
		bad := map[string]bool{}
		for _, i := range rapid.SliceOfN(rapid.IntRange(0, 11), 0, 4).Draw(t, "impossible") {
			bad[string(rune('a'+i))] = true
		}
		clash := map[string]string{}
		for i := range rapid.IntRange(0, 2).Draw(t, "clashes") {
			clash[string(rune('a'+2*i))] = string(rune('a' + 2*i + 1))
		}
		tells := rapid.Bool().Draw(t, "tells")
		asked := 0
		can := func(_ context.Context, s []patch.Step) (refusal, error) {
			asked++
			has := func(name string) bool {
				return slices.ContainsFunc(s, func(x patch.Step) bool { return x.Name == name })
			}
			var no refusal
			for _, x := range s {
				if bad[x.Name] || clash[x.Name] != "" && has(clash[x.Name]) {
					no.reason = "because of " + x.Name
					if tells {
						no.text += " " + x.Name + " : Depends: nothing\n"
					}
				}
			}
			return no, nil
		}
		why := map[patch.Key]string{}
		got, err := solve(context.Background(), steps, why, can)
		require.NoError(t, err)
		calls := asked
		no, _ := can(context.Background(), got)
		require.Empty(t, no.reason)
		for _, s := range steps {
			in := holds(got, s)
			require.Equal(t, in, why[s.Key] == "", s.Name)
			other := clash[s.Name]
			for k, v := range clash {
				if v == s.Name {
					other = k
				}
			}
			if !bad[s.Name] && other == "" {
				require.True(t, in, "%s can be done", s.Name)
			}
			require.False(t, bad[s.Name] && in)
		}
		if n > 1 {
			require.LessOrEqual(t, calls, 6*n)
		}
	})
}

func holds(all []patch.Step, s patch.Step) bool {
	return slices.ContainsFunc(all, func(x patch.Step) bool { return x.Key == s.Key })
}

// A package manager that names what is in the way is asked a few times only.
func TestSolvingAsksFewTimes(t *testing.T) {
	var steps []patch.Step
	for i := range 200 {
		steps = append(steps, patch.Step{Key: patch.Key{Name: "p" + strings.Repeat("x", i), Arch: "noarch"}, To: "1-1"})
	}
	asked := 0
	got, err := solve(t.Context(), steps, map[patch.Key]string{}, func(_ context.Context, s []patch.Step) (refusal, error) {
		asked++
		if holds(s, steps[77]) {
			return refusal{"no", "  - nothing provides x needed by " + steps[77].Name + "-1-1.noarch from r"}, nil
		}
		return refusal{}, nil
	})
	require.NoError(t, err)
	require.Len(t, got, 199)
	require.Equal(t, 3, asked)
}

func TestWhatDnfAndZypperWouldDo(t *testing.T) {
	d := parseDnf([]byte(`Dependencies resolved.
================================================================================
 Package      Architecture     Version              Repository            Size
================================================================================
Installing:
 newname      noarch           2.0-1.fx             fx                   5.5 k
     replacing  oldname.noarch 1.0-1.fx
Upgrading:
 user         noarch           1:1.1-1.fx           fx                   5.4 k
Installing dependencies:
 lambda       noarch           1.1-1.fx             fx                   5.4 k
Removing dependent packages:
 victim       noarch           1.0-1.fx             @System                0

Transaction Summary
================================================================================
 Install  1 Package  x y
`))
	require.True(t, d.whole)
	require.Equal(t, []string{"oldname", "victim"}, d.gone)
	var names []string
	for _, p := range d.comes {
		names = append(names, p.Name+" "+p.Version+" "+p.Arch)
	}
	require.Equal(t, []string{"newname 2.0-1.fx noarch", "user 1:1.1-1.fx noarch", "lambda 1.1-1.fx noarch"}, names)
	require.False(t, parseDnf([]byte("Error:\n Problem: x\n")).whole)

	z, err := parseZypper([]byte(`<?xml version='1.0'?><stream><message type="info">Reading</message><install-summary download-size="1" space-usage-diff="0" packages-to-change="3">
<to-upgrade><solvable type="package" name="user" edition="1.1-1.fx" arch="noarch" edition-old="1.0-1.fx"/></to-upgrade>
<to-install><solvable type="package" name="lambda" edition="1.1-1.fx" arch="noarch"/><solvable type="patch" name="FX-1" edition="1" arch="noarch"/></to-install>
<to-remove><solvable type="package" name="victim" edition="1.0-1.fx" arch="noarch"/></to-remove></install-summary></stream>`))
	require.NoError(t, err)
	require.Equal(t, []string{"victim"}, z.gone)
	require.Len(t, z.comes, 2)
	_, err = parseZypper([]byte("<stream><install-summary>"))
	require.Error(t, err)

	require.Equal(t, []string{"kernel*", "vim"}, zypperLocks("\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: kernel*\n\ntype: patch\nsolvable_name: SUSE-1\n\nsolvable_name: vim\n"))
}

// The list that the PowerShell script prints becomes the installed updates and the catalogue.
func TestWindowsUpdates(t *testing.T) {
	m, err := readWindows([]byte(`[{"kb":"KB5034441","title":"2024-01 Security Update","installed":false,"bulletin":"","severity":"Critical","classification":"Security Updates","product":"Windows Server 2022","family":"Windows","cves":["CVE-2024-1"],"supersedes":[],"released":"2024-01-09T18:00:00Z","reboot":true},
{"kb":"KB5033909","title":"x","installed":true,"severity":"","classification":"Updates","product":"Office 2019","family":"Office","cves":null,"released":"never"}]`))
	require.NoError(t, err)
	require.Equal(t, []patch.Installed{{Name: "KB5033909", Classification: "Updates"}}, m.Installed)
	u := m.Available[0].Update
	require.Equal(t, []any{"KB5034441", "SecurityUpdates", "Critical", "WindowsServer2022", "", time.Date(2024, 1, 9, 18, 0, 0, 0, time.UTC), true},
		[]any{u.KB, u.Classification, u.MSRCSeverity, u.Product, u.PatchSet, u.Released, u.RebootRequired})
	u = m.Available[1].Update
	require.Equal(t, []any{"Unspecified", "APPLICATION", true}, []any{u.MSRCSeverity, u.PatchSet, u.Released.IsZero()})
	res, err := patch.Evaluate(patch.PredefinedDefault(patch.Windows), patch.NodeFacts{OperatingSystem: patch.Windows, Product: "WindowsServer2022"}, m.Installed, m.Available, time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Equal(t, patch.StateMissing, res.Find(patch.Key{Name: "KB5034441"}).State)
	for _, text := range []string{"", "{}", `[{"kb":""}]`, "Windows PowerShell"} {
		_, err := readWindows([]byte(text))
		require.Error(t, err, text)
	}
	w := &windows{}
	_, err = w.Install(t.Context(), []patch.Step{{Key: patch.Key{Name: "KB1'); Remove-Item C:"}}}, nil)
	require.Equal(t, fault.Validation, fault.CodeOf(err), "nothing of a name becomes part of a script but a number")
}

// Lists come from https with a server that is known, and within bounds; nothing of the location is told when it fails.
func TestLocations(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/list", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "patches: []") })              //nolint:errcheck // a test
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 5<<20)) }) //nolint:errcheck // a test
	open := httptest.NewServer(mux)
	defer open.Close()
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, open.URL+"/list", http.StatusFound) })
	srv := httptest.NewTLSServer(mux)
	defer srv.Close()
	a := New(&Options{Transport: srv.Client().Transport, Open: func(_ context.Context, location string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(location)), nil
	}})
	b, err := a.fetch(t.Context(), "x", srv.URL+"/list?X-Amz-Signature=geheim")
	require.NoError(t, err)
	require.Equal(t, "patches: []", string(b))
	b, err = a.fetch(t.Context(), "x", "s3://bucket/list.yaml")
	require.NoError(t, err)
	require.Equal(t, "s3://bucket/list.yaml", string(b))
	for _, location := range []string{srv.URL + "/none?sig=geheim", srv.URL + "/long?sig=geheim", srv.URL + "/away?sig=geheim", "http://example.org/list?sig=geheim", strings.Replace(srv.URL, "https://", "https://user:geheim@", 1) + "/list", open.URL + "/list?sig=geheim", "file:///geheim", "geheim", "https://"} {
		_, err := a.fetch(t.Context(), "x", location)
		require.Equal(t, fault.InvalidParameters, fault.CodeOf(err), location)
		require.NotContains(t, err.Error(), "geheim", location)
	}
	_, err = New(nil).fetch(t.Context(), "x", "s3://bucket/list.yaml")
	require.Error(t, err)
	// Without a transport of the host's, an address that is not public is refused.
	_, err = New(nil).fetch(t.Context(), "x", srv.URL+"/list")
	require.Error(t, err)
	require.Equal(t, "https://example.org/a", plain("https://example.org/a?X-Amz-Signature=geheim#x"))
}

// What is wrong with the inputs is wrong before anything is fetched, asked or done.
func TestInputs(t *testing.T) {
	const id = "01234567-89ab-cdef-0123-456789abcdef"
	fetched := 0
	a := New(&Options{Open: func(_ context.Context, location string) (io.ReadCloser, error) {
		fetched++
		return io.NopCloser(strings.NewReader(map[string]string{"s3://b/list": "patches:\n  - id: 'a.*'\n", "s3://b/empty": "patches: []\n", "s3://b/base": `[{"OperatingSystem":"DEBIAN","RejectedPatches":["a"]}]`}[location])), nil
	}})
	for name, inputs := range map[string]map[string]any{
		"no operation":            {},
		"another operation":       {"Operation": "scan"},
		"another reboot option":   {"Operation": "Install", "RebootOption": "Always"},
		"a list as operation":     {"Operation": []any{"Scan"}},
		"no snapshot id":          {"Operation": "Scan", "SnapshotId": "x"},
		"both overrides":          {"Operation": "Install", "InstallOverrideList": "s3://b/list", "BaselineOverride": "s3://b/base"},
		"a list with hooks":       {"Operation": "Install", "InstallOverrideList": "s3://b/list", "Hooks": true},
		"a scan with hooks":       {"Operation": "Scan", "Hooks": "true"},
		"hooks that are no truth": {"Operation": "Scan", "Hooks": "perhaps"},
		"baseline tags":           {"Operation": "Scan", "BaselineTags": "Key=a,Values=b"},
		"no association id":       {"Operation": "Scan", "AssociationId": "x"},
	} {
		_, err := a.read(t.Context(), inputs)
		require.Error(t, err, name)
		require.NotEqual(t, fault.InternalServerError, fault.CodeOf(err), name)
	}
	require.Zero(t, fetched)
	o, err := a.read(t.Context(), map[string]any{"operation": "Install", "InstallOverrideList": "s3://b/list", "SnapshotId": id, "RebootOption": "RebootIfRequired"})
	require.NoError(t, err)
	require.Equal(t, &order{Run: patch.Run{Operation: patch.Install, RebootOption: patch.RebootIfRequired, List: patch.OverrideList{{ID: "a.*"}}}, snapshot: id, listLocation: "s3://b/list"}, o)
	o, err = a.read(t.Context(), map[string]any{"Operation": "Install", "InstallOverrideList": "s3://b/empty"})
	require.NoError(t, err)
	require.NotNil(t, o.List, "a list without entries is a list")
	o, err = a.read(t.Context(), map[string]any{"Operation": "Scan", "BaselineOverride": "s3://b/base"})
	require.NoError(t, err)
	require.NotNil(t, o.Override.For(patch.Debian))
	_, err = a.read(t.Context(), map[string]any{"Operation": "Scan", "BaselineOverride": "s3://b/nonsense"})
	require.Error(t, err)
}

// The tracking file is whole or not there, forgets with the boot, and what cannot be read is not taken for nothing.
func TestTracking(t *testing.T) {
	name := filepath.Join(t.TempDir(), "deep", "patches.json")
	tr, err := loadTracking(name)
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	a, dep := patch.Installed{Name: "a", Arch: "all", Version: "2"}, patch.Installed{Name: "dep", Arch: "all", Version: "1", InstalledAt: at}
	tr.begin([]patch.Step{{Key: patch.Key{Name: "a", Arch: "all"}, To: "2"}, {Key: patch.Key{Name: "never", Arch: "all"}, To: "2"}}, "boot-1", at)
	require.NoError(t, tr.save(name))
	pending := func(boot string, list ...patch.Installed) (out []string) {
		got, err := loadTracking(name)
		require.NoError(t, err)
		list = slices.Clone(list)
		got.mark(list, boot, true)
		for _, p := range list {
			if p.ByUs && p.SinceBoot {
				out = append(out, p.Name)
			}
		}
		return out
	}
	older := dep
	older.InstalledAt = at.Add(-time.Minute)
	require.Equal(t, []string{"a", "dep"}, pending("boot-1", a, dep), "of a transaction whose end nobody noted, what came since it began is ours")
	require.Equal(t, []string{"a"}, pending("boot-1", a, older))
	require.Empty(t, pending("boot-2", a, dep))
	require.Empty(t, pending("boot-1", patch.Installed{Name: "a", Arch: "all", Version: "3"}), "somebody else went on from there")

	same := patch.Installed{Name: "same", Arch: "all", Version: "1", InstalledAt: at}
	require.Equal(t, 2, tr.end([]patch.Installed{{Name: "a", Arch: "all", Version: "1"}, same}, []patch.Installed{a, older, same}, "boot-1"))
	require.Nil(t, tr.Open)
	require.NoError(t, tr.save(name))
	require.Equal(t, []string{"a", "dep"}, pending("boot-1", a, older, same))
	tr.begin(nil, "boot-2", at)
	require.Empty(t, tr.Packages)

	for _, text := range []string{"", "{", `{"version":2}`, "null", `{"version":1,"packages":7}`} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		_, err := loadTracking(name)
		require.ErrorIs(t, err, errDamaged, text)
	}
	left, err := os.ReadDir(filepath.Dir(name))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file is left")
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.Mkdir(name, 0o700))
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(tr.save(name)))
}

// FuzzTracking: whatever lies there is refused or comes back as it is written.
func FuzzTracking(f *testing.F) {
	f.Add([]byte(`{"version":1,"packages":[{"name":"a","version":"1","boot":"b"}],"open":{"boot":"b","since":"2026-01-02T03:04:05Z"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		name := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(name, text, 0o600))
		tr, err := loadTracking(name)
		if err != nil {
			return
		}
		tr.mark([]patch.Installed{{Name: "a", Version: "1"}}, "b", true)
		if tr.save(name) != nil {
			return
		}
		again, err := loadTracking(name)
		require.NoError(t, err)
		if len(tr.Packages) == 0 {
			tr.Packages = nil // an empty list is not written
		}
		require.Equal(t, tr, again)
	})
}

// Of a long transaction the end is shown; yum 3 says what it lacks.
func TestWhatToolsSay(t *testing.T) {
	var out, errs strings.Builder
	tl := &tools{c: &action.Call{Stdout: &out, Stderr: &errs}}
	tl.show(output{stdout: []byte(strings.Repeat("line\n", 3000) + "end\n"), stderr: []byte("short\n")})
	require.Less(t, out.Len(), 7<<10)
	require.True(t, strings.HasSuffix(out.String(), "line\nend\n"))
	require.Contains(t, out.String(), "left out]\nline\n")
	require.Equal(t, "short\n", errs.String())

	require.Equal(t, "E: one; E: two", said(output{stdout: []byte("x"), stderr: []byte("W: not this\nE: one\nother\nE: two\n")}))
	require.Equal(t, "it said nothing", said(output{}))
	require.Equal(t, "x", said(output{stdout: []byte(" x\n")}))
	require.Equal(t, "package noway-1.1 requires a; nothing provides a", dnfReason(output{stderr: []byte("Error: \n  - package noway-1.1 requires a\n  - nothing provides a\n")}))
}

// The manager of the machine is the one of its operating system; a system that none is for says so.
func TestManagers(t *testing.T) {
	a := New(nil)
	tr, err := openTree("", false)
	require.NoError(t, err)
	tl := &tools{c: &action.Call{}, o: &a.o, tree: tr}
	for os, want := range map[patch.OperatingSystem]any{patch.Debian: &aptManager{}, patch.Ubuntu: &aptManager{}, patch.Windows: &windows{}} {
		got, err := a.manager(&action.Call{}, tl, system{os: os})
		require.NoError(t, err)
		require.IsType(t, want, got)
	}
	_, err = a.manager(&action.Call{}, tl, system{os: patch.MacOS})
	require.Equal(t, fault.UnsupportedOperatingSystem, fault.CodeOf(err))
}
