package parameter

import (
	"strconv"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

const (
	mostLevels  = 15   // S4
	mostARN     = 1011 // S5: characters of a name with the beginning of its ARN
	mostWire    = 2048 // S5: characters of a name in a request
	mostQuoted  = 128  // characters of a request's text in an error
	mostChooser = 128  // of a selector (S17)
)

// clip makes a stranger's text fit for an error.
func clip(s string) string {
	if len(s) > mostQuoted {
		s = s[:mostQuoted] + "…"
	}
	return fault.Clean(s)
}

// place says where parameters are: the beginning of their ARNs.
type place struct{ partition, region string }

// arn returns the ARN of a parameter; the key form of hierarchical and flat names gives one slash (S25).
func (p place) arn(tenant, canon string) string {
	return "arn:" + p.partition + ":ssm:" + p.region + ":" + tenant + ":parameter" + canon
}

// canonical returns the key form of a name: with one slash at the beginning (S3).
func canonical(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return "/" + name
}

// validChars reports whether s has only what names are made of (S1).
func validChars(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-', c == '/':
		default:
			return false
		}
	}
	return true
}

// checkSyntax checks what holds of every name that is written or read, and of paths (S1, S3, S4).
func checkSyntax(op, name string) error {
	bad := func(format string, args ...any) error {
		return fault.New(op, fault.Validation, "parameter name %q "+format, append([]any{clip(name)}, args...)...)
	}
	switch {
	case name == "":
		return fault.New(op, fault.Validation, "Name is empty: give the name of a parameter")
	case len(name) > mostWire:
		return bad("has more than %d characters", mostWire)
	case !validChars(name):
		return bad("has characters other than letters, digits and _.-/")
	case name[0] != '/' && strings.Contains(name, "/"):
		return bad("has levels, so it must begin with a slash")
	case strings.Contains(name, "//"), strings.HasSuffix(name, "/"):
		return bad("has an empty level")
	case strings.Count(canonical(name), "/") > mostLevels:
		return fault.New(op, CodeLevelLimit, "parameter name %q has more than %d levels", clip(name), mostLevels)
	}
	return nil
}

// newName checks the name of a parameter that is to be written, with spaces around it cut off (S1 to S5).
func (s *Service) newName(op, tenant, name string) (string, error) {
	name = strings.Trim(name, " ")
	if err := checkSyntax(op, name); err != nil {
		return "", err
	}
	canon := canonical(name)
	first := strings.ToLower(strings.TrimPrefix(name, "/"))
	path := strings.Count(canon, "/") > 1
	switch {
	case strings.HasPrefix(first, "aws") && path:
		return "", fault.New(op, fault.AccessDenied, "no access to reserved parameter name %s: names below /aws belong to AWS", clip(name)).About(name)
	case strings.HasPrefix(first, "aws"), strings.HasPrefix(first, "ssm"):
		return "", fault.New(op, fault.Validation, "parameter name %q begins with aws or ssm, in whatever case: such names are reserved", clip(name)).About(name)
	}
	if n := len(s.place.arn(tenant, canon)); n > mostARN {
		return "", fault.New(op, fault.Validation, "parameter name %q is too long: with the beginning of its ARN it has %d characters, and may have %d", clip(name), n, mostARN)
	}
	return name, nil
}

// reference is what a reading request names.
type reference struct {
	given    string
	tenant   string // of the owner
	canon    string
	foreign  bool   // the owner is another than the caller (S33)
	chooser  string // of the selector: version or label; "" is the latest
	arn      bool   // it was asked for by ARN
	wantsAny bool   // there is a selector
}

// selector returns it as answers have it.
func (r *reference) selector() string {
	if !r.wantsAny {
		return ""
	}
	return ":" + r.chooser
}

// refer reads a name with what may stand around it: spaces, an ARN's beginning, a selector (S1, S17, S33).
func refer(op, tenant, given string, choosers bool) (reference, error) {
	ref := reference{given: given, tenant: tenant}
	name := strings.Trim(given, " ")
	if len(name) > mostWire+mostChooser {
		return ref, fault.New(op, fault.Validation, "parameter name %q has more than %d characters", clip(name), mostWire)
	}
	if rest, ok := strings.CutPrefix(name, "arn:"); ok {
		parts := strings.SplitN(rest, ":", 5) // partition:ssm:region:account:parameter/name
		if len(parts) != 5 || parts[1] != "ssm" || !strings.HasPrefix(parts[4], "parameter/") {
			return ref, fault.New(op, fault.Validation, "%q is no ARN of a parameter", clip(given))
		}
		ref.arn = true
		if parts[3] != "" {
			ref.tenant = parts[3]
		}
		ref.foreign = ref.tenant != tenant
		name = strings.TrimPrefix(parts[4], "parameter")
	}
	if choosers {
		name, ref.chooser, ref.wantsAny = strings.Cut(name, ":")
		if ref.wantsAny && (ref.chooser == "" || len(ref.chooser) > mostChooser || !validChars(ref.chooser) || strings.Contains(ref.chooser, "/")) {
			return ref, fault.New(op, fault.Validation, "%q has no valid selector: write NAME:VERSION or NAME:LABEL", clip(given))
		}
	}
	if err := checkSyntax(op, name); err != nil {
		return ref, err
	}
	ref.canon = canonical(name)
	return ref, nil
}

// number returns the version that the chooser means if it is a number.
func (r *reference) number() (uint64, bool) {
	if r.chooser == "" || r.chooser[0] < '0' || r.chooser[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(r.chooser, 10, 63)
	return n, err == nil
}

// checkPath checks the path of a list and returns it with one slash at its end: the beginning of the names below it.
func checkPath(op, path string) (string, error) {
	path = strings.Trim(path, " ")
	switch {
	case path == "/":
		return path, nil
	case path == "" || path[0] != '/':
		return "", fault.New(op, fault.Validation, "path %q must begin with a slash, as /web/db", clip(path))
	case len(path) > mostWire:
		return "", fault.New(op, fault.Validation, "path %q has more than %d characters", clip(path), mostWire)
	}
	path = strings.TrimSuffix(path, "/")
	if err := checkSyntax(op, path); err != nil {
		return "", err
	}
	return path + "/", nil
}
