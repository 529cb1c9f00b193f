package inventory

import "github.com/fleetwright/fleetwright/fault"

// AWS's error codes of inventory. fault knows none of them, so their kind is fault.Invalid: the request is to be changed.
const (
	InvalidTypeName          fault.Code = "InvalidTypeNameException"
	InvalidItemContent       fault.Code = "InvalidItemContentException"
	ItemContentMismatch      fault.Code = "ItemContentMismatchException" // the hash is not the stored one's: send the content
	ItemSizeLimitExceeded    fault.Code = "ItemSizeLimitExceededException"
	TotalSizeLimitExceeded   fault.Code = "TotalSizeLimitExceededException"
	SubTypeCountLimit        fault.Code = "SubTypeCountLimitExceededException"
	CustomSchemaCountLimit   fault.Code = "CustomSchemaCountLimitExceededException"
	UnsupportedSchemaVersion fault.Code = "UnsupportedInventorySchemaVersionException"
	UnsupportedItemContext   fault.Code = "UnsupportedInventoryItemContextException"
	InvalidItemContext       fault.Code = "InvalidInventoryItemContextException"
	InvalidGroup             fault.Code = "InvalidInventoryGroupException"
	InvalidAggregator        fault.Code = "InvalidAggregatorException"
	InvalidResultAttribute   fault.Code = "InvalidResultAttributeException"
	InvalidInventoryRequest  fault.Code = "InvalidInventoryRequestException"
	InvalidDeletion          fault.Code = "InvalidDeletionIdException"
	InvalidOption            fault.Code = "InvalidOptionException"
	InvalidFilter                       = fault.InvalidFilter
	InvalidNextToken                    = fault.InvalidNextToken
	InvalidInstanceID                   = fault.InvalidInstanceID
)

// NeedsContent reports whether err asks for the full content: AWS's agent sends it after either code (V9).
func NeedsContent(err error) bool {
	c := fault.CodeOf(err)
	return c == ItemContentMismatch || c == InvalidItemContent
}
