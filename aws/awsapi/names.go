package awsapi

import "strings"

// canonical brings the names of a service into one: those of AWS's SDK for Python, with hyphens, and of the packages of the SDK for Go, without. Runbooks also write the names
// of endpoints ("ssm.amazonaws.com").
func canonical(name string) string {
	name = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), ".amazonaws.com")
	name = strings.NewReplacer("-", "", "_", "", " ", "").Replace(name)
	switch name {
	case "stepfunctions", "states":
		return "sfn"
	case "logs":
		return "cloudwatchlogs"
	case "events":
		return "eventbridge"
	case "elb":
		return "elasticloadbalancing"
	case "elbv2":
		return "elasticloadbalancingv2"
	case "config":
		return "configservice"
	case "ds":
		return "directoryservice"
	case "es":
		return "elasticsearchservice"
	case "dms":
		return "databasemigrationservice"
	case "ce":
		return "costexplorer"
	case "cur":
		return "costandusagereportservice"
	case "cognitoidp":
		return "cognitoidentityprovider"
	case "iotdata":
		return "iotdataplane"
	case "mgh":
		return "migrationhub"
	case "resourcegroupstagging":
		return "resourcegroupstaggingapi"
	case "sdb":
		return "simpledb"
	case "serverlessrepo":
		return "serverlessapplicationrepository"
	case "discovery":
		return "applicationdiscoveryservice"
	case "lexmodels":
		return "lexmodelbuildingservice"
	case "lexruntime":
		return "lexruntimeservice"
	}
	return name
}
