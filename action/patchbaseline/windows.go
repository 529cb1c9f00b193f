package patchbaseline

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch"
)

// windows is Windows Update, asked through PowerShell and the update agent's own interface (Microsoft.Update.Session). The group policy and WSUS of the machine hold. Superseded updates do not show up in
// its catalogue.
type windows struct{ *tools }

// found is what the script prints for one update.
type found struct {
	KB             string   `json:"kb"`
	Title          string   `json:"title"`
	Installed      bool     `json:"installed"`
	Bulletin       string   `json:"bulletin"`
	Severity       string   `json:"severity"`
	Classification string   `json:"classification"`
	Product        string   `json:"product"`
	Family         string   `json:"family"`
	CVEs           []string `json:"cves"`
	Supersedes     []string `json:"supersedes"`
	Released       string   `json:"released"`
	Reboot         bool     `json:"reboot"`
}

const windowsSearch = `$ErrorActionPreference = 'Stop'
[Console]::OutputEncoding = [Text.Encoding]::UTF8
$searcher = (New-Object -ComObject Microsoft.Update.Session).CreateUpdateSearcher()
$all = @(foreach ($u in $searcher.Search('IsHidden=0').Updates) {
  $class = ''; $product = ''; $family = ''
  foreach ($c in $u.Categories) {
    switch ($c.Type) { 'UpdateClassification' { $class = $c.Name } 'Product' { $product = $c.Name } 'ProductFamily' { $family = $c.Name } }
  }
  foreach ($kb in $u.KBArticleIDs) {
    [ordered]@{ kb = "KB$kb"; title = [string]$u.Title; installed = [bool]$u.IsInstalled; bulletin = [string](@($u.SecurityBulletinIDs) | Select-Object -First 1); severity = [string]$u.MsrcSeverity
      classification = $class; product = $product; family = $family; cves = @($u.CveIDs | ForEach-Object { [string]$_ }); supersedes = @()
      released = $u.LastDeploymentChangeTime.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ'); reboot = ($u.InstallationBehavior.RebootBehavior -ne 0) }
  }
})
ConvertTo-Json -InputObject $all -Depth 4 -Compress
`

const windowsInstall = `$ErrorActionPreference = 'Stop'
[Console]::OutputEncoding = [Text.Encoding]::UTF8
$want = @(%s)
$session = New-Object -ComObject Microsoft.Update.Session
$list = New-Object -ComObject Microsoft.Update.UpdateColl
foreach ($u in $session.CreateUpdateSearcher().Search('IsInstalled=0 and IsHidden=0').Updates) {
  if (@($u.KBArticleIDs | ForEach-Object { "KB$_" } | Where-Object { $want -contains $_ }).Count -eq 0) { continue }
  if (-not $u.EulaAccepted) { $u.AcceptEula() }
  [void]$list.Add($u)
}
$out = @()
if ($list.Count -gt 0) {
  $d = $session.CreateUpdateDownloader(); $d.Updates = $list; [void]$d.Download()
  $i = $session.CreateUpdateInstaller(); $i.Updates = $list; $i.ForceQuiet = $true
  $r = $i.Install()
  for ($n = 0; $n -lt $list.Count; $n++) {
    foreach ($kb in $list.Item($n).KBArticleIDs) { $out += [ordered]@{ kb = "KB$kb"; code = [int]$r.GetUpdateResult($n).ResultCode; error = ('0x{0:X8}' -f $r.GetUpdateResult($n).HResult) } }
  }
}
ConvertTo-Json -InputObject @($out) -Compress
`

const windowsReboot = `[bool](New-Object -ComObject Microsoft.Update.SystemInfo).RebootRequired`

