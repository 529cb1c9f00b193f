package patch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/patch"
)

func TestEffectivePatches(t *testing.T) {
	notice := func(id, updated string) []*patch.Advisory {
		return []*patch.Advisory{{ID: id, Type: "security", Severity: "Critical", Updated: date(updated)}}
	}
	b := patch.PredefinedDefault(patch.AmazonLinux2)
	b.ApprovedPatches, b.ApprovedComplianceLevel = []string{"listed-*"}, patch.LevelHigh
	b.RejectedPatches = []string{"rejected-*"}
	b.Rules[0].Level = patch.LevelCritical
	available := []patch.Available{
		{Name: "waiting", Arch: "x", Version: "1-1", Advisories: notice("A-1", "2024-07-10")},
		{Name: "rejected", Arch: "x", Version: "1-1", Advisories: notice("A-2", "2024-07-01")},
		{Name: "listed", Arch: "x", Version: "1-1", Advisories: notice("A-3", "2024-07-14")},
		{Name: "approved", Arch: "x", Version: "1-1", Advisories: append(notice("A-4", "2024-07-12"), notice("A-5", "2024-07-01")...)},
		{Name: "nothing", Arch: "x", Version: "1-1"},
	}
	got, err := patch.Effective(b, patch.NodeFacts{}, available, date("2024-07-14"))
	require.NoError(t, err)
	require.Equal(t, []patch.EffectivePatch{
		{Patch: &available[3], Advisory: available[3].Advisories[1], Status: patch.StatusApproved, Level: patch.LevelCritical, Approval: date("2024-07-08")},
		{Patch: &available[2], Advisory: available[2].Advisories[0], Status: patch.StatusExplicitApproved, Level: patch.LevelHigh},
		{Patch: &available[1], Status: patch.StatusExplicitRejected, Level: patch.LevelUnspecified},
		{Patch: &available[0], Advisory: available[0].Advisories[0], Status: patch.StatusPendingApproval, Level: patch.LevelUnspecified, Approval: date("2024-07-17")},
	}, got)

	debian := []patch.Available{{Name: "foo", Arch: "x", Version: "1-1", Security: true, Priority: "optional"}, {Name: "bar", Arch: "x", Version: "1-1", Priority: "optional"}}
	got, err = patch.Effective(patch.PredefinedDefault(patch.Debian), patch.NodeFacts{}, debian, date("2024-07-14"))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "foo", got[0].Patch.Name)
	_, err = patch.Effective(&patch.Baseline{OperatingSystem: "PLAN_9"}, patch.NodeFacts{}, nil, date("2024-07-14"))
	require.Error(t, err)
}
