package automation

import (
	"strings"
	"unicode"

	"github.com/fleetwright/fleetwright/document"
)

// Impact says what a step does to the world (A22, shape ImpactType).
type Impact string

// The impacts.
const (
	Mutating     Impact = "Mutating"
	NonMutating  Impact = "Non_Mutating"
	Undetermined Impact = "Undetermined" // it depends on code, or on a document, that is looked at elsewhere
)

// reading are the verbs of API operations that change nothing.
var reading = map[string]bool{"describe": true, "get": true, "list": true, "search": true, "lookup": true, "head": true, "query": true, "scan": true, "check": true, "validate": true,
	"simulate": true, "estimate": true, "preview": true, "detect": true, "filter": true, "select": true, "batchget": true, "view": true, "discover": true, "is": true, "can": true}

// verb cuts an operation's name, in Pascal or camel case or with _, into its first word and the rest, both in small letters.
func verb(api string) (word, noun string) {
	api = strings.ReplaceAll(api, "_", "")
	end := len(api)
	for i, c := range api {
		if i > 0 && unicode.IsUpper(c) {
			end = i
			break
		}
	}
	word, noun = strings.ToLower(api[:end]), strings.ToLower(api[end:])
	if word == "batch" {
		second, rest := verb(api[end:])
		return "batch" + second, rest
	}
	return word, noun
}

// impactOf classes a step of a runbook by its action, and a call of an API by its verb.
func impactOf(s *document.Step) Impact {
	switch s.Action {
	case "aws:approve", "aws:branch", "aws:loop", "aws:pause", "aws:sleep", "aws:updateVariable":
		return NonMutating
	case "aws:executeAwsApi", "aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty":
		v := s.Input("Api")
		if len(v.References()) > 0 {
			return Undetermined
		}
		if word, _ := verb(v.Text()); reading[word] {
			return NonMutating
		}
		return Mutating
	case "aws:changeInstanceState":
		if strings.EqualFold(s.Input("CheckStateOnly").Text(), "true") {
			return NonMutating
		}
		return Mutating
	case "aws:copyImage", "aws:createImage", "aws:createStack", "aws:createTags", "aws:deleteImage", "aws:deleteStack", "aws:runInstances", "aws:updateStack":
		return Mutating
	}
	return Undetermined
}

// undo are the verbs that take back what others did: what was created is deleted, what was stopped is started.
var undo = map[string][]string{
	"create": {"delete", "terminate", "remove"}, "run": {"terminate"}, "allocate": {"release"}, "copy": {"delete", "deregister"}, "register": {"deregister"},
	"restore": {"delete"}, "launch": {"terminate"}, "provision": {"deprovision", "terminate"}, "put": {"delete"}, "add": {"remove"},
	"stop": {"start"}, "disable": {"enable"}, "detach": {"attach"}, "suspend": {"resume"}, "pause": {"resume"}, "deregister": {"register"}, "disassociate": {"associate"},
	"enter": {"exit"}, "attach": {"detach"}, "authorize": {"revoke"}, "associate": {"disassociate"}, "enable": {"disable"},
}

// deed is what a step does, as far as its name says: a verb, and what with.
type deed struct{ service, verb, noun string }

func deedOf(s *document.Step) (d deed, ok bool) {
	switch s.Action {
	case "aws:executeAwsApi":
		w, n := verb(s.Input("Api").Text())
		return deed{strings.ToLower(strings.TrimSpace(s.Input("Service").Text())), w, strings.TrimSuffix(n, "s")}, impactOf(s) == Mutating
	case "aws:createStack":
		return deed{"cloudformation", "create", "stack"}, true
	case "aws:deleteStack":
		return deed{"cloudformation", "delete", "stack"}, true
	case "aws:createImage", "aws:copyImage":
		return deed{"ec2", "create", "image"}, true
	case "aws:deleteImage":
		return deed{"ec2", "delete", "image"}, true
	case "aws:runInstances":
		return deed{"ec2", "run", "instance"}, true
	case "aws:changeInstanceState":
		if impactOf(s) == NonMutating {
			return d, false
		}
		word, known := map[string]string{"running": "start", "stopped": "stop", "terminated": "terminate"}[strings.ToLower(s.Input("DesiredState").Text())]
		return deed{"ec2", word, "instance"}, known
	}
	return d, false
}

// undoes reports whether d takes back what a did.
func (d deed) undoes(a deed) bool {
	if a.service != d.service || a.noun != d.noun {
		return false
	}
	for _, v := range undo[a.verb] {
		if v == d.verb {
			return true
		}
	}
	return false
}

// makes reports whether a deed brings something into being, which is left behind when nobody takes it back; the other deeds leave something half done.
func (d deed) makes() bool {
	switch d.verb {
	case "create", "run", "allocate", "copy", "register", "restore", "launch", "provision", "put", "add":
		return true
	}
	return false
}
