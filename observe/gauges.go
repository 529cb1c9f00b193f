package observe

import "time"

// Gauges are how a control plane stands at the moment of asking. They are this process's: where several control planes share a store, each has its part.
type Gauges struct {
	At time.Time // when they were read

	Connected int // nodes with a connection here
	Leases    int // held here; of the 16 shards of commands, of automations, parameters, inventory …

	Commands  int           // active ones that are owned here
	Pending   int           // their targets whose turn has not come
	Outbox    int           // their invocations that wait for their node: offered or delayed, and not answered
	Delayed   int           // of these, those whose node does not answer and that hold no slot
	Running   int           // their invocations that their node was told to run and that have not ended
	Oldest    time.Duration // how long the longest waiting of the outbox waits; 0 when it is empty
	OldestIn  string        // the command that it belongs to, for a person; "" when the outbox is empty. Never a label
	Unwritten int           // commands whose last commit failed and that try again
	Foreign   int           // commands and automations that are owned here but were written by a newer release: they wait for a control plane of that release

	AuditWaiting int           // entries of reads that are not stored yet
	AuditLag     time.Duration // how long the oldest of them waits
	AuditDropped uint64        // entries of reads that were lost, since the start

	DiskFree int64 // bytes that the store's file system has left; -1 where that is not known
	ReadOnly error // why the store takes no writes at present; nil when it does, or when that is not known

	Admission Admission // of the transports that admit nodes, together
}

// Admission counts how nodes came in, since the start.
type Admission struct {
	Pending   int    // handshakes under way now
	Accepted  uint64 // handshakes that ended well
	Refused   uint64 // for an unknown node or a wrong key
	Throttled uint64 // sent away until later: a herd
	Replaced  uint64 // connections that gave way to a newer one of the same node
	Busy      uint64 // messages not taken, the node's queue being full
}

// NodeGauges are how an agent stands after its last event.
type NodeGauges struct {
	Connected      bool
	Synced         bool // the control plane's clock is known: without it nothing starts
	JournalFails   bool // the journal could not be written: nothing starts
	Running        int  // commands that have begun and not ended
	Queued         int  // commands that wait
	Unacknowledged int  // commands with a report that the control plane has not confirmed
	Tombstones     int  // ended commands that are remembered so that they never start again
	SpoolBytes     int64
	DiskFree       int64 // -1 where that is not known
	Epoch          uint64
}
