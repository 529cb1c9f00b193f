package inventory_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	action_inventory "github.com/fleetwright/fleetwright/action/inventory"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
	"github.com/fleetwright/fleetwright/message"
)

// plane answers PutInventory and keeps what it was told.
type plane struct {
	reports []inventory.Report
	bytes   []int
	answer  func(r inventory.Report) ([]byte, error)
}

func (p *plane) Ask(_ context.Context, op string, input []byte) ([]byte, error) {
	if op != "PutInventory" {
		return nil, errors.New("another operation")
	}
	var r inventory.Report
	if err := json.Unmarshal(input, &r); err != nil {
		return nil, err
	}
	p.reports = append(p.reports, r)
	p.bytes = append(p.bytes, len(input))
	if p.answer != nil {
		return p.answer(r)
	}
	return []byte(`{"Message":"ok"}`), nil
}

// noPrograms starts nothing.
func noPrograms(context.Context, *action.Process) (action.Exit, error) {
	return action.Exit{}, os.ErrNotExist
}

func call(t *testing.T, p action.Plane, inputs map[string]any) (*action.Call, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &action.Call{Node: "mi-1", Command: "c", Action: action_inventory.Name, Inputs: inputs, Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Platform: "Linux", Plane: p,
		Spawner: action.SpawnerFunc(noPrograms), Log: slog.New(slog.DiscardHandler), Facts: message.Facts{AgentName: "agent", AgentVersion: "1"}}, &out, &errs
}

func root(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"var/lib/dpkg/status": "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n",
		"proc/cpuinfo":        "processor: 0\nmodel name: A\n",
		"custom/a.json":       `{"TypeName":"Custom:A","SchemaVersion":"1.0","Content":{"a":"b"}}`,
		"etc/a.conf":          "x",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

func types(r inventory.Report) string {
	var names []string
	for _, it := range r.Items {
		names = append(names, strings.TrimPrefix(it.TypeName, "AWS:"))
	}
	return strings.Join(names, " ")
}

func TestInputsSayWhatIsGathered(t *testing.T) {
	dir := root(t)
	filter := `[{"Path":"/etc","Pattern":["*.conf"]}]`
	for name, c := range map[string]struct {
		inputs map[string]any
		want   string
	}{
		"all that AWS's document has": {map[string]any{"applications": "Enabled", "awsComponents": "Enabled", "networkConfig": "Enabled", "files": filter, "services": "Disabled", "windowsRoles": "Enabled",
			"windowsRegistry": `[{"Path":"HKLM\A"}]`, "windowsUpdates": "Enabled", "instanceDetailedInformation": "Enabled", "billingInfo": "Enabled", "customInventory": "Enabled"},
			"AWSComponent Application BillingInfo File InstanceDetailedInformation Network Custom:A"},
		"letters of names do not count": {map[string]any{"Applications": "Enabled"}, "Application"},
		"letters of Enabled do":         {map[string]any{"applications": "enabled", "networkConfig": "Enabled"}, "Network"},
		"filters as a list":             {map[string]any{"files": []any{map[string]any{"Path": "/etc", "Pattern": []any{"a*"}}}}, "File"},
		"another folder":                {map[string]any{"customInventory": "Enabled", "customInventoryDirectory": "/nowhere", "applications": "Enabled"}, "Application"},
	} {
		p := &plane{}
		cl, out, errs := call(t, p, c.inputs)
		a := action_inventory.New(action_inventory.Options{Gather: gather.Config{Root: dir, CustomDir: "/custom",
			Interfaces: func() ([]gather.Interface, error) { return nil, nil }, Billing: func(context.Context) ([]string, error) { return []string{"bp"}, nil }}})
		r := a.Run(t.Context(), cl)
		require.Equal(t, message.Success, r.Status, "%s: %s", name, r.Reason)
		require.Empty(t, errs.String())
		require.Len(t, p.reports, 1)
		require.Equal(t, c.want, types(p.reports[0]), name)
		require.Equal(t, "mi-1", p.reports[0].InstanceID)
		require.Contains(t, out.String(), "Reported")
	}
}

func TestNothingToReportIsSuccess(t *testing.T) {
	p := &plane{}
	for _, inputs := range []map[string]any{nil, {"applications": "Disabled", "files": "", "windowsRegistry": " "}, {"windowsUpdates": "Enabled"}} {
		cl, out, _ := call(t, p, inputs)
		require.Equal(t, message.Success, action_inventory.New(action_inventory.Options{}).Run(t.Context(), cl).Status)
		require.Contains(t, out.String(), "no inventory")
	}
	require.Empty(t, p.reports)
}

func TestBadInputsStartNothing(t *testing.T) {
	for _, inputs := range []map[string]any{{"files": "{"}, {"files": 7}, {"windowsRegistry": `[{}]`}, {"applications": []any{"Enabled"}}, {"customInventoryDirectory": map[string]any{}}} {
		p := &plane{}
		inputs["networkConfig"] = "Enabled"
		cl, _, _ := call(t, p, inputs)
		r := action_inventory.New(action_inventory.Options{}).Run(t.Context(), cl)
		require.Equal(t, message.Failed, r.Status)
		require.NotEmpty(t, r.Reason)
		require.Empty(t, p.reports)
	}
	cl, _, _ := call(t, nil, map[string]any{"applications": "Enabled"})
	require.Contains(t, action_inventory.New(action_inventory.Options{}).Run(t.Context(), cl).Reason, "no way to report")
}

func TestWhatWorkedIsReportedAndWhatDidNotIsNamed(t *testing.T) {
	p := &plane{}
	cl, _, errs := call(t, p, map[string]any{"applications": "Enabled", "instanceDetailedInformation": "Enabled", "files": `[{"Path":"/nowhere","Pattern":["*"]}]`})
	dir := root(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "proc/cpuinfo")))
	r := action_inventory.New(action_inventory.Options{Gather: gather.Config{Root: dir}, Instance: true}).Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "AWS:InstanceDetailedInformation")
	require.Equal(t, "Application File InstanceInformation", types(p.reports[0]))
	require.Contains(t, errs.String(), "AWS:File")
}

