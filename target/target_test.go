package target_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/target"
)

func values(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "v" + strings.Repeat("x", i)
	}
	return out
}

func TestT8_ValidateLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) }
	for name, c := range map[string]struct {
		ts     []target.Target
		strict bool
		want   string // part of the error; empty is valid
	}{
		"none":                     {},
		"five targets":             {ts: []target.Target{{"tag:a", values(1)}, {"tag:b", values(1)}, {"tag:c", values(1)}, {"tag:d", values(1)}, {"tag:e", values(1)}}},
		"six targets":              {ts: make([]target.Target, 6), want: "at most 5"},
		"50 values":                {ts: []target.Target{{"tag:a", values(50)}}},
		"51 values":                {ts: []target.Target{{"tag:a", values(51)}}, want: "at most 50"},
		"strict 5":                 {ts: []target.Target{{"tag:a", values(5)}}, strict: true},
		"strict 6":                 {ts: []target.Target{{"tag:a", values(6)}}, strict: true, want: "at most 5"},
		"strict leaves ids":        {ts: []target.Target{{"InstanceIds", values(50)}}, strict: true},
		"no values":                {ts: []target.Target{{"tag:a", nil}}, want: "no values"},
		"empty key":                {ts: []target.Target{{"", values(1)}}, want: "target 1: the key is empty"},
		"unknown key":              {ts: []target.Target{{"Tag:a", values(1)}}, want: `unknown key "Tag:a"`},
		"bare tag":                 {ts: []target.Target{{"tag:", values(1)}}, want: "followed by the tag's name"},
		"tag of 128":               {ts: []target.Target{{"tag:" + long(128), values(1)}}},
		"tag of 129":               {ts: []target.Target{{"tag:" + long(129), values(1)}}, want: "at most 128"},
		"key of 164":               {ts: []target.Target{{"tag:" + long(160), values(1)}}, want: "at most 163"},
		"value of 256":             {ts: []target.Target{{"tag:a", []string{long(256)}}}},
		"value of 257":             {ts: []target.Target{{"tag:a", []string{long(257)}}}, want: "at most 256"},
		"the empty value of a tag": {ts: []target.Target{{"tag:a", []string{""}}}},
		"an empty id":              {ts: []target.Target{{"InstanceIds", []string{""}}}, want: "value 1 is empty"},
		"control characters":       {ts: []target.Target{{"tag:a", []string{"x\x1b[2J"}}}, want: "control"},
		"control in the key":       {ts: []target.Target{{"tag:\n", values(1)}}, want: "control"},
		"not UTF-8":                {ts: []target.Target{{"tag:a", []string{"\xff"}}}, want: "control"},
		"all":                      {ts: []target.Target{{"InstanceIds", []string{"*"}}}},
		"all and one":              {ts: []target.Target{{"InstanceIds", []string{"*", "mi-1"}}}, want: "stands alone"},
		"one group":                {ts: []target.Target{{target.ResourceGroup, []string{"g"}}}},
		"two groups":               {ts: []target.Target{{target.ResourceGroup, []string{"g", "h"}}}, want: "one is allowed"},
		"two group targets":        {ts: []target.Target{{target.ResourceGroup, []string{"g"}}, {target.ResourceGroup, []string{"h"}}}, want: "one resource group"},
		"five types":               {ts: []target.Target{{target.ResourceTypeFilters, values(5)}}},
		"six types":                {ts: []target.Target{{target.ResourceTypeFilters, values(6)}}, want: "at most 5"},
		"second one named":         {ts: []target.Target{{"tag:a", values(1)}, {"tag:b", nil}}, want: "target 2 (tag:b)"},
	} {
		t.Run(name, func(t *testing.T) {
			err := target.Validate(c.ts, &target.Options{Strict: c.strict})
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.Equal(t, fault.InvalidTarget, fault.CodeOf(err))
		})
	}
}

