package parameter

import (
	"context"
	"fmt"
	"regexp"
	"runtime/debug"

	"github.com/fleetwright/fleetwright/fault"
)

// DataType validates the values of parameters of one data type (S15). The value is open: what is validated is a String or StringList, or a SecureString in the writer's hand.
type DataType struct {
	// Check returns an error for a value that is none. It may use the network, and is never called within a transaction. nil takes every value.
	Check func(ctx context.Context, name string, value Value) error
	// Async makes a write return before it was checked, as AWS does for aws:ec2:image: Run checks it later, and makes the version or discards the write with an event.
	// Such parameters are Strings.
	Async bool
}

var imageGrammar = regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`)

// validate asks a validator: it refuses the value, or fails. One that panics is a fault of its own and no reason to end a control plane, again after every start; what it panicked with may have the value in it, so that the log has
// the place only.
func (s *Service) validate(ctx context.Context, op, name, dataType string, dt DataType, value Value) (refused, failed error) {
	defer func() {
		if v := recover(); v != nil {
			s.cfg.Log.Error("a validator of parameters panicked", "dataType", dataType, "parameter", name, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
			failed = fault.New(op, fault.InternalServerError, "the validator of the data type %s failed: the log has the place", dataType)
		}
	}()
	return dt.Check(ctx, name, value), nil
}

// dataType finds a data type, the host's first.
func (s *Service) dataType(op, name string) (DataType, error) {
	if d, ok := s.cfg.DataTypes[name]; ok {
		return d, nil
	}
	switch name {
	case DataText, DataSSMIntegration:
		return DataType{}, nil
	case DataEC2Image:
		return DataType{Async: true, Check: func(_ context.Context, _ string, v Value) error {
			if !imageGrammar.MatchString(v.Reveal()) {
				return fault.New(op, fault.Validation, "the value is no id of an image: write ami-12345abcdeEXAMPLE's form")
			}
			return nil
		}}, nil
	}
	return DataType{}, fault.New(op, fault.Validation, "the data type %q is not known: use text, aws:ec2:image or aws:ssm:integration", clip(name))
}

// Public is the tree below /aws/service, which everybody may read and nobody write (S32): images, regions, services, endpoints. Implementations are safe for concurrent use.
type Public interface {
	// Lookup returns a parameter by its whole name; false if there is none. Version, Type, Value, LastModifiedDate are used.
	Lookup(ctx context.Context, name string) (Parameter, bool, error)
	// Names returns names after one, in bytewise order, that begin with prefix; at most limit.
	Names(ctx context.Context, prefix, after string, limit int) ([]string, error)
}

// Secrets stands behind /aws/reference/secretsmanager (S32). Implementations are safe for concurrent use.
type Secrets interface {
	// Secret returns a secret by its id, which may have stages and versions as the other service writes them. Errors: CodeNotFound.
	Secret(ctx context.Context, id string) (SecretResult, error)
}

// SecretResult is what Secrets knows.
type SecretResult struct {
	Value   Value
	ARN     string
	Version int64  // 0: AWS answers 0
	Source  string // the other service's answer as JSON, without the value, for SourceResult
}

const (
	publicTree    = "/aws/service/"
	referenceTree = "/aws/reference/secretsmanager/"
)
