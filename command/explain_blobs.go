package command

import (
	"encoding/json"
	"errors"

	"github.com/fleetwright/fleetwright/store/key"
)

// OutputBlobs returns the keys of the blobs that a stored stream consists of, in order: what a backup has to copy and a check has to find. payload is that of the record under
// tenant/"command"/"stream"/command/node/stream.
func OutputBlobs(tenant, id, node, streamID string, payload []byte) ([]string, error) {
	var st stream
	if err := json.Unmarshal(payload, &st); err != nil {
		return nil, err
	}
	out := make([]string, 0, len(st.Pieces))
	for i, from := range st.Pieces {
		to := st.End
		if i+1 < len(st.Pieces) {
			to = st.Pieces[i+1]
		}
		if from < 0 || to <= from {
			return nil, errors.New("command: the pieces of the stream are not in order")
		}
		out = append(out, pieceBlob(tenant, id, node, streamID, from, to))
	}
	return out, nil
}

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
