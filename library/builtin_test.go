package library_test

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/library"
)

// The built-in documents have AWS's parameters with AWS's defaults, so that calls which people have written work.
func TestBuiltinsAreCalledAsOnAWS(t *testing.T) {
	type parameter struct{ typ, def, needs string }
	script := map[string]parameter{"commands": {"StringList", "", "yes"}, "workingDirectory": {"String", "", ""}, "executionTimeout": {"String", "3600", ""}}
	want := map[string]map[string]parameter{
		"AWS-RunShellScript":      script,
		"AWS-RunPowerShellScript": script,
		"AWS-RunRemoteScript": {"sourceType": {"String", "", "yes"}, "sourceInfo": {"StringMap", "{}", ""}, "commandLine": {"String", "", ""},
			"workingDirectory": {"String", "", ""}, "executionTimeout": {"String", "3600", ""}},
		"AWS-RunDocument": {"sourceType": {"String", "", "yes"}, "sourceInfo": {"StringMap", "{}", ""}, "documentParameters": {"StringMap", "{}", ""}},
	}
	once := func(more map[string]parameter) map[string]parameter {
		m := map[string]parameter{"Operation": {"String", "", "yes"}, "RebootOption": {"String", "RebootIfNeeded", ""}}
		maps.Copy(m, more)
		return m
	}
	want["AWS-Noop"] = map[string]parameter{}
	want["AWS-RunPatchBaseline"] = once(map[string]parameter{"AssociationId": {"String", "", ""}, "SnapshotId": {"String", "", ""}, "InstallOverrideList": {"String", "", ""}, "BaselineOverride": {"String", "", ""}})
	want["AWS-RunPatchBaselineAssociation"] = once(map[string]parameter{"BaselineTags": {"String", "", ""}, "AssociationId": {"String", "", "yes"}, "InstallOverrideList": {"String", "", ""}})
	want["AWS-RunPatchBaselineWithHooks"] = once(map[string]parameter{"SnapshotId": {"String", "", ""}, "PreInstallHookDocName": {"String", "AWS-Noop", ""},
		"PostInstallHookDocName": {"String", "AWS-Noop", ""}, "OnExitHookDocName": {"String", "AWS-Noop", ""}})
	gather := map[string]parameter{"files": {"String", "", ""}, "windowsRegistry": {"String", "", ""}}
	for _, n := range []string{"applications", "awsComponents", "networkConfig", "windowsUpdates", "instanceDetailedInformation", "services", "windowsRoles", "customInventory", "billingInfo"} {
		gather[n] = parameter{"String", "Enabled", ""}
	}
	want["AWS-GatherSoftwareInventory"] = gather
	all, err := library.Builtins()
	require.NoError(t, err)
	require.Len(t, all, len(want))
	for _, b := range all {
		got := map[string]parameter{}
		for i := range b.Document().Parameters {
			p := &b.Document().Parameters[i]
			d, needs := "", "yes"
			if !p.Required() {
				d, needs = p.Default.Text(), ""
				if p.Default.Kind() == document.Map {
					d = "{}"
					require.Empty(t, p.Default.Fields())
				}
			}
			got[p.Name] = parameter{string(p.Type), d, needs}
			require.NotEmpty(t, p.Description)
		}
		require.Equal(t, want[b.Name()], got, b.Name())
		for _, f := range b.Document().Check() {
			require.NotEqual(t, document.Error, f.Severity, "%s: %s", b.Name(), f)
		}
	}
}

// executionTimeout takes what AWS's pattern takes: 1 to 172,800 seconds for scripts.
func TestBuiltinTimeoutPattern(t *testing.T) {
	for doc, values := range map[string]map[string]bool{
		"AWS-RunShellScript":  {"1": true, "3600": true, "99999": true, "172800": true, "172801": false, "0": false, "": false, "1h": false, "-1": false},
		"AWS-RunRemoteScript": {"1": true, "28800": true, "28801": false, "0": false},
	} {
		b := builtin(t, doc)
		p, ok := b.Parameter("executionTimeout")
		require.True(t, ok)
		whole := regexp.MustCompile("^(?:" + p.AllowedPattern + ")$")
		for v, ok := range values {
			require.Equal(t, ok, whole.MatchString(v), "%s %q", doc, v)
			if v == "1" {
				continue // package document refuses less than 5 seconds, which AWS's agent turns into an hour (T15)
			}
			params := map[string][]string{"executionTimeout": {v}}
			if doc == "AWS-RunShellScript" {
				params["commands"] = []string{"true"}
			} else {
				params["sourceType"] = []string{"S3"}
			}
			_, err := b.Bind(params, nil)
			require.Equal(t, ok, err == nil, "%s %q: %v", doc, v, err)
		}
	}
}