func (m *windows) script(ctx context.Context, text string, limit time.Duration, lasting bool) ([]byte, error) {
	name := "powershell"
	if !m.has(name) {
		name = "pwsh"
	}
	units := utf16.Encode([]rune(text))
	raw := make([]byte, 0, 2*len(units))
	for _, u := range units {
		raw = append(raw, byte(u), byte(u>>8))
	}
	out, err := m.run(ctx, program{argv: []string{name, "-NoLogo", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand", base64.StdEncoding.EncodeToString(raw)}, limit: limit, lasting: lasting})
	return bytes.TrimPrefix(out.stdout, []byte("\ufeff")), err
}

// Refresh implements Manager: a search asks the catalogue itself.
func (m *windows) Refresh(context.Context) error { return nil }

// Read implements Manager.
func (m *windows) Read(ctx context.Context, _ []string) (*Machine, error) {
	text, err := m.script(ctx, windowsSearch, m.o.Fetch, false)
	if err != nil {
		return nil, err
	}
	return readWindows(text)
}

func readWindows(text []byte) (*Machine, error) {
	const op = "patchbaseline.Windows"
	var all []found
	if err := json.Unmarshal(bytes.TrimSpace(text), &all); err != nil {
		return nil, fault.New(op, fault.InternalServerError, "what Windows Update answered is not the list that was asked for")
	}
	out := &Machine{}
	for i := range all {
		f := &all[i]
		if f.KB == "" {
			return nil, fault.New(op, fault.InternalServerError, "Windows Update listed an update without a number")
		}
		class := strings.ReplaceAll(f.Classification, " ", "") // "Security Updates" is SecurityUpdates to a baseline
		if f.Installed {
			out.Installed = append(out.Installed, patch.Installed{Name: f.KB, Classification: class, MSRCSeverity: f.Severity})
		}
		released, err := time.Parse(time.RFC3339, f.Released)
		if err != nil {
			released = time.Time{}
		}
		u := &patch.Update{KB: f.KB, Bulletin: f.Bulletin, Title: f.Title, Classification: class, MSRCSeverity: f.Severity, Product: strings.ReplaceAll(f.Product, " ", ""), ProductFamily: f.Family,
			CVEs: f.CVEs, Supersedes: f.Supersedes, Released: released, RebootRequired: f.Reboot}
		if u.MSRCSeverity == "" {
			u.MSRCSeverity = "Unspecified"
		}
		if f.Family != "" && f.Family != "Windows" {
			u.PatchSet = "APPLICATION"
		}
		out.Available = append(out.Available, patch.Available{Name: f.KB, Update: u})
	}
	return out, nil
}

// Install implements Manager.
func (m *windows) Install(ctx context.Context, steps []patch.Step, _ func(patch.Available) bool) (map[patch.Key]string, error) {
	const op = "patchbaseline.Windows"
	names := make([]string, len(steps))
	for i, s := range steps {
		if strings.Trim(s.Name, "KBkb0123456789") != "" { // it becomes part of a script
			return nil, fault.New(op, fault.Validation, "%q is no number of an update", fault.Clean(s.Name))
		}
		names[i] = "'" + s.Name + "'"
	}
	text, err := m.script(ctx, fmt.Sprintf(windowsInstall, strings.Join(names, ",")), m.o.Transaction, true)
	if err != nil {
		return nil, err
	}
	var done []struct {
		KB    string `json:"kb"`
		Code  int    `json:"code"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(text), &done); err != nil {
		return nil, fault.New(op, fault.InternalServerError, "what Windows Update answered is not the list that was asked for")
	}
	why := map[patch.Key]string{}
	for _, s := range steps {
		why[s.Key] = "Windows Update does not offer it any more"
	}
	for _, d := range done {
		k := patch.Key{Name: d.KB}
		if d.Code == 2 || d.Code == 3 { // succeeded, succeeded with errors
			delete(why, k)
		} else {
			why[k] = fmt.Sprintf("Windows Update ended with result %d, error %s", d.Code, d.Error)
		}
	}
	return why, nil
}

// RebootRequired implements Manager.
func (m *windows) RebootRequired(ctx context.Context) (bool, error) {
	text, err := m.script(ctx, windowsReboot, m.o.Query, false)
	return strings.EqualFold(strings.TrimSpace(string(text)), "true"), err
}
