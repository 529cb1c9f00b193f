package parameter_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/feed"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/store/key"
)

var _ document.Resolver = (*parameter.Service)(nil)

func code(t testing.TB, want fault.Code, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, fault.CodeOf(err), err)
}

func str(name, value string) parameter.PutParameterRequest {
	return parameter.PutParameterRequest{Name: name, Value: parameter.Text(value), Type: parameter.String}
}

func (w *world) must(req parameter.PutParameterRequest) parameter.PutParameterResult {
	w.t.Helper()
	out, err := w.PutParameter(admin, req)
	require.NoError(w.t, err)
	return out
}

// events returns all events of the tenant.
func (w *world) events() (out []parameter.Event) {
	w.t.Helper()
	require.NoError(w.t, w.st.View(admin, func(ctx context.Context, r store.Reader) error {
		es, err := feed.New(nil).Read(ctx, r, key.New("default").Str("parameter").Str("events"), 0, 1000)
		for _, e := range es {
			var x parameter.Event
			require.NoError(w.t, json.Unmarshal(e.Data, &x))
			out = append(out, x)
		}
		return err
	}))
	return out
}

func TestS05_TheLongestNamesCanDoEverything(t *testing.T) {
	w := newWorld(t, nil)
	room := 1011 - len("arn:aws:ssm:local:default:parameter")
	name := "/a/" + strings.Repeat("n", room-3)
	r := str(name, "v")
	r.Type, r.Tier = parameter.SecureString, parameter.Advanced
	r.Tags = []parameter.Tag{{Key: strings.Repeat("k", 128), Value: strings.Repeat("v", 256)}}
	r.Policies = `[{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"1","Unit":"Hours"}}]`
	w.must(r)
	w.putSecret(name, "w")
	_, err := w.LabelParameterVersion(admin, parameter.LabelParameterVersionRequest{Name: name, ParameterVersion: 1, Labels: []string{strings.Repeat("l", 100)}})
	require.NoError(t, err)
	require.Equal(t, "v", w.get(name+":"+strings.Repeat("l", 100)))
	_, err = w.PutResourcePolicy(admin, parameter.PutResourcePolicyRequest{ResourceARN: "arn:aws:ssm:local:default:parameter" + name, Policy: share("222233334444", "arn:aws:ssm:local:default:parameter"+name)})
	require.NoError(t, err)
	w.now = w.now.Add(2 * time.Hour)
	require.NoError(t, w.Tick(admin))
	out, err := w.GetParametersByPath(admin, parameter.GetParametersByPathRequest{Path: "/a"})
	require.NoError(t, err)
	require.Len(t, out.Parameters, 1)
	_, err = w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: name})
	require.NoError(t, err)
	require.Empty(t, w.left(), "nothing of it stays but its deletion")
}

// left counts the records of parameters by key space, without those that outlive a parameter.
func (w *world) left() map[string]int {
	out := map[string]int{}
	require.NoError(w.t, w.st.View(admin, func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, store.Range{}) {
			require.NoError(w.t, err)
			k := key.Read(it.Key)
			k.Str()
			if k.Str() != "parameter" {
				continue
			}
			switch space := k.Str(); space {
			case "gone", "events", "count":
			default:
				out[space]++
			}
		}
		return nil
	}))
	return out
}

func TestS07_APathGrantsWhatIsBelowOnlyWhereTheHostSaysSo(t *testing.T) {
	for _, grants := range []bool{false, true} {
		w := newWorld(t, func(c *parameter.Config) {
			c.Authorizer, c.PathGrants = deny{"ssm:GetParametersByPath": "parameter/a/b"}, grants
		})
		w.put("/a/a", "1")
		w.put("/a/b", "2")
		out, err := w.GetParametersByPath(as("bob"), parameter.GetParametersByPathRequest{Path: "/a"})
		require.NoError(t, err)
		if grants {
			require.Len(t, out.Parameters, 2, "as on AWS")
		} else {
			require.Len(t, out.Parameters, 1)
			require.Equal(t, "/a/a", out.Parameters[0].Name)
		}
	}
}

func TestS11_PatternsOfJavasDialect(t *testing.T) {
	w := newWorld(t, nil)
	r := str("p", "abcD1")
	r.AllowedPattern = `^(?=.*[A-Z])(?=.*\d).+$`
	w.must(r)
	r.Value, r.Overwrite = parameter.Text("lower"), true
	_, err := w.PutParameter(admin, r)
	code(t, parameter.CodePatternMismatch, err)
	require.NotContains(t, err.Error(), "lower")
	r = str("slow", strings.Repeat("a", 40)+"!")
	r.AllowedPattern = `^(?=a)(a+)+$`
	_, err = w.PutParameter(admin, r)
	code(t, parameter.CodePatternMismatch, err)
}

func TestS13_ANameCanBeUsedAgainAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	w.put("a", "1")
	w.put("a", "2")
	_, err := w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "a"})
	require.NoError(t, err)
	require.EqualValues(t, 1, w.put("a", "3"))
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: "a:2"})
	code(t, parameter.CodeVersionNotFound, err)
}

func TestS14_QuotasAndTheDefaultTier(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) { c.Limits = parameter.Limits{Standard: 3, Advanced: 2} })
	for i := range 3 {
		w.put(fmt.Sprint("s", i), "v")
	}
	_, err := w.PutParameter(admin, str("s3", "v"))
	code(t, parameter.CodeLimitExceeded, err)
	require.EqualValues(t, 2, w.put("s0", "w"), "a new version is no new parameter")
	r := str("i", "v")
	r.Tier = parameter.IntelligentTiering
	require.Equal(t, parameter.Advanced, w.must(r).Tier, "when Standard is full")
	r = str("s0", "v")
	r.Tier, r.Overwrite = parameter.Advanced, true
	require.Equal(t, parameter.Advanced, w.must(r).Tier)
	w.put("s3", "v")
	r = str("a", "v")
	r.Tier = parameter.Advanced
	_, err = w.PutParameter(admin, r)
	code(t, parameter.CodeLimitExceeded, err)
	_, err = w.DeleteParameters(admin, parameter.DeleteParametersRequest{Names: []string{"i"}})
	require.NoError(t, err)
	w.must(r)

	w = newWorld(t, func(c *parameter.Config) { c.DefaultTier = parameter.IntelligentTiering })
	require.Equal(t, parameter.Standard, w.must(str("x", "v")).Tier)
	require.Equal(t, parameter.Advanced, w.must(str("y", strings.Repeat("v", 5000))).Tier)
	w = newWorld(t, func(c *parameter.Config) { c.Limits = parameter.NoLimits() })
	w.must(str("big", strings.Repeat("v", 60<<10)))
}

func TestS15_ImagesAreCheckedLater(t *testing.T) {
	down := false
	w := newWorld(t, nil)
	w.open(func(c *parameter.Config) {
		c.DataTypes = map[string]parameter.DataType{parameter.DataEC2Image: {Async: true, Check: func(_ context.Context, _ string, v parameter.Value) error {
			switch {
			case down:
				return fault.New("test", fault.ServiceUnavailable, "away")
			case !strings.HasPrefix(v.Reveal(), "ami-"):
				return errors.New("no")
			}
			return nil
		}}, "host:even": {Check: func(_ context.Context, _ string, v parameter.Value) error {
			if v.Len()%2 != 0 {
				return errors.New("odd")
			}
			return nil
		}}}
	})
	image := func(name, value string) parameter.PutParameterRequest {
		r := str(name, value)
		r.DataType, r.Overwrite = parameter.DataEC2Image, true
		w.now = w.now.Add(time.Second)
		return r
	}
	require.EqualValues(t, 1, w.must(image("good", "ami-12345678")).Version, "answered at once")
	w.must(image("bad", "no image"))
	_, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: "good"})
	code(t, parameter.CodeNotFound, err)
	down = true
	require.Error(t, w.Tick(admin))
	down = false
	require.NoError(t, w.Tick(admin))
	require.Equal(t, "ami-12345678", w.get("good"))
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: "bad"})
	code(t, parameter.CodeNotFound, err)
	es := w.events()
	require.Len(t, es, 2)
	require.Equal(t, []string{"good", "", "bad", "Unable to Describe Resource"}, []string{es[0].Name, es[0].Exception, es[1].Name, es[1].Exception})
	require.NoError(t, w.Tick(admin))
	require.Len(t, w.events(), 2)
	w.must(image("good", "ami-2"))
	require.Equal(t, "ami-12345678", w.get("good"), "the former version until then")
	w.must(image("good", "ami-3"))
	require.NoError(t, w.Tick(admin))
	require.Equal(t, "ami-2", w.get("good"))
	require.NotEmpty(t, w.events()[3].Exception, "two that were made after the same version: one is discarded")

	r := str("even", "ab")
	r.DataType = "host:even"
	w.must(r)
	r.Name, r.Value = "odd", parameter.Text("abc")
	_, err = w.PutParameter(admin, r)
	code(t, fault.Validation, err)
}