func TestRefusalsFailTheStepOrAskForMore(t *testing.T) {
	p := &plane{answer: func(inventory.Report) ([]byte, error) {
		return nil, fault.New("p", fault.AccessDenied, "this node may not")
	}}
	inputs := map[string]any{"applications": "Enabled"}
	a := action_inventory.New(action_inventory.Options{Gather: gather.Config{Root: root(t)}, Journal: gather.FileJournal(filepath.Join(t.TempDir(), "j"))})
	cl, _, _ := call(t, p, inputs)
	r := a.Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "this node may not")

	p.answer = func(inventory.Report) ([]byte, error) { return []byte("no json"), nil }
	require.Equal(t, message.Failed, a.Run(t.Context(), cl).Status)

	p.answer = nil
	require.Equal(t, message.Success, a.Run(t.Context(), cl).Status)
	p.answer = func(r inventory.Report) ([]byte, error) {
		if r.Items[0].Content == nil {
			return nil, fault.New("p", inventory.ItemContentMismatch, "send it")
		}
		return nil, nil
	}
	cl, out, _ := call(t, p, inputs)
	n := len(p.reports)
	require.Equal(t, message.Success, a.Run(t.Context(), cl).Status)
	require.Nil(t, p.reports[n].Items[0].Content)
	require.NotNil(t, p.reports[n+1].Items[0].Content)
	require.Contains(t, out.String(), "1 in full")
}

func TestTheEndOfTheStepEndsTheGathering(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(action.ErrTimeout)
	p := &plane{}
	cl, _, _ := call(t, p, map[string]any{"applications": "Enabled"})
	r := action.Settle(ctx, action_inventory.New(action_inventory.Options{Gather: gather.Config{Root: root(t)}}).Run(ctx, cl))
	require.Equal(t, message.TimedOut, r.Status)
	require.Empty(t, p.reports)
}

func TestProgramsAreProcessesOfTheStep(t *testing.T) {
	var got []*action.Process
	spawn := func(_ context.Context, p *action.Process) (action.Exit, error) {
		got = append(got, p)
		_, err := io.WriteString(p.Stdout, "ssh.service enabled enabled\n")
		return action.Exit{}, err
	}
	if _, err := os.Stat("/usr/bin/systemctl"); err != nil {
		t.Skip("SKIPPED: there is no systemctl here")
	}
	p := &plane{}
	cl, _, _ := call(t, p, map[string]any{"services": "Enabled"})
	cl.Spawner, cl.Marker = action.SpawnerFunc(spawn), "marker"
	require.Equal(t, message.Success, action_inventory.New(action_inventory.Options{}).Run(t.Context(), cl).Status)
	require.Equal(t, "ssh", p.reports[0].Items[0].Content[0]["Name"])
	require.NotEmpty(t, got)
	require.Contains(t, got[0].Env, action.MarkerVar+"=marker")
	require.Equal(t, "systemctl", got[0].Args[0])
	require.True(t, filepath.IsAbs(got[0].Path))

	cl.Spawner = action.SpawnerFunc(func(_ context.Context, p *action.Process) (action.Exit, error) {
		_, err := io.WriteString(p.Stderr, "broken\x1b")
		return action.Exit{Code: 2}, err
	})
	r := action_inventory.New(action_inventory.Options{}).Run(t.Context(), cl)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "AWS:Service")
}
