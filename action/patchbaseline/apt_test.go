//go:build linux

package patchbaseline_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/patch"
)

// baselines of Debian: the predefined one, and one that lets everything in.
func debian() patch.Baseline {
	b := *patch.PredefinedDefault(patch.Debian)
	b.ID = "pb-0123456789abcdef0"
	return b
}

func everything() patch.Baseline {
	b := debian()
	b.Rules = []patch.PatchRule{{EnableNonSecurity: true}}
	b.Name = "Everything"
	return b
}

// What Scan reports is what apt's own resolver lists, split by whether a security archive has it; Install brings exactly that, as far as apt can; a second Scan tells so.
func TestDebianTree(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED: apt works for seconds; run without -short")
	}
	m := world(t)
	p := &plane{baseline: everything(), group: "web"}
	r := &runner{plane: p}

	got := r.run(t.Context(), t, m.options(), scan())
	require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
	rep := p.last(t)
	oracle := m.upgradable()
	require.Len(t, oracle, 13)
	require.Empty(t, cmp.Diff(oracle, in(rep, patch.StateMissing)), "apt is -, ours is +")
	require.Equal(t, []string{"uptodate 2.0-1"}, in(rep, patch.StateInstalled))
	require.Equal(t, []string{"dpkg", "epoch", "local-only", "newer-local", "pinned"}, names(in(rep, patch.StateInstalledOther)), "their candidate is what is installed, and no archive has it")
	require.Equal(t, patch.Request{OperatingSystem: patch.Debian, Product: "Debian12"}, p.asked[0])
	require.Equal(t, []any{patch.Scan, "pb-0123456789abcdef0", "web", patch.Debian, "Debian12", "command", patch.NonCompliant},
		[]any{rep.Operation, rep.BaselineID, rep.PatchGroup, rep.OperatingSystem, rep.Product, rep.CommandID, rep.Compliance})
	require.Contains(t, got.out, "Missing                      13")

	p.baseline = debian()
	r.run(t.Context(), t, m.options(), scan())
	security := []string{"both 1.1-1", "eats 1.1-1", "held 1.1-1", "needs-new 1.1-1", "no-way 1.1-1", "sec-imp 1.0-1+deb12u1", "sec-opt 1.0-1+deb12u2", "user 1.1-1"}
	require.Equal(t, security, in(p.last(t), patch.StateMissing), "main-newer is not: its candidate is in main alone (N5)")

	// Install: what can be done is done, exactly; the rest says why.
	before := m.installed()
	got = r.run(t.Context(), t, m.options(), install(patch.RebootIfNeeded))
	require.Equal(t, message.Failed, got.Status, got.out)
	require.Contains(t, got.Reason, "eats.all, held.all, no-way.all")
	require.Contains(t, got.out, "leave it alone")
	require.Contains(t, got.out, "not-there")
	require.Contains(t, got.out, "remove is disabled", "nothing is removed for a patch")
	want := map[string]string{"both": "1.1-1", "needs-new": "1.1-1", "newdep": "1.0-1", "sec-imp": "1.0-1+deb12u1", "sec-opt": "1.0-1+deb12u2", "user": "1.1-1", "baddep": "1.0-1"}
	for name, v := range before {
		if want[name] == "" {
			want[name] = v
		}
	}
	require.Empty(t, cmp.Diff(want, m.installed()), "nothing else was touched")
	rep = p.last(t)
	require.Equal(t, []string{"eats 1.1-1", "held 1.1-1", "no-way 1.1-1"}, in(rep, patch.StateFailed))
	require.Empty(t, in(rep, patch.StateMissing), "an Install reports nothing as Missing (C12)")
	require.Equal(t, []string{"both", "needs-new", "sec-imp", "sec-opt", "user"}, names(in(rep, patch.StateInstalled)), "a tree that was never started has nothing to wait for")
	require.Equal(t, []any{patch.Install, patch.RebootIfNeeded}, []any{rep.Operation, rep.RebootOption})

	r.run(t.Context(), t, m.options(), scan())
	require.Equal(t, []string{"eats 1.1-1", "held 1.1-1", "no-way 1.1-1"}, in(p.last(t), patch.StateMissing))

	// Without what is in the way the node becomes compliant.
	m.write("etc/apt/preferences.d/pin", "Package: no-way\nPin: version 1.0-1\nPin-Priority: 1001\n\nPackage: pinned\nPin: version 1.0-1\nPin-Priority: 1001\n")
	m.dpkg("--force-all", "--purge", "held", "eats")
	got = r.run(t.Context(), t, m.options(), install(patch.RebootIfNeeded))
	require.Equal(t, message.Success, got.Status, got.Reason)
	got = r.run(t.Context(), t, m.options(), scan())
	require.Equal(t, patch.Compliant, p.last(t).Compliance, got.out)
}

