package gather

import (
	"context"
	"strings"

	"github.com/fleetwright/fleetwright/inventory"
)

// What tests look at from outside.
var (
	ParseSnaps = parseSnaps
	ParseUnits = parseUnits
	Cut        = cut
)

func ReadDpkg(text string) (all []inventory.Entry, err error) {
	err = readDpkg(context.Background(), strings.NewReader(text), false, func(e inventory.Entry) { all = append(all, e) })
	return all, err
}