func TestR8_MatchAndOverKeysOrOverValues(t *testing.T) {
	n := target.Node{ID: "mi-1", Tags: map[string]string{"Role": "web", "Env": "prod", "Empty": ""}}
	groups := map[string]target.Group{
		"webs":    {Name: "webs", Tags: []target.TagFilter{{Key: "Role", Values: []string{"db", "web"}}}},
		"dbs":     {Name: "dbs", Tags: []target.TagFilter{{Key: "Role", Values: []string{"db"}}}},
		"owned":   {Name: "owned", Tags: []target.TagFilter{{Key: "Owner"}}},
		"roled":   {Name: "roled", Types: []string{"AWS::AllSupported"}, Tags: []target.TagFilter{{Key: "Role"}, {Key: "Env", Values: []string{"prod"}}}},
		"ec2only": {Name: "ec2only", Types: []string{"AWS::EC2::Instance"}},
	}
	one := func(k string, v ...string) []target.Target { return []target.Target{{Key: k, Values: v}} }
	both := func(a, b []target.Target) []target.Target { return append(a, b...) }
	for _, c := range []struct {
		ts   []target.Target
		want bool
	}{
		{nil, false},
		{one("InstanceIds", "*"), true},
		{one("InstanceIds", "mi-2", "mi-1"), true},
		{one("InstanceIds", "mi-2"), false},
		{one("tag:Role", "db", "web"), true},
		{one("tag:Role", "db"), false},
		{one("tag:Role"), false},
		{one("tag:Empty", ""), true},
		{one("tag:Absent", ""), false},
		{one("tag-key", "Absent", "Env"), true},
		{one("tag-key", "env"), false},
		{both(one("tag:Role", "web"), one("tag:Env", "prod")), true},
		{both(one("tag:Role", "web"), one("tag:Env", "test")), false},
		{both(one("tag:Role", "web"), one("tag:Role", "db")), false},
		{one(target.ResourceGroup, "webs"), true},
		{one(target.ResourceGroup, "dbs"), false},
		{one(target.ResourceGroup, "owned"), false},
		{one(target.ResourceGroup, "roled"), true},
		{one(target.ResourceGroup, "ec2only"), false},
		{one(target.ResourceGroup, "absent"), false},
		{both(one(target.ResourceGroup, "webs"), one(target.ResourceTypeFilters, "AWS::EC2::INSTANCE")), false},
		{both(one(target.ResourceGroup, "webs"), one(target.ResourceTypeFilters, "AWS::SSM::ManagedInstance")), true},
		{one("nonsense", "x"), false},
	} {
		require.Equal(t, c.want, target.Match(n, c.ts, groups), target.Format(c.ts))
	}
	require.Equal(t, target.TypeEC2, target.ResourceType("i-0123456789abcdef0"))
}

// More values never match fewer nodes, more targets never more.
func TestR8_Monotone(t *testing.T) {
	word := rapid.SampledFrom([]string{"a", "b", "c", "d"})
	tgt := rapid.Custom(func(t *rapid.T) target.Target {
		if rapid.Bool().Draw(t, "tagkey") {
			return target.Target{Key: target.TagKey, Values: rapid.SliceOfN(word, 1, 3).Draw(t, "keys")}
		}
		return target.Target{Key: "tag:" + word.Draw(t, "k"), Values: rapid.SliceOfN(word, 1, 3).Draw(t, "v")}
	})
	rapid.Check(t, func(t *rapid.T) {
		n := target.Node{ID: "mi-1", Tags: rapid.MapOf(word, word).Draw(t, "tags")}
		ts := rapid.SliceOfN(tgt, 1, 4).Draw(t, "targets")
		was := target.Match(n, ts, nil)
		wider := append([]target.Target(nil), ts...)
		wider[0].Values = append(append([]string(nil), wider[0].Values...), word.Draw(t, "more"))
		if was && !target.Match(n, wider, nil) {
			t.Fatal("another value lost the node")
		}
		if !was && target.Match(n, append(ts, tgt.Draw(t, "another")), nil) {
			t.Fatal("another target won the node")
		}
	})
}
