package gather_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/inventory"
	"github.com/fleetwright/fleetwright/inventory/gather"
)

// plane is a control plane that keeps the contents of one node and obeys AWS's rule of hashes. It changes nothing when it refuses.
type plane struct {
	deltas  bool // it knows deltas
	content map[string][]inventory.Entry
	hash    map[string]string
	reports []inventory.Report
	fail    []error // of the next calls; a nil one is none
	lose    bool    // the next answer is lost although the report was stored
}

func newPlane(deltas bool) *plane {
	return &plane{deltas: deltas, content: map[string][]inventory.Entry{}, hash: map[string]string{}}
}

func (p *plane) PutInventory(_ context.Context, r inventory.Report) (inventory.Ack, error) {
	p.reports = append(p.reports, r)
	if len(p.fail) > 0 {
		err := p.fail[0]
		p.fail = p.fail[1:]
		if err != nil {
			return inventory.Ack{}, err
		}
	}
	if err := (*inventory.Limits)(nil).ValidateReport(r); err != nil {
		return inventory.Ack{}, err
	}
	content := map[string][]inventory.Entry{}
	for _, it := range r.Items {
		switch known := p.hash[it.TypeName]; {
		case it.Content != nil:
			content[it.TypeName] = it.Content
		case known == it.ContentHash:
			content[it.TypeName] = p.content[it.TypeName]
		case it.Delta != nil && p.deltas:
			c, err := it.Delta.Apply(p.content[it.TypeName], known, it.ContentHash)
			if err != nil {
				return inventory.Ack{}, err
			}
			content[it.TypeName] = c
		default:
			return inventory.Ack{}, fault.New("plane", inventory.ItemContentMismatch, "send the content")
		}
	}
	for k, c := range content {
		p.content[k], p.hash[k] = c, inventory.ContentHash(c)
	}
	if p.lose {
		p.lose = false
		return inventory.Ack{}, fault.New("plane", fault.OutcomeUnknown, "the answer was lost")
	}
	return inventory.Ack{}, nil
}

type memory struct {
	state gather.State
	fail  bool
	saves int
}

func (m *memory) Load(context.Context) (gather.State, error) { return m.state, nil }

func (m *memory) Save(_ context.Context, s gather.State) error {
	if m.fail {
		return fault.New("memory", fault.ServiceUnavailable, "the disk is full")
	}
	m.saves++
	m.state = gather.State{}
	for k, v := range s {
		m.state[k] = v
	}
	return nil
}

func apps(n int, changed ...int) inventory.Item {
	content := make([]inventory.Entry, n)
	for i := range content {
		content[i] = inventory.Entry{"Name": fmt.Sprintf("package-%03d", i), "Version": "1.0", "Summary": strings.Repeat("s", 50)}
		if slices.Contains(changed, i) {
			content[i]["Version"] = "2.0"
		}
	}
	return inventory.NewItem(inventory.Application, noon, content)
}

func rack(v string) inventory.Item {
	return inventory.NewItem("Custom:Rack", noon, []inventory.Entry{{"Rack": v}})
}

func TestOnlyWhatChangedTravels(t *testing.T) {
	p, j := newPlane(true), &memory{}
	s := gather.Sender{Node: "mi-1", Reporter: p, Journal: j}
	send := func(items ...inventory.Item) gather.Sent {
		sent, err := s.Send(t.Context(), items)
		require.NoError(t, err)
		for _, it := range items {
			require.Equal(t, it.ContentHash, p.hash[it.TypeName], "the control plane has it")
		}
		return sent
	}
	first := send(apps(200), rack("A"))
	require.Equal(t, gather.Sent{Calls: 1, Full: 2, Bytes: first.Bytes, Entries: 201}, first)
	require.Equal(t, "mi-1", p.reports[0].InstanceID)

	again := send(apps(200), rack("A"))
	require.Equal(t, gather.Sent{Calls: 1, Hashed: 2, Entries: 201}, again)
	require.Equal(t, 1, j.saves, "nothing new to remember")

	one := send(apps(200, 7), rack("A"))
	require.Equal(t, 1, one.Changed)
	require.Equal(t, 2, one.ChangedNumber)
	require.Less(t, one.Bytes, 300)
	require.Less(t, 50*one.Bytes, first.Bytes)

	small := send(rack("B"))
	require.Equal(t, 1, small.Full, "a delta that is no smaller than the content is none")

	s.Whole = true
	require.Equal(t, 1, send(apps(200)).Full, "as AWS's agent")
	require.Zero(t, send().Calls, "nothing to report, no call")
}