// R2, R4: with BLOCK neither what is rejected comes, nor as a dependency.
func TestBlockedDependencies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("SKIPPED: apt works for seconds; run without -short")
	}
	m := world(t)
	b := debian()
	b.RejectedPatches, b.RejectedAction = []string{"baddep", "sec-opt"}, patch.Block
	p := &plane{baseline: b}
	got := (&runner{plane: p}).run(t.Context(), t, m.options(), install(patch.NoReboot))
	require.Equal(t, message.Failed, got.Status)
	have := m.installed()
	require.Equal(t, []string{"1.0-1", "1.0-1", "1.0-1+deb12u1", ""}, []string{have["user"], have["sec-opt"], have["sec-imp"], have["baddep"]})
	require.Contains(t, in(p.last(t), patch.StateFailed), "user 1.1-1")
	require.Contains(t, got.out, "it needs baddep, which is rejected with BLOCK")
	require.Equal(t, []string{"sec-opt 1.0-1"}, in(p.last(t), patch.StateInstalledRejected))

	b.RejectedAction = patch.AllowAsDependency
	p.baseline = b
	(&runner{plane: p}).run(t.Context(), t, m.options(), install(patch.NoReboot))
	have = m.installed()
	require.Equal(t, []string{"1.1-1", "1.0-1", "1.0-1"}, []string{have["user"], have["sec-opt"], have["baddep"]}, "R1: only as a dependency")
}

// small has one patch.
func small(t *testing.T) *debTree {
	return newDebTree(t, []deb{opt("tool", "1.0"), opt("other", "1.0")}, []deb{opt("tool", "1.0"), opt("other", "1.0")}, []deb{opt("tool", "1.1"), opt("other", "1.1")})
}

// C6, W1, B26: what was installed waits until the boot id is another one, whoever asks; the reboot is asked for once, behind the report.
func TestPendingUntilTheMachineHasAnotherBootID(t *testing.T) {
	t.Parallel()
	m := small(t)
	boot := "boot-1"
	o := m.options()
	o.BootID = func() string { return boot }
	p := &plane{baseline: debian()}
	r := &runner{plane: p, command: "one"}

	got := r.run(t.Context(), t, o, install(patch.RebootIfNeeded))
	require.Equal(t, []any{message.Success, action.Reboot}, []any{got.Status, got.Flow}, "%s %s", got.Reason, got.err)
	rep := p.last(t)
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(rep, patch.StateInstalledPendingReboot), "the report before the reboot tells the truth of then")
	require.Equal(t, patch.NonCompliant, rep.Compliance)
	n, asked := len(p.reports), len(p.asked)
	boot = "boot-2"
	r.reboots = 1
	got = r.run(t.Context(), t, o, install(patch.RebootIfNeeded))
	require.Equal(t, []any{message.Success, action.Continue}, []any{got.Status, got.Flow}, got.Reason)
	require.Len(t, p.reports, n+1)
	require.Len(t, p.asked, asked, "behind the reboot the same baseline holds")
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateInstalled))
	require.Equal(t, []any{patch.Install, patch.Compliant}, []any{p.last(t).Operation, p.last(t).Compliance})
	require.False(t, p.last(t).Started.After(p.last(t).Ended))

	// W3: nothing to install, nothing pending: no reboot.
	got = (&runner{plane: p, command: "two"}).run(t.Context(), t, o, install(patch.RebootIfNeeded))
	require.Equal(t, action.Continue, got.Flow)
}

