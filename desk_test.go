package fleetwright

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
)

// TestDeskDoesRepeatedQuestionsOnceAndFewAtATime: repeats of an open question are dropped, repeats of an answered one get the same answer, and one node cannot take all places.
func TestDeskDoesRepeatedQuestionsOnceAndFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		calls := 0
		gate := make(chan struct{})
		d := newDesk(map[string]NodeOp{"Op": func(context.Context, string, string, []byte) ([]byte, error) {
			mu.Lock()
			calls++
			n := calls
			mu.Unlock()
			<-gate
			return fmt.Append(nil, n), nil
		}}, time.Now)
		body, err := message.Pack(nil)
		require.NoError(t, err)
		var sent []message.Answer
		ask := func(node, id string) {
			d.take(t.Context(), transport.Address{Tenant: "default", Name: node}, message.Ask{ID: id, Op: "Op", Body: body},
				func(_ context.Context, r message.Answer) { mu.Lock(); sent = append(sent, r); mu.Unlock() })
			synctest.Wait()
		}
		ask("a", "1")
		ask("a", "1")
		require.Equal(t, 1, calls, "it is being answered")
		for i := range 2 * maxPerNode {
			ask("b", fmt.Sprint(i))
		}
		require.Equal(t, 1+maxPerNode, calls, "b has its share")
		close(gate)
		d.wg.Wait()
		require.Len(t, sent, 1+maxPerNode)
		ask("a", "1")
		require.Equal(t, 1+maxPerNode, calls, "the answer was lost and is given again")
		require.Contains(t, sent[:len(sent)-1], sent[len(sent)-1])
		ask("c", "1")
		require.Equal(t, 2+maxPerNode, calls, "another node's question of the same id is another")
		time.Sleep(keepAnswers)
		ask("a", "1")
		require.Equal(t, 3+maxPerNode, calls, "nothing is kept for ever")
		d.wg.Wait()
		require.Empty(t, d.open)
		require.Empty(t, d.byNode)
	})
}
