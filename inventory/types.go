package inventory

import (
	"slices"
	"strings"
)

// The types that AWS has (user guide, "Metadata collected by inventory").
const (
	Application                 = "AWS:Application"
	AWSComponent                = "AWS:AWSComponent"
	BillingInfo                 = "AWS:BillingInfo"
	ComplianceItem              = "AWS:ComplianceItem"
	ComplianceSummary           = "AWS:ComplianceSummary"
	File                        = "AWS:File"
	InstanceDetailedInformation = "AWS:InstanceDetailedInformation"
	InstanceInformation         = "AWS:InstanceInformation"
	Network                     = "AWS:Network"
	PatchCompliance             = "AWS:PatchCompliance"
	PatchSummary                = "AWS:PatchSummary"
	Process                     = "AWS:Process"
	ResourceGroup               = "AWS:ResourceGroup"
	Service                     = "AWS:Service"
	Tag                         = "AWS:Tag"
	WindowsRegistry             = "AWS:WindowsRegistry"
	WindowsRole                 = "AWS:WindowsRole"
	WindowsUpdate               = "AWS:WindowsUpdate"

	// CustomPrefix begins the names of the users' own types, with exactly these letters (V8).
	CustomPrefix = "Custom:"
)

// The data types of attributes. Values are strings all the same: a NUMBER is one in its decimal form.
const (
	String = "STRING"
	Number = "NUMBER"
)

// Attribute is one column of a type. Field names are AWS's.
type Attribute struct {
	Name     string
	DataType string // String or Number
	// Aggregatable attributes are those that GetInventorySchema lists when it is asked for aggregators only.
	Aggregatable bool `json:"-"`
	// Context attributes belong to the item, not to each entry (Item.Context).
	Context bool `json:"-"`
}

// Schema describes a type at its newest version.
type Schema struct {
	TypeName    string
	Version     string
	DisplayName string `json:",omitempty"`
	Attributes  []Attribute
	// Derived types are made by the control plane from what it knows itself; a node's report of one is refused.
	Derived bool `json:"-"`
	// also are attributes that agents send although AWS's list does not have them.
	also []string
}

// Attribute returns the attribute of that very spelling.
func (s Schema) Attribute(name string) (Attribute, bool) {
	i := slices.IndexFunc(s.Attributes, func(a Attribute) bool { return a.Name == name })
	if i >= 0 {
		return s.Attributes[i], true
	}
	if slices.Contains(s.also, name) {
		return Attribute{Name: name, DataType: String}, true
	}
	return Attribute{}, false
}

// Schemas returns the schema of every type of AWS's, by name. The result is the caller's.
func Schemas() []Schema {
	out := make([]Schema, 0, len(table))
	for _, row := range table {
		out = append(out, row.schema())
	}
	return out
}

// SchemaOf returns the schema of one of AWS's types. Names are matched exactly.
func SchemaOf(typeName string) (Schema, bool) {
	for _, row := range table {
		if row.name == typeName {
			return row.schema(), true
		}
	}
	return Schema{}, false
}

// schemaRow is a row of the table. Attributes are words; #word is a NUMBER, *word may be aggregated, @word belongs to the context.
type schemaRow struct {
	name, version, display, attributes string
	derived                            bool
	also                               string
}

func (r schemaRow) schema() Schema {
	s := Schema{TypeName: r.name, Version: r.version, DisplayName: r.display, Derived: r.derived, also: strings.Fields(r.also)}
	for _, w := range strings.Fields(r.attributes) {
		a := Attribute{DataType: String}
		for a.Name = w; ; a.Name = a.Name[1:] {
			switch a.Name[0] {
			case '#':
				a.DataType = Number
				continue
			case '*':
				a.Aggregatable = true
				continue
			case '@':
				a.Context = true
				continue
			}
			break
		}
		s.Attributes = append(s.Attributes, a)
	}
	return s
}

