package fleetwright

import "github.com/fleetwright/fleetwright/store"

// StoreOf lets tests look behind the services.
func StoreOf(f *Fleet) store.Store { return f.cfg.Store }