// W2, LastNoRebootInstallOperationTime: without a reboot the patches wait, another Install asks for the reboot because of them.
func TestNoRebootIsRemembered(t *testing.T) {
	t.Parallel()
	m := small(t)
	boot := "boot-1"
	o := m.options()
	o.BootID = func() string { return boot }
	o.Now = fixed("2030-01-02T03:04:05Z")
	p := &plane{baseline: debian()}
	got := (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
	require.Equal(t, []any{message.Success, action.Continue}, []any{got.Status, got.Flow}, "%s %s", got.Reason, got.err)
	require.Equal(t, o.Now(), p.last(t).LastNoReboot)
	(&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateInstalledPendingReboot))
	require.Equal(t, o.Now(), p.last(t).LastNoReboot)
	got = (&runner{plane: p, command: "again"}).run(t.Context(), t, o, install(patch.RebootIfNeeded))
	require.Equal(t, action.Reboot, got.Flow, "W1: something waits")
	boot = "boot-2"
	(&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateInstalled))

	// A tracking file that is damaged: what came since the machine started is taken to wait.
	state := filepath.Join(m.root, "var/lib/fleetwright/patches.json")
	require.NoError(t, os.WriteFile(state, []byte(`{"version":1,"packa`), 0o644))
	o.BootTime = func() time.Time { return time.Now().Add(-time.Hour) }
	got = (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Contains(t, got.err, "damaged")
	require.Contains(t, in(p.last(t), patch.StateInstalledPendingReboot), "tool 1.1")
	o.BootTime = func() time.Time { return time.Now().Add(time.Hour) }
	(&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Empty(t, in(p.last(t), patch.StateInstalledPendingReboot))
	require.NoError(t, os.Remove(state))
	got = (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Empty(t, got.err, "B30: a file that is lost is forgotten")
}

// RebootIfRequired is the machine's own word.
func TestRebootIfRequired(t *testing.T) {
	t.Parallel()
	m := small(t)
	o := m.options()
	o.BootID = func() string { return "boot-1" }
	for _, want := range []action.Flow{action.Continue, action.Reboot} {
		got := (&runner{plane: &plane{baseline: debian()}}).run(t.Context(), t, o, install(patch.RebootIfRequired))
		require.Equal(t, []any{message.Success, want}, []any{got.Status, got.Flow}, got.Reason)
		m.write("run/reboot-required", "")
	}
}

// An agent that died in the middle of an Install left its intention: what came since then is ours.
func TestWhatAnInterruptedInstallBrought(t *testing.T) {
	t.Parallel()
	m := small(t)
	o := m.options()
	o.BootID = func() string { return "boot-1" }
	p := &plane{baseline: debian()}
	die := errors.New("the agent is gone")
	var lasting bool
	r := &runner{plane: p, spawner: action.SpawnerFunc(func(ctx context.Context, pr *action.Process) (action.Exit, error) {
		if _, file := pr.Stdout.(*os.File); file { // the transaction: it happens, and nobody hears of it
			lasting = true
			require.Equal(t, "1.0", m.installed()["tool"], "nothing is installed outside of the transaction that is protected")
			require.False(t, slices.ContainsFunc(pr.Env, func(kv string) bool { return strings.HasPrefix(kv, action.MarkerVar+"=") }), "an agent that starts anew does not stop it")
			if _, err := (action.System{}).Spawn(ctx, pr); err != nil {
				return action.Exit{}, err
			}
			panic(die)
		}
		return action.System{}.Spawn(ctx, pr)
	})}
	require.PanicsWithValue(t, die, func() { r.run(t.Context(), t, o, install(patch.NoReboot)) })
	require.True(t, lasting)
	(&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateInstalledPendingReboot))
}

// A package manager that is at work is waited for, and never disturbed.
func TestLocksAreWaitedFor(t *testing.T) {
	t.Parallel()
	m := small(t)
	o := m.options()
	p := &plane{baseline: debian()}
	for _, name := range []string{"var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"} {
		release := hold(t, filepath.Join(m.root, name))
		o.LockWait = 50 * time.Millisecond
		got := (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
		require.Equal(t, message.Failed, got.Status)
		require.Contains(t, got.Reason, "still at work")
		require.Contains(t, got.Reason, "holds /"+name)
		require.Equal(t, "1.0", m.installed()["tool"])
		require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateFailed), "what could not be done is reported")
		release()
	}
	// It waits, and goes on when the lock is free.
	release := hold(t, filepath.Join(m.root, "var/lib/dpkg/lock-frontend"))
	o.LockWait = time.Minute
	w := &when{word: "waiting for it", do: release}
	p2 := &plane{baseline: debian()}
	got := (&runner{plane: p2}).watch(t.Context(), t, o, install(patch.NoReboot), w)
	require.Equal(t, message.Success, got.Status, got.Reason)
	require.Equal(t, "1.1", m.installed()["tool"])
	// A Scan needs no lock of dpkg.
	hold(t, filepath.Join(m.root, "var/lib/dpkg/lock"))
	got = (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, message.Success, got.Status, got.Reason)
	// A step that is stopped stops waiting.
	ctx, cancel := context.WithCancelCause(t.Context())
	cancelled := &when{word: "waiting for it", do: func() { cancel(action.ErrCancelled) }}
	m2 := small(t)
	hold(t, filepath.Join(m2.root, "var/lib/dpkg/lock"))
	o2 := m2.options()
	got = (&runner{plane: p}).watch(ctx, t, o2, install(patch.NoReboot), cancelled)
	require.Equal(t, message.Cancelled, got.Status)
}

