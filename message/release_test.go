package message

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a release put on the wire is understood for ever (F15): testdata/releases has, for every release kept, one message of every kind with every field filled. A new release adds a
// file; the old ones are never written again.
var newRelease = flag.String("release", "", "write testdata/releases/`NAME`.json anew, from the present code: once, for a release")

// spoken is one message of a release.
type spoken struct {
	Kind     Kind            `json:"kind"`
	Envelope bin             `json:"envelope"` // its canonical encoding
	Body     json.RawMessage `json:"body"`
}

// bodies are one of each kind.
func bodies() map[Kind]any {
	return map[Kind]any{KindOffer: &Offer{}, KindRun: &Run{}, KindCancel: &Cancel{}, KindAck: &Ack{}, KindWelcome: &Welcome{}, KindHello: &Hello{}, KindReady: &Ready{},
		KindReport: &Report{}, KindOutput: &Output{}, KindKeys: &Keys{}, KindPinned: &Pinned{}, KindAsk: &Ask{}, KindAnswer: &Answer{}}
}

// filled sets every field to something that is not its zero value.
func filled(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Unix(1795500000, 0).UTC()))
	case v.Kind() == reflect.String:
		v.SetString("x")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(3)
	case v.CanUint():
		v.SetUint(3)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem())
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		filled(v.Index(0))
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		filled(k)
		filled(e)
		v.SetMapIndex(k, e)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				filled(v.Field(i))
			}
		}
	}
}

func TestWriteARelease(t *testing.T) {
	if *newRelease == "" {
		t.Skip("not asked for: -release NAME writes testdata/releases/NAME.json")
	}
	var out []spoken
	for _, k := range []Kind{KindOffer, KindRun, KindCancel, KindAck, KindWelcome, KindKeys, KindAnswer, KindHello, KindReady, KindReport, KindOutput, KindPinned, KindAsk} {
		body := bodies()[k]
		filled(reflect.ValueOf(body).Elem())
		b, err := Marshal(k, body)
		require.NoError(t, err)
		at := time.Unix(1795500000, 0).UTC()
		e, err := Encode(Envelope{Tenant: "default", From: Controller, To: "mi-1", Kind: k, ID: "m1", Attempt: 1, Epoch: 2, NotBefore: at, NotAfter: at.Add(time.Hour), Body: b})
		require.NoError(t, err)
		out = append(out, spoken{k, e, b})
	}
	b, err := json.MarshalIndent(out, "", " ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll("testdata/releases", 0o755))
	require.NoError(t, os.WriteFile(filepath.Join("testdata/releases", *newRelease+".json"), append(b, '\n'), 0o644))
}

func TestF15_WhatAReleaseSaidIsUnderstoodForEver(t *testing.T) {
	all, err := filepath.Glob("testdata/releases/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, all, "no release is kept")
	for _, p := range all {
		t.Run(filepath.Base(p), func(t *testing.T) {
			b, err := os.ReadFile(p)
			require.NoError(t, err)
			var ms []spoken
			require.NoError(t, json.Unmarshal(b, &ms))
			require.Len(t, ms, 13)
			for _, m := range ms {
				e, err := Decode(m.Envelope)
				require.NoError(t, err, m.Kind)
				require.Equal(t, m.Kind, e.Kind)
				again, err := Encode(e)
				require.NoError(t, err)
				require.Equal(t, []byte(m.Envelope), again, "the canonical encoding of %s has changed: signatures of the release would not hold", m.Kind)
				body := bodies()[m.Kind]
				require.NoError(t, json.Unmarshal(e.Body, body))
				// Every field is still there under its name; one that is new is left out where it is empty, so that old receivers are sent nothing that they did not know.
				now, err := Marshal(m.Kind, body)
				require.NoError(t, err)
				require.JSONEq(t, string(m.Body), string(now), m.Kind)
			}
		})
	}
}

// What a newer release adds is passed over: unknown fields by Unmarshal, unknown kinds by who receives them. What must not be passed over travels in Offer.Needs (rule R-10).
func TestF15_UnknownFieldsOfANewerReleaseArePassedOver(t *testing.T) {
	b := []byte(`{"command":"c","attempt":1,"document":"d","needs":["feature:later"],"expiresAt":"2026-11-24T00:00:00Z","later":{"x":[1,2]}}`)
	o, err := Unmarshal[Offer](Envelope{Kind: KindOffer, Body: b})
	require.NoError(t, err)
	require.Equal(t, []string{"feature:later"}, o.Needs)
	require.True(t, bytes.Contains(b, []byte("later")))
}
