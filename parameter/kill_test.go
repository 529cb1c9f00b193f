package parameter_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/audit"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/seal"
	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/store/boltstore"
)

// The test binary starts itself again as the process that is killed: the variable has the directory and the number of the round.
const childEnv = "FLEETWRIGHT_PARAMETER_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		dir, round, _ := strings.Cut(args, "|")
		killed(dir, round)
	}
	os.Exit(m.Run())
}

// onDisk is a service over a file and a key file.
type onDisk struct {
	*parameter.Service
	db   *boltstore.Store
	keys *localkeys.Keys
	log  *audit.Log
}

func openOnDisk(dir string) (*onDisk, error) {
	db, err := boltstore.Open(context.Background(), filepath.Join(dir, "store"), nil)
	if err != nil {
		return nil, err
	}
	keys, err := localkeys.Open(filepath.Join(dir, "keys"), nil)
	if err != nil {
		return nil, err
	}
	log := audit.New(audit.Config{Store: db, Authorize: access.AllowAll{}, Segment: 500})
	s := parameter.New(parameter.Config{Store: db, Box: seal.NewBox(keys, nil), Authorizer: access.AllowAll{}, Audit: log})
	return &onDisk{s, db, keys, log}, nil
}

// act is one change that a writer makes: put VALUE, label VERSION, delete.
type act struct{ name, op, arg string }

// do carries it out, and returns what it answered.
func (a act) do(s *parameter.Service) (string, error) {
	switch a.op {
	case "put":
		out, err := s.PutParameter(admin, parameter.PutParameterRequest{Name: a.name, Type: parameter.SecureString, Value: parameter.Text(a.arg), Overwrite: true})
		return strconv.FormatInt(out.Version, 10), err
	case "label":
		v, err := strconv.ParseInt(a.arg, 10, 64)
		if err == nil {
			_, err = s.LabelParameterVersion(admin, parameter.LabelParameterVersionRequest{Name: a.name, ParameterVersion: v, Labels: []string{"good"}})
		}
		return "-", err
	}
	_, err := s.DeleteParameter(admin, parameter.DeleteParameterRequest{Name: a.name})
	return "-", err
}

const (
	killedWriters = 5
	sharedName    = "/k/shared"
)

// killed writes, labels, deletes and gives new keys until it is killed. Before each change it says what it tries, after it what was acknowledged.
func killed(dir, round string) {
	fatal := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	s, err := openOnDisk(dir)
	fatal(err)
	say := func(format string, args ...any) { // one write, so that a line is there whole or not
		_, err := fmt.Fprintf(os.Stdout, format+"\n", args...)
		fatal(err)
	}
	try := func(w int, a act) string {
		say("try %d %s %s %s", w, a.name, a.op, a.arg)
		got, err := a.do(s.Service)
		fatal(err)
		say("ack %d %s", w, got)
		return got
	}
	for w := range killedWriters {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(w), uint64(time.Now().UnixNano())))
			for i := 0; ; i++ {
				value := fmt.Sprintf("secret-%s-%d-%d", round, w, i)
				name := fmt.Sprintf("/k/%d/%d", w, rng.IntN(2))
				switch rng.IntN(8) {
				case 0:
					try(w, act{sharedName, "put", value})
				case 1:
					try(w, act{name, "put", value})
					try(w, act{name, "delete", ""})
				default:
					v := try(w, act{name, "put", value})
					if rng.IntN(2) == 0 {
						try(w, act{name, "label", v})
					}
				}
			}
		}()
	}
	_, err = s.keys.Rotate(context.Background())
	fatal(err)
	for {
		out, err := s.Rewrap(admin, parameter.RewrapRequest{Most: 2})
		fatal(err)
		say("rewrapped %d %v", out.Parameters, out.Done)
		if out.Done {
			_, err = s.keys.Rotate(context.Background())
			fatal(err)
		}
	}
}

// known is what is known of a parameter that one writer changes.
type known struct {
	version int64
	values  map[int64]string
	good    int64 // the version that has the label; 0: none
}

func (k known) after(a act) known {
	switch a.op {
	case "put":
		next := known{version: k.version + 1, values: map[int64]string{k.version + 1: a.arg}, good: k.good}
		for v, s := range k.values {
			if v > next.version-100 { // as many are kept (S16)
				next.values[v] = s
			}
		}
		return next
	case "label":
		k.good, _ = strconv.ParseInt(a.arg, 10, 64)
		return k
	}
	return known{}
}

// look reads what is there, every value decrypted.
func look(t *testing.T, s *parameter.Service, name string) (k known) {
	req := parameter.GetParameterHistoryRequest{Name: name, WithDecryption: true}
	for {
		out, err := s.GetParameterHistory(admin, req)
		if fault.CodeOf(err) == parameter.CodeNotFound {
			return k
		}
		require.NoError(t, err, name)
		for _, h := range out.Parameters {
			if k.values == nil {
				k.values = map[int64]string{}
			} else {
				require.Equal(t, k.version+1, h.Version, "%s has a gap", name)
			}
			k.version, k.values[h.Version] = h.Version, h.Value.Reveal()
			if len(h.Labels) > 0 {
				require.Equal(t, []string{"good"}, h.Labels)
				require.Zero(t, k.good, "%s has its label twice", name)
				k.good = h.Version
			}
		}
		if req.NextToken = out.NextToken; req.NextToken == "" {
			break
		}
	}
	got, err := s.GetParameter(admin, parameter.GetParameterRequest{Name: name, WithDecryption: true})
	require.NoError(t, err)
	require.Equal(t, k.version, got.Parameter.Version)
	require.Equal(t, k.values[k.version], got.Parameter.Value.Reveal())
	got, err = s.GetParameter(admin, parameter.GetParameterRequest{Name: name + ":good", WithDecryption: true})
	if k.good == 0 {
		require.Equal(t, parameter.CodeVersionNotFound, fault.CodeOf(err))
		return k
	}
	require.NoError(t, err)
	require.Equal(t, k.good, got.Parameter.Version, "the label and the history agree")
	return k
}

