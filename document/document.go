package document

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Kind is a document type by AWS's name (D1, shape DocumentType).
type Kind string

// The kinds.
const (
	Command                  Kind = "Command"
	Policy                   Kind = "Policy"
	Automation               Kind = "Automation"
	Session                  Kind = "Session"
	Package                  Kind = "Package"
	ApplicationConfiguration Kind = "ApplicationConfiguration"
	ApplicationSchema        Kind = "ApplicationConfigurationSchema"
	DeploymentStrategy       Kind = "DeploymentStrategy"
	ChangeCalendar           Kind = "ChangeCalendar"
	ChangeTemplate           Kind = "Automation.ChangeTemplate"
	ProblemAnalysis          Kind = "ProblemAnalysis"
	ProblemAnalysisTemplate  Kind = "ProblemAnalysisTemplate"
	CloudFormation           Kind = "CloudFormation"
	ConformancePackTemplate  Kind = "ConformancePackTemplate"
	QuickSetup               Kind = "QuickSetup"
	ManualApprovalPolicy     Kind = "ManualApprovalPolicy"
	AutoApprovalPolicy       Kind = "AutoApprovalPolicy"
)

const (
	defaultSize     = 64 << 10
	defaultNodes    = 10_000
	defaultDepth    = 64
	defaultTimeout  = 3600 * time.Second
	shortestTimeout = 5
	longestTimeout  = 172_800
	mostFindings    = 200

	needEnvVar        = "feature:ENV_VAR"
	needPreconditions = "feature:preconditions"
)

// Format is how a document is written (D2, shape DocumentFormat).
type Format string

// The formats.
const (
	JSON Format = "JSON"
	YAML Format = "YAML"
	TEXT Format = "TEXT"
)

// Options says how to read a document. Nil and the zero value are useful.
type Options struct {
	File    string   // for findings; never opened
	Kind    Kind     // "" = by content: what has the shape of a Command is a Command, also when it was stored as a Policy; configurations cannot be told by content
	Format  Format   // "" = by content: JSON when the first character that is not white space is {, TEXT for an iCalendar, else YAML
	MaxSize int      // in bytes; 0 = 64 KiB as on AWS (D4), -1 = no limit
	Actions *Actions // the actions that are known; nil = Builtin()
	Local   bool     // read schemas 2.0.1 to 2.0.3 too, which AWS has only in files on a node (the scripts of a package)
}

// Document is a document that was read. It is immutable and safe for concurrent use; slices and values inside it must not be changed. What a
// kind does not have is empty.
type Document struct {
	Kind          Kind
	SchemaVersion string
	Description   string
	Format        Format
	File          string      // as given in Options
	Source        []byte      // the text as it was given
	Root          *Value      // everything, with places; nil for calendars and free text
	Parameters    []Parameter // in the order of the text
	Steps         []Step      // in the order of the text; of schema 1.2 the properties of the plugins

	AssumeRole string     // Automation: may hold placeholders
	Variables  []Variable // Automation
	Outputs    []*Value   // Automation: "step.Output" each
	Files      []File     // Automation: attachments; Package: archives
	Session    *SessionModel
	Package    *Manifest
	Calendar   *Component
	Body       *Value // template kinds: templateBody, deploymentConfig or sections

	actions *Actions
	byName  map[string]int // of many parameters
	notes   Findings       // warnings and advice found while reading
}

// Step is one step of a document.
type Step struct {
	Index        int
	Name         string
	Action       string
	Description  string
	Inputs       *Value // a map; nil when the step has none
	Precondition *Value // Command
	Settings     *Value // Command
	Source       *Value // the whole step

	Automation *AutomationStep // what only steps of runbooks have; nil elsewhere

	spec   *ActionSpec
	inputs []input // inputs by the spelling of the action table
}

// input is an entry of a step's inputs.
type input struct {
	name string // as the action table spells it
	v    *Value
}

// Spec returns what the action table says of the step's action; nil when the action is unknown.
func (s *Step) Spec() *ActionSpec { return s.spec }

// Input returns an input without regard to the case of its name, nil when the step does not give it.
func (s *Step) Input(name string) *Value { return s.Inputs.fold(name) }

// Hash returns the lower-case hexadecimal SHA-256 of the source (D9).
func (d *Document) Hash() string {
	sum := sha256.Sum256(d.Source)
	return hex.EncodeToString(sum[:])
}

// Parameter returns the declaration of a parameter; names are case-sensitive (I1).
func (d *Document) Parameter(name string) (*Parameter, bool) {
	if d.byName != nil {
		i, ok := d.byName[name]
		if !ok {
			return nil, false
		}
		return &d.Parameters[i], true
	}
	for i := range d.Parameters {
		if d.Parameters[i].Name == name {
			return &d.Parameters[i], true
		}
	}
	return nil, false
}