// What dpkg began and did not end is told, not repaired in passing.
func TestBrokenStatesAreExplained(t *testing.T) {
	t.Parallel()
	m := small(t)
	p := &plane{baseline: debian()}
	m.write("var/lib/dpkg/updates/0001", "Package: tool\nStatus: install ok unpacked\nVersion: 1.0\n")
	got := (&runner{plane: p}).run(t.Context(), t, m.options(), install(patch.NoReboot))
	require.Equal(t, message.Failed, got.Status)
	require.Contains(t, got.Reason, "dpkg --configure -a")
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateFailed))
	require.FileExists(t, filepath.Join(m.root, "var/lib/dpkg/updates/0001"))
	got = (&runner{plane: p}).run(t.Context(), t, m.options(), scan())
	require.Equal(t, message.Success, got.Status, "a Scan tells what can be told")
}

// A package whose script fails is not there, although dpkg has its new version.
func TestAFailingScript(t *testing.T) {
	t.Parallel()
	bad := opt("bad", "1.1")
	bad.script = "#!/bin/false\n"
	m := newDebTree(t, []deb{opt("tool", "1.0"), opt("bad", "1.0")}, nil, []deb{opt("tool", "1.1"), bad})
	p := &plane{baseline: debian()}
	got := (&runner{plane: p}).run(t.Context(), t, m.options(), install(patch.NoReboot))
	require.Equal(t, message.Failed, got.Status)
	require.Contains(t, got.err, "it counts with version 1.0")
	require.Equal(t, []string{"bad 1.1"}, in(p.last(t), patch.StateFailed))
	require.Equal(t, []string{"tool 1.1"}, in(p.last(t), patch.StateInstalled), "the other one is done nevertheless")
	(&runner{plane: p}).run(t.Context(), t, m.options(), scan())
	require.Equal(t, []string{"bad 1.1"}, in(p.last(t), patch.StateMissing))
}

// A security archive that the machine has no list of makes nothing look better than it is.
func TestMissingLists(t *testing.T) {
	t.Parallel()
	m := small(t)
	o := m.options()
	o.Refresh = patchbaseline.RefreshNever
	p := &plane{baseline: debian()}
	got := (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, message.Failed, got.Status)
	require.Contains(t, got.Reason, "apt-get update")
	require.Empty(t, p.reports)

	o.Refresh = patchbaseline.RefreshAllowed
	require.Equal(t, message.Success, (&runner{plane: p}).run(t.Context(), t, o, scan()).Status)
	// The archive goes away: what was fetched is what is gone by, aloud.
	require.NoError(t, os.Rename(filepath.Join(m.dir, "debian-security"), filepath.Join(m.dir, "gone")))
	got = (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, message.Success, got.Status, got.Reason)
	require.Contains(t, got.err, "could not be fetched anew")
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateMissing))
	// And an Install cannot fetch: nothing is half done.
	got = (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
	require.Equal(t, message.Failed, got.Status)
	require.Contains(t, got.Reason, "could not all be fetched")
	require.Equal(t, "1.0", m.installed()["tool"])

	// What another archive offers is not known: that is told, and the rest decided.
	m.write("etc/apt/sources.list.d/other.list", "deb [trusted=yes] copy:"+m.dir+"/nowhere other main\n")
	got = (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, message.Success, got.Status, got.Reason)
	require.Contains(t, got.err, "no package list of other")
	m.write("etc/apt/sources.list.d/other.list", "deb [trusted=yes] copy:"+m.dir+"/nowhere bookworm-security contrib\ndeb [trusted=yes] copy:"+m.dir+"/nowhere trixie-security main\n")
	got = (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, message.Failed, got.Status, "of a security archive nothing is known")
}

