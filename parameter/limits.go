package parameter

import (
	"strconv"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Limits are quotas that are AWS's business and not physics. Zero is AWS's value; -1 lifts a quota as far as the store allows.
type Limits struct {
	Standard      int // parameters of tier Standard of a tenant: 10,000 (S14)
	Advanced      int // of tier Advanced: 100,000
	StandardValue int // bytes of a value of tier Standard: 4,096; never more than 64 KiB
	AdvancedValue int // of tier Advanced: 8,192; never more than 64 KiB
	Versions      int // that are kept of a parameter: 100 (S16); 2 at least, never more than 300
	Tags          int // of a parameter: 50; never more than 200
	// Throughput is how many calls of GetParameter, GetParameters and GetParametersByPath a tenant may make in a second (S34); 0, other than elsewhere, is as many as it likes.
	// See AWSLimits.
	Throughput int
}

// AWSLimits is the profile of an AWS account as it is made: every zero value, and 40 reads a second (S34).
func AWSLimits() Limits { return Limits{Throughput: 40} }

// NoLimits is the profile without quotas.
func NoLimits() Limits {
	return Limits{Standard: -1, Advanced: -1, StandardValue: -1, AdvancedValue: -1, Versions: -1, Tags: -1}
}

const (
	unlimited    = 1<<31 - 1
	mostValue    = 64 << 10
	mostVersions = 300
	mostTags     = 200
)

func quota(n, aws, most int) int {
	switch {
	case n == 0:
		return aws
	case n < 0 || n > most:
		return most
	}
	return n
}

func (l Limits) filled() Limits {
	l.Standard = quota(l.Standard, 10_000, unlimited)
	l.Advanced = quota(l.Advanced, 100_000, unlimited)
	l.StandardValue = quota(l.StandardValue, standardSize, mostValue)
	l.AdvancedValue = max(l.StandardValue, quota(l.AdvancedValue, advancedSize, mostValue))
	l.Versions = max(2, quota(l.Versions, 100, mostVersions))
	l.Tags = quota(l.Tags, 50, mostTags)
	return l
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// limiter lets each tenant make so many reads a second, as many at once as in one second.
type limiter struct {
	perSecond int

	mu      sync.Mutex
	tenants map[string]*bucket
}

type bucket struct {
	at   time.Time
	left float64
}

func (l *limiter) allow(op, tenant string, clock func() time.Time) error {
	if l.perSecond <= 0 {
		return nil
	}
	now := clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.tenants[tenant]
	if b == nil {
		if l.tenants == nil {
			l.tenants = map[string]*bucket{}
		}
		b = &bucket{at: now, left: float64(l.perSecond)}
		l.tenants[tenant] = b
	}
	if d := now.Sub(b.at); d > 0 {
		b.left, b.at = min(float64(l.perSecond), b.left+d.Seconds()*float64(l.perSecond)), now
	}
	if b.left < 1 {
		return fault.New(op, fault.Throttling, "more than %d reads a second: slow down, or raise Limits.Throughput", l.perSecond)
	}
	b.left--
	return nil
}
