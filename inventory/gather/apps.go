package gather

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/inventory"
)

// applications returns a function that lists the applications once, however many gatherers of a plan ask. It fails for all if it failed for the first.
func (g *Gatherer) applications() func(ctx context.Context) ([]inventory.Entry, error) {
	var once sync.Mutex
	var done bool
	var apps []inventory.Entry
	var failed error
	return func(ctx context.Context) ([]inventory.Entry, error) {
		once.Lock()
		defer once.Unlock()
		if !done {
			apps, failed = g.listApplications(ctx)
			done = true
		}
		return slices.Clone(apps), failed
	}
}

func (g *Gatherer) listApplications(ctx context.Context) ([]inventory.Entry, error) {
	if g.c.Platform == "Windows" {
		return g.windowsApplications(ctx)
	}
	all, err := g.dpkg(ctx)
	if err != nil {
		return nil, err
	}
	rpms, err := g.rpm(ctx)
	if err != nil {
		return nil, err
	}
	all = append(all, rpms...)
	// Snaps are asked for when snapd is there as a package, as AWS's agent does.
	if g.here() && slices.ContainsFunc(all, func(e inventory.Entry) bool { return e["Name"] == "snapd" }) {
		snaps, err := g.snap(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, snaps...)
	}
	return all, nil
}

