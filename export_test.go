package fleetwright

import "github.com/fleetwright/fleetwright/store"

// StoreOf lets tests look behind the services.
func StoreOf(f *Fleet) store.Store { return f.cfg.Store }

// KeySpaces are the services and their kinds of records that fsck knows, as "service/kind"; "service" for those whose kinds it does not tell apart.
func KeySpaces() (out []string) {
	for name, s := range spaces() {
		if len(s.kinds) == 0 {
			out = append(out, name)
		}
		for kind := range s.kinds {
			out = append(out, name+"/"+kind)
		}
	}
	return out
}
