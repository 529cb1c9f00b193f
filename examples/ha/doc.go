//go:build unix

// Command ha shows a fleet with several control planes, and is the program with which to run one.
//
//	go run ./examples/ha                   everything on this machine, broken on purpose, in less than a minute
//	go run ./examples/ha -keep -rounds 0   leaves it running, for you to break
//	go run ./examples/ha -nodes 40 -rounds 5 -seed 7
//
// It starts a PostgreSQL (or takes -postgres URL), a NATS server (or -nats URL), three control planes and a dozen nodes, each a process of its own: half of the nodes come over HTTPS, spread over
// the control planes, half by NATS. Commands are sent all the time, to whichever control plane answers. Then a control plane is killed in the middle of a command, another is
// frozen for three lease periods and wakes up believing that nothing happened, and the broker is killed with all that it has (it keeps nothing on a disk). Each node leaves a line in a file when it
// starts a command, and these lines are what the verdict is made of: one for each command and node, no more and no less. The exit code is 0 when everything is as promised, else 1.
//
// All processes end with the one that started them, however it ends; on Linux also those that are frozen then.
//
// # On several machines
//
// Make what the control planes have in common once, and copy the directory to each machine:
//
//	ha init -dir ha-data -hosts a.example,b.example,c.example
//
// Then, on each:
//
//	ha plane -name a -dir ha-data -listen :8443 -postgres postgres://fleet@db.example/fleet?target_session_attrs=read-write
//
// and on the machines that are to be managed, with an activation that fleetctl made (fleetctl -profile, or -server https://a.example:8443 -ca ha-data/tls/ca.pem
// -token-file ha-data/admin.token activations create -code-file web.code):
//
//	ha agent -server https://a.example:8443,https://b.example:8443,https://c.example:8443 -ca ca.pem -activation ID -code-file web.code
//
// An agent goes to the next control plane when its own fails or is stopped. Callers go to any: a command that one control plane accepted is carried out by whichever
// owns its part, on nodes that are connected to whichever. What a control plane has in hand belongs to it by a lease: when it dies, the others have it within -lease.
// Stop one with SIGTERM before you take it away: it gives everything back at once.
//
// A control plane needs no disk but for -dir, which it only reads:
//
//   - Its records, the fleet's keys among them, are in the database. They are sealed by the key file (-keys), of which all need a copy; a key service (seal/tinkkms, aws/kms) in its place
//     needs no file to copy.
//   - The output of commands is in the database too (blob/storeblob), so that every control plane can show it, and in the database's backups. For packages of gigabytes give
//     fleetwright.Config.Blobs an object store, or a directory that all machines mount (blob/dirblob, Options.Shared).
//   - Replicate the database synchronously: what was acknowledged must be there after a failover.
//
// For a load balancer, an orchestrator or a person, over HTTPS and without credentials:
//
//	GET /healthz   200 as long as the process works
//	GET /readyz    200 when nodes and callers may be sent here: the store answers, the lease is alive, everything runs. 503 with a line that says what is missing
//	               before that, when the database is away, and as soon as it was told to stop
//
// and with the token of a caller who may list nodes:
//
//	GET /status    JSON: its shards and nodes, the writes of it that were refused, and which other control planes there are
//
// Flags can stand in the environment: FLEETWRIGHT_POSTGRES for -postgres, which is where an URL with a password belongs.
package main