// dpkg reads the database of dpkg: its status file, and status.d where minimal images have one file for each package.
func (g *Gatherer) dpkg(ctx context.Context) ([]inventory.Entry, error) {
	var all []inventory.Entry
	read := func(path string) error {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // read only
		return readDpkg(ctx, f, g.c.KeepRemoved, func(e inventory.Entry) { all = append(all, e) })
	}
	if err := read(g.path("var/lib/dpkg/status")); err != nil {
		return nil, err
	}
	parts, _ := os.ReadDir(g.path("var/lib/dpkg/status.d"))
	for _, p := range parts {
		if strings.HasSuffix(p.Name(), ".md5sums") || !p.Type().IsRegular() {
			continue
		}
		if err := read(g.path("var/lib/dpkg/status.d", p.Name())); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readDpkg reads stanzas of a status file (V1, V5). A stanza without Status is an installed package, as in status.d.
func readDpkg(ctx context.Context, r io.Reader, keepRemoved bool, each func(inventory.Entry)) error {
	in := bufio.NewReaderSize(r, 64<<10)
	fields := make(map[string]string, 8)
	flush := func() {
		state := fields["status"]
		if state == "" {
			state = "installed"
		}
		if fields["package"] != "" && fields["version"] != "" && state != "not-installed" && (keepRemoved || state != "config-files") {
			each(dpkgEntry(fields))
		}
		clear(fields)
	}
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		line, err := readLine(in)
		switch {
		case err == io.EOF:
			flush()
			return nil
		case err != nil:
			return err
		case len(line) == 0:
			flush()
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch name = strings.ToLower(name); name { // a line that goes on with the one before begins with a blank: it has none of these names
		case "status":
			words := strings.Fields(value)
			if len(words) == 3 {
				fields[name] = words[2]
			}
		case "package", "version", "architecture", "maintainer", "section", "homepage", "description":
			fields[name] = strings.TrimLeft(value, " \t") // dpkg-query keeps blanks at the end
		}
	}
}

// readLine returns a line without its end; of a line that is longer than the buffer the beginning.
func readLine(in *bufio.Reader) (string, error) {
	b, more, err := in.ReadLine()
	if err != nil {
		return "", err
	}
	line := string(b)
	for more && err == nil {
		_, more, err = in.ReadLine()
	}
	return line, nil
}

func dpkgEntry(f map[string]string) inventory.Entry {
	return compact(inventory.Entry{
		"Name": f["package"], "Publisher": f["maintainer"], "Version": f["version"], "ApplicationType": f["section"], "Architecture": Architecture(f["architecture"]),
		"URL": f["homepage"], "Summary": f["description"], "PackageId": f["package"] + "_" + f["version"] + "_" + f["architecture"] + ".deb",
	})
}

// rpmFields are the tags of a query and the attributes they become (V2).
var rpmFields = [...][2]string{{"NAME", "Name"}, {"VENDOR", "Publisher"}, {"VERSION", "Version"}, {"RELEASE", "Release"}, {"EPOCH", "Epoch"}, {"INSTALLTIME", "InstalledTime"},
	{"GROUP", "ApplicationType"}, {"ARCH", "Architecture"}, {"URL", "URL"}, {"SUMMARY", "Summary"}, {"SOURCERPM", "PackageId"}}

const (
	fieldEnd  = "\x1f"
	recordEnd = "\x1e"
)

// rpm asks rpm for its packages where there is one.
func (g *Gatherer) rpm(ctx context.Context) ([]inventory.Entry, error) {
	format := ""
	for _, f := range rpmFields {
		format += "%{" + f[0] + "}" + fieldEnd
	}
	args := []string{"-qa", "--queryformat", format + recordEnd}
	if !g.here() {
		more := []string{"--root", g.c.Root}
		if db := g.rpmDatabase(); db != "" {
			more = append(more, "--dbpath", db)
		}
		args = append(more, args...)
	}
	out, err := g.c.Run(ctx, "rpm", args...)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseRPM(string(out)), nil
}

// rpmDatabase returns where the database of another tree is, below that tree, or "". This machine's rpm may expect it elsewhere.
func (g *Gatherer) rpmDatabase() string {
	for _, dir := range [...]string{"/usr/lib/sysimage/rpm", "/var/lib/rpm"} {
		for _, name := range [...]string{"rpmdb.sqlite", "Packages.db", "Packages"} {
			if _, err := os.Stat(g.path(dir, name)); err == nil {
				return dir
			}
		}
	}
	return ""
}

func parseRPM(out string) []inventory.Entry {
	var all []inventory.Entry
	for record := range strings.SplitSeq(out, recordEnd) {
		values := strings.Split(record, fieldEnd)
		if len(values) < len(rpmFields) {
			continue
		}
		e := make(inventory.Entry, len(rpmFields))
		for i, f := range rpmFields {
			if v := values[i]; v != "(none)" {
				e[f[1]] = v
			}
		}
		if seconds, err := strconv.ParseInt(e["InstalledTime"], 10, 64); err == nil {
			e["InstalledTime"] = inventory.CaptureTime(time.Unix(seconds, 0))
		}
		e["Architecture"] = Architecture(e["Architecture"])
		all = append(all, compact(e))
	}
	return all
}

func (g *Gatherer) snap(ctx context.Context) ([]inventory.Entry, error) {
	out, err := g.c.Run(ctx, "snap", "list")
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		g.c.Log.Warn("snap list failed", "error", err) // snapd that does not run has no snaps
		return nil, nil
	}
	return parseSnaps(string(out)), nil
}

// parseSnaps reads the table of snap list: Name, Version, Rev, Tracking, Publisher, Notes. Marks of verified publishers are cut off.
func parseSnaps(out string) []inventory.Entry {
	var all []inventory.Entry
	for i, line := range strings.Split(out, "\n") {
		w := strings.Fields(line)
		if i == 0 || len(w) < 5 {
			continue
		}
		publisher := strings.TrimRight(w[4], "*✓✪")
		all = append(all, compact(inventory.Entry{"Name": w[0], "Version": w[1], "Publisher": publisher, "ApplicationType": "admin", "PackageId": "pkg:snap/" + publisher + "/" + w[0] + "@" + w[1]}))
	}
	return all
}

// compact cuts each value as AWS's agent does and leaves out attributes that are empty, but for those that AWS always sends.
func compact(e inventory.Entry) inventory.Entry {
	for k, v := range e {
		v = cut(v)
		e[k] = v
		switch k {
		case "Name", "Publisher", "Version", "Architecture":
		default:
			if v == "" {
				delete(e, k)
			}
		}
	}
	return e
}

const maxField = 100

// cut returns the first line of a value without carriage returns, and of that at most 100 bytes, where a tab, a quote and a backslash count twice as they do escaped (V4). Letters stay whole.
func cut(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	s = strings.ReplaceAll(s, "\r", "")
	s = strings.ToValidUTF8(s, "\ufffd")
	room := maxField
	for i, r := range s {
		n := utf8.RuneLen(r)
		if r == '\t' || r == '"' || r == '\\' {
			n = 2
		}
		if room -= n; room < 0 {
			return s[:i]
		}
	}
	return s
}

// Architecture writes an architecture as inventory has it: amd64 is x86_64, 386 is i386, the others are lower case (V3).
func Architecture(a string) string {
	switch a = strings.ToLower(strings.TrimSpace(a)); a {
	case "amd64":
		return "x86_64"
	case "386":
		return "i386"
	}
	return a
}

// components returns the applications that are AWS's own tools, with the attributes of AWS:AWSComponent.
func components(apps []inventory.Entry) []inventory.Entry {
	var out []inventory.Entry
	for _, e := range apps {
		if !awsTool(e["Name"]) {
			continue
		}
		c := inventory.Entry{}
		for _, k := range [...]string{"Name", "ApplicationType", "Publisher", "Version", "InstalledTime", "Architecture", "URL"} {
			if v, ok := e[k]; ok {
				c[k] = v
			}
		}
		out = append(out, c)
	}
	return out
}

func awsTool(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "amazon-ssm-agent", "amazon ssm agent", "com.amazon.aws.ssm", "aws tools for windows", "ec2configservice", "aws-cfn-bootstrap", "aws pv drivers":
		return true
	}
	return strings.Contains(name, "aws-apitools-") || strings.Contains(name, "aws-amitools-")
}

// missing reports whether a program is not there.
func missing(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}
