package observe_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/observe"
)

func Example() {
	failures := observe.Func(func(_ context.Context, e observe.Event) {
		if e.Err != nil {
			fmt.Println(e.Kind, e.Command, e.Err)
		}
	})
	o := observe.Tee(nil, failures)
	o.Observe(context.Background(), observe.Event{Kind: observe.Message, Label: "offer", Command: "0f7a1b2c-3d4e-4f5a-8b6c-7d8e9f0a1b2c", Err: context.DeadlineExceeded})
	fmt.Println(observe.TraceParent("default", "0f7a1b2c-3d4e-4f5a-8b6c-7d8e9f0a1b2c")[:35])
	// Output:
	// Message 0f7a1b2c-3d4e-4f5a-8b6c-7d8e9f0a1b2c context deadline exceeded
	// 00-0f7a1b2c3d4e4f5a8b6c7d8e9f0a1b2c
}

func TestTee(t *testing.T) {
	require.Nil(t, observe.Tee())
	require.Nil(t, observe.Tee(nil, nil))
	n := 0
	count := observe.Func(func(context.Context, observe.Event) { n++ })
	observe.Tee(count, nil, count).Observe(t.Context(), observe.Event{})
	require.Equal(t, 2, n)
}

func TestEveryKindHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range observe.Kinds() {
		require.False(t, seen[k.String()], k)
		require.NotEqual(t, "Unknown", k.String())
		seen[k.String()] = true
		e := observe.Event{Kind: k, Tenant: "t", Command: "c", Node: "n", Attempt: 1}
		if observe.ParentID(&e) != [8]byte{} {
			require.NotEqual(t, [8]byte{}, observe.SpanID(&e), "%s lies in a span and is none", k)
		}
	}
	require.Equal(t, "Unknown", observe.Kind(200).String())
}
