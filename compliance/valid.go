package compliance

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// Grammars of AWS's shapes: ComplianceTypeName, a little wider, and ComplianceResourceId, narrowed to ids of nodes.
var (
	typeGrammar = regexp.MustCompile(`^(Custom:)?[A-Za-z0-9_-]+$`)
	nodeGrammar = regexp.MustCompile(`^(i-[0-9a-f]{8}([0-9a-f]{9})?|mi-[0-9a-f]{17})$`)
)

// severities from the worst to the least; the order of the counters of SeveritySummary.
var severities = [...]string{Critical, High, Medium, Low, Informational, Unspecified}

// rank returns a severity's place, 0 the worst.
func rank(severity string) int {
	for i, s := range severities {
		if s == severity {
			return i
		}
	}
	return len(severities) - 1
}

func checkType(op, kind string) error {
	if len(kind) > 100 || !typeGrammar.MatchString(kind) {
		return fault.New(op, fault.Validation, "ComplianceType %q is none: use Patch, Association or Custom: and a name of letters, digits, _ and -", clip(kind))
	}
	return nil
}

func checkNode(op, id string) error {
	if !nodeGrammar.MatchString(id) {
		return fault.New(op, fault.InvalidResourceID, "ResourceId %q is no id of a node, such as mi- and 17 hex digits", clip(id))
	}
	return nil
}

func tooLong(s string, most int) bool { return len(s) > most && utf8.RuneCountInString(s) > most }

// check refuses a report that breaks a limit or says nothing definite, naming the item (C1, C2).
func (s *Service) check(op string, r *PutComplianceItemsRequest) error {
	if err := checkNode(op, r.ResourceID); err != nil {
		return err
	}
	if r.ResourceType != ResourceType {
		return fault.New(op, fault.InvalidResourceType, "ResourceType is %q and must be %s", clip(r.ResourceType), ResourceType)
	}
	if err := checkType(op, r.ComplianceType); err != nil {
		return err
	}
	e := &r.ExecutionSummary
	switch {
	case e.ExecutionTime.IsZero():
		return fault.New(op, fault.Validation, "ExecutionSummary.ExecutionTime is missing: give the time of the check")
	case tooLong(e.ExecutionID, 100):
		return fault.New(op, fault.Validation, "ExecutionSummary.ExecutionId has more than 100 characters")
	case tooLong(e.ExecutionType, 50):
		return fault.New(op, fault.Validation, "ExecutionSummary.ExecutionType has more than 50 characters")
	case tooLong(r.ItemContentHash, 256):
		return fault.New(op, fault.Validation, "ItemContentHash has more than 256 characters")
	case r.Items == nil:
		return fault.New(op, fault.Validation, "Items is missing: give an empty list when there are none")
	}
	switch r.UploadType {
	case "", Complete:
	case Partial:
		if r.ComplianceType == TypePatch {
			return fault.New(op, fault.Validation, "UploadType PARTIAL is for associations and custom types: patches are reported whole")
		}
		if e.ExecutionID == "" {
			return fault.New(op, fault.Validation, "UploadType PARTIAL replaces the items of one execution: give ExecutionSummary.ExecutionId")
		}
	default:
		return fault.New(op, fault.Validation, "UploadType %q is none: use COMPLETE or PARTIAL", clip(r.UploadType))
	}
	if len(r.Items) > s.cfg.Limits.Items {
		return fault.New(op, fault.TotalSizeLimitExceeded, "%d items are reported; at most %d are kept for a node and type", len(r.Items), s.cfg.Limits.Items)
	}
	return s.checkItems(op, r)
}

func (s *Service) checkItems(op string, r *PutComplianceItemsRequest) error {
	seen := make(map[string]bool, len(r.Items))
	total := 0
	for i := range r.Items {
		it := &r.Items[i]
		bad := func(format string, args ...any) error {
			return fault.New(op, fault.InvalidItemContent, "Items[%d]: "+format, append([]any{i}, args...)...)
		}
		switch {
		case it.ID == "":
			return bad("Id is missing")
		case tooLong(it.ID, 100):
			return bad("Id has more than 100 characters")
		case seen[it.ID]:
			return bad("Id %q stands in the report twice", clip(it.ID))
		case tooLong(it.Title, 500):
			return bad("Title has more than 500 characters")
		case !slices.Contains(severities[:], it.Severity):
			return bad("Severity %q is none: use %s", clip(it.Severity), strings.Join(severities[:], ", "))
		case it.Status != Compliant && it.Status != NonCompliant:
			return bad("Status %q is none: use COMPLIANT or NON_COMPLIANT", clip(it.Status))
		}
		for k, v := range it.Details {
			switch {
			case k == "" || tooLong(k, 64):
				return bad("a key of Details has no or more than 64 characters")
			case tooLong(v, 4096):
				return bad("Details %q has more than 4096 characters", clip(k))
			}
		}
		seen[it.ID] = true
		b, err := json.Marshal(it)
		if err != nil {
			return bad("it has no JSON")
		}
		if len(b) > s.cfg.Limits.ItemBytes {
			return fault.New(op, fault.ItemSizeLimitExceeded, "Items[%d] has %d bytes; at most %d are kept", i, len(b), s.cfg.Limits.ItemBytes)
		}
		total += len(b)
	}
	if total > s.cfg.Limits.TotalBytes {
		return fault.New(op, fault.TotalSizeLimitExceeded, "the items have %d bytes together; at most %d are kept for a node and type", total, s.cfg.Limits.TotalBytes)
	}
	return nil
}
