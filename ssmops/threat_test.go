package ssmops

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/internal/testenv"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

// The threats of an API's callers, over every operation that there is.

// dump is every record of a tenant, byte for byte.
func dump(w *world, tenant string) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	require.NoError(w.t, w.store.View(context.Background(), func(ctx context.Context, r store.Reader) error {
		clear(out)
		for it, err := range r.Scan(ctx, key.New(tenant).Range()) {
			if err != nil {
				return err
			}
			out[string(it.Key)] = string(it.Value)
		}
		return nil
	}))
	return out
}

// unaudited is a dump without the records of the audit log, which refusals write too.
func unaudited(w *world, tenant string) map[string]string {
	all := dump(w, tenant)
	log := key.New(tenant).Str("audit")
	maps.DeleteFunc(all, func(k, _ string) bool { return strings.HasPrefix(k, string(log)) })
	return all
}

// T-AUTHZ: every operation, asked for by six principals of three tenants. Only who may do just this in the tenant of the things, and who may do everything there, gets them;
// nobody else learns a word of them or changes a byte.
func TestT_AUTHZ(t *testing.T) {
	cells := 0
	for i, o := range Operations() {
		if testing.Short() && i%8 != 0 {
			continue
		}
		another := "only ssm:GetDocument"
		if o.Permission == "ssm:GetDocument" {
			another = "only ssm:SendCommand"
		}
		t.Run(o.Name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				x := furnish(w)
				h := w.api.Handler(byHeader(), nil)
				b, err := json.Marshal(samples()[o.Name](x))
				require.NoError(t, err)
				body := string(b)
				before := unaudited(w, "default")
				var allowed []string
				for _, tenant := range []string{"other", "third", "default"} {
					for _, name := range []string{"", "nobody", another, "node/" + x.node, "only " + o.Permission, "admin"} {
						cells++
						if tenant == "default" && (name == "admin" || name == "only "+o.Permission) {
							allowed = append(allowed, name)
							continue // below: it may change what the others are compared with
						}
						got := post(h, name, tenant, o.Name, body)
						cell := fmt.Sprintf("%q of %s: %d %.200s", name, tenant, got.Code, got.Body.String())
						require.NotContains(t, got.Body.String(), "canary", cell)
						switch {
						case name == "":
							require.Equal(t, http.StatusUnauthorized, got.Code, cell)
						case tenant == "default" && got.Code == http.StatusOK:
							require.Regexp(t, `^\{"[A-Za-z]+":\[\]\}$`, got.Body.String(), cell)
						case tenant == "default":
							require.Less(t, got.Code, 500, cell)
							// What is there and forbidden looks like what is not there, as in a tenant that has nothing.
							if !strings.Contains(body, "arn:") { // which names the tenant
								require.Equal(t, post(h, name, "third", o.Name, body).Body.String(), got.Body.String(), cell)
							}
						}
						require.Equal(t, before, unaudited(w, "default"), cell)
					}
				}
				require.Len(t, allowed, 2)
				got := post(h, allowed[i%2], "", o.Name, body)
				require.Equal(t, http.StatusOK, got.Code, got.Body.String())
			})
		})
	}
	testenv.Figure(t, "operations asked for by who may not, and by who may", cells, 0)
}

// T-TENANT: whatever the operators of one tenant do, with the same names and with the other tenant's ids, the other tenant's records stay what they are.
func TestT_TENANT(t *testing.T) {
	seeds, steps := 4, 60
	if testing.Short() {
		seeds = 1
	}
	if testenv.Long() {
		seeds = 200
	}
	calls, plain := 0, strings.Replace(greet, "canary", "words", 1)
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				x := furnish(w)
				requests := samples()
				// What makes things of the names that the other tenant has.
				same := map[string][]any{
					"CreateDocument": {map[string]any{"Name": "Greet", "Content": plain}, map[string]any{"Name": "Wait", "Content": plain}},
					"PutParameter": {map[string]any{"Name": "/app/secret", "Value": "mine", "Type": "SecureString"}, map[string]any{"Name": "/app/secret", "Value": "more", "Overwrite": true},
						map[string]any{"Name": "/app/other", "Value": "mine", "Type": "String"}},
					"CreateGroup":      {map[string]any{"Name": "webs", "ResourceQuery": map[string]any{"Type": "TAG_FILTERS_1_0", "Query": `{"ResourceTypeFilters":["AWS::AllSupported"],"TagFilters":[{"Key":"canary"}]}`}}},
					"SendCommand":      {map[string]any{"DocumentName": "Greet", "Targets": []map[string]any{{"Key": "InstanceIds", "Values": []string{"*"}}}}, map[string]any{"DocumentName": "Greet", "Targets": []map[string]any{{"Key": "tag:canary", "Values": []string{"canary"}}}}},
					"DeleteParameters": {map[string]any{"Names": []string{"/app/secret", "/app/other"}}},
				}
				names := slices.Sorted(maps.Keys(requests))
				r := rand.New(rand.NewPCG(uint64(seed), 1))
				before := dump(w, "default")
				other := as("admin", "other")
				worked := 0
				for range steps {
					name := names[r.IntN(len(names))]
					if more := slices.Sorted(maps.Keys(same)); r.IntN(3) == 0 {
						name = more[r.IntN(len(more))]
					}
					if name == "WatchCommand" {
						continue // a stream: TestT_AUTHZ has it
					}
					in := requests[name](x)
					if s := same[name]; len(s) > 0 && r.IntN(4) > 0 {
						in = s[r.IntN(len(s))]
					}
					b, err := json.Marshal(in)
					require.NoError(t, err)
					b = []byte(strings.ReplaceAll(string(b), "canary of", "words of")) // what it brings itself is no leak
					out, err := w.api.Call(other, name, b)
					calls++
					if err == nil {
						worked++
					}
					require.NotContains(t, string(out)+fault.Clean(fmt.Sprint(err)), "canary of", "%s %s", name, b)
					require.Equal(t, before, dump(w, "default"), "%s %s", name, b)
				}
				require.Positive(t, worked, "nothing that the other tenant did went through: this shows nothing")
			})
		})
	}
	testenv.Figure(t, "calls of one tenant beside another's records", calls, 0)
}
