package command

import (
	"slices"
	"time"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

// SendRequest asks for a document to be run on nodes (AWS: SendCommand). Field names in JSON are AWS's; those marked own have no counterpart there.
type SendRequest struct {
	DocumentName     string              `json:"DocumentName,omitempty"`
	DocumentVersion  string              `json:"DocumentVersion,omitempty"`  // number, $DEFAULT (also when empty) or $LATEST
	DocumentHash     string              `json:"DocumentHash,omitempty"`     // pins the content; SHA-256 in hex
	DocumentHashType string              `json:"DocumentHashType,omitempty"` // Sha256, or empty
	Parameters       map[string][]string `json:"Parameters,omitempty"`
	InstanceIDs      []string            `json:"InstanceIds,omitempty"`    // at most 50
	Targets          []target.Target     `json:"Targets,omitempty"`        // at most 5; either these or InstanceIDs
	MaxConcurrency   string              `json:"MaxConcurrency,omitempty"` // "50" by default
	MaxErrors        string              `json:"MaxErrors,omitempty"`      // "0" by default
	TimeoutSeconds   int                 `json:"TimeoutSeconds,omitempty"` // delivery timeout: 30 to 2,592,000, 3600 by default
	Comment          string              `json:"Comment,omitempty"`        // at most 100 characters

	// Content runs this document instead of a stored one; DocumentName is then only a name. Own.
	Content []byte `json:"Content,omitempty"`
	// ClientToken makes repeating a request safe: the same token returns the same command. At most 64 characters. Own.
	ClientToken string `json:"ClientToken,omitempty"`
	// RequireSigned ends the invocation of every node whose assurance is not Signed as InvalidPlatform. Own.
	RequireSigned bool `json:"RequireSigned,omitempty"`
	// NoRamp offers the command to MaxConcurrency nodes at once instead of one, two, four … (R13). Own.
	NoRamp bool `json:"NoRamp,omitempty"`
	// OutputLimit is how many bytes each invocation may keep of its output, all steps together. Default 64 MiB. What is beyond is dropped and counted. Own.
	OutputLimit int64 `json:"OutputLimit,omitempty"`
}

// Command is a command as callers see it (AWS: shape Command).
type Command struct {
	ID                string              `json:"CommandId"`
	DocumentName      string              `json:"DocumentName"`
	DocumentVersion   string              `json:"DocumentVersion"`
	DocumentHash      string              `json:"DocumentHash"`
	Comment           string              `json:"Comment"`
	Parameters        map[string][]string `json:"Parameters"`
	InstanceIDs       []string            `json:"InstanceIds"`
	Targets           []target.Target     `json:"Targets"`
	RequestedDateTime time.Time           `json:"RequestedDateTime"`
	ExpiresAfter      time.Time           `json:"ExpiresAfter"`
	Status            message.Status      `json:"Status"`
	StatusDetails     message.Detail      `json:"StatusDetails"`
	MaxConcurrency    string              `json:"MaxConcurrency"`
	MaxErrors         string              `json:"MaxErrors"`
	TimeoutSeconds    int                 `json:"TimeoutSeconds"`
	TargetCount       int                 `json:"TargetCount"`
	CompletedCount    int                 `json:"CompletedCount"`
	ErrorCount        int                 `json:"ErrorCount"`
	DeliveryTimedOut  int                 `json:"DeliveryTimedOutCount"`
	Counts            Counts              `json:"Counts"`                 // of ended invocations by their detail; own
	Running           int                 `json:"Running"`                // own
	Delayed           int                 `json:"Delayed"`                // own
	EndedDateTime     time.Time           `json:"EndedDateTime,omitzero"` // own
	RequestedBy       string              `json:"RequestedBy,omitempty"`  // own
}

// Result is an invocation as callers see it (AWS: shape CommandInvocation and GetCommandInvocation's answer in one).
type Result struct {
	CommandID    string               `json:"CommandId"`
	Node         string               `json:"InstanceId"`
	Name         string               `json:"InstanceName,omitempty"`
	DocumentName string               `json:"DocumentName"`
	Status       message.Status       `json:"Status"`
	Detail       message.Detail       `json:"StatusDetails"`
	Reason       string               `json:"Reason,omitempty"` // own
	ExitCode     int                  `json:"ResponseCode"`     // -1 until it ended
	OfferedAt    time.Time            `json:"OfferedAt,omitzero"`
	DeliveredAt  time.Time            `json:"DeliveredAt,omitzero"`
	Started      time.Time            `json:"ExecutionStartDateTime,omitzero"` // by the node's clock
	Ended        time.Time            `json:"ExecutionEndDateTime,omitzero"`
	Steps        []message.StepReport `json:"Steps,omitempty"`
	Late         *Late                `json:"Late,omitempty"`
}

// Elapsed returns how long the execution took, or has taken until now; 0 before it started.
func (r *Result) Elapsed(now time.Time) time.Duration {
	switch {
	case r.Started.IsZero():
		return 0
	case r.Ended.IsZero():
		return max(0, now.Sub(r.Started))
	}
	return max(0, r.Ended.Sub(r.Started))
}

// record is the part of a command that never changes after it was sent.
type record struct {
	ID         string            `json:"id"`
	Request    SendRequest       `json:"request"` // defaults filled in, without Content
	Hash       string            `json:"hash"`
	Version    string            `json:"version"`
	Format     string            `json:"format"`
	Included   []string          `json:"included,omitempty"` // names of the documents that steps run; contents lie apart
	SSM        map[string]string `json:"ssm,omitempty"`      // what {{ssm:name}} stood for
	Needs      []string          `json:"needs,omitempty"`
	Platforms  []string          `json:"platforms,omitempty"`
	Principal  string            `json:"principal,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Chunks     int               `json:"chunks"`
	ChunkSize  int               `json:"chunkSize,omitempty"` // ids of a chunk
	Last       []string          `json:"last,omitempty"`      // id of each chunk
	Steps      int               `json:"steps,omitempty"`     // of the document
	Shard      uint64            `json:"shard"`
	Form       int               `json:"form,omitempty"` // see Form
}

func (r *record) chunkSize() int {
	if r.ChunkSize > 0 {
		return r.ChunkSize
	}
	return chunk
}

// chunkOf returns the chunk that holds the node if any does.
func (r *record) chunkOf(node string) (int, bool) {
	i, _ := slices.BinarySearch(r.Last, node)
	return i, i < len(r.Last)
}

func view(r *record, s *State) Command {
	d := s.Detail()
	c := Command{ID: r.ID, DocumentName: r.Request.DocumentName, DocumentVersion: r.Version, DocumentHash: r.Hash, Comment: r.Request.Comment,
		Parameters: r.Request.Parameters, InstanceIDs: r.Request.InstanceIDs, Targets: r.Request.Targets,
		RequestedDateTime: s.RequestedAt, ExpiresAfter: s.ExpiresAt, Status: d.Status(), StatusDetails: d,
		MaxConcurrency: r.Request.MaxConcurrency, MaxErrors: r.Request.MaxErrors, TimeoutSeconds: r.Request.TimeoutSeconds,
		TargetCount: s.N, CompletedCount: s.Counts.Done(), DeliveryTimedOut: s.Counts[message.DetailDeliveryTimedOut],
		ErrorCount: s.Counts.Errors(), Counts: s.Counts, Running: s.Running, Delayed: s.Delayed, EndedDateTime: s.EndedAt, RequestedBy: r.Principal}
	if c.InstanceIDs == nil {
		c.InstanceIDs = []string{}
	}
	if c.Targets == nil {
		c.Targets = []target.Target{}
	}
	return c
}
