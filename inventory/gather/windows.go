package gather

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// The scripts for Windows print one JSON list each. Every value is made a string by PowerShell, lists joined with blanks as its own strings have them.
const (
	psHead = "[Console]::OutputEncoding = [Text.Encoding]::UTF8; $ErrorActionPreference = 'Stop'; "
	psTail = " | ForEach-Object { $o = $_; $h = [ordered]@{}; foreach ($p in $o.PSObject.Properties) { $h[$p.Name] = \"$($p.Value)\" }; [pscustomobject]$h }); " +
		"[Console]::WriteLine((ConvertTo-Json -Compress -Depth 3 -InputObject $rows))"

	psUpdates = "$rows = @(Get-CimInstance -ClassName Win32_QuickFixEngineering | Select-Object HotFixId, Description, InstalledBy, " +
		"@{n='InstalledTime';e={ if ($_.InstalledOn) { ([datetime]$_.InstalledOn).ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ') } }}"
	psServices = "$rows = @(Get-Service | Select-Object Name, DisplayName, ServiceType, Status, StartType, " +
		"@{n='DependentServices';e={ ($_.DependentServices | ForEach-Object Name) -join ' ' }}, @{n='ServicesDependedOn';e={ ($_.ServicesDependedOn | ForEach-Object Name) -join ' ' }}"
	psRoles = "Import-Module ServerManager; $rows = @(Get-WindowsFeature | Select-Object Name, DisplayName, Path, FeatureType, Description, Installed, " +
		"@{n='InstalledState';e={$_.InstallState}}, DependsOn, SubFeatures, ServerComponentDescriptor, Parent"
	psApplications = "$keys = 'HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*', 'HKLM:\\SOFTWARE\\WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*'; " +
		"$rows = @(Get-ItemProperty $keys -ErrorAction SilentlyContinue | Where-Object { $_.DisplayName } | Select-Object @{n='Name';e={$_.DisplayName}}, Publisher, " +
		"@{n='Version';e={$_.DisplayVersion}}, @{n='InstalledTime';e={ if ($_.InstallDate -match '^\\d{8}$') { $_.InstallDate.Insert(6,'-').Insert(4,'-') + 'T00:00:00Z' } }}, " +
		"@{n='Architecture';e={ if ($_.PSPath -like '*WOW6432Node*') { 'i386' } else { 'x86_64' } }}, @{n='URL';e={$_.URLInfoAbout}}, @{n='PackageId';e={$_.PSChildName}}"
	psProcessors = "$p = @(Get-CimInstance Win32_Processor); $os = Get-CimInstance Win32_OperatingSystem; $c = ($p | Measure-Object NumberOfCores -Sum).Sum; " +
		"$l = ($p | Measure-Object NumberOfLogicalProcessors -Sum).Sum; $rows = @([pscustomobject]@{ CPUModel = $p[0].Name; CPUSpeedMHz = $p[0].MaxClockSpeed; CPUs = $l; CPUSockets = $p.Count; " +
		"CPUCores = $c; CPUHyperThreadEnabled = \"$($l -gt $c)\".ToLower(); OSServicePack = $os.ServicePackMajorVersion; KernelVersion = $os.Version }"
)

// rows runs one of the scripts.
func (g *Gatherer) rows(ctx context.Context, script string) ([]inventory.Entry, error) {
	out, err := g.c.PowerShell(ctx, psHead+script+psTail)
	if err != nil {
		return nil, err
	}
	return parseRows(out)
}

// parseRows reads what PowerShell's ConvertTo-Json made: a list of objects, or one object alone; nothing is an empty list.
func parseRows(out []byte) ([]inventory.Entry, error) {
	out = bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(out), []byte("\xef\xbb\xbf")))
	if len(out) == 0 {
		return nil, nil
	}
	var list []map[string]any
	if out[0] == '{' {
		list = make([]map[string]any, 1)
		if err := json.Unmarshal(out, &list[0]); err != nil {
			return nil, errRows()
		}
	} else if err := json.Unmarshal(out, &list); err != nil {
		return nil, errRows()
	}
	rows := make([]inventory.Entry, 0, len(list))
	for _, m := range list {
		e := make(inventory.Entry, len(m))
		for k, v := range m {
			switch v := v.(type) {
			case nil:
				e[k] = ""
			case string:
				e[k] = v
			default:
				e[k] = fmt.Sprint(v)
			}
		}
		rows = append(rows, e)
	}
	return rows, nil
}

