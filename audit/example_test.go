package audit_test

import (
	"context"
	"fmt"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func Example() {
	st := memstore.New()
	log := audit.New(audit.Config{Store: st, Writer: "plane-1", Authorize: access.AllowAll{}})
	ctx := access.With(context.Background(), access.Principal{Name: "alice"})
	err := st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.Put([]byte("effect"), nil); err != nil {
			return err
		}
		return log.Record(ctx, tx, audit.Entry{Action: "ssm:SendCommand", Resource: "document/AWS-RunShellScript"})
	})
	fmt.Println(err)
	entries, _, err := log.List(ctx, audit.Filter{}, nil)
	fmt.Println(entries[0].Principal, entries[0].Action, entries[0].Outcome, err)
	report, err := log.Verify(ctx, nil)
	fmt.Println(report.Entries, err)
	// Output:
	// <nil>
	// alice ssm:SendCommand Success <nil>
	// 1 <nil>
}
