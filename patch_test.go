package fleetwright_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/action/patchbaseline"
	"github.com/fleetwright/fleetwright/agent"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/compliance"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/library"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/node"
	"github.com/fleetwright/fleetwright/patch"
	"github.com/fleetwright/fleetwright/patch/patchstore"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/target"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// patchTree makes a private Debian root with two packages and a security archive that has newer ones of both, by the real tools.
func patchTree(t *testing.T) (root string, installed func() string) {
	t.Helper()
	for _, tool := range []string{"dpkg", "dpkg-deb", "dpkg-query", "apt-get", "apt-ftparchive"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not on this machine, so nothing is patched with it", tool)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: packages are installed into a private root, which takes root")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	root = filepath.Join(dir, "root")
	run := func(in, name string, args ...string) string {
		c := exec.Command(name, args...)
		c.Dir = in
		c.Env = append(os.Environ(), "LC_ALL=C")
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
		return string(out)
	}
	put := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for _, d := range []string{"info", "updates", "triggers"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755))
	}
	for _, d := range []string{"var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d", "var/log/apt"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	put(filepath.Join(root, "etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n")
	put(filepath.Join(root, "etc/apt/apt.conf.d/00fixture"), "APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nDPkg::Options:: \"--force-unsafe-io\";\n")
	put(filepath.Join(root, "etc/apt/sources.list"), "deb [trusted=yes] copy:"+dir+"/sec bookworm-security main\n")
	put(filepath.Join(root, "var/lib/dpkg/status"), "Package: dpkg\nStatus: install ok installed\nVersion: 1.21.22\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n\n")
	put(filepath.Join(root, "var/lib/dpkg/available"), "")
	var old []string
	pool := filepath.Join(dir, "sec/pool")
	require.NoError(t, os.MkdirAll(pool, 0o755))
	for _, name := range []string{"server", "tool"} {
		for _, v := range []string{"1.0-1", "1.0-1+deb12u1"} {
			tree := filepath.Join(dir, "build", name+v)
			put(filepath.Join(tree, "DEBIAN/control"), fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: x <x@example.org>\nSection: net\nPriority: optional\nDescription: x\n", name, v))
			put(filepath.Join(tree, "usr/share", name), v)
			out := filepath.Join(pool, name+"_"+v+"_all.deb")
			if v == "1.0-1" {
				out = filepath.Join(dir, name+".deb")
				old = append(old, out)
			}
			run(dir, "dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, out)
		}
	}
	dist := filepath.Join(dir, "sec/dists/bookworm-security")
	put(filepath.Join(dist, "main/binary-amd64/Packages"), run(filepath.Join(dir, "sec"), "apt-ftparchive", "packages", "pool"))
	rel := run(dir, "apt-ftparchive", "-o", "APT::FTPArchive::Release::Origin=Debian", "-o", "APT::FTPArchive::Release::Label=Debian-Security", "-o", "APT::FTPArchive::Release::Suite=oldstable-security",
		"-o", "APT::FTPArchive::Release::Codename=bookworm-security", "-o", "APT::FTPArchive::Release::Architectures=amd64", "-o", "APT::FTPArchive::Release::Components=main", "release", dist)
	put(filepath.Join(dist, "Release"), rel)
	run(dir, "dpkg", append([]string{"--root=" + root, "--log=/dev/null", "--force-unsafe-io", "-i"}, old...)...)
	return root, func() string {
		b, err := exec.Command("dpkg-query", "--admindir="+root+"/var/lib/dpkg", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", "server", "tool").Output()
		require.NoError(t, err)
		return string(b)
	}
}

const patchedTree = "server 1.0-1+deb12u1 installed\ntool 1.0-1+deb12u1 installed\n"

// A call that somebody has written for AWS scans, installs and ends compliant, and the services tell of it as AWS's do.
func TestPatchingThroughTheFleet(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: apt and dpkg work for seconds; run without -short")
	}
	root, installed := patchTree(t)
	var mu sync.Mutex
	boot := "boot-1"
	set, err := fleetwright.Actions(patchbaseline.New(&patchbaseline.Options{Root: root, BootID: func() string { mu.Lock(); defer mu.Unlock(); return boot }}))
	require.NoError(t, err)
	f, err := fleetwright.Open(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Actions: set, Tags: map[string]string{"Patch Group": "web"}})
	require.NoError(t, err)
	send := func(doc string, params map[string]string) (command.Command, command.Result) {
		req := command.SendRequest{DocumentName: doc, InstanceIDs: []string{a.ID}, Parameters: map[string][]string{}}
		for k, v := range params {
			req.Parameters[k] = []string{v}
		}
		c, err := f.Commands.Send(t.Context(), req)
		require.NoError(t, err)
		c, err = f.Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		r, err := f.Commands.Invocation(t.Context(), c.ID, a.ID)
		require.NoError(t, err)
		return c, r
	}
	state := func() patchstore.InstancePatchState {
		s, err := f.Patches.DescribeInstancePatchStates(t.Context(), patchstore.StatesRequest{InstanceIDs: []string{a.ID}})
		require.NoError(t, err)
		require.Len(t, s.InstancePatchStates, 1)
		return s.InstancePatchStates[0]
	}
	items := func() (out []string) {
		got, err := f.Compliance.ListComplianceItems(t.Context(), compliance.ListComplianceItemsRequest{ResourceIDs: []string{a.ID}, ResourceTypes: []string{"ManagedInstance"}})
		require.NoError(t, err)
		for _, i := range got.ComplianceItems {
			require.Equal(t, "Patch", i.ComplianceType)
			out = append(out, i.ID+" "+i.Status)
		}
		sort.Strings(out)
		return out
	}

	c, r := send("AWS-RunPatchBaseline", map[string]string{"Operation": "Scan"})
	require.Equal(t, message.Success, c.Status, "%+v", r.Steps)
	require.Contains(t, r.Steps[0].Stdout.Head, "Missing                       2")
	s := state()
	require.Equal(t, []any{2, 0, 1, patch.Scan, "web"}, []any{s.MissingCount, s.InstalledCount, s.InstalledOtherCount, s.Operation, s.PatchGroup})
	list, err := f.Patches.DescribeInstancePatches(t.Context(), patchstore.PatchesRequest{InstanceID: a.ID, Filters: []patchstore.Filter{{Key: "State", Values: []string{"Missing"}}}})
	require.NoError(t, err)
	require.Len(t, list.Patches, 2)
	require.Equal(t, "server.all:1.0-1+deb12u1", list.Patches[0].Title)
	require.Equal(t, []string{"dpkg.amd64 COMPLIANT", "server.all NON_COMPLIANT", "tool.all NON_COMPLIANT"}, items())

	c, r = send("AWS-RunPatchBaseline", map[string]string{"Operation": "Install", "RebootOption": "NoReboot"})
	require.Equal(t, message.Success, c.Status, "%+v", r.Steps)
	require.Equal(t, patchedTree, installed())
	s = state()
	require.Equal(t, []any{0, 2, patch.Install, patch.NoReboot, s.OperationEndTime.IsZero()}, []any{s.MissingCount, s.InstalledPendingRebootCount, s.Operation, s.RebootOption, s.LastNoRebootInstallOperationTime.IsZero()})
	require.Equal(t, []string{"dpkg.amd64 COMPLIANT", "server.all NON_COMPLIANT", "tool.all NON_COMPLIANT"}, items(), "until the machine was restarted")

	mu.Lock()
	boot = "boot-2"
	mu.Unlock()
	_, r = send("AWS-RunPatchBaseline", map[string]string{"Operation": "Scan"})
	require.Equal(t, []string{"dpkg.amd64 COMPLIANT", "server.all COMPLIANT", "tool.all COMPLIANT"}, items(), r.Steps[0].Stderr.Head)
	s = state()
	require.Equal(t, []int{0, 2, 0}, []int{s.MissingCount, s.InstalledCount, s.InstalledPendingRebootCount})
	g, err := f.Patches.DescribePatchGroupState(t.Context(), patchstore.GroupStateRequest{PatchGroup: "web"})
	require.NoError(t, err)
	b, err := json.Marshal(g)
	require.NoError(t, err)
	require.Contains(t, string(b), `"Instances":1`)

	// An association's document does the same; parameters that AWS refuses are refused.
	c, _ = send("AWS-RunPatchBaselineAssociation", map[string]string{"Operation": "Scan", "AssociationId": "01234567-89ab-cdef-0123-456789abcdef"})
	require.Equal(t, message.Success, c.Status)
	_, err = f.Commands.Send(t.Context(), command.SendRequest{DocumentName: "AWS-RunPatchBaseline", InstanceIDs: []string{a.ID}, Parameters: map[string][]string{"Operation": {"Uninstall"}}})
	require.Error(t, err)
}

// With hooks: before the installation, after it, and at the end; a hook that fails keeps the installation from happening, and the last one runs nevertheless.
func TestPatchingWithHooks(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: apt and dpkg work for seconds; run without -short")
	}
	root, installed := patchTree(t)
	set, err := fleetwright.Actions(patchbaseline.New(&patchbaseline.Options{Root: root}))
	require.NoError(t, err)
	f, err := fleetwright.Open(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	a, err := f.StartAgent(t.Context(), "one", &fleetwright.LocalOptions{Actions: set})
	require.NoError(t, err)
	log := filepath.Join(t.TempDir(), "log")
	for name, script := range map[string]string{"Hook-Before": "echo before $(cat " + root + "/usr/share/tool) >> " + log, "Hook-After": "echo after $(cat " + root + "/usr/share/tool) >> " + log,
		"Hook-Exit": "echo exit >> " + log, "Hook-Fails": "echo fails >> " + log + "; exit 3"} {
		content, err := json.Marshal(map[string]any{"schemaVersion": "2.2", "mainSteps": []any{map[string]any{"action": "aws:runShellScript", "name": "hook", "inputs": map[string]any{"runCommand": []string{script}}}}})
		require.NoError(t, err)
		_, err = f.Documents.CreateDocument(t.Context(), library.CreateDocumentRequest{Name: name, Content: string(content), DocumentFormat: "JSON", DocumentType: string(document.Command)})
		require.NoError(t, err)
	}
	hooks := func(params map[string]string) (message.Status, string) {
		require.NoError(t, os.WriteFile(log, nil, 0o600))
		req := command.SendRequest{DocumentName: "AWS-RunPatchBaselineWithHooks", InstanceIDs: []string{a.ID}, Parameters: map[string][]string{}}
		for k, v := range params {
			req.Parameters[k] = []string{v}
		}
		c, err := f.Commands.Send(t.Context(), req)
		require.NoError(t, err)
		c, err = f.Commands.Wait(t.Context(), c.ID)
		require.NoError(t, err)
		b, err := os.ReadFile(log)
		require.NoError(t, err)
		return c.Status, string(b)
	}
	all := map[string]string{"Operation": "Scan", "PreInstallHookDocName": "Hook-Before", "PostInstallHookDocName": "Hook-After", "OnExitHookDocName": "Hook-Exit"}
	status, ran := hooks(all)
	require.Equal(t, []any{message.Success, ""}, []any{status, ran}, "a Scan runs no hook (B28)")
	all["Operation"], all["PreInstallHookDocName"] = "Install", "Hook-Fails"
	status, ran = hooks(all)
	require.Equal(t, []any{message.Failed, "fails\nexit\n"}, []any{status, ran})
	require.Contains(t, installed(), "tool 1.0-1 installed")
	all["PreInstallHookDocName"] = "Hook-Before"
	status, ran = hooks(all)
	require.Equal(t, []any{message.Success, "before 1.0-1\nafter 1.0-1+deb12u1\nexit\n"}, []any{status, ran})
	require.Equal(t, patchedTree, installed())
	status, ran = hooks(map[string]string{"Operation": "Install"})
	require.Equal(t, []any{message.Success, ""}, []any{status, ran}, "the defaults are documents that do nothing")
}

func fleetOf(name string) []target.Target {
	return []target.Target{{Key: "tag:Fleet", Values: []string{name}}}
}

// patchAgent is an agent over a private root whose machine's start is a file: its reboot writes another boot id and ends the process.
func patchAgent(dir, url, caFile, root, bootFile string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return err
	}
	var id, code string
	fmt.Scanln(&id)   //nolint:errcheck // empty after the first start
	fmt.Scanln(&code) //nolint:errcheck // likewise
	cfg := httptransport.ClientConfig{URL: url, RootCAs: ca, BackoffBase: 20 * time.Millisecond, BackoffCap: 200 * time.Millisecond}
	me, err := agent.Register(ctx, agent.RegisterOver(func(ctx context.Context, body []byte) ([]byte, error) { return httptransport.Enroll(ctx, cfg, body) }),
		dir, id, secret.String(code), &agent.RegisterOptions{Retry: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	cfg.Address, cfg.Key = transport.Address{Tenant: me.Tenant, Name: me.ID}, me.Signer()
	conn, err := httptransport.NewClient(cfg)
	if err != nil {
		return err
	}
	boot := func() string {
		b, err := os.ReadFile(bootFile)
		if err != nil {
			return ""
		}
		return string(b)
	}
	set, err := fleetwright.Actions(patchbaseline.New(&patchbaseline.Options{Root: root, BootID: boot}))
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{Node: me, Transport: conn, Actions: set, BootID: boot, Reboot: func(context.Context) error {
		if err := os.WriteFile(bootFile, []byte(boot()+"+"), 0o600); err != nil {
			return err
		}
		os.Exit(0)
		return nil
	}})
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// The agent is killed with SIGKILL while apt installs: the command ends as Interrupted and is not run again, apt comes to its end undisturbed, and the next Scan tells what is there. After that an Install asks for the
// reboot that is due, and reports behind it.
func TestPatchingSurvivesTheAgent(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: apt and dpkg work for seconds; run without -short")
	}
	root, installed := patchTree(t)
	dir := t.TempDir()
	begun, gate := filepath.Join(dir, "begun"), filepath.Join(dir, "gate")
	hook := fmt.Sprintf("DPkg::Pre-Invoke { \"echo >> %s; i=0; while ! test -e %s && test $i -lt 600; do sleep 0.05; i=$((i+1)); done\"; };\n", begun, gate)
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/apt/apt.conf.d/99hook"), []byte(hook), 0o644))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	o := &fleetwright.Options{Listen: addr}
	o.Config.Timing = command.Timing{Resend: 100 * time.Millisecond, Delay: 2 * time.Second}
	o.Config.Heartbeat = time.Second
	f, err := fleetwright.Open(t.Context(), filepath.Join(dir, "plane"), o)
	require.NoError(t, err)
	defer f.Close() //nolint:errcheck // the test ends
	ca, boot := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "boot")
	require.NoError(t, os.WriteFile(ca, f.CA(), 0o600))
	require.NoError(t, os.WriteFile(boot, []byte("boot"), 0o600))
	act, err := f.Nodes.CreateActivation(t.Context(), node.ActivationRequest{Tags: map[string]string{"Fleet": "patch"}})
	require.NoError(t, err)
	p := &process{t: t, role: "patch", args: []string{filepath.Join(dir, "agent"), f.URL(), ca, root, boot}, code: act.ID + "\n" + string(act.Code.Reveal()) + "\n"}
	p.start()
	defer func() { p.kill() }()

	eventually := func(what string, ok func() bool) {
		t.Helper()
		require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
	}
	var id string
	eventually("the agent registers", func() bool {
		ids, _, err := f.Nodes.Resolve(t.Context(), "default", fleetOf("patch"), "", 10)
		if err == nil && len(ids) == 1 {
			id = ids[0]
		}
		return id != ""
	})
	send := func(params ...string) command.Command {
		c, err := f.Commands.Send(t.Context(), command.SendRequest{DocumentName: "AWS-RunPatchBaseline", InstanceIDs: []string{id}, Parameters: map[string][]string{"Operation": {params[0]}, "RebootOption": {params[1]}}})
		require.NoError(t, err)
		return c
	}
	result := func(c command.Command) command.Result {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := f.Commands.Wait(ctx, c.ID)
		require.NoError(t, err)
		r, err := f.Commands.Invocation(t.Context(), c.ID, id)
		require.NoError(t, err)
		return r
	}
	c := send("Install", "NoReboot")
	eventually("apt is at work", func() bool { _, err := os.Stat(begun); return err == nil })
	p.kill()
	require.NotEqual(t, patchedTree, installed())
	p.start()
	require.Equal(t, message.DetailInterrupted, result(c).Detail)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	eventually("apt comes to its end", func() bool { return installed() == patchedTree })

	r := result(send("Scan", "NoReboot"))
	require.Equal(t, message.Success, r.Status, r.Steps[0].Reason)
	states := func() []int {
		s, err := f.Patches.DescribeInstancePatchStates(t.Context(), patchstore.StatesRequest{InstanceIDs: []string{id}})
		require.NoError(t, err)
		require.Len(t, s.InstancePatchStates, 1)
		x := s.InstancePatchStates[0]
		return []int{x.MissingCount, x.InstalledPendingRebootCount, x.InstalledCount}
	}
	require.Equal(t, []int{0, 2, 0}, states(), "they came by us, and the machine was not restarted")

	c = send("Install", "RebootIfNeeded")
	done := make(chan error, 1)
	cmd := p.cmd
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		require.NoError(t, err, "the machine restarts")
	case <-time.After(time.Minute):
		t.Fatal("no reboot was asked for")
	}
	require.Equal(t, []int{0, 2, 0}, states(), "the report before the reboot")
	p.start()
	r = result(c)
	require.Equal(t, message.Success, r.Status, "%+v", r.Steps)
	require.Equal(t, []int{0, 0, 2}, states())
	b, err := os.ReadFile(begun)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(b), "\n"), "dpkg was run once")
}