// Parse reads a document. When the content is bad the error is of type [Findings] and has everything that is wrong, each with its place; its
// [Findings.FaultCode] is InvalidDocumentContent, InvalidDocumentSchemaVersion or MaxDocumentSizeExceeded. Where the text could be read and only
// says something wrong, the document is returned beside the error, for tools that show it; nobody should run it. Parse keeps a copy of src.
func Parse(src []byte, o *Options) (*Document, error) {
	if o == nil {
		o = &Options{}
	}
	d := &Document{File: o.File, Format: o.Format, Kind: o.Kind, actions: o.Actions}
	if d.actions == nil {
		d.actions = Builtin()
	}
	limit := o.MaxSize
	if limit == 0 {
		limit = defaultSize
	}
	if limit > 0 && len(src) > limit {
		return nil, Findings{{Code: "too-large", File: o.File, Line: 1, Column: 1, Fault: fault.MaxDocumentSizeExceeded,
			Message: "the document has " + itoa(len(src)) + " bytes, more than the limit of " + itoa(limit) + ": move long scripts to a file that aws:downloadContent fetches"}}
	}
	d.Source = bytes.Clone(src)
	if d.Format == "" {
		d.Format = detect(src)
	}
	c := &collector{file: o.File, local: o.Local, text0: d.Source, format: d.Format}
	if c.read(d); c.failed() {
		return nil, c.sorted()
	}
	c.root = d.Root
	if d.Format != TEXT {
		c.document(d)
	}
	d.notes = c.sorted()
	if c.failed() {
		return d, d.notes
	}
	return d, nil
}

// detect tells JSON from YAML by the first character, and an iCalendar by its first line.
func detect(src []byte) Format {
	if len(src) >= 15 && bytes.EqualFold(bytes.TrimPrefix(src, bom)[:15], []byte("BEGIN:VCALENDAR")) {
		return TEXT
	}
	if t := bytes.TrimLeft(bytes.TrimPrefix(src, bom), " \t\r\n"); len(t) > 0 && t[0] == '{' {
		return JSON
	}
	return YAML
}

var bom = []byte("\xef\xbb\xbf")

// read scans the text of d into values.
func (c *collector) read(d *Document) {
	lim := &limits{depth: defaultDepth, nodes: max(defaultNodes, len(d.Source)/16)}
	text := bytes.TrimPrefix(d.Source, bom)
	var bad []trouble
	switch d.Format {
	case JSON:
		d.Root, bad = scanJSON(text, lim)
	case YAML:
		d.Root, c.tagged, bad = scanYAML(text, lim)
	case TEXT:
		d.Calendar = c.calendar(text, d.Kind)
		if d.Kind == "" {
			d.Kind = ChangeCalendar
		}
		return
	default:
		c.add(Finding{Code: "format", Line: 1, Column: 1, Message: "format " + clip(string(d.Format)) + " is unknown: JSON, YAML or TEXT"})
		return
	}
	for _, b := range bad {
		f := Finding{Code: b.code, Line: b.line, Column: b.column, Message: b.msg}
		if e := b.edit; e != nil {
			skip := len(d.Source) - len(text)
			f.Fix, f.Edits = e.Text, []Edit{{e.Start + skip, e.End + skip, e.Text}}
		}
		c.add(f)
	}
}

// PlatformTypes returns the platforms (Linux, MacOS, Windows; sorted) on which at least one step can run, as DescribeDocument's
// PlatformTypes does: by the platforms of its action and a literal platformType precondition.
func (d *Document) PlatformTypes() []string {
	if !d.scripted() {
		return nil
	}
	var out []string
	for _, p := range platforms {
		if slices.ContainsFunc(d.Steps, func(s Step) bool { return d.possible(&s, p) }) {
			out = append(out, p)
		}
	}
	return out
}

// platforms is sorted.
var platforms = []string{"Linux", "MacOS", "Windows"}

// Needs returns, sorted, the features that a node must know by name to run the document safely: a node that does not know one must
// refuse the document instead of running it in another way. Actions that are merely skipped on a platform (P5) are not among them.
func (d *Document) Needs() []string {
	var out []string
	for i := range d.Parameters {
		if d.Parameters[i].EnvVar {
			out = append(out, needEnvVar)
			break
		}
	}
	for i := range d.Steps {
		if d.Steps[i].Precondition != nil {
			out = append(out, needPreconditions)
			break
		}
	}
	return out
}