func builtin(t *testing.T, name string) *document.Document {
	t.Helper()
	all, err := library.Builtins()
	require.NoError(t, err)
	for _, b := range all {
		if b.Name() == name {
			return b.Document()
		}
	}
	t.Fatalf("there is no built-in document %s", name)
	return nil
}

// A call of AWS-RunShellScript becomes the script that was given, in the folder and with the time that were given; it does not run on Windows.
func TestRunShellScriptSteps(t *testing.T) {
	bound, err := builtin(t, "AWS-RunShellScript").Bind(map[string][]string{"commands": {"echo one", "echo two"}, "workingDirectory": {"/srv"}, "executionTimeout": {"60"}}, nil)
	require.NoError(t, err)
	steps := bound.Steps("Linux")
	require.Len(t, steps, 1)
	require.Equal(t, document.Run, steps[0].Verdict)
	text, err := steps[0].Script()
	require.NoError(t, err)
	require.Equal(t, "echo one\necho two\n", text)
	require.Equal(t, "/srv", steps[0].Inputs["workingDirectory"])
	require.Equal(t, 60.0, steps[0].Timeout.Seconds())
	require.NotEqual(t, document.Run, bound.Steps("Windows")[0].Verdict)
	require.Equal(t, []string{"Linux", "MacOS"}, builtin(t, "AWS-RunShellScript").PlatformTypes())
}

// AWS-RunRemoteScript fetches, then runs the command line in the shell of the platform.
func TestRunRemoteScriptSteps(t *testing.T) {
	bound, err := builtin(t, "AWS-RunRemoteScript").Bind(map[string][]string{"sourceType": {"HTTP"}, "sourceInfo": {`{"url":"https://example.org/a.sh"}`}, "commandLine": {"./a.sh fast"}}, nil)
	require.NoError(t, err)
	for platform, runs := range map[string][]bool{"Linux": {true, false, true}, "MacOS": {true, false, true}, "Windows": {true, true, false}} {
		for i, step := range bound.Steps(platform) {
			require.Equal(t, runs[i], step.Verdict == document.Run, "%s step %d: %s", platform, i, step.Reason)
			if i > 0 && runs[i] {
				script, err := step.Script()
				require.NoError(t, err)
				require.Contains(t, script, "\n./a.sh fast\n")
			}
		}
	}
	require.Equal(t, map[string]any{"url": "https://example.org/a.sh"}, bound.Steps("Linux")[0].Inputs["sourceInfo"])
}

// AWS-RunPatchBaseline is one step with AWS's parameters; what AWS allows is allowed and nothing else.
func TestRunPatchBaselineSteps(t *testing.T) {
	doc := builtin(t, "AWS-RunPatchBaseline")
	bound, err := doc.Bind(map[string][]string{"Operation": {"Scan"}}, nil)
	require.NoError(t, err)
	for _, platform := range []string{"Linux", "Windows", "MacOS"} {
		steps := bound.Steps(platform)
		require.Len(t, steps, 1)
		require.Equal(t, document.Run, steps[0].Verdict)
		require.Equal(t, "fleetwright:patchBaseline", steps[0].Action)
		require.Equal(t, map[string]any{"Operation": "Scan", "RebootOption": "RebootIfNeeded", "SnapshotId": "", "InstallOverrideList": "", "BaselineOverride": "", "AssociationId": ""}, steps[0].Inputs)
		require.Equal(t, 7200.0, steps[0].Timeout.Seconds())
	}
	for name, params := range map[string]map[string][]string{
		"no operation":         {},
		"another operation":    {"Operation": {"scan"}},
		"another reboot":       {"Operation": {"Install"}, "RebootOption": {"RebootIfRequired"}},
		"a snapshot without -": {"Operation": {"Scan"}, "SnapshotId": {"0123456789abcdef0123456789abcdef"}},
		"a list over http":     {"Operation": {"Install"}, "InstallOverrideList": {"http://example.org/list.yaml"}},
	} {
		_, err := doc.Bind(params, nil)
		require.Error(t, err, name)
	}
	for _, list := range []string{"", "https://example.org/list.yaml?sig=a", "s3://bucket/folder/list.yaml"} {
		_, err := doc.Bind(map[string][]string{"Operation": {"Install"}, "InstallOverrideList": {list}, "SnapshotId": {"01234567-89ab-cdef-0123-456789ABCDEF"}}, nil)
		require.NoError(t, err, list)
	}
}