func TestFullContentWhenAsked(t *testing.T) {
	for name, lose := range map[string]func(p *plane){
		"the control plane forgot":   func(p *plane) { clear(p.content); clear(p.hash) },
		"it was restored to earlier": func(p *plane) { p.content[inventory.Application] = nil; p.hash[inventory.Application] = "x" },
		"it does not know deltas":    func(p *plane) { p.deltas = false },
		"it says invalid content":    func(p *plane) { p.fail = []error{fault.New("p", inventory.InvalidItemContent, "no")} },
		"its record was damaged":     func(p *plane) { p.content[inventory.Application] = p.content[inventory.Application][1:] },
	} {
		p := newPlane(true)
		s := gather.Sender{Node: "mi-1", Reporter: p, Journal: &memory{}}
		_, err := s.Send(t.Context(), []inventory.Item{apps(100), rack("A")})
		require.NoError(t, err)
		lose(p)
		sent, err := s.Send(t.Context(), []inventory.Item{apps(100, 3), rack("A")})
		require.NoError(t, err, name)
		require.True(t, sent.Asked, name)
		require.Equal(t, 2, sent.Full)
		require.Equal(t, apps(100, 3).ContentHash, p.hash[inventory.Application])
		sent, err = s.Send(t.Context(), []inventory.Item{apps(100, 3), rack("A")})
		require.NoError(t, err)
		require.Equal(t, 2, sent.Hashed, name)
	}
}

func TestNothingIsRememberedThatWasNotAccepted(t *testing.T) {
	p, j := newPlane(true), &memory{}
	s := gather.Sender{Node: "mi-1", Reporter: p, Journal: j}
	p.fail = []error{fault.New("p", fault.Throttling, "later")}
	_, err := s.Send(t.Context(), []inventory.Item{apps(100)})
	require.Equal(t, fault.Throttling, fault.CodeOf(err))
	require.Empty(t, j.state)
	require.Len(t, p.reports, 1, "it is not tried again at once")

	p.fail = []error{nil, fault.New("p", fault.AccessDenied, "no")}
	s.MaxCall = 1000
	_, err = s.Send(t.Context(), []inventory.Item{apps(100), rack("A")})
	require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	require.Len(t, j.state, 1, "what was accepted before is remembered")
	s.MaxCall = 0

	p.lose = true
	_, err = s.Send(t.Context(), []inventory.Item{apps(100, 1), rack("A")})
	require.Equal(t, fault.OutcomeUnknown, fault.CodeOf(err))
	sent, err := s.Send(t.Context(), []inventory.Item{apps(100, 1), rack("A")})
	require.NoError(t, err)
	require.Equal(t, 1, sent.Changed, "the same change once more, which the control plane has: its hash tells")
	require.False(t, sent.Asked)

	j.fail = true
	_, err = s.Send(t.Context(), []inventory.Item{apps(100, 2)})
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	j.fail = false
	sent, err = s.Send(t.Context(), []inventory.Item{apps(100, 3)})
	require.NoError(t, err)
	require.True(t, sent.Asked, "the control plane is ahead of the journal")

	_, err = s.Send(t.Context(), []inventory.Item{{TypeName: "AWS:Nothing"}})
	require.Equal(t, inventory.InvalidTypeName, fault.CodeOf(err))
}

func TestLargeReportsAreSplit(t *testing.T) {
	p := newPlane(true)
	s := gather.Sender{Node: "mi-1", Reporter: p, MaxCall: 10_000}
	items := []inventory.Item{apps(100), rack("A")}
	for i := range 70 {
		items = append(items, inventory.NewItem(fmt.Sprint("Custom:T", i), noon, []inventory.Entry{{"a": "b"}}))
	}
	s.Limits = &inventory.Limits{Items: 15}
	sent, err := s.Send(t.Context(), items)
	require.NoError(t, err)
	require.Equal(t, 6, sent.Calls, "one for the large type, 15 types in each of the others")
	require.Len(t, p.hash, 72)
}