func kills(short, plain int) int {
	if n, err := strconv.Atoi(os.Getenv("FLEETWRIGHT_KILLS")); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return short
	}
	return plain
}

// TestKilledProcessesLoseNothingAcknowledged (R-24, R-27, S16, S18): a process that writes, labels, deletes and gives new keys is killed at random instants, again and again on the same file. What it was told is there; a
// change that it was not told of is there whole or not at all; versions have no gaps, every value opens, and the next process finishes what a rotation of keys left.
func TestKilledProcessesLoseNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	first, err := localkeys.Create(filepath.Join(dir, "keys"), nil)
	require.NoError(t, err)
	oldest := first.Primary()
	exe, err := os.Executable()
	require.NoError(t, err)
	names := map[string]known{}
	sharedTried, sharedAcked := map[string]bool{}, map[int64]string{}
	rounds, acked, maybe, happened, midway := kills(3, 15), 0, 0, 0, 0
	for round := range rounds {
		cmd := exec.Command(exe, "-test.run=^$")
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%d", childEnv, dir, round))
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		pending := map[string]act{} // by writer
		var once sync.Once
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			f := strings.Split(lines.Text(), " ")
			switch f[0] {
			case "try":
				require.NotContains(t, pending, f[1])
				pending[f[1]] = act{f[2], f[3], f[4]}
				if f[2] == sharedName {
					sharedTried[f[4]] = true
				}
			case "ack":
				a := pending[f[1]]
				delete(pending, f[1])
				acked++
				if a.name == sharedName {
					v, err := strconv.ParseInt(f[2], 10, 64)
					require.NoError(t, err)
					require.NotContains(t, sharedAcked, v, "a version was given twice")
					sharedAcked[v] = a.arg
				} else {
					names[a.name] = names[a.name].after(a)
					if a.op == "put" {
						require.Equal(t, strconv.FormatInt(names[a.name].version, 10), f[2])
					}
				}
				once.Do(func() {
					time.AfterFunc(time.Duration(rand.IntN(100_000))*time.Microsecond, func() { cmd.Process.Kill() }) //nolint:errcheck // it is there until it is waited for
				})
			}
		}
		require.Error(t, cmd.Wait(), "it was to be killed")
		once.Do(func() { require.Fail(t, "the child acknowledged nothing") })

		s, err := openOnDisk(dir)
		require.NoError(t, err)
		require.NoError(t, s.db.Check(t.Context()))
		open := map[string][]act{}
		for _, a := range pending {
			maybe++
			if a.name != sharedName {
				open[a.name] = append(open[a.name], a)
				if _, ok := names[a.name]; !ok {
					names[a.name] = known{}
				}
			}
		}
		for name, k := range names {
			got := look(t, s.Service, name)
			if as := open[name]; len(as) > 0 {
				require.Len(t, as, 1)
				if next := k.after(as[0]); next.version == got.version && next.good == got.good {
					happened++
					k = next
				}
			}
			require.Equal(t, k, got, "round %d, %s", round, name)
			names[name] = k
		}
		shared := look(t, s.Service, sharedName)
		seen := map[string]bool{}
		for v, value := range shared.values {
			require.True(t, sharedTried[value], "nobody wrote %s", value)
			require.False(t, seen[value], "%s is there twice", value)
			seen[value] = true
			if was, ok := sharedAcked[v]; ok {
				require.Equal(t, was, value)
			}
			sharedAcked[v] = value
		}
		for v := range sharedAcked {
			require.LessOrEqual(t, v, shared.version, "an acknowledged version is lost")
		}
		if round%3 == 0 { // in the others the next process goes on
			out, err := s.Rewrap(admin, parameter.RewrapRequest{})
			require.NoError(t, err)
			require.True(t, out.Done)
			require.Empty(t, out.Failed)
			if out.Rewrapped > 0 {
				midway++
			}
		}
		require.NoError(t, s.db.Close())
	}

	s, err := openOnDisk(dir)
	require.NoError(t, err)
	defer s.db.Close()
	out, err := s.Rewrap(admin, parameter.RewrapRequest{})
	require.NoError(t, err)
	require.True(t, out.Done)
	require.Empty(t, out.Failed)
	require.NotEqual(t, oldest, s.keys.Primary())
	for _, g := range s.keys.Generations() {
		if g.ID != s.keys.Primary() {
			require.NoError(t, s.keys.Remove(t.Context(), g.ID))
		}
	}
	total, generation := 0, s.keys.Primary()
	require.NoError(t, s.db.Close())
	s, err = openOnDisk(dir) // nothing of the former keys is in memory
	require.NoError(t, err)
	require.Len(t, s.keys.Generations(), 1)
	require.Equal(t, generation, s.keys.Primary())
	for name, k := range names {
		require.Equal(t, k, look(t, s.Service, name), "after every former key is gone")
		total += len(k.values)
	}
	_, err = s.log.Verify(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, s.db.Close())
	t.Logf("%d kills, %d changes acknowledged and none lost; of %d without an answer %d had happened; %d secrets of %d parameters opened; %d rotations were finished by another process",
		rounds, acked, maybe, happened, total, len(names)+1, midway)
}
