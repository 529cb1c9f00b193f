// Package pgstore is the store in a PostgreSQL database (15 or newer): for a control plane of several processes, which all open the same store.
//
//	pool, err := pgxpool.New(ctx, "postgres://fleet@db.example/fleet")
//	if err != nil {
//		return err
//	}
//	defer pool.Close()
//	s, err := pgstore.Open(ctx, pool, "main", nil)
//	if err != nil {
//		return err
//	}
//	defer s.Close()
//
// # How an Update commits
//
// A store is one table of keys and values and one transaction-level advisory lock. Commits of all processes take place one after another under that lock;
// each carries all Updates of its process that were waiting (there is no window to wait for).
//
//  1. The function of an Update runs on a snapshot of its own (REPEATABLE READ), without the lock. This run only learns what it reads. If it fails,
//     or writes nothing, that is the outcome: it saw one state. If it reads nothing, its writes are good in any state, and it does not run again.
//  2. One message to the server begins a transaction (READ COMMITTED: what waited for the lock must not look at an older snapshot), takes the lock
//     and fetches again, for all Updates of the batch, the keys and ranges that were learnt. While the lock is held nothing else changes.
//  3. Every function runs again, one after another, each on its caller's goroutine and over the writes of those before it. A read of what was not fetched,
//     because the state has changed since, asks the database.
//  4. One message writes and commits. It also raises a number that belongs to this Store, from the value that it must have.
//
// That is three round trips for an Update that reads and writes, however many share them, and one for a batch that only writes. Nothing is ever
// validated or retried because of others, so that hot keys and long scans cost no more than cold ones.
//
// # Work that several processes share
//
// An Update costs its three round trips whatever it takes, so let one goroutine of each process take k pieces of what is due in one Update (a Scan with that limit), and hand them to the
// process's workers; not each worker one. Take k = 100 unless you know better. Two processes of four workers each claimed 13,000 pieces a second with k = 10 and 52,000 with k = 100 over a
// socket, on two quiet processors; with a millisecond more of round trip 2,100 and 16,500. What a process has in hand when it dies waits until its lease ends: k should be no more than its workers
// do in a third of that time.
//
// # What can go wrong
//
// If the answer to a commit is lost, the Store connects again, takes the lock, which the old transaction held until it ended, and looks at its number. So
// the Update returns the true outcome, or runs again. The number is raised in passing, so that a message that still travels
// finds another than it must and changes nothing. [store.ErrCommitUnknown] is left for a database that does not come back within Options.Answer.
//
// A process that is frozen while it has the lock loses it after Options.Hold: the server ends a session that is idle in a transaction, and if it does not (a session that
// sends and is not read), whoever waits in vain twice for the same transaction ends it, for which all processes should use the same role. The frozen process finds its transaction gone and runs again.
//
// A failover to a copy is right if the copy has what was acknowledged: replicate synchronously, and connect to the primary only
// (target_session_attrs=read-write). synchronous_commit is switched on if it is off by default; fsync cannot be, leave it on.
//
// # Limits
//
// All commits of one store are one after another; for more, use more stores. Keys are bytea, compared bytewise whatever the database's collation.
// Watch hears of other processes' commits by LISTEN; a pooler that hands out transactions needs Options.NoListen.
package pgstore
