package library

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
)

var (
	nameGrammar        = regexp.MustCompile(`^[a-zA-Z0-9_\-.]{3,128}$`)                                                              // D3
	versionNameGrammar = regexp.MustCompile(`^[a-zA-Z0-9_\-.]{1,128}$`)                                                              // V3
	targetTypeGrammar  = regexp.MustCompile(`^/[\w.\-:/]{0,199}$`)                                                                   // D7
	tagGrammar         = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)                                                         // shapes TagKey, TagValue
	reservedPrefixes   = []string{"aws", "amazon", "amzn"}                                                                           // D3; the other prefixes that AWS names begin with aws
	types              = []document.Kind{document.Command, document.Policy, document.Automation, document.Session, document.Package, // D1
		document.ApplicationConfiguration, document.ApplicationSchema, document.DeploymentStrategy, document.ChangeCalendar,
		document.ChangeTemplate, document.ProblemAnalysis, document.ProblemAnalysisTemplate, document.CloudFormation,
		document.ConformancePackTemplate, document.QuickSetup, document.ManualApprovalPolicy, document.AutoApprovalPolicy}
	formats = []document.Format{document.YAML, document.JSON, document.TEXT} // D2
)

// newName checks the name of a document that a user makes (D3).
func newName(op, name string) error {
	if err := oldName(op, name); err != nil {
		return err
	}
	lower := strings.ToLower(name)
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(lower, p) {
			return fault.New(op, fault.Validation, "the name %s begins with %q, which is reserved: put something before it", name, p)
		}
	}
	return nil
}

// oldName checks the grammar of a name.
func oldName(op, name string) error {
	if !nameGrammar.MatchString(name) {
		return fault.New(op, fault.Validation, "%q is no document name: use 3 to 128 letters, digits, _, - and .", clip(name))
	}
	return nil
}

func badVersionName(op, label string) error {
	return fault.New(op, fault.Validation, "%q is no version name: use 1 to 128 letters, digits, _, - and .", clip(label))
}

// clip makes a stranger's text fit for a message.
func clip(s string) string {
	if len(s) > 160 {
		s = s[:160] + "…"
	}
	return fault.Clean(s)
}

// attributes checks what a version may be given beside its content.
func attributes(op, versionName, displayName, targetType string) error {
	switch {
	case versionName != "" && !versionNameGrammar.MatchString(versionName):
		return badVersionName(op, versionName)
	case utf8.RuneCountInString(displayName) > 1024 || !utf8.ValidString(displayName):
		return fault.New(op, fault.Validation, "DisplayName is longer than 1,024 characters, or no UTF-8")
	case strings.ContainsFunc(displayName, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fault.New(op, fault.Validation, "DisplayName has control characters")
	case targetType != "" && !targetTypeGrammar.MatchString(targetType):
		return fault.New(op, fault.Validation, "TargetType %q is none: write / for any, or a resource type such as /AWS::EC2::Instance", clip(targetType))
	}
	return nil
}

// unkept refuses what this release cannot keep, so that nothing is lost silently.
func unkept(op string, a []AttachmentsSource, r []DocumentRequires) error {
	switch {
	case len(a) > 0:
		return fault.New(op, fault.UnsupportedOperation, "attachments are not kept yet: fetch the files with aws:downloadContent")
	case len(r) > 0:
		return fault.New(op, fault.UnsupportedOperation, "requirements among documents are not kept yet: leave Requires out")
	}
	return nil
}

// parse reads content as a document of the type; what cannot be read is refused.
func (s *Service) parse(op, name, kind, format, content string) (*document.Document, error) {
	if !slices.Contains(types, document.Kind(kind)) {
		return nil, fault.New(op, fault.Validation, "%q is no document type; Command is the usual one", clip(kind))
	}
	if format != "" && !slices.Contains(formats, document.Format(format)) {
		return nil, fault.New(op, fault.Validation, "%q is no document format; it is JSON, YAML or TEXT", clip(format))
	}
	if content == "" {
		return nil, fault.New(op, fault.Validation, "Content is empty: give the text of the document")
	}
	if n := len(content); n > s.cfg.Limits.Content {
		return nil, fault.New(op, fault.MaxDocumentSizeExceeded, "the document has %d bytes and the limit is %d: move long scripts to files that aws:downloadContent fetches", n, s.cfg.Limits.Content).About(name)
	}
	d, err := document.Parse([]byte(content), &document.Options{File: name, Kind: document.Kind(kind), Format: document.Format(format), MaxSize: -1, Actions: s.cfg.Actions})
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	return d, nil
}

// checkTags checks tags that a user gives and returns them as a map.
func (s *Service) checkTags(op string, tags []Tag) (map[string]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(tags))
	for _, t := range tags {
		_, twice := m[t.Key]
		switch {
		case t.Key == "" || utf8.RuneCountInString(t.Key) > 128 || !tagGrammar.MatchString(t.Key):
			return nil, fault.New(op, fault.Validation, "%q is no tag key: use 1 to 128 letters, digits, spaces and _.:/=+-@", clip(t.Key))
		case strings.HasPrefix(strings.ToLower(t.Key), "aws:"):
			return nil, fault.New(op, fault.Validation, "tag keys that begin with aws: are reserved")
		case utf8.RuneCountInString(t.Value) > 256 || !tagGrammar.MatchString(t.Value):
			return nil, fault.New(op, fault.Validation, "the value of tag %q is no tag value: use up to 256 letters, digits, spaces and _.:/=+-@", t.Key)
		case twice:
			return nil, fault.New(op, fault.Validation, "tag %q is given twice", t.Key)
		}
		m[t.Key] = t.Value
	}
	if len(m) > s.cfg.Limits.Tags {
		return nil, fault.New(op, fault.TooManyTags, "%d tags are given and a document may have %d", len(m), s.cfg.Limits.Tags)
	}
	return m, nil
}
