package message

import (
	"strconv"
	"time"
)

// Kind says what a message's body is. It is part of what is signed.
type Kind string

// The kinds. Bodies are JSON; what is signed is the canonical encoding of the envelope around their bytes.
const (
	// Control plane to node.
	KindOffer   Kind = "offer"   // Offer: can you take this command?
	KindRun     Kind = "run"     // Run: start it
	KindCancel  Kind = "cancel"  // Cancel: stop it
	KindAck     Kind = "ack"     // Ack: a report is durable here, forget it
	KindWelcome Kind = "welcome" // Welcome: answer to a hello
	KindKeys    Kind = "keys"    // Keys: the control plane's next keys
	KindAnswer  Kind = "answer"  // Answer: answer to an ask
	// Node to control plane.
	KindHello  Kind = "hello"  // Hello: I am here (also the heartbeat)
	KindReady  Kind = "ready"  // Ready: answer to an offer
	KindReport Kind = "report" // Report: how far a command is
	KindOutput Kind = "output" // Output: a piece of a step's output
	KindPinned Kind = "pinned" // Pinned: the control plane's next keys are the ones that this node obeys
	KindAsk    Kind = "ask"    // Ask: do this for me, or tell me that
)

// Ref names one attempt of one command on the node that a message is from or to.
type Ref struct {
	Command string `json:"command"` // command id, a UUID
	Attempt int    `json:"attempt"` // from 1
}

// Offer asks a connected node whether it can take a command. Nothing may start before Run. An offer that is not answered leaves no trace on the
// node: the control plane may give the slot to another node and offer again later, without ever exceeding MaxConcurrency.
type Offer struct {
	Ref
	Document  string    `json:"document"`         // name, for the node's log
	Needs     []string  `json:"needs,omitempty"`  // capabilities that the node must know by name, else it refuses (rule R-10)
	ExpiresAt time.Time `json:"expiresAt"`        // after it nothing of the command may start
	Signed    bool      `json:"signed,omitempty"` // the document demands assurance Signed
}

// Ready answers an Offer. Refused is empty when the node takes the command.
type Ready struct {
	Ref
	Refused Detail `json:"refused,omitempty"` // InvalidPlatform, AccessDenied, Undeliverable
	Reason  string `json:"reason,omitempty"`  // for a person
}

// Run starts a command. A node that has the reference in its journal does not start it again and answers with its last report.
type Run struct {
	Ref
	DocumentName    string              `json:"documentName"`
	DocumentVersion string              `json:"documentVersion,omitempty"`
	DocumentHash    string              `json:"documentHash"`          // SHA-256 of Document, hex
	Document        []byte              `json:"document"`              // the document as stored
	Format          string              `json:"format"`                // JSON or YAML
	Documents       map[string]Included `json:"documents,omitempty"`   // what aws:runDocument steps name, by the name they use
	Parameters      map[string][]string `json:"parameters,omitempty"`  // as sent, before defaults
	SSM             map[string]string   `json:"ssm,omitempty"`         // what the document's {{ssm:name}} references stand for, looked up when the command was sent
	ExpiresAt       time.Time           `json:"expiresAt"`             // the command's deadline: stop what still runs
	OutputLimit     int64               `json:"outputLimit,omitempty"` // bytes a step may produce on stdout and on stderr each, 0 is the agent's default
	RefuseRaw       bool                `json:"refuseRaw,omitempty"`
}

// Included is a document that another one runs, pinned by its hash when the command was sent.
type Included struct {
	Name     string `json:"name"`
	Version  string `json:"version"`
	Hash     string `json:"hash"` // SHA-256 of Document, hex
	Document []byte `json:"document"`
	Format   string `json:"format"`
}

// Cancel asks a node to stop a command. The node answers with a report, also when it never heard of the command (then Cancelled: nothing ran, and nothing will).
type Cancel struct {
	Ref
	Detail Detail `json:"detail,omitempty"` // what the control plane recorded, for the node's log
}

// Ack confirms that everything up to Seq of the command's reports, and up to each Offset of its outputs, is durable. Final means that the
// terminal report is among them: the node may forget the command once its deadline passed.
type Ack struct {
	Ref
	Seq     uint64           `json:"seq"`
	Final   bool             `json:"final,omitempty"`
	Offsets map[string]int64 `json:"offsets,omitempty"` // by StreamID
}

// StreamID names one stream of one step in Ack.Offsets.
func StreamID(step int, stderr bool) string {
	s := "o"
	if stderr {
		s = "e"
	}
	return strconv.Itoa(step) + s
}

// Hello tells of a node's presence: on connecting, then every heartbeat. Running lists what the journal holds and the control plane has not finally acknowledged.
type Hello struct {
	Session string    `json:"session"`         // random for each start of the agent
	Seq     uint64    `json:"seq"`             // rises with each hello of the session
	Sent    time.Time `json:"sent"`            // by the node's clock
	Facts   *Facts    `json:"facts,omitempty"` // with the first hello of a session and when they changed
	Running []Ref     `json:"running,omitempty"`
	First   bool      `json:"first,omitempty"` // the first hello after a (re)connect: send what waits
}

