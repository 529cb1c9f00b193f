package ssmops

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
)

type hidden struct{ text string }

func (h hidden) Reveal() string               { return h.text }
func (h hidden) MarshalJSON() ([]byte, error) { return []byte(`"***"`), nil }

type inner struct {
	At time.Time `json:"At,omitzero"`
}

type sampleShape struct {
	inner
	Name   string               `json:"Name"`
	Value  hidden               `json:"Value"`
	When   *time.Time           `json:"When,omitempty"`
	List   []inner              `json:"List"`
	Map    map[string]time.Time `json:"Map,omitempty"`
	Skip   string               `json:"-"`
	Raw    []byte               `json:"Raw,omitempty"`
	Plain  map[string]int       `json:"Plain,omitempty"`
	hidden int
}

func TestWireOfServicesShapes(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 500e6, time.UTC)
	v := sampleShape{inner: inner{at}, Name: "<a&b>", Value: hidden{"told"}, When: &at, List: []inner{{}, {at}}, Map: map[string]time.Time{"z": at, "a": {}}, Skip: "x", Raw: []byte("hi"),
		Plain: map[string]int{"n": 1}, hidden: 1}
	b, err := wireOf(&v)
	require.NoError(t, err)
	require.Equal(t, `{"At":1772323200.5,"Name":"<a&b>","Value":"told","When":1772323200.5,"List":[{},{"At":1772323200.5}],"Map":{"a":null,"z":1772323200.5},"Raw":"aGk=","Plain":{"n":1}}`, string(b))

	b, err = wireOf(sampleShape{})
	require.NoError(t, err)
	require.Equal(t, `{"Name":"","Value":"","List":null}`, string(b))
}

func TestJSONIsWhatGoesOverTheWire(t *testing.T) {
	b, err := JSON(struct{ Value parameter.Value }{parameter.Secret(secret.String("told"))})
	require.NoError(t, err)
	require.Equal(t, `{"Value":"told"}`, string(b))
	_, err = JSON(func() {})
	require.Equal(t, fault.InternalServerError, fault.CodeOf(err))
}

func TestTheLineOfAnInvocationTellsWhyItFailed(t *testing.T) {
	said := message.StepReport{Status: message.Success, Stdout: message.Stream{Head: "said\nmore"}}
	skipped := message.StepReport{Status: message.Skipped, Reason: "not here"}
	failed := message.StepReport{Status: message.Failed, Reason: "no such action\nfor this node"}
	for _, c := range []struct {
		steps []message.StepReport
		want  string
	}{{nil, ""}, {[]message.StepReport{failed, said}, "said"}, {[]message.StepReport{skipped, failed, skipped}, "no such action"}, {[]message.StepReport{skipped, {Status: message.Skipped, Reason: "nor here"}}, "not here"},
		{[]message.StepReport{{Status: message.Failed}, skipped}, ""}} {
		require.Equal(t, c.want, firstLine(c.steps))
	}
}

func TestFromWireReadsTimesAsAWSWritesThem(t *testing.T) {
	type request struct {
		inner
		List []inner              `json:"List"`
		Map  map[string]time.Time `json:"Map"`
		N    int64                `json:"N"`
		Any  any                  `json:"Any"`
	}
	at := time.Date(2026, 3, 1, 0, 0, 0, 500e6, time.UTC)
	var got request
	require.NoError(t, fromWire("op", []byte(`{"at":1772323200.5,"List":[{"At":"2026-03-01T00:00:00.5Z"},{"At":null},{"unknown":1}],"Map":{"x":1772323200.5},"N":9007199254740993,"Any":1}`), &got))
	require.Empty(t, cmp.Diff(request{inner{at}, []inner{{at}, {}, {}}, map[string]time.Time{"x": at}, 9007199254740993, 1.0}, got, cmp.AllowUnexported(request{}, inner{})))
	require.NoError(t, fromWire("op", nil, &got))
	for _, bad := range []string{`{"At":"yesterday"}`, `{"At":-1}`, `{"At":true}`, `{"At":{}}`, `{"List":{"At":1}}`, `[1]`, `{"N":"x"}`, `{`, `{"Map":{"x":"y"}}`} {
		err := fromWire("op", []byte(bad), &got)
		require.Error(t, err, bad)
		require.Equal(t, serialization, fault.CodeOf(err), bad)
	}
}
