package parameter_test

import "os"

// long makes tests do their larger counts.
var long = os.Getenv("FLEETWRIGHT_LONG") != ""