// table is read only: an array of values, never handed out.
var table = [...]schemaRow{
	{name: AWSComponent, version: "1.0", display: "AWS component",
		attributes: "*Name *ApplicationType *Publisher *Version InstalledTime *Architecture URL"},
	{name: Application, version: "1.1", display: "Application",
		attributes: "*Name *ApplicationType *Publisher *Version Release Epoch InstalledTime *Architecture URL Summary PackageId"},
	{name: BillingInfo, version: "1.0", display: "Billing info", attributes: "*BillingProductId"},
	{name: ComplianceItem, version: "1.0", display: "Compliance item",
		attributes: "@*ComplianceType @ExecutionId @*ExecutionType @ExecutionTime Id *Title *Status *Severity *DocumentName *DocumentVersion *Classification *PatchBaselineId " +
			"*PatchSeverity *PatchState *PatchGroup InstalledTime InstallOverrideList DetailedText DetailedLink CVEIds"},
	{name: ComplianceSummary, version: "1.0", display: "Compliance summary", derived: true,
		attributes: "*ComplianceType *PatchGroup *PatchBaselineId *Status *OverallSeverity ExecutionId *ExecutionType ExecutionTime #CompliantCriticalCount #CompliantHighCount " +
			"#CompliantMediumCount #CompliantLowCount #CompliantInformationalCount #CompliantUnspecifiedCount #NonCompliantCriticalCount #NonCompliantHighCount " +
			"#NonCompliantMediumCount #NonCompliantLowCount #NonCompliantInformationalCount #NonCompliantUnspecifiedCount"},
	{name: File, version: "1.0", display: "File",
		attributes: "*Name Size *Description *FileVersion InstalledDate ModificationTime LastAccessTime *ProductName InstalledDir *ProductLanguage *CompanyName *ProductVersion"},
	{name: InstanceDetailedInformation, version: "1.0", display: "Instance detailed information", also: "KernelVersion",
		attributes: "*CPUModel #*CPUCores #*CPUs #*CPUSpeedMHz #*CPUSockets *CPUHyperThreadEnabled *OSServicePack"},
	{name: InstanceInformation, version: "1.0", display: "Platform", also: "IamRole",
		attributes: "*AgentType *AgentVersion ComputerName InstanceId IpAddress *PlatformName *PlatformType *PlatformVersion *ResourceType *AgentStatus *InstanceStatus"},
	{name: Network, version: "1.0", display: "Network", attributes: "*Name *SubnetMask *Gateway *DHCPServer *DNSServer MacAddress IPV4 IPV6"},
	{name: PatchCompliance, version: "1.0", display: "Patch compliance", attributes: "*Title *KBId *Classification *Severity *State InstalledTime"},
	{name: PatchSummary, version: "1.0", display: "Patch summary",
		attributes: "*PatchGroup *BaselineId SnapshotId OwnerInformation #InstalledCount #InstalledPendingRebootCount #InstalledOtherCount #InstalledRejectedCount #NotApplicableCount " +
			"#UnreportedNotApplicableCount #MissingCount #FailedCount *OperationType OperationStartTime OperationEndTime InstallOverrideList *RebootOption " +
			"LastNoRebootInstallOperationTime ExecutionId *NonCompliantSeverity #SecurityNonCompliantCount #CriticalNonCompliantCount #OtherNonCompliantCount"},
	// AWS lists the type without attributes; these are fleetwright's.
	{name: Process, version: "1.0", display: "Process", attributes: "*Name Pid *User CommandLine StartTime"},
	{name: ResourceGroup, version: "1.0", display: "ResourceGroup", derived: true, attributes: "*Name Arn"},
	{name: Service, version: "1.0", display: "Service", attributes: "*Name *DisplayName *ServiceType *Status DependentServices ServicesDependedOn *StartType"},
	{name: Tag, version: "1.0", display: "Tag", derived: true, attributes: "*Key *Value"},
	{name: WindowsRegistry, version: "1.0", display: "Windows registry", attributes: "*KeyPath *ValueName *ValueType *Value"},
	{name: WindowsRole, version: "1.0", display: "Windows role",
		attributes: "*Name *DisplayName Path *FeatureType DependsOn Description *Installed *InstalledState SubFeatures ServerComponentDescriptor *Parent"},
	{name: WindowsUpdate, version: "1.0", display: "Windows update", attributes: "*HotFixId *Description InstalledTime *InstalledBy"},
}
