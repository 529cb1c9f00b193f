package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/fleet"
	"github.com/fleetwright/fleetwright/inventory/sbom"
)

func exportFlags(fs *flag.FlagSet) {
	fs.Bool("all", false, "every node that has inventory")
	fs.String("format", "jsonl", "`form`: jsonl (one line an entry), csv (one type), cyclonedx (one bill of materials a node)")
	fs.String("type", "", "only this inventory `type` (csv: default AWS:Application)")
	fs.String("dir", "", "new `directory` with one file a node instead of standard output; cyclonedx -all needs it")
	fs.Bool("xml", false, "cyclonedx as XML")
	fs.Bool("spreadsheet", false, "csv for a spreadsheet: values that it would take for formulas get an apostrophe")
}

// exporter writes nodes in one form.
type exporter struct {
	a        *app
	p        *parsed
	types    []string
	form     string
	columns  inventory.Schema // of csv
	combined *sbom.CSV        // of csv on standard output
}

func (a *app) exportInventory(ctx context.Context, p *parsed) error {
	x := &exporter{a: a, p: p, form: p.str("format")}
	one, all := len(p.args) > 0, p.on("all")
	switch {
	case p.rest != nil:
		return bad("nothing is expected behind --")
	case len(p.args) > 1:
		return bad("argument %q is one too many", fault.Clean(p.args[1]))
	case one == all:
		return bad("say whose: NODE, or -all")
	case x.form != "jsonl" && x.form != "csv" && x.form != "cyclonedx":
		return bad("-format %q: jsonl, csv or cyclonedx", fault.Clean(x.form))
	case x.form == "cyclonedx" && all && p.str("dir") == "":
		return bad("-dir is missing: there is one bill of materials a node")
	case x.form == "cyclonedx" && p.str("type") != "":
		return bad("-type: a bill of materials has all that is software")
	case p.on("xml") && x.form != "cyclonedx":
		return bad("-xml goes with -format cyclonedx")
	case p.on("spreadsheet") && x.form != "csv":
		return bad("-spreadsheet goes with -format csv")
	case a.wantsJSON():
		return bad("-o json: the form is what -format says")
	}
	if err := x.choose(ctx); err != nil {
		return err
	}
	if dir := p.str("dir"); dir != "" {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return bad("-dir: %v", err)
		}
	}
	if one {
		if err := x.node(ctx, p.args[0], true); err != nil {
			return err
		}
		return x.end()
	}
	n := 0
	for token := ""; ; {
		var out fleet.GetInventoryResult
		if err := a.call(ctx, "GetInventory", fleet.GetInventoryRequest{NextToken: token}, &out); err != nil {
			return err
		}
		for _, e := range out.Entities {
			n++
			if err := x.node(ctx, e.ID, false); err != nil {
				return err
			}
		}
		if token = out.NextToken; token == "" {
			break
		}
	}
	if p.str("dir") != "" {
		fmt.Fprintf(a.stderr, "fleetctl: %s\n", nodeCount(n))
	}
	return x.end()
}

// choose finds the types to export: software for bills of materials, else the one that was asked for or all that nodes report.
func (x *exporter) choose(ctx context.Context) error {
	typ := x.p.str("type")
	switch x.form {
	case "cyclonedx":
		x.types = []string{inventory.InstanceInformation, inventory.Application}
		return nil
	case "csv":
		if typ == "" {
			typ = inventory.Application
		}
	}
	schemas, err := x.a.schemas(ctx, typ)
	if err != nil {
		return err
	}
	for _, s := range schemas {
		if typ == "" || s.TypeName == typ {
			x.types = append(x.types, s.TypeName)
			x.columns = s
		}
	}
	if len(x.types) == 0 {
		return bad("-type %q: there is no such type", fault.Clean(typ))
	}
	return nil
}

// node exports one node. named says that it was asked for by its id: then it must have something.
func (x *exporter) node(ctx context.Context, id string, named bool) error {
	var items []inventory.Item
	for _, typ := range x.types {
		out, err := x.a.entries(ctx, id, typ, nil)
		if err != nil {
			return err
		}
		if out.CaptureTime == "" {
			continue
		}
		items = append(items, inventory.Item{TypeName: typ, SchemaVersion: out.SchemaVersion, CaptureTime: out.CaptureTime, Content: out.Entries})
	}
	software := slices.ContainsFunc(items, func(it inventory.Item) bool { return it.TypeName == inventory.Application })
	switch {
	case named && (len(items) == 0 || x.form == "cyclonedx" && !software):
		return fault.New("fleetctl", fault.DoesNotExist, "node %s reported nothing of that", fault.Clean(id))
	case x.form == "cyclonedx" && !software:
		fmt.Fprintf(x.a.stderr, "fleetctl: node %s reported no software: it is left out\n", fault.Clean(id))
		return nil
	case x.form == "cyclonedx" && items[0].TypeName != inventory.InstanceInformation:
		known, err := x.information(ctx, id)
		if err != nil {
			return err
		}
		items = append(items, known...)
	}
	if x.p.str("dir") == "" {
		return x.write(x.out(), id, items)
	}
	var b bytes.Buffer
	if err := x.write(&b, id, items); err != nil {
		return err
	}
	ending := map[string]string{"jsonl": ".jsonl", "csv": ".csv", "cyclonedx": ".cdx.json"}[x.form]
	if x.p.on("xml") {
		ending = ".cdx.xml"
	}
	if !filepath.IsLocal(id) || filepath.Base(id) != id || strings.ContainsAny(id, `/\:`) {
		return fault.New("fleetctl", fault.Validation, "node %s: its id is no name for a file", fault.Clean(id))
	}
	return os.WriteFile(filepath.Join(x.p.str("dir"), id+ending), b.Bytes(), 0o600)
}

// information is what the control plane knows of a node that did not report it: package URLs name the distribution. Who may not list nodes does without.
func (x *exporter) information(ctx context.Context, id string) ([]inventory.Item, error) {
	f := []found{{ID: id}}
	if err := x.a.nameNodes(ctx, f); err != nil || f[0].system.PlatformName == "" {
		return nil, err
	}
	n := f[0].system
	return []inventory.Item{{TypeName: inventory.InstanceInformation, Content: []inventory.Entry{{"ComputerName": n.ComputerName, "PlatformName": n.PlatformName, "PlatformVersion": n.PlatformVersion}}}}, nil
}

// out is standard output, made printable on a terminal.
func (x *exporter) out() io.Writer {
	if isTerminal(x.a.stdout) {
		return printable{x.a.stdout}
	}
	return x.a.stdout
}

func (x *exporter) write(w io.Writer, id string, items []inventory.Item) error {
	switch x.form {
	case "jsonl":
		return sbom.WriteJSONLines(w, id, items...)
	case "cyclonedx":
		return sbom.WriteCycloneDX(w, sbom.Node{ID: id}, items, &sbom.Options{XML: x.p.on("xml")})
	}
	c := x.combined
	if c == nil || x.p.str("dir") != "" {
		c = sbom.NewCSV(w, x.columns, &sbom.CSVOptions{Spreadsheet: x.p.on("spreadsheet")})
		x.combined = c
	}
	for _, it := range items {
		if err := c.Write(id, it); err != nil {
			return err
		}
	}
	return c.Flush()
}

// end writes the head of a table on standard output that no node wrote into.
func (x *exporter) end() error {
	if x.form == "csv" && x.combined == nil && x.p.str("dir") == "" {
		return x.write(x.out(), "", nil)
	}
	return nil
}
