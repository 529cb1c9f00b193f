package document

import (
	"slices"

	"github.com/fleetwright/fleetwright/fault"
)

// schemas are the schema versions of each kind; "" where a document may have none.
func (k Kind) schemas() []string {
	switch k {
	case Command:
		return []string{"1.2", "2.0", "2.2", "2.0.1", "2.0.2", "2.0.3"}
	case Policy:
		return []string{"2.0", "2.2"}
	case Automation, ChangeTemplate:
		return []string{"0.3"}
	case Session, CloudFormation, ConformancePackTemplate, QuickSetup:
		return []string{"1.0"}
	case Package:
		return []string{"2.0"}
	case ApplicationConfiguration, ApplicationSchema, DeploymentStrategy, ChangeCalendar, ProblemAnalysis, ProblemAnalysisTemplate, ManualApprovalPolicy, AutoApprovalPolicy:
		return nil
	}
	return nil
}

// known reports whether AWS has the kind (D1).
func (k Kind) known() bool {
	return k.schemas() != nil || slices.Contains([]Kind{ApplicationConfiguration, ApplicationSchema, DeploymentStrategy, ChangeCalendar, ProblemAnalysis, ProblemAnalysisTemplate, ManualApprovalPolicy, AutoApprovalPolicy}, k)
}

// kindOf tells the kind of a document by its content; "" when it cannot.
func kindOf(root *Value, schema string) Kind {
	has := func(key string) bool { return root.Get(key) != nil }
	switch {
	case schema == "0.3" && (has("templateInformation") || has("emergencyChange") || has("executableRunBooks")):
		return ChangeTemplate
	case schema == "0.3":
		return Automation
	case schema == "2.0" && has("packages") && !has("mainSteps"):
		return Package
	case slices.Contains(Command.schemas(), schema):
		return Command
	case schema == "1.0" && (has("sessionType") || has("properties")):
		return Session
	case schema == "1.0" && has("deploymentConfig"):
		return QuickSetup
	case schema == "1.0" && has("templateBody"):
		if conformance(root.Get("templateBody")) {
			return ConformancePackTemplate
		}
		return CloudFormation
	case schema == "" && has("sections"):
		return ProblemAnalysisTemplate
	case schema == "" && has("runtimeConfig"), schema == "" && has("mainSteps"):
		return ""
	}
	return ""
}

// conformance reports whether a template holds nothing but AWS Config rules and what they need.
func conformance(body *Value) bool {
	res := body.Get("Resources").Fields()
	rules := 0
	for i := range res {
		switch res[i].Value.Get("Type").Text() {
		case "AWS::Config::ConfigRule", "AWS::Config::RemediationConfiguration":
			rules++
		default:
			return false
		}
	}
	return rules > 0
}

// document reads the tree of d by its kind and schema.
func (c *collector) document(d *Document) {
	if d.Kind != "" && !d.Kind.known() {
		c.at(d.Root, Error, "kind", "unknown document type %q", clip(string(d.Kind))).Fault = fault.InvalidDocumentContent
		return
	}
	switch d.Kind {
	case ApplicationConfiguration, ApplicationSchema, DeploymentStrategy, ProblemAnalysis, ManualApprovalPolicy, AutoApprovalPolicy:
		d.SchemaVersion = d.Root.Get("schemaVersion").Text()
		d.Body = d.Root
		return
	}
	if d.Root.Kind() != Map {
		c.at(d.Root, Error, "type", "a document must be a map with schemaVersion, not a %s", d.Root.Kind())
		return
	}
	if !c.schema(d) {
		return
	}
	switch d.Kind {
	case CloudFormation, ConformancePackTemplate, QuickSetup:
	default:
		for _, v := range c.tagged {
			c.at(v, Error, "tag", "the tag %s means something only in CloudFormation templates: remove it", clip(v.tag))
		}
	}
	switch d.Kind {
	case Command, Policy:
		c.command(d)
	case Automation:
		c.runbook(d)
	case ChangeTemplate:
		c.changeTemplate(d)
	case Session:
		c.session(d)
	case Package:
		c.manifest(d)
	case CloudFormation, ConformancePackTemplate, QuickSetup, ProblemAnalysisTemplate:
		c.bundle(d)
	}
}

// schema settles kind and schema version.
func (c *collector) schema(d *Document) bool {
	version := d.Root.Get("schemaVersion")
	refuse := func(code, format string, args ...any) bool {
		at := version
		if at == nil {
			at = d.Root
		}
		c.at(at, Error, code, format, args...).Fault = fault.InvalidDocumentSchemaVersion
		return false
	}
	switch version.Kind() {
	case Null:
		if d.Kind == "" {
			d.Kind = kindOf(d.Root, "")
		}
		if d.Kind == ProblemAnalysisTemplate {
			return true
		}
		return refuse("schema-missing", `the document has no schemaVersion: add "2.2" for a Command document, "0.3" for a runbook`)
	case List, Map, Bool:
		return refuse("schema-unknown", "schemaVersion must be a string, not a %s", version.Kind())
	case Number:
		c.replace(c.at(version, Warning, "schema-number", "schemaVersion is a number: put it in quotes, %q", version.text), version, version.text)
	}
	d.SchemaVersion = version.Text()
	switch d.SchemaVersion {
	case "1.1", "2.1":
		return refuse("schema-unknown", "schema %s is no longer supported: use 2.2", d.SchemaVersion)
	case "2.0.1", "2.0.2", "2.0.3":
		if !c.local {
			return refuse("schema-unknown", "schema %s stands only in files that a node has: use 2.2", d.SchemaVersion)
		}
	}
	if d.Kind == "" {
		if d.Kind = kindOf(d.Root, d.SchemaVersion); d.Kind == "" {
			if d.SchemaVersion == "1.0" {
				return refuse("kind", "a document of schema 1.0 needs sessionType (Session), templateBody (CloudFormation) or deploymentConfig (QuickSetup)")
			}
			return refuse("schema-unknown", "unknown schemaVersion %q: 2.2 is the one for Command documents, 0.3 for runbooks, 1.0 for sessions", clip(d.SchemaVersion))
		}
		return true
	}
	if want := d.Kind.schemas(); want != nil && !slices.Contains(want, d.SchemaVersion) {
		return refuse("schema-kind", "schema %q is not one of %s documents: %s", clip(d.SchemaVersion), d.Kind, want[0])
	}
	return true
}