func TestS17_ARNsOfOnesOwn(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) { c.Region = "us-east-2" })
	w.put("/a/b", "1")
	w.put("flat", "2")
	require.Equal(t, "1", w.get("arn:aws:ssm:us-east-2:default:parameter/a/b"))
	require.Equal(t, "1", w.get("arn:aws:ssm:us-east-2:default:parameter/a/b:1"))
	require.Equal(t, "2", w.get("arn:aws:ssm:us-east-2:default:parameter/flat"))
	for _, bad := range []string{"arn:aws:s3:::x", "arn:aws:ssm:us-east-2:default:document/x", "arn:x"} {
		_, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: bad})
		code(t, fault.Validation, err)
	}
	out, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: "flat"})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:ssm:us-east-2:default:parameter/flat", out.Parameter.ARN, "one slash (S25)")
}

func TestS25_ACiphertextBelongsToItsVersion(t *testing.T) {
	w := newWorld(t, nil)
	w.putSecret("/a/b", "one")
	w.putSecret("/a/b", "two")
	w.putSecret("/a/c", "three")
	ct := func(name string) []byte {
		out, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: name})
		require.NoError(t, err)
		b, err := base64.StdEncoding.DecodeString(out.Parameter.Value.Reveal())
		require.NoError(t, err)
		return b
	}
	bind := func(name string, v uint64) seal.Binding {
		return seal.Binding{Tenant: "default", Kind: "parameter", Name: name, Version: v, Type: "SecureString"}
	}
	type rec struct {
		name string
		v    uint64
	}
	all := map[rec][]byte{{"/a/b", 1}: ct("/a/b:1"), {"/a/b", 2}: ct("/a/b:2"), {"/a/c", 1}: ct("/a/c")}
	for from, b := range all {
		for to := range all {
			_, err := w.box.Open(admin, b, bind(to.name, to.v))
			require.Equal(t, from == to, err == nil, "%v as %v", from, to)
		}
		_, err := w.box.Open(admin, b, seal.Binding{Tenant: "other", Kind: "parameter", Name: from.name, Version: from.v, Type: "SecureString"})
		require.Error(t, err)
	}
}

// G13: ciphertexts that are moved between records, or changed, are refused by name.
func TestS26_MovesAndFlipsInTheStoreAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 12 {
		w.putSecret(fmt.Sprint("/g/", i), fmt.Sprint("value ", i))
	}
	raw := map[string][]byte{}
	require.NoError(t, w.st.View(admin, func(ctx context.Context, r store.Reader) error {
		for it, err := range r.Scan(ctx, key.New("default").Str("parameter").Str("head").Range()) {
			require.NoError(t, err)
			raw[string(it.Key)] = slices.Clone(it.Value)
		}
		return nil
	}))
	read := func(name string) error {
		_, err := w.GetParameter(admin, parameter.GetParameterRequest{Name: name, WithDecryption: true})
		return err
	}
	set := func(k string, v []byte) {
		require.NoError(t, w.st.Update(admin, func(_ context.Context, tx store.Tx) error { return tx.Put([]byte(k), v) }))
	}
	moves, flips := 0, 0
	for k := range raw {
		r := key.Read([]byte(k))
		r.Str()
		r.Str()
		r.Str()
		name := r.Str()
		for from, v := range raw {
			if from == k {
				continue
			}
			set(k, v)
			code(t, fault.DataCorrupt, read(name))
			moves++
		}
		step := 37
		if long {
			step = 1
		}
		for bit := 0; bit < len(raw[k])*8; bit += step {
			bad := slices.Clone(raw[k])
			bad[bit/8] ^= 1 << (bit % 8)
			set(k, bad)
			code(t, fault.DataCorrupt, read(name))
			flips++
		}
		set(k, raw[k])
		require.NoError(t, read(name))
	}
	t.Logf("%d moves, %d flips, all refused", moves, flips)
}

func TestS27_AnOverwriteWithoutAKeyTakesTheDefaultKey(t *testing.T) {
	w := newWorld(t, nil)
	first := w.keys.Primary()
	second, err := w.keys.Rotate(admin)
	require.NoError(t, err)
	r := str("s", "v")
	r.Type, r.KeyID = parameter.SecureString, first
	w.must(r)
	r.KeyID, r.Overwrite, r.Tier = "", true, parameter.Advanced
	w.must(r)
	h, err := w.GetParameterHistory(admin, parameter.GetParameterHistoryRequest{Name: "s"})
	require.NoError(t, err)
	require.Equal(t, first, h.Parameters[0].KeyID)
	require.Equal(t, "alias/aws/ssm", h.Parameters[1].KeyID)
	ct, err := base64.StdEncoding.DecodeString(h.Parameters[1].Value.Reveal())
	require.NoError(t, err)
	id, err := seal.KeyID(ct)
	require.NoError(t, err)
	require.Equal(t, second, id)
	require.Equal(t, "v", w.get("s:1"), "old versions open after a rotation")
	r.KeyID = "alias/nope"
	_, err = w.PutParameter(admin, r)
	code(t, parameter.CodeKeyID, err)
	require.Equal(t, "v", w.get("s"))
	r = str("plain", "v")
	r.KeyID = "x"
	_, err = w.PutParameter(admin, r)
	code(t, fault.Validation, err)
}

