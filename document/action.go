package document

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// InputType says what an input of an action takes. Wherever a list, a map or a number is wanted, a string that is one placeholder is fine.
type InputType string

// The types of inputs.
const (
	AnyInput     InputType = "Any"
	StringInput  InputType = "String" // numbers and booleans count as their text
	ListInput    InputType = "StringList"
	IntegerInput InputType = "Integer" // also as text
	BooleanInput InputType = "Boolean" // also as text
	MapInput     InputType = "StringMap"
	MapListInput InputType = "MapList"
)

// InputSpec describes one input of an action.
type InputSpec struct {
	Name     string // as AWS writes it; documents may use another case
	Type     InputType
	Required bool
	Secure   bool     // {{ssm-secure:name}} is allowed here (I11)
	Values   []string // what it may be, when that is a fixed choice
}

// OutputSpec describes one output of an action.
type OutputSpec struct {
	Name string
	Type ParameterType
}

// ActionSpec describes an action (a plugin of Command documents, a step type of runbooks) as data. The reader, the checker, the agent and the
// engines use the same description.
type ActionSpec struct {
	Name      string
	Schemas   []string // schema versions that it may stand in
	Platforms []string // Linux, MacOS, Windows, sorted; nil: any
	Inputs    []InputSpec
	Outputs   []OutputSpec
	Shell     string // "sh" or "powershell": the input runCommand is a script of that shell
	Open      bool   // takes inputs besides those listed, such as those of an AWS API
	Internal  bool   // AWS uses it in documents of its own; nobody else can run it
	NoCancel  bool   // onCancel may not lead to it (A2)
	Waits     bool   // ends when something outside has happened: a step of it should say for how long (timeoutSeconds)
	Timeout   int64  // seconds after which a step ends that does not say timeoutSeconds; 0: unknown or none
	Cap       int64  // seconds after which it ends whatever timeoutSeconds says; 0: none known
}

// Input returns the description of an input without regard to case; nil when the action has none of that name.
func (a *ActionSpec) Input(name string) *InputSpec {
	if a == nil {
		return nil
	}
	for i := range a.Inputs {
		if a.Inputs[i].Name == name {
			return &a.Inputs[i]
		}
	}
	for i := range a.Inputs {
		if strings.EqualFold(a.Inputs[i].Name, name) {
			return &a.Inputs[i]
		}
	}
	return nil
}

// On reports whether the action can run on a platform ("Linux", "Windows", "MacOS").
func (a *ActionSpec) On(platform string) bool {
	return a != nil && (a.Platforms == nil || slices.Contains(a.Platforms, platform))
}

// in reports whether the action may stand in documents of a schema version.
func (a *ActionSpec) in(schema string) bool {
	if strings.HasPrefix(schema, "2.0.") {
		schema = "2.0"
	}
	return a != nil && slices.Contains(a.Schemas, schema)
}

// Actions is a table of actions. It is immutable.
type Actions struct{ byName map[string]*ActionSpec }

// Builtin returns the actions that AWS documents. The table is made once and shared, as it never changes.
func Builtin() *Actions { return table() }

var table = sync.OnceValue(func() *Actions { return (&Actions{}).With(builtin()...) })

// With returns a table with a besides what t has; an action of the same name replaces.
func (t *Actions) With(a ...ActionSpec) *Actions {
	out := &Actions{byName: make(map[string]*ActionSpec, len(t.byName)+len(a))}
	maps.Copy(out.byName, t.byName)
	for i := range a {
		spec := a[i]
		out.byName[spec.Name] = &spec
	}
	return out
}

// Get returns an action by its name, nil when it is unknown. It belongs to the table and must not be changed.
func (t *Actions) Get(name string) *ActionSpec { return t.byName[name] }

// Names returns the names of all actions, sorted.
func (t *Actions) Names() []string { return slices.Sorted(maps.Keys(t.byName)) }
