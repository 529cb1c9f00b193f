package main

import (
	"encoding/json"
	"io"
	"net/url"
	"path/filepath"

	"github.com/fleetwright/fleetwright/document"
)

// printJSON writes one object a line: every finding, then for each file what it is and how many there are. All characters that a terminal could
// obey are escaped by JSON or below.
func printJSON(w io.Writer, l *lint) error {
	e := json.NewEncoder(safe{w})
	for _, f := range l.files {
		for _, found := range f.findings {
			err := e.Encode(struct {
				File     string            `json:"file"`
				Line     int               `json:"line"`
				Column   int               `json:"column"`
				Code     string            `json:"code"`
				Severity document.Severity `json:"severity"`
				Path     string            `json:"path"`
				Message  string            `json:"message"`
			}{found.File, found.Line, found.Column, found.Code, found.Severity, found.Path, found.Message})
			if err != nil {
				return err
			}
		}
		s := struct {
			File          string        `json:"file"`
			Kind          document.Kind `json:"kind"`
			SchemaVersion string        `json:"schemaVersion"`
			Steps         int           `json:"steps"`
			Errors        int           `json:"errors"`
			Warnings      int           `json:"warnings"`
		}{File: f.name, Errors: f.count(document.Error), Warnings: f.count(document.Warning)}
		if f.doc != nil {
			s.Kind, s.SchemaVersion, s.Steps = f.doc.Kind, f.doc.SchemaVersion, len(f.doc.Steps)
		}
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// safe escapes what JSON may have as it is, but a terminal should not get: DEL, C1 controls and marks that turn text around.
type safe struct{ w io.Writer }

func (s safe) Write(p []byte) (int, error) {
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(p))
	for _, r := range string(p) {
		if r >= 0x7f && r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff {
			out = append(out, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
			continue
		}
		out = append(out, string(r)...)
	}
	if _, err := s.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// The parts of SARIF 2.1.0 that are used.
type (
	sarif struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID    string    `json:"id"`
		Short sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		Rule      string          `json:"ruleId"`
		Index     int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		Line   int `json:"startLine"`
		Column int `json:"startColumn"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

// printSARIF writes one log in SARIF 2.1.0, which code hosts show beside the lines.
func printSARIF(w io.Writer, l *lint) error {
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "ssmlint"}}, ColumnKind: "unicodeCodePoints", Results: []sarifResult{}}
	index := map[string]int{}
	for i, c := range document.Codes() {
		index[c.Code] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{c.Code, sarifText{c.About}})
	}
	levels := map[document.Severity]string{document.Error: "error", document.Warning: "warning", document.Advice: "note"}
	for _, f := range l.files {
		for _, found := range f.findings {
			at := sarifLocation{Physical: sarifPhysical{Artifact: sarifArtifact{(&url.URL{Path: filepath.ToSlash(found.File)}).String()}}}
			if found.Line > 0 {
				at.Physical.Region = &sarifRegion{found.Line, found.Column}
			}
			if found.Path != "" {
				at.Logical = []sarifLogical{{found.Path}}
			}
			run.Results = append(run.Results, sarifResult{found.Code, index[found.Code], levels[found.Severity], sarifText{found.Message}, []sarifLocation{at}})
		}
	}
	e := json.NewEncoder(safe{w})
	e.SetIndent("", "  ")
	return e.Encode(sarif{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}
