package patch

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/fault"
)

// GroupOf returns the patch group that a node's tags put it in: the value of the tag "Patch Group" or, where instance metadata hold tags and so
// keys have no spaces, "PatchGroup". Keys are case-sensitive (B1). Of two different values that of "Patch Group" counts. ok is false without a value.
func GroupOf(tags map[string]string) (group string, ok bool) {
	for _, key := range []string{"Patch Group", "PatchGroup"} {
		if v := tags[key]; v != "" {
			return v, true
		}
	}
	return "", false
}

// CheckGroup refuses what is no name of a patch group: 1 to 256 characters of letters, digits, spaces and _ . : / = + - @, as AWS's shape PatchGroup has it.
func CheckGroup(group string) error {
	if n := utf8.RuneCountInString(group); n < 1 || n > 256 || !regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`).MatchString(group) {
		return fault.New("patch.CheckGroup", fault.Validation, "%s is no name of a patch group: 1 to 256 letters, digits, spaces or _ . : / = + - @", quote(group))
	}
	return nil
}

// Choice is why a node has its baseline.
type Choice string

// The reasons (B1 to B3).
const (
	ChosenByGroup      Choice = "patch group"
	ChosenByDefault    Choice = "default of the operating system"
	ChosenByPredefined Choice = "predefined default"
)

// Registry says which baselines are registered where; a service answers from its records. An empty id means none.
type Registry interface {
	// OfGroup returns the id of the baseline of os that a patch group is registered with.
	OfGroup(group string, os OperatingSystem) string
	// Default returns the id of the baseline that is the default for os.
	Default(os OperatingSystem) string
}

// Choose returns the id of a node's baseline: that of its patch group for its operating system, else the default of the operating system, else the
// predefined one (B1 to B3). id is empty for an unknown operating system.
func Choose(r Registry, tags map[string]string, os OperatingSystem) (id string, group string, why Choice) {
	group, ok := GroupOf(tags)
	if ok && r != nil {
		if id := r.OfGroup(group, os); id != "" {
			return id, group, ChosenByGroup
		}
	}
	if r != nil {
		if id := r.Default(os); id != "" {
			return id, group, ChosenByDefault
		}
	}
	if b := PredefinedDefault(os); b != nil {
		return b.ID, group, ChosenByPredefined
	}
	return "", group, ""
}

// SnapshotLife is how long the content of a snapshot is kept; SnapshotURLLife how long a link to it is good.
const (
	SnapshotLife    = 3 * 24 * time.Hour
	SnapshotURLLife = 24 * time.Hour
)

// Snapshot is the baseline of one operation, frozen so that all its nodes are patched alike however long the operation lasts. Within a tenant
// it is found by group, operating system and id.
type Snapshot struct {
	ID              string // a UUID
	Group           string // patch group, empty for none
	OperatingSystem OperatingSystem
	Baseline        Baseline
	Created         time.Time
}

// Expired says whether the snapshot's content is gone at now.
func (s *Snapshot) Expired(now time.Time) bool { return !now.Before(s.Created.Add(SnapshotLife)) }

// CheckSnapshotID refuses what is no UUID.
func CheckSnapshotID(id string) error {
	if !regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`).MatchString(id) {
		return fault.New("patch.CheckSnapshotID", fault.Validation, "%s is no snapshot id: write a UUID", quote(id))
	}
	return nil
}

// SnapshotIDOf derives the id of the snapshot of a maintenance window's execution, so that all its nodes arrive at the same one: a UUID of version 8 whose
// other bits are the SHA-256 of the execution's id.
func SnapshotIDOf(windowExecution string) string {
	h := sha256.Sum256([]byte("patch snapshot of window execution\x00" + windowExecution))
	h[6] = h[6]&0x0f | 0x80
	h[8] = h[8]&0x3f | 0x80
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
