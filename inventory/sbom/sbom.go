// Package sbom writes inventory in forms that other tools read: JSON lines, CSV, and one CycloneDX bill of materials for each node.
//
//	err := sbom.WriteJSONLines(w, "mi-0123456789abcdef0", items...)
//	c := sbom.NewCSV(w, schema, nil); c.Write("mi-…", item); err = c.Flush()
//	err = sbom.WriteCycloneDX(w, sbom.Node{ID: "mi-…"}, items, nil)
//
// The same inventory always gives the same bytes.
package sbom

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
)

// Line is one line of JSON lines: one entry of one node.
type Line struct {
	ResourceID    string `json:"ResourceId"`
	TypeName      string
	SchemaVersion string
	CaptureTime   string
	Content       inventory.Entry
}

// WriteJSONLines writes one line for each entry, as a Line. Items without content write nothing.
func WriteJSONLines(w io.Writer, node string, items ...inventory.Item) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	for _, it := range items {
		for _, e := range it.Content {
			if err := enc.Encode(Line{node, it.TypeName, it.SchemaVersion, it.CaptureTime, e}); err != nil {
				return fault.New("sbom.WriteJSONLines", fault.ServiceUnavailable, "writing: %w", err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fault.New("sbom.WriteJSONLines", fault.ServiceUnavailable, "writing: %w", err)
	}
	return nil
}

// CSVOptions are options of a CSV; nil is the zero value.
type CSVOptions struct {
	// Spreadsheet puts an apostrophe before values that a spreadsheet would take for a formula: names of packages and files are a stranger's text.
	Spreadsheet bool
}

// CSV writes entries of one type as a table: ResourceId, CaptureTime and one column for each attribute of the schema. It is not safe for concurrent use.
type CSV struct {
	w       *csv.Writer
	schema  inventory.Schema
	columns []string
	o       CSVOptions
	headed  bool
	row     []string
}

// NewCSV returns a CSV of the schema's attributes, in their order. Attributes that the schema does not have are left out; Columns makes a schema of items.
func NewCSV(w io.Writer, schema inventory.Schema, o *CSVOptions) *CSV {
	c := &CSV{w: csv.NewWriter(w), schema: schema}
	for _, a := range schema.Attributes {
		c.columns = append(c.columns, a.Name)
	}
	if o != nil {
		c.o = *o
	}
	return c
}

// Columns returns the schema of AWS's type, followed by the attributes that the items have beyond it, or for a custom type the attributes that they have, by name.
func Columns(typeName string, items ...inventory.Item) inventory.Schema {
	s, _ := inventory.SchemaOf(typeName)
	s.TypeName = typeName
	known := map[string]bool{}
	for _, a := range s.Attributes {
		known[a.Name] = true
	}
	more := map[string]bool{}
	for _, it := range items {
		if it.TypeName != typeName {
			continue
		}
		for _, e := range it.Content {
			for k := range e {
				if !known[k] {
					more[k] = true
				}
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(more)) {
		s.Attributes = append(s.Attributes, inventory.Attribute{Name: k, DataType: inventory.String})
	}
	return s
}

// Write adds the entries of an item of the schema's type; an item of another type is an error (ValidationException).
func (c *CSV) Write(node string, it inventory.Item) error {
	const op = "sbom.CSV.Write"
	if it.TypeName != c.schema.TypeName {
		return fault.New(op, fault.Validation, "the table is of %s, the item is of another type", c.schema.TypeName)
	}
	if err := c.head(); err != nil {
		return err
	}
	for _, e := range it.Content {
		c.row = append(c.row[:0], c.safe(node), it.CaptureTime)
		for _, k := range c.columns {
			c.row = append(c.row, c.safe(e[k]))
		}
		if err := c.w.Write(c.row); err != nil {
			return fault.New(op, fault.ServiceUnavailable, "writing: %w", err)
		}
	}
	return nil
}

func (c *CSV) head() error {
	if c.headed {
		return nil
	}
	c.headed = true
	row := []string{"ResourceId", "CaptureTime"}
	for _, k := range c.columns {
		row = append(row, c.safe(k))
	}
	if err := c.w.Write(row); err != nil {
		return fault.New("sbom.CSV.Write", fault.ServiceUnavailable, "writing: %w", err)
	}
	return nil
}

func (c *CSV) safe(s string) string {
	if c.o.Spreadsheet && s != "" && strings.IndexByte("=+-@\t\r", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

// Flush writes what is buffered, and the head of a table without entries.
func (c *CSV) Flush() error {
	if err := c.head(); err != nil {
		return err
	}
	c.w.Flush()
	if err := c.w.Error(); err != nil {
		return fault.New("sbom.CSV.Flush", fault.ServiceUnavailable, "writing: %w", err)
	}
	return nil
}
