package feed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/memstore"
)

func Example() {
	ctx, st, f := context.Background(), memstore.New(), feed.New(nil)
	topic := key.New("default").Str("command").Str("events").Str("c1")
	_ = st.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := f.Append(ctx, tx, topic,
			feed.Event{Time: time.Unix(0, 0), Kind: "Sent"},
			feed.Event{Time: time.Unix(1, 0), Kind: "Finished", Data: json.RawMessage(`{"status":"Success"}`)})
		return err
	})
	for e, err := range f.Subscribe(ctx, st, topic, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(e.Seq, e.Kind, len(e.Data))
		if e.Kind == "Finished" {
			break
		}
	}
	// Output:
	// 1 Sent 0
	// 2 Finished 20
}