func TestS29_WithoutAKeyServiceNoSecretIsKept(t *testing.T) {
	w := newWorld(t, func(c *parameter.Config) { c.Box = nil })
	r := str("s", "canary-of-r16")
	r.Type = parameter.SecureString
	_, err := w.PutParameter(admin, r)
	code(t, parameter.CodeKeyID, err)
	require.Empty(t, w.left())
	require.EqualValues(t, 1, w.put("plain", "v"), "all else goes on")

	w = newWorld(t, nil)
	old := w.keys.Primary()
	w.putSecret("lost", "v")
	_, err = w.keys.Rotate(admin)
	require.NoError(t, err)
	w.putSecret("kept", "v")
	require.NoError(t, w.keys.Remove(admin, old))
	w.box.Forget()
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: "lost", WithDecryption: true})
	code(t, parameter.CodeKeyID, err)
	require.Equal(t, "v", w.get("kept"), "a lost key is lost to its values only")
	d, err := w.DescribeParameters(admin, parameter.DescribeParametersRequest{})
	require.NoError(t, err)
	require.Len(t, d.Parameters, 2, "what is known of it can be read")
	_, err = w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "lost"})
	require.NoError(t, err)
}

func TestS30_PoliciesAct(t *testing.T) {
	w := newWorld(t, nil)
	r := str("/p/a", "v")
	r.Tier = parameter.Advanced
	r.Policies = `[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2026-03-31T12:00:00Z"}},` +
		`{"Type":"ExpirationNotification","Version":"1.0","Attributes":{"Before":"15","Unit":"Days"}},` +
		`{"Type":"NoChangeNotification","Version":"1.0","Attributes":{"After":"10","Unit":"Days"}}]`
	w.must(r)
	at := func(month time.Month, day, hour int) []string {
		w.now = time.Date(2026, month, day, hour, 0, 0, 0, time.UTC)
		require.NoError(t, w.Tick(admin))
		var out []string
		for _, e := range w.events() {
			out = append(out, e.Operation+e.PolicyType)
		}
		return out
	}
	require.Equal(t, []string{"Create"}, at(3, 11, 11))
	require.Equal(t, []string{"Create", "NoChangeNotification"}, at(3, 11, 12))
	require.Len(t, at(3, 12, 12), 2, "once")
	require.Equal(t, []string{"Create", "NoChangeNotification", "ExpirationNotification"}, at(3, 16, 12))
	d, err := w.DescribeParameters(admin, parameter.DescribeParametersRequest{})
	require.NoError(t, err)
	require.Equal(t, []string{"Pending", "Finished", "Finished"}, []string{d.Parameters[0].Policies[0].PolicyStatus, d.Parameters[0].Policies[1].PolicyStatus, d.Parameters[0].Policies[2].PolicyStatus})
	w.put("/p/a", "w")
	require.Len(t, at(3, 26, 11), 4, "the clock of NoChange is the last change, the notice of expiration came already")
	require.Equal(t, "NoChangeNotification", at(3, 26, 12)[4])
	require.Equal(t, "w", w.get("/p/a"))
	require.Len(t, at(3, 31, 11), 5)
	require.Equal(t, []string{"Delete", "Expiration"}, at(3, 31, 13)[5:])
	_, err = w.GetParameter(admin, parameter.GetParameterRequest{Name: "/p/a"})
	code(t, parameter.CodeNotFound, err)
	require.Empty(t, w.left())
	r.Policies = `[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"2026-03-31T12:00:00Z"}}]`
	_, err = w.PutParameter(admin, r)
	code(t, parameter.CodePolicyAttribute, err)
}

func TestS31_Events(t *testing.T) {
	w := newWorld(t, nil)
	w.putSecret("/e/s", "canary-of-events")
	w.putSecret("/e/s", "canary-of-events-2")
	_, err := w.LabelParameterVersion(admin, parameter.LabelParameterVersionRequest{Name: "/e/s", Labels: []string{"l"}})
	require.NoError(t, err)
	_, err = w.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: "/e/s"})
	require.NoError(t, err)
	var got []string
	for _, e := range w.events() {
		got = append(got, fmt.Sprint(e.Operation, " ", e.Name, " ", e.Type, " ", e.Version, " ", e.Labels))
	}
	require.Equal(t, []string{"Create /e/s SecureString 1 []", "Update /e/s SecureString 2 []", "LabelParameterVersion /e/s SecureString 2 [l]", "Delete /e/s SecureString 2 []"}, got)
	require.NotContains(t, fmt.Sprintf("%+v", w.events()), "canary")
}
