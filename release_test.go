package fleetwright_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/boltstore"
	"github.com/fleetwright/fleetwright/store/key"
)

// What a release wrote is read for ever (F15): testdata/releases has, for every release kept, the directory of a control plane and that of an agent as this release's code left them
// (state.tar.gz), and what it answered when it was asked about them (golden.json). A new release adds a folder; the old ones are never written again.
var newRelease = flag.String("release", "", "write testdata/releases/`NAME` anew, from the present code: once, for a release")

// frozen is the release's state of the world when it was written.
type frozen struct {
	Now     time.Time         `json:"now"`
	Node    string            `json:"node"`
	Words   map[string]string `json:"words"`   // ids that the calls have in them
	Spaces  map[string]int    `json:"spaces"`  // how many records each key space has
	Journal int               `json:"journal"` // entries of the agent's
	Answers []answered        `json:"answers"`
}

type answered struct {
	Op  string          `json:"op"`
	In  json.RawMessage `json:"in"`
	Out json.RawMessage `json:"out"`
}

// releaseWrites are the calls that make the state. {x} stands for a word; with as, the field of the answer becomes a word.
var releaseWrites = []struct{ op, in, field, as string }{
	{"CreateDocument", `{"Name":"Greet","DocumentFormat":"YAML","DocumentType":"Command","Content":"schemaVersion: '2.2'\nparameters:\n  Who: {type: String, default: world, interpolationType: ENV_VAR}\nmainSteps:\n- {action: aws:runShellScript, name: greet, inputs: {runCommand: ['echo hello {{ Who }}']}}\n","Tags":[{"Key":"Team","Value":"blue"}]}`, "", ""},
	{"UpdateDocument", `{"Name":"Greet","DocumentFormat":"YAML","DocumentVersion":"1","VersionName":"two","Content":"schemaVersion: '2.2'\nparameters:\n  Who: {type: String, default: everybody, interpolationType: ENV_VAR}\nmainSteps:\n- {action: aws:runShellScript, name: greet, inputs: {runCommand: ['echo hello {{ Who }}']}}\n"}`, "", ""},
	{"UpdateDocumentDefaultVersion", `{"Name":"Greet","DocumentVersion":"2"}`, "", ""},
	{"CreateDocument", `{"Name":"Ask","DocumentFormat":"YAML","DocumentType":"Automation","Content":"schemaVersion: '0.3'\nparameters:\n  Node: {type: String}\nmainSteps:\n- {name: say, action: 'aws:runCommand', inputs: {DocumentName: Greet, InstanceIds: ['{{ Node }}']}}\n- {name: ask, action: 'aws:approve', inputs: {Approvers: [ann]}}\n- {name: wait, action: 'aws:sleep', inputs: {Duration: PT1S}}\n"}`, "", ""},
	{"PutParameter", `{"Name":"/app/color","Type":"String","Value":"red","AllowedPattern":"[a-z]+","Description":"of the door","Tags":[{"Key":"Team","Value":"blue"}]}`, "", ""},
	{"PutParameter", `{"Name":"/app/color","Value":"green","Overwrite":true}`, "", ""},
	{"LabelParameterVersion", `{"Name":"/app/color","ParameterVersion":1,"Labels":["old"]}`, "", ""},
	{"PutParameter", `{"Name":"/app/list","Type":"StringList","Value":"a,b,c","Tier":"Advanced","Policies":"[{\"Type\":\"NoChangeNotification\",\"Version\":\"1.0\",\"Attributes\":{\"After\":\"300\",\"Unit\":\"Days\"}}]"}`, "", ""},
	{"PutParameter", `{"Name":"/app/password","Type":"SecureString","Value":"kept under seal"}`, "", ""},
	{"PutParameter", `{"Name":"/app/password","Value":"kept under another","Overwrite":true}`, "", ""},
	{"CreateActivation", `{"DefaultInstanceName":"later","IamRole":"web","RegistrationLimit":3,"Tags":[{"Key":"Role","Value":"web"}]}`, "ActivationId", "activation"},
	{"AddTagsToResource", `{"ResourceType":"ManagedInstance","ResourceId":"{node}","Tags":[{"Key":"Zone","Value":"north"},{"Key":"PatchGroup","Value":"slow"}]}`, "", ""},
	{"CreateGroup", `{"Name":"north","ResourceQuery":{"Type":"TAG_FILTERS_1_0","Query":"{\"ResourceTypeFilters\":[\"AWS::SSM::ManagedInstance\"],\"TagFilters\":[{\"Key\":\"Zone\",\"Values\":[\"north\"]}]}"}}`, "", ""},
	{"CreatePatchBaseline", `{"Name":"careful","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[{"PatchFilterGroup":{"PatchFilters":[{"Key":"PRIORITY","Values":["Required","Important"]}]},"ApproveAfterDays":7,"ComplianceLevel":"HIGH"}]},"RejectedPatches":["telnetd"]}`, "BaselineId", "baseline"},
	{"RegisterPatchBaselineForPatchGroup", `{"BaselineId":"{baseline}","PatchGroup":"slow"}`, "", ""},
	{"PutInventory", `{"InstanceId":"{node}","Items":[{"TypeName":"AWS:Application","SchemaVersion":"1.1","CaptureTime":"2026-11-24T00:00:00Z","ContentHash":"{hash}","Content":[{"Name":"bash","Version":"5.2.15","Architecture":"amd64"}]},{"TypeName":"Custom:Rack","SchemaVersion":"1.0","CaptureTime":"2026-11-24T00:00:00Z","Content":[{"Row":"7"}]}]}`, "", ""},
	{"PutComplianceItems", `{"ResourceId":"{node}","ResourceType":"ManagedInstance","ComplianceType":"Custom:Locks","ExecutionSummary":{"ExecutionTime":1795400000},"Items":[{"Id":"door","Title":"door","Severity":"HIGH","Status":"NON_COMPLIANT"},{"Id":"gate","Severity":"LOW","Status":"COMPLIANT"}]}`, "", ""},
	{"SendCommand", `{"DocumentName":"Greet","InstanceIds":["{node}"],"Parameters":{"Who":["you"]},"Comment":"done","ClientToken":"0123456789abcdef0123456789abcdef"}`, "Command.CommandId", "done"},
	{"SendCommand", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["{node}"],"Parameters":{"commands":["i=0; while [ $i -lt 4000 ]; do echo line $i of many; i=$((i+1)); done; echo oops >&2; exit 3"]}}`, "Command.CommandId", "failed"},
	{"StartAutomationExecution", `{"DocumentName":"Ask","Parameters":{"Node":["{node}"]}}`, "AutomationExecutionId", "execution"},
}

// releaseReads are the questions.
var releaseReads = []struct{ op, in string }{
	{"GetDocument", `{"Name":"Greet"}`},
	{"GetDocument", `{"Name":"Greet","DocumentVersion":"1"}`},
	{"DescribeDocument", `{"Name":"Greet"}`},
	{"ListDocuments", `{"Filters":[{"Key":"Owner","Values":["Self"]}]}`},
	{"ListDocumentVersions", `{"Name":"Greet"}`},
	{"ListTagsForResource", `{"ResourceType":"Document","ResourceId":"Greet"}`},
	{"GetParameter", `{"Name":"/app/password","WithDecryption":true}`},
	{"GetParameter", `{"Name":"/app/color:old"}`},
	{"GetParametersByPath", `{"Path":"/app","Recursive":true,"WithDecryption":true}`},
	{"GetParameterHistory", `{"Name":"/app/color"}`},
	{"GetParameterHistory", `{"Name":"/app/password","WithDecryption":true}`},
	{"DescribeParameters", `{}`},
	{"DescribeActivations", `{}`},
	{"DescribeInstanceInformation", `{}`},
	{"ListTagsForResource", `{"ResourceType":"ManagedInstance","ResourceId":"{node}"}`},
	{"ListGroups", `{}`},
	{"GetGroup", `{"Name":"north"}`},
	{"ListGroupResources", `{"Name":"north"}`},
	{"GetPatchBaseline", `{"BaselineId":"{baseline}"}`},
	{"GetPatchBaselineForPatchGroup", `{"PatchGroup":"slow","OperatingSystem":"DEBIAN"}`},
	{"GetInventory", `{"ResultAttributes":[{"TypeName":"AWS:Application"},{"TypeName":"Custom:Rack"}]}`},
	{"ListInventoryEntries", `{"InstanceId":"{node}","TypeName":"AWS:Application"}`},
	{"ListComplianceItems", `{"ResourceIds":["{node}"],"ResourceTypes":["ManagedInstance"]}`},
	{"ListComplianceSummaries", `{}`},
	{"ListCommands", `{}`},
	{"ListCommandInvocations", `{"CommandId":"{done}","Details":true}`},
	{"GetCommandInvocation", `{"CommandId":"{done}","InstanceId":"{node}"}`},
	{"GetCommandInvocation", `{"CommandId":"{failed}","InstanceId":"{node}"}`},
	{"ListCommandInvocations", `{"CommandId":"{sleeps}","Details":true}`},
	{"ListCommandInvocations", `{"CommandId":"{waits}","Details":true}`},
	{"GetAutomationExecution", `{"AutomationExecutionId":"{execution}"}`},
	{"DescribeAutomationStepExecutions", `{"AutomationExecutionId":"{execution}"}`},
	{"DescribeAutomationExecutions", `{}`},
	{"SendCommand", `{"DocumentName":"Greet","InstanceIds":["{node}"],"Parameters":{"Who":["you"]},"Comment":"done","ClientToken":"0123456789abcdef0123456789abcdef"}`}, // the token's command
}

func (z *frozen) fill(in string) json.RawMessage {
	for k, v := range z.Words {
		in = strings.ReplaceAll(in, "{"+k+"}", v)
	}
	return json.RawMessage(in)
}

// write makes the state, but for what is to be in flight.
func (z *frozen) write(ctx context.Context, t *testing.T, f *fleetwright.Fleet) {
	t.Helper()
	api := releaseAPI(f)
	for _, c := range releaseWrites {
		got, err := api.Call(ctx, c.op, z.fill(c.in))
		require.NoError(t, err, "%s %s", c.op, c.in)
		if c.as != "" {
			z.Words[c.as] = field(t, got, c.field)
		}
	}
	for _, id := range []string{"done", "failed"} {
		_, err := f.Commands.Wait(ctx, z.Words[id])
		require.NoError(t, err)
	}
}

// releaseAPI are the operations over a fleet.
func releaseAPI(f *fleetwright.Fleet) *ssmops.API {
	return ssmops.New(ssmops.Services{Commands: f.Commands, Nodes: f.Nodes, Documents: f.Documents, Parameters: f.Parameters, Patches: f.Patches, Inventory: f.Inventory,
		Compliance: f.Compliance, Automations: f.Automations, Audit: f.Audit}, nil)
}

func releaseCtx(ctx context.Context) context.Context {
	return access.With(ctx, access.Principal{Tenant: access.DefaultTenant, Name: "ann"})
}

// field returns a member of a JSON object by its path.
func field(t *testing.T, b []byte, path string) string {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(b, &v))
	for name := range strings.SplitSeq(path, ".") {
		v = v.(map[string]any)[name]
	}
	return v.(string)
}

// spaces counts the records of each key space, which is the key's first elements but for the tenant, and sees to it that all their checksums are right.
func spaces(t *testing.T, s store.Store) map[string]int {
	t.Helper()
	n := map[string]int{}
	require.NoError(t, s.View(t.Context(), func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			if err != nil {
				return err
			}
			k := key.Read(it.Key)
			k.Str()
			n[k.Str()+"/"+k.Str()]++
		}
		return nil
	}))
	return n
}

func TestWriteARelease(t *testing.T) {
	if *newRelease == "" {
		t.Skip("not asked for: -release NAME writes testdata/releases/NAME")
	}
	dir, out := t.TempDir(), filepath.Join("testdata", "releases", *newRelease)
	require.NoError(t, os.MkdirAll(out, 0o755))
	ctx := releaseCtx(t.Context())
	f, err := fleetwright.Open(ctx, dir, nil)
	require.NoError(t, err)
	a, err := f.StartAgent(ctx, "one", &fleetwright.LocalOptions{Tags: map[string]string{"Role": "web"}})
	require.NoError(t, err)
	knows := func(id string) {
		require.Eventually(t, func() bool {
			n, err := f.Nodes.Nodes(ctx, access.DefaultTenant, []string{id})
			return err == nil && len(n) == 1 && slices.Contains(n[0].Capabilities, "feature:ENV_VAR")
		}, 10*time.Second, 10*time.Millisecond)
	}
	knows(a.ID)
	z := &frozen{Node: a.ID, Words: map[string]string{"node": a.ID, "hash": strings.Repeat("0", 32)}}
	api := releaseAPI(f)
	z.write(ctx, t, f)
	require.Eventually(t, func() bool {
		b, err := api.Call(ctx, "GetAutomationExecution", z.fill(`{"AutomationExecutionId":"{execution}"}`))
		return err == nil && strings.Contains(string(b), `"StepStatus":"Waiting"`)
	}, 30*time.Second, 10*time.Millisecond)
	// One command in mid-run and one that waits for a node that is not there.
	ghost, err := f.StartAgent(ctx, "ghost", nil)
	require.NoError(t, err)
	knows(ghost.ID)
	require.NoError(t, ghost.Stop())
	z.Words["ghost"] = ghost.ID
	for _, c := range []struct{ as, in string }{
		{"sleeps", `{"DocumentName":"AWS-RunShellScript","InstanceIds":["{node}"],"Parameters":{"commands":["sleep 30"]}}`},
		{"waits", `{"DocumentName":"Greet","InstanceIds":["{ghost}"],"TimeoutSeconds":2592000}`},
	} {
		got, err := api.Call(ctx, "SendCommand", z.fill(c.in))
		require.NoError(t, err)
		z.Words[c.as] = field(t, got, "Command.CommandId")
	}
	require.Eventually(t, func() bool {
		r, err := f.Commands.Invocation(ctx, z.Words["sleeps"], a.ID)
		w, err2 := f.Commands.Invocation(ctx, z.Words["waits"], ghost.ID)
		return err == nil && err2 == nil && len(r.Steps) > 0 && r.Steps[0].Status == message.InProgress && w.Status == message.Delayed
	}, 30*time.Second, 10*time.Millisecond)
	time.Sleep(3 * time.Second) // what is written a little later: presence, audit
	z.Now = time.Now().UTC().Round(time.Second)

	image := filepath.Join(t.TempDir(), "image")
	for _, d := range []string{"agents", "blobs"} {
		require.NoError(t, os.CopyFS(filepath.Join(image, d), os.DirFS(filepath.Join(dir, d))))
	}
	var db bytes.Buffer
	require.NoError(t, fleetwright.StoreOf(f).(*boltstore.Store).Backup(ctx, &db))
	require.NoError(t, os.WriteFile(filepath.Join(image, "store.db"), db.Bytes(), 0o600))
	keys, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(image, "keys.json"), keys, 0o600))
	z.Spaces = spaces(t, fleetwright.StoreOf(f))
	names, err := os.ReadDir(filepath.Join(image, "agents", "one", "journal"))
	require.NoError(t, err)
	z.Journal = len(names)
	require.NoError(t, f.Close())
	pack(t, image, filepath.Join(out, "state.tar.gz"))

	f = openRelease(t, out, z)
	api = releaseAPI(f)
	for _, q := range releaseReads {
		in := z.fill(q.in)
		got, err := api.Call(ctx, q.op, in)
		require.NoError(t, err, "%s %s", q.op, in)
		z.Answers = append(z.Answers, answered{q.op, in, clean(t, got)})
	}
	b, err := json.MarshalIndent(z, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(out, "golden.json"), append(b, '\n'), 0o644))
}

// clean takes what depends on the moment out of an answer.
func clean(t *testing.T, b []byte) json.RawMessage {
	t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	require.NoError(t, d.Decode(&v))
	var strip func(v any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range []string{"PingStatus", "LastPingDateTime", "NextToken", "ElapsedSeconds"} {
				delete(v, k)
			}
			for _, x := range v {
				strip(x)
			}
		case []any:
			for _, x := range v {
				strip(x)
			}
		}
	}
	strip(v)
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return b
}

// openRelease opens a copy of what a release left, at the time when it left it.
func openRelease(t *testing.T, from string, z *frozen) *fleetwright.Fleet {
	t.Helper()
	dir := t.TempDir()
	unpack(t, filepath.Join(from, "state.tar.gz"), dir)
	began := time.Now()
	o := &fleetwright.Options{}
	o.Config.Now = func() time.Time { return z.Now.Add(time.Since(began)) }
	f, err := fleetwright.Open(releaseCtx(t.Context()), dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() }) //nolint:errcheck // the end of the test
	return f
}

// releases calls fn for every release that is kept.
func releases(t *testing.T, fn func(t *testing.T, dir string, z *frozen)) {
	all, err := filepath.Glob(filepath.Join("testdata", "releases", "*", "golden.json"))
	require.NoError(t, err)
	require.NotEmpty(t, all, "no release is kept")
	for _, p := range all {
		t.Run(filepath.Base(filepath.Dir(p)), func(t *testing.T) {
			b, err := os.ReadFile(p)
			require.NoError(t, err)
			z := &frozen{}
			require.NoError(t, json.Unmarshal(b, z))
			fn(t, filepath.Dir(p), z)
		})
	}
}

// F15: every answer that a release gave about its store, the present code gives too. It may say more, in fields that the release did not have.
func TestF15_WhatAReleaseStoredIsReadForEver(t *testing.T) {
	releases(t, func(t *testing.T, dir string, z *frozen) {
		f := openRelease(t, dir, z)
		api, ctx := releaseAPI(f), releaseCtx(t.Context())
		for _, q := range z.Answers {
			got, err := api.Call(ctx, q.Op, q.In)
			require.NoError(t, err, "%s %s", q.Op, q.In)
			if why := lacks("", decode(t, clean(t, q.Out)), decode(t, clean(t, got))); why != "" {
				t.Errorf("%s %s: %s\nthe release: %s\nnow:         %s", q.Op, q.In, why, q.Out, got)
			}
		}
		_, err := f.Audit.Verify(ctx, nil)
		require.NoError(t, err)
		r, _, err := f.Commands.Output(ctx, z.Words["failed"], z.Node, "", false)
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err, "a release may have kept output without checksums")
		require.Equal(t, 4000, bytes.Count(b, []byte("\n")))
		rep, err := f.Fsck(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, rep.Problems)
		now := spaces(t, fleetwright.StoreOf(f))
		for s := range z.Spaces {
			if s != "lease/session" && !strings.HasPrefix(s, "todo/") {
				require.Contains(t, now, s, "records of a kind are gone")
			}
		}
		require.Greater(t, len(z.Spaces), 30, "the release kept every kind of record")
	})
}

// F15, law 4: work that a release left in flight goes on under the present code, with the release's agent directory, and nothing runs twice.
func TestF15_WhatAReleaseLeftInFlightGoesOn(t *testing.T) {
	releases(t, func(t *testing.T, dir string, z *frozen) {
		f := openRelease(t, dir, z)
		ctx := releaseCtx(t.Context())
		a, err := f.StartAgent(ctx, "one", nil)
		require.NoError(t, err)
		require.Equal(t, z.Node, a.ID, "the same node, by its key")
		c, err := f.Commands.Wait(ctx, z.Words["sleeps"])
		require.NoError(t, err)
		require.Equal(t, 1, c.Counts[message.DetailInterrupted], "what was in mid-run is not run again: %v", c.Counts)
		_, err = f.StartAgent(ctx, "ghost", nil)
		require.NoError(t, err)
		c, err = f.Commands.Wait(ctx, z.Words["waits"])
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
		_, err = releaseAPI(f).Call(ctx, "SendAutomationSignal", z.fill(`{"AutomationExecutionId":"{execution}","SignalType":"Approve"}`))
		require.NoError(t, err)
		x, err := f.Automations.Wait(ctx, z.Words["execution"])
		require.NoError(t, err)
		require.EqualValues(t, "Success", x.Status)
		for _, id := range []string{"done", "failed"} { // a copy that comes late starts nothing
			r, err := f.Commands.Invocation(ctx, z.Words[id], z.Node)
			require.NoError(t, err)
			require.Nil(t, r.Late)
		}
		req := shell("echo new work")
		req.InstanceIDs = []string{a.ID}
		c, err = f.Commands.Send(ctx, req)
		require.NoError(t, err)
		c, err = f.Commands.Wait(ctx, c.ID)
		require.NoError(t, err)
		require.Equal(t, message.Success, c.Status)
	})
}

// What is opened years later ends what has expired; nothing of it runs.
func TestF15_AReleaseOpenedYearsLater(t *testing.T) {
	releases(t, func(t *testing.T, dir string, z *frozen) {
		later := *z
		later.Now = z.Now.AddDate(3, 0, 0)
		f := openRelease(t, dir, &later)
		ctx := releaseCtx(t.Context())
		for _, id := range []string{"sleeps", "waits"} {
			var c command.Command
			c, err := f.Commands.Wait(ctx, z.Words[id])
			require.NoError(t, err)
			require.Equal(t, message.DetailDeliveryTimedOut, c.StatusDetails)
		}
		r, err := f.Parameters.Parameters(ctx, []string{"/app/color"})
		require.NoError(t, err)
		require.Equal(t, "green", r["/app/color"])
	})
}

func decode(t *testing.T, b []byte) (v any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(b, &v))
	return v
}

// lacks returns what got lacks of want, or has otherwise; "" if it has all of it.
func lacks(at string, want, got any) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: %v is no object", at, got)
		}
		for k, v := range w {
			if _, ok := g[k]; !ok {
				return fmt.Sprintf("%s.%s is missing", at, k)
			}
			if why := lacks(at+"."+k, v, g[k]); why != "" {
				return why
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s: %v, want %v", at, got, want)
		}
		for i := range w {
			if why := lacks(fmt.Sprintf("%s[%d]", at, i), w[i], g[i]); why != "" {
				return why
			}
		}
	default:
		if want != got {
			return fmt.Sprintf("%s: %v, want %v", at, got, want)
		}
	}
	return ""
}

// pack writes a directory as a tar file, the same bytes for the same files.
func pack(t *testing.T, dir, to string) {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	require.NoError(t, err)
	w := tar.NewWriter(z)
	var names []string
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, p)
		}
		return err
	}))
	slices.Sort(names)
	for _, p := range names {
		data, err := os.ReadFile(p)
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, p)
		require.NoError(t, err)
		require.NoError(t, w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: int64(len(data)), Typeflag: tar.TypeReg}))
		_, err = w.Write(data)
		require.NoError(t, err)
	}
	require.NoError(t, errors.Join(w.Close(), z.Close()))
	require.NoError(t, os.WriteFile(to, b.Bytes(), 0o644))
}

func unpack(t *testing.T, from, dir string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close() //nolint:errcheck // all was written
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
		require.NoError(t, root.MkdirAll(filepath.Dir(h.Name), 0o700))
		data, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, root.WriteFile(h.Name, data, 0o600))
	}
}