// Welcome answers a Hello.
type Welcome struct {
	Session   string        `json:"session"`             // the hello's
	Seq       uint64        `json:"seq"`                 // the hello's
	Time      time.Time     `json:"time"`                // the control plane's clock
	Heartbeat time.Duration `json:"heartbeat,omitempty"` // nanoseconds between hellos wished by the control plane
}

// Facts describe the machine that an agent runs on (AWS:InstanceInformation).
type Facts struct {
	AgentName       string   `json:"agentName,omitempty"`
	AgentVersion    string   `json:"agentVersion,omitempty"`
	PlatformType    string   `json:"platformType,omitempty"`    // Linux, Windows, MacOS
	PlatformName    string   `json:"platformName,omitempty"`    // Debian GNU/Linux
	PlatformVersion string   `json:"platformVersion,omitempty"` // 12
	Architecture    string   `json:"architecture,omitempty"`    // as GOARCH
	ComputerName    string   `json:"computerName,omitempty"`
	IPAddress       string   `json:"ipAddress,omitempty"`
	BootID          string   `json:"bootId,omitempty"`
	Capabilities    []string `json:"capabilities,omitempty"` // actions as "aws:runShellScript", features as "feature:ENV_VAR"
}

// Report tells how far a command is. Each carries the whole state, so that the newest one is enough and any may be lost, repeated or overtaken.
type Report struct {
	Ref
	Seq      uint64       `json:"seq"`              // rises with each report of the reference
	Detail   Detail       `json:"detail"`           // InProgress, or terminal: Success, Failed, ExecutionTimedOut, Cancelled, Interrupted, InvalidPlatform, AccessDenied
	Reason   string       `json:"reason,omitempty"` // for a person, when it did not run or was interrupted
	ExitCode int          `json:"exitCode"`         // of the document; -1 before the first step ended
	Started  time.Time    `json:"started,omitzero"` // by the node's clock
	Ended    time.Time    `json:"ended,omitzero"`
	Steps    []StepReport `json:"steps,omitempty"`
}

// StepReport is one step of a Report.
type StepReport struct {
	Name     string    `json:"name"`
	Action   string    `json:"action"`
	Status   Status    `json:"status"`           // Pending, InProgress, Success, Failed, TimedOut, Cancelled, Skipped
	Reason   string    `json:"reason,omitempty"` // why it was skipped or could not start
	ExitCode int       `json:"exitCode"`         // -1 before it ended
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Stdout   Stream    `json:"stdout,omitzero"`
	Stderr   Stream    `json:"stderr,omitzero"`
	Reboots  int       `json:"reboots,omitempty"` // how often this step asked for a reboot
}

// Stream sums up one output stream of a step. Its first bytes travel in the report; when Size is larger than Head, all bytes travel in Output messages too.
type Stream struct {
	Head     string `json:"head,omitempty"`     // the beginning as valid UTF-8: at most 24,000 bytes of stdout, 8,000 of stderr, cut on a rune
	Size     int64  `json:"size,omitempty"`     // bytes kept in all
	Dropped  int64  `json:"dropped,omitempty"`  // bytes produced beyond the cap and not kept
	InPieces bool   `json:"inPieces,omitempty"` // the bytes are, or are being, sent as Output messages
}

// IsZero reports whether nothing was written.
func (s Stream) IsZero() bool { return s == Stream{} }

// Output carries a piece of a step's output. The control plane answers with an Ack; the node repeats a piece until its end is acknowledged. Pieces of one
// stream do not overlap and leave no gap: Offset is the end of the previous piece.
type Output struct {
	Ref
	Step   int    `json:"step"` // index in Report.Steps
	Stderr bool   `json:"stderr,omitempty"`
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"` // at most MaxPiece bytes
}

// MaxPiece is the largest Output.Data.
const MaxPiece = 96 << 10

// RegisterRequest asks for a node id with a hybrid activation.
type RegisterRequest struct {
	ActivationID   string `json:"activationId"`
	ActivationCode string `json:"activationCode"`
	SignKey        []byte `json:"signKey"` // Ed25519 public key made on the node
	SealKey        []byte `json:"sealKey"` // X25519 public key made on the node
	Facts          Facts  `json:"facts"`
	Token          string `json:"token"` // random; a repeat with the same token and keys gives the same node (the answer may have been lost)
}

// RegisterResponse gives a node its id and the control plane's keys to pin.
type RegisterResponse struct {
	Tenant  string `json:"tenant"`
	Node    string `json:"node"` // mi- and 17 hex digits
	SignKey []byte `json:"signKey"`
	SealKey []byte `json:"sealKey"`
	Epoch   uint64 `json:"epoch"` // of the control plane's keys
}