func TestLargeTypesTravelInPieces(t *testing.T) {
	for _, deltas := range []bool{true, false} {
		p, j := newPlane(deltas), &memory{}
		s := gather.Sender{Node: "mi-1", Reporter: p, Journal: j, MaxItem: 4000}
		large := []inventory.Item{rack("A"), apps(100), inventory.NewItem("Custom:Z", noon, []inventory.Entry{{"a": "b"}})}
		sent, err := s.Send(t.Context(), large)
		require.NoError(t, err)
		require.Equal(t, 3, sent.Full)
		require.Equal(t, large[1].ContentHash, p.hash[inventory.Application])
		require.Len(t, p.content[inventory.Application], 100)
		for _, r := range p.reports {
			for _, it := range r.Items {
				require.True(t, !deltas || len(it.Content) < 50, "no call is larger than that")
			}
		}
		sent, err = s.Send(t.Context(), large)
		require.NoError(t, err)
		require.Equal(t, 3, sent.Hashed)

		clear(p.hash)
		sent, err = s.Send(t.Context(), large)
		require.NoError(t, err)
		require.True(t, sent.Asked)
		require.Equal(t, large[1].ContentHash, p.hash[inventory.Application])

		p.fail = []error{nil, nil, fault.New("p", fault.Throttling, "later")}
		_, err = s.Send(t.Context(), []inventory.Item{apps(100, allOf(100)...)})
		if deltas {
			require.Equal(t, fault.Throttling, fault.CodeOf(err))
		}
		p.fail = nil
		_, err = s.Send(t.Context(), []inventory.Item{apps(100)})
		require.NoError(t, err)
		require.Equal(t, large[1].ContentHash, p.hash[inventory.Application], "half a report does no harm")
	}
}

func allOf(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// Whatever is sent in whatever order, lost, refused or forgotten on either side: once a Send succeeds the control plane has exactly what the node has.
func TestControlPlaneHasWhatTheNodeHas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, j := newPlane(rapid.Bool().Draw(t, "knows deltas")), &memory{}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			s := gather.Sender{Node: "mi-1", Reporter: p, Journal: j, Whole: rapid.Bool().Draw(t, "whole"), MaxItem: rapid.SampledFrom([]int{0, 1000}).Draw(t, "most")}
			switch rapid.SampledFrom([]string{"", "", "forget", "journal lost", "lost answer", "refused", "full disk"}).Draw(t, "mishap") {
			case "forget":
				clear(p.content)
				clear(p.hash)
			case "journal lost":
				j.state = nil
			case "lost answer":
				p.lose = true
			case "refused":
				p.fail = []error{fault.New("p", fault.Throttling, "later")}
			case "full disk":
				j.fail = true
			}
			items := []inventory.Item{apps(40, rapid.SliceOfN(rapid.IntRange(0, 39), 0, 3).Draw(t, "changed")...), rack(rapid.SampledFrom([]string{"A", "B"}).Draw(t, "rack"))}
			_, err := s.Send(context.Background(), items)
			j.fail, p.fail, p.lose = false, nil, false
			if err != nil {
				continue
			}
			for _, it := range items {
				require.Equal(t, it.ContentHash, p.hash[it.TypeName])
				require.Equal(t, string(inventory.Canonical(it.Content)), string(inventory.Canonical(p.content[it.TypeName])))
			}
		}
	})
}

func TestFileJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "inventory.json")
	j := gather.FileJournal(path)
	s, err := j.Load(t.Context())
	require.NoError(t, err)
	require.Empty(t, s)
	want := gather.State{inventory.Application: inventory.Know(apps(3).Content), "Custom:A": inventory.Know(nil)}
	require.NoError(t, j.Save(t.Context(), want))
	got, err := j.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, want[inventory.Application], got[inventory.Application])
	require.Equal(t, want["Custom:A"].ContentHash, got["Custom:A"].ContentHash)
	list, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, list, 1, "nothing is left beside it")
	info, err := list[0].Info()
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		got, err := j.Load(t.Context())
		require.NoError(t, err)
		if got != nil { // a blank or the case of a key may differ without harm
			require.Equal(t, want[inventory.Application], got[inventory.Application])
		}
	}
	require.NoError(t, os.Truncate(path, int64(len(b)/2)))
	got, err = j.Load(t.Context())
	require.NoError(t, err)
	require.Nil(t, got, "a torn file is none")
	require.Error(t, gather.FileJournal(filepath.Join(path, "x")).Save(t.Context(), want))
}