func errRows() error {
	return fault.New("gather.Gather", fault.InternalServerError, "PowerShell's output is no JSON list of objects")
}

func (g *Gatherer) updates(ctx context.Context) ([]inventory.Entry, error) {
	return g.rows(ctx, psUpdates)
}

func (g *Gatherer) windowsServices(ctx context.Context) ([]inventory.Entry, error) {
	return g.rows(ctx, psServices)
}

func (g *Gatherer) roles(ctx context.Context) ([]inventory.Entry, error) {
	return g.rows(ctx, psRoles)
}

func (g *Gatherer) windowsDetailed(ctx context.Context) ([]inventory.Entry, error) {
	return g.rows(ctx, psProcessors)
}

func (g *Gatherer) windowsApplications(ctx context.Context) ([]inventory.Entry, error) {
	rows, err := g.rows(ctx, psApplications)
	for _, e := range rows {
		compact(e)
	}
	return rows, err
}

// registry gathers AWS:WindowsRegistry. A path that cannot be read is left out; more values than are allowed are an error (V13).
func (g *Gatherer) registry(ctx context.Context, filters []RegistryFilter) ([]inventory.Entry, error) {
	most := g.c.Limits.Resolved().Registry
	var all []inventory.Entry
	for _, f := range filters {
		rows, err := g.rows(ctx, registryScript(f, most))
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
		if inventory.Over(len(all), most) {
			return nil, fault.New("gather.Gather", inventory.ItemSizeLimitExceeded, "the registry filters match more than %d values: make them narrower", most)
		}
	}
	return all, nil
}

// registryScript lists values below a key. What a document wrote goes in as literals only. It stops a little beyond the limit, so that the limit is seen to be exceeded.
func registryScript(f RegistryFilter, most int) string {
	names := make([]string, len(f.ValueNames))
	for i, n := range f.ValueNames {
		names[i] = literal(n)
	}
	first := ""
	if most >= 0 {
		first = fmt.Sprintf(" | Select-Object -First %d", most+1)
	}
	recurse := ""
	if f.Recursive && len(f.ValueNames) == 0 {
		recurse = "; Get-ChildItem -LiteralPath $path -Recurse -ErrorAction SilentlyContinue"
	}
	return "$kinds = @{ Binary='REG_BINARY'; DWord='REG_DWORD'; ExpandString='REG_EXPAND_SZ'; MultiString='REG_MULTI_SZ'; QWord='REG_QWORD'; String='REG_SZ' }; " +
		"$path = 'Registry::' + " + literal(f.Path) + "; $names = @(" + strings.Join(names, ",") + "); " +
		"$rows = @(& { if (Test-Path -LiteralPath $path) { Get-Item -LiteralPath $path" + recurse + " } } | ForEach-Object { $key = $_; " +
		"foreach ($n in $key.GetValueNames()) { if ($names.Count -gt 0 -and $names -notcontains $n) { continue }; $v = $key.GetValue($n); if ($null -eq $v) { continue }; " +
		"$k = \"$($key.GetValueKind($n))\"; if ($k -eq 'Binary') { if ($v.Length -gt 2048) { $v = 'BinaryValue' } else { $v = [BitConverter]::ToString($v).Replace('-','') } }; " +
		"if ($kinds.ContainsKey($k)) { $k = $kinds[$k] }; [pscustomobject]@{ KeyPath = $key.Name; ValueName = $n; ValueType = $k; Value = \"$v\" } } }" + first
}

// literal returns a PowerShell string that means exactly s. PowerShell takes four other characters for quotes too.
func literal(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch r {
		case '\'', '\u2018', '\u2019', '\u201a', '\u201b':
			b.WriteRune(r)
		case 0:
			continue
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}