// With hooks there is a scan, the hook before, the installation without a restart, the hook behind, the restart with the report, and the hook at the end; a Scan runs the first alone.
func TestRunPatchBaselineWithHooksSteps(t *testing.T) {
	doc := builtin(t, "AWS-RunPatchBaselineWithHooks")
	verdicts := func(operation string) (names []string) {
		bound, err := doc.Bind(map[string][]string{"Operation": {operation}, "PreInstallHookDocName": {"My-Drain"}, "OnExitHookDocName": {"arn:aws:ssm:eu-west-1:111122223333:document/My-Undrain"}}, nil)
		require.NoError(t, err)
		for _, s := range bound.Steps("Linux") {
			if s.Verdict == document.Run {
				names = append(names, s.Name)
			}
		}
		var hooks []string
		for _, ref := range bound.Included() {
			hooks = append(hooks, ref.Name)
		}
		require.Equal(t, []string{"My-Drain", "AWS-Noop", "arn:aws:ssm:eu-west-1:111122223333:document/My-Undrain"}, hooks)
		return names
	}
	require.Equal(t, []string{"PreInstallScan", "PreInstallHook", "InstallNoReboot", "PostInstallHook", "RebootAndReport", "OnExitHook"}, verdicts("Install"))
	require.Equal(t, []string{"PreInstallScan"}, verdicts("Scan"))
}

// AWS-RunDocument fetches one file under a name that it then runs, since only a path says where a fetched document lies.
func TestRunDocumentSteps(t *testing.T) {
	bound, err := builtin(t, "AWS-RunDocument").Bind(map[string][]string{"sourceType": {"S3"}, "sourceInfo": {`{"path":"https://example.org/doc.yaml"}`}, "documentParameters": {`{"a":"b"}`}}, nil)
	require.NoError(t, err)
	for _, platform := range []string{"Linux", "Windows", "MacOS"} {
		steps := bound.Steps(platform)
		require.Len(t, steps, 2)
		require.Equal(t, []document.Verdict{document.Run, document.Run}, []document.Verdict{steps[0].Verdict, steps[1].Verdict})
		require.Equal(t, steps[0].Inputs["destinationPath"], steps[1].Inputs["documentPath"])
		require.Equal(t, map[string]any{"a": "b"}, steps[1].Inputs["documentParameters"])
	}
}

// Built-in documents are everybody's, belong to Amazon as on AWS, and have one version.
func TestBuiltinsInTheLibrary(t *testing.T) {
	s := service(nil)
	for _, name := range allBuiltin {
		d, err := s.DescribeDocument(as("anyone", "eve"), library.DescribeDocumentRequest{Name: "arn:aws:ssm:us-east-1::document/" + name})
		require.NoError(t, err)
		require.Equal(t, []string{name, "Amazon", "1", "1", "1", "Command", "YAML"}, []string{d.Document.Name, d.Document.Owner, d.Document.DocumentVersion,
			d.Document.DefaultVersion, d.Document.LatestVersion, d.Document.DocumentType, d.Document.DocumentFormat})
		content, format, resolved, hash, err := s.Fetch(context.Background(), "", name, "$LATEST")
		require.NoError(t, err)
		require.Equal(t, []string{"YAML", "1", d.Document.Hash}, []string{format, resolved, hash})
		content[0] = '#' // the caller's own copy
		again, err := s.GetDocument(ann, library.GetDocumentRequest{Name: name})
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(again.Content, "schemaVersion"))
		v, err := s.ListDocumentVersions(ann, library.ListDocumentVersionsRequest{Name: name})
		require.NoError(t, err)
		require.Len(t, v.DocumentVersions, 1)
		require.True(t, v.DocumentVersions[0].IsDefaultVersion)
	}
	none := service(func(c *library.Config) { c.Builtin = []library.Builtin{} })
	_, err := none.GetDocument(ann, library.GetDocumentRequest{Name: "AWS-RunShellScript"})
	require.Equal(t, fault.InvalidDocument, fault.CodeOf(err))
}
