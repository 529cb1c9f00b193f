package command

import (
	"encoding/json"

	"github.com/fleetwright/fleetwright/store/key"
)

// OutputPrefix returns the key under which all blobs of a command lie.
func OutputPrefix(tenant, id string) string { return outputBlob(tenant, id) }

// ActiveKey returns the key under which a command that has not ended stands in the list that its owner reads; without it nobody goes on with the command.
func ActiveKey(tenant, id string) key.K {
	return activeKey(shardOf(tenant, id)).Str(tenant).Str(id)
}

// IndexKeys returns the keys of the lists in which a stored command must stand. state is the payload of the record under tenant/"command"/"state"/command.
func IndexKeys(tenant, id string, state []byte) (keys []key.K, ended bool, err error) {
	var st State
	if err := json.Unmarshal(state, &st); err != nil {
		return nil, false, err
	}
	keys = append(keys, timeKey(tenant, st.RequestedAt, id))
	if !st.Done() {
		keys = append(keys, ActiveKey(tenant, id))
	}
	return keys, st.Done(), nil
}
