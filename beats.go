package fleetwright

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// storeLimit is how long a loop may wait for the store in one round before it is called stuck: more than any driver waits for its database, or a first read of everything takes.
const storeLimit = time.Minute

// beats are the signs of life of the loops of Run. A loop gives one at the beginning of each round, whatever came of the last one: a store that is away makes rounds fail and no loop stuck.
type beats struct {
	now func() time.Time
	mu  sync.Mutex
	all map[string]sign
}

type sign struct {
	at     time.Time
	period time.Duration
}

// of returns what the loop of that name calls in each round, with the time after which the next one begins.
func (b *beats) of(name string) func(period time.Duration) {
	return func(period time.Duration) {
		now := b.now()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all[name] = sign{now, period}
	}
}

// end forgets a loop that has ended.
func (b *beats) end(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, name)
}

// stuck returns the names of the loops that have not come round for three periods and a store's limit.
func (b *beats) stuck() (names []string) {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, s := range b.all {
		if silent := now.Sub(s.at); silent > 3*s.period+storeLimit {
			names = append(names, name+" for "+short(silent))
		}
	}
	slices.Sort(names)
	return names
}

// checkStuck is nil when every loop comes round.
func (f *Fleet) checkStuck() *HealthCheck {
	names := f.beats.stuck()
	if len(names) == 0 {
		return nil
	}
	return &HealthCheck{Name: "loops", Text: "stuck: " + strings.Join(names, ", "), Do: "look whether the store answers; restart this control plane: another one, or the restarted one, goes on"}
}
