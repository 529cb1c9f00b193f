package patch_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/patch"
)

// The sweep is exact: it says the same as an evaluation of every single day does.
func TestSweepAgreesWithEveryDay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, patch.AmazonLinux2, patch.Debian, patch.Windows)
		more := drawWorld(rt, w.baseline.System())
		first, second, until := date("2024-06-01"), date("2024-06-20"), date("2024-08-10")
		archives := []patch.Archive{{At: second, Available: more.available}, {At: first, Available: w.available}}
		got, err := patch.Sweep(w.baseline, w.facts, archives, until, nil)
		require.NoError(rt, err)
		for _, s := range got {
			var want time.Time
			for day := first; !day.After(until) && want.IsZero(); day = day.AddDate(0, 0, 1) {
				now := w
				now.installed, now.now = nil, day
				if !day.Before(second) {
					now.available = more.available
				}
				x := now.evaluate(rt).Explain(s.Key)
				if x == nil {
					continue
				}
				for _, v := range x.Children {
					if !isVersion(v.What, s.Version) {
						continue
					}
					if s.Advisory == "" && len(v.Children) > 0 && v.Children[0].What != "without a notice" && w.baseline.System() == patch.AmazonLinux2 {
						continue
					}
					ok := v.OK
					if s.Advisory != "" {
						ok = false
						for _, n := range v.Children {
							ok = ok || n.What == "under notice "+s.Advisory && n.OK
						}
					}
					if ok {
						want = day
					}
				}
			}
			require.Equal(rt, want, s.Approved, "%+v", s)
		}
	})
}

func isVersion(what, version string) bool {
	return what == "version "+version || what == "version "+version+" in r" || what == "version "+version+" in s"
}

func TestTimelineAgreesWithEveryDay(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, patch.AmazonLinux2, patch.Debian, patch.Windows)
		more := drawWorld(rt, w.baseline.System())
		first, second, until := date("2024-06-01"), date("2024-06-20"), date("2024-07-30")
		changes, err := patch.Timeline(w.baseline, w.facts, w.installed, []patch.Archive{{At: first, Available: w.available}, {At: second, Available: more.available}}, until)
		require.NoError(rt, err)
		now := map[patch.Key]patch.State{}
		i := 0
		for day := first; !day.After(until); day = day.AddDate(0, 0, 1) {
			for ; i < len(changes) && !changes[i].At.After(day); i++ {
				require.Equal(rt, now[changes[i].Key], changes[i].From)
				now[changes[i].Key] = changes[i].To
				if changes[i].To == "" {
					delete(now, changes[i].Key)
				}
			}
			today := w
			today.now = day
			if !day.Before(second) {
				today.available = more.available
			}
			states := map[patch.Key]patch.State{}
			for _, p := range today.evaluate(rt).Patches {
				states[p.Key] = p.State
			}
			require.Equal(rt, states, now, day)
		}
		require.Len(rt, changes, i)
	})
}

func TestSweepMovingNotices(t *testing.T) {
	at := func(day, updated string) patch.Archive {
		return patch.Archive{At: date(day), Available: []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1",
			Advisories: []*patch.Advisory{{ID: "A-1", Type: "security", Severity: "Critical", Updated: date(updated), CVEs: []string{"CVE-2024-1"}}}}}}
	}
	b := patch.PredefinedDefault(patch.AmazonLinux2)
	moving := []patch.Archive{at("2024-06-01", "2024-06-01"), at("2024-06-06", "2024-06-05"), at("2024-06-11", "2024-06-10"), at("2024-06-16", "2024-06-15")}
	until := date("2024-06-20")
	got, err := patch.Sweep(b, patch.NodeFacts{}, moving, until, patch.ForCVE("CVE-2024-1"))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, []string{"2024-06-01", "2024-06-05", "2024-06-10", "2024-06-15"}, got[0].Dates)
	require.True(t, got[0].Moving(until))
	require.Equal(t, date("2024-06-08"), got[0].Unmoved)
	require.Equal(t, date("2024-06-22"), got[0].Pending)
	require.Equal(t, []string{"CVE-2024-1"}, got[0].CVEs)

	still, err := patch.Sweep(b, patch.NodeFacts{}, moving[:1], until, nil)
	require.NoError(t, err)
	require.False(t, still[0].Moving(until))
	require.Equal(t, date("2024-06-08"), still[0].Approved)

	none, err := patch.Sweep(b, patch.NodeFacts{}, moving, until, patch.ForCVE("CVE-2024-2"))
	require.NoError(t, err)
	require.Empty(t, none)

	gone, err := patch.Sweep(b, patch.NodeFacts{}, append(moving[:2:2], patch.Archive{At: date("2024-06-07")}), until, nil)
	require.NoError(t, err)
	require.True(t, gone[0].Gone)
	require.True(t, gone[0].Approved.IsZero())

	_, err = patch.Sweep(b, patch.NodeFacts{}, []patch.Archive{moving[0], moving[0]}, until, nil)
	require.ErrorContains(t, err, "two archives")
	_, err = patch.Timeline(b, patch.NodeFacts{}, nil, []patch.Archive{moving[0], moving[0]}, until)
	require.ErrorContains(t, err, "two archives")
}

func TestCompareTellsWhatABaselineChanges(t *testing.T) {
	installed := []patch.Installed{{Name: "foo", Arch: "x", Version: "1.0-1"}, {Name: "bar", Arch: "x", Version: "1.0-1"}}
	available := []patch.Available{{Name: "foo", Arch: "x", Version: "1.1-1", Advisories: []*patch.Advisory{{ID: "A-1", Type: "security", Severity: "Critical", Updated: date("2024-07-01")}}}}
	before, err := patch.Evaluate(patch.PredefinedDefault(patch.AmazonLinux2), patch.NodeFacts{}, installed, available, date("2024-07-14"))
	require.NoError(t, err)
	b := patch.PredefinedDefault(patch.AmazonLinux2)
	b.RejectedPatches = []string{"foo-*"}
	after, err := patch.Evaluate(b, patch.NodeFacts{}, installed, available, date("2024-07-14"))
	require.NoError(t, err)
	require.Equal(t, []patch.Change{{At: date("2024-07-14"), Key: patch.Key{Name: "foo", Arch: "x"}, From: patch.StateMissing, To: patch.StateInstalledOther, FromWanted: "1.1-1"}}, patch.Compare(before, after))
	require.Empty(t, patch.Compare(after, after))
}
