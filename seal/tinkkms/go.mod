module github.com/fleetwright/fleetwright/seal/tinkkms

go 1.26.0

require github.com/fleetwright/fleetwright v0.0.0

require (
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/tink-crypto/tink-go/v2 v2.9.0 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace github.com/fleetwright/fleetwright => ../..