// A step that is stopped while packages are being installed lets that come to its end, and reports what is there; one that runs behind a reboot which nobody remembers installs nothing again.
func TestATransactionIsNotBrokenOff(t *testing.T) {
	t.Parallel()
	m := small(t)
	p := &plane{baseline: debian()}
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &runner{plane: p, spawner: action.SpawnerFunc(func(sctx context.Context, pr *action.Process) (action.Exit, error) {
		if _, file := pr.Stdout.(*os.File); file {
			cancel(action.ErrCancelled)
		}
		return action.System{}.Spawn(sctx, pr)
	})}
	got := r.run(ctx, t, m.options(), install(patch.RebootIfNeeded))
	require.Equal(t, message.Cancelled, got.Status)
	require.Equal(t, []string{"1.1", "1.1"}, []string{m.installed()["tool"], m.installed()["other"]})
	require.Equal(t, []string{"other 1.1", "tool 1.1"}, in(p.last(t), patch.StateInstalled))

	m = small(t)
	got = (&runner{plane: p, reboots: 1}).run(t.Context(), t, m.options(), install(patch.RebootIfNeeded))
	require.Equal(t, message.Success, got.Status, got.Reason)
	require.Equal(t, "1.0", m.installed()["tool"])

	// A control plane that does not take the report makes an Install fail, but not undone.
	p.refuse = errors.New("away")
	got = (&runner{plane: p}).run(t.Context(), t, m.options(), install(patch.NoReboot))
	require.Equal(t, message.Failed, got.Status)
	require.Contains(t, got.Reason, "the report was not taken")
	require.Equal(t, "1.1", m.installed()["tool"])
}

// O1, O6: with a list exactly what it names is installed, whatever the baseline says; compliance is the baseline's.
func TestInstallOverrideList(t *testing.T) {
	t.Parallel()
	m := small(t)
	o := m.options()
	o.Open = func(context.Context, string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("patches:\n  - id: 'to*.all'\n    title: '*1.1'\n")), nil
	}
	p := &plane{baseline: debian()}
	inputs := install(patch.NoReboot)
	inputs["InstallOverrideList"] = "s3://bucket/list.yaml"
	got := (&runner{plane: p}).run(t.Context(), t, o, inputs)
	require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
	require.Equal(t, []string{"1.1", "1.0"}, []string{m.installed()["tool"], m.installed()["other"]})
	require.Equal(t, []string{"other 1.1"}, in(p.last(t), patch.StateMissing), "C2: what the list leaves out stays Missing")
	require.Equal(t, "s3://bucket/list.yaml", p.last(t).OverrideList)

	// B5, B27: a BaselineOverride decides for the run, and the report says so.
	override := scan()
	override["BaselineOverride"] = `[{"OperatingSystem":"DEBIAN","RejectedPatches":["other"],"ApprovalRules":{"PatchRules":[]}}]`
	got = (&runner{plane: p}).run(t.Context(), t, o, override)
	require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
	require.True(t, p.last(t).Override)
	require.Empty(t, in(p.last(t), patch.StateMissing))
}

// B29: the baseline's own sources take the place of the machine's for the run, and nothing of them stays.
func TestSourcesOfTheBaseline(t *testing.T) {
	t.Parallel()
	m := small(t)
	m.archive("extra", "extra", "Origin: Acme\nLabel: Acme\nSuite: extra\nCodename: extra\n", []deb{opt("tool", "2.0")})
	b := everything()
	b.Sources = []patch.Source{{Name: "extra", Products: []string{"Debian12"}, Configuration: "deb [trusted=yes] copy:" + m.dir + "/extra extra main"}}
	p := &plane{baseline: b}
	o := m.options()
	got := (&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
	require.Equal(t, []string{"tool 2.0"}, in(p.last(t), patch.StateMissing))
	got = (&runner{plane: p}).run(t.Context(), t, o, install(patch.NoReboot))
	require.Equal(t, message.Success, got.Status, "%s %s", got.Reason, got.err)
	require.Equal(t, []string{"2.0", "1.0"}, []string{m.installed()["tool"], m.installed()["other"]})
	lists, err := filepath.Glob(filepath.Join(m.root, "var/lib/apt/lists/*"))
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(m.root, "var/lib/apt/lists/partial")}, lists, "the machine's own lists are as they were")

	p.baseline.Sources[0].Products = []string{"Debian11"}
	(&runner{plane: p}).run(t.Context(), t, o, scan())
	require.Equal(t, []string{"other 1.1"}, in(p.last(t), patch.StateMissing), "sources for another product do not count")
	p.baseline.Sources = []patch.Source{{Name: "gone", Products: []string{"*"}, Configuration: "deb [trusted=yes] copy:" + m.dir + "/nowhere extra main"}}
	n := len(p.reports)
	require.Equal(t, message.Failed, (&runner{plane: p}).run(t.Context(), t, o, scan()).Status)
	o.Refresh = patchbaseline.RefreshNever
	require.Equal(t, message.Failed, (&runner{plane: p}).run(t.Context(), t, o, scan()).Status)
	require.Len(t, p.reports, n, "what cannot be told is not reported")
}
