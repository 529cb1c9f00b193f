package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/store/pgstore/pgtest"
)

var update = flag.Bool("update", false, "rewrite testdata/story.golden with what the tool prints today")

// shared is the database of all tests.
var shared struct {
	once sync.Once
	srv  *pgtest.Server
	err  error
}

func TestMain(m *testing.M) {
	time.Local = time.UTC
	code := m.Run()
	if shared.srv != nil {
		shared.srv.Close()
	}
	if binary.dir != "" {
		os.RemoveAll(binary.dir) //nolint:errcheck // it lies among temporary files
	}
	os.Exit(code)
}

func database(t *testing.T) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.srv, shared.err = pgtest.New(&pgtest.Options{Settings: map[string]string{"jit": "off"}}); shared.err == nil {
			shared.err = shared.srv.Create(context.Background(), "params")
		}
	})
	if errors.Is(shared.err, pgtest.ErrNone) {
		t.Skip("SKIPPED: " + shared.err.Error())
	}
	require.NoError(t, shared.err)
	return shared.srv.DSN("params")
}

// person answers questions on a terminal.
type person struct {
	answers []string
	asked   []string
}

func (p *person) ReadHidden(prompt string) ([]byte, error) {
	p.asked = append(p.asked, prompt)
	if len(p.answers) == 0 {
		return nil, io.EOF
	}
	a := p.answers[0]
	p.answers = p.answers[1:]
	return []byte(a), nil
}

func (p *person) Close() error { return nil }

// rig runs the tool in this process, with a clock of its own.
type rig struct {
	t       *testing.T
	dir     string
	env     map[string]string
	person  *person // nil: there is no terminal
	now     time.Time
	started []string // the program of exec, then its environment
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, dir: t.TempDir(), env: map[string]string{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// run runs the tool and returns what it printed and its exit code.
func (r *rig) run(stdin string, args ...string) (stdout, stderr string, code int) {
	r.t.Helper()
	var out, errs bytes.Buffer
	r.now = r.now.Add(time.Minute)
	now := r.now
	a := &app{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, now: func() time.Time { return now }, rounds: 1000,
		getenv:  func(k string) string { return r.env[k] },
		environ: func() []string { return []string{"PATH=/bin", "HOST=of the caller", "PARAMS_DIR=x"} },
		terminal: func() (terminal, error) {
			if r.person == nil {
				return nil, errNoTerminal
			}
			return r.person, nil
		},
		become: func(_ context.Context, _ string, argv, env []string) error {
			r.started = append(argv[:len(argv):len(argv)], env...)
			return nil
		}}
	code = a.main(r.t.Context(), append([]string{"-dir", filepath.Join(r.dir, "params"), "-as", "ann"}, args...))
	return out.String(), errs.String(), code
}

// ok runs the tool, which must go well, and returns what it printed.
func (r *rig) ok(stdin string, args ...string) string {
	r.t.Helper()
	out, errs, code := r.run(stdin, args...)
	require.Zero(r.t, code, "%v: %s", args, errs)
	return out
}

// story is what an operator does from the first day to the one on which the key is lost and found. A line with < is the next command's input; one with ! is done to the files.
const story = `
put /web/db/host db1.internal
init
init
put /web/db/host db1.internal -description where -tag team=web
put -secret /web/db/password hunter2
<first secret
put -secret /web/db/password
put /web/db/password visible -overwrite
<second secret
put -overwrite /web/db/password
put /web/cache-ttl 60
put /web/cache-ttl 90
put /web/cache-ttl 90 -if-version 7
put /web/cache-ttl 90 -if-version 1
put -type StringList /web/zones a,b,c
put plain {{x}}
put plain $(id)
get /web/db/host
get /web/db/password
get /web/db/password:1
get -as bob /web/db/password
get /web/db/port
get -o json /web/cache-ttl
list
list /web -values
list -tag team=web
list /nope
label /web/cache-ttl:1 prod
label /web/cache-ttl prod 9bad
unlabel /web/cache-ttl:2 prod staging
label /web/cache-ttl:1 prod
get /web/cache-ttl:prod
history /web/cache-ttl
history /web/db/password
tags /web/db/host set owner=ann
tags /web/db/host remove team
diff /web -from 25m
put /stage/db/host db9.internal
<second secret
put -secret /stage/db/password
diff /web /stage
exec /web /stage -- true
exec /web -one-level -- true
exec /empty -- true
export /web -format dotenv
keys
rotate-key
keys
get /web/db/password:1
!mv params/keys.json away
get /web/db/password
get /web/db/host
<new
put -secret /web/new
list /web
rotate-key
exec /web -- true
!mv away params/keys.json
get /web/db/password
rotate-key -finish -drop-old
keys
get /web/db/password
who /web/db/password
who -by bob
who -all /stage
delete /stage/db/host /stage/nope
delete -r /web
delete -r /web -yes
list
verify
`

// The whole story prints the same on the embedded store and on PostgreSQL: what testdata/story.golden has.
func TestAnOperatorsStory(t *testing.T) {
	for _, on := range []string{"embedded", "postgres"} {
		t.Run(on, func(t *testing.T) {
			r := newRig(t)
			if on == "postgres" {
				if testing.Short() {
					t.Skip("SKIPPED: the story on PostgreSQL; run without -short")
				}
				r.env["PARAMS_POSTGRES"] = database(t)
				require.NoError(t, os.Mkdir(filepath.Join(r.dir, "params"), 0o700))
			}
			got := r.tell(story)
			const golden = "testdata/story.golden"
			if *update && on == "embedded" {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			if on == "postgres" { // whose store is there before its keys are
				want = bytes.Replace(want, []byte("there is no store in DIR/params: make one with params init, or say where it is with -dir"),
					[]byte("the store is empty and has no key file yet: make it with params init"), 1)
			}
			require.Equal(t, string(want), got, "go test -run Story -update, then read the difference")
		})
	}
}

var keyID = regexp.MustCompile(`lk-[0-9a-f]{16}`)

// tell runs a story and returns its transcript, in which directories and key ids have names that stay the same.
func (r *rig) tell(story string) string {
	var b strings.Builder
	names := map[string]string{}
	stdin := ""
	for line := range strings.Lines(strings.TrimSpace(story) + "\n") {
		line = strings.TrimSuffix(line, "\n")
		if in, ok := strings.CutPrefix(line, "<"); ok {
			stdin = in + "\n"
			continue
		}
		fmt.Fprintf(&b, "$ %s\n", line)
		if move, ok := strings.CutPrefix(line, "!mv "); ok {
			from, to, _ := strings.Cut(move, " ")
			require.NoError(r.t, os.Rename(filepath.Join(r.dir, from), filepath.Join(r.dir, to)))
			continue
		}
		r.started = nil
		out, errs, code := r.run(stdin, strings.Fields(line)...)
		stdin = ""
		if len(r.started) > 0 {
			out += "starts: " + strings.Join(r.started, " | ") + "\n"
		}
		b.WriteString(out + errs)
		if code != 0 {
			fmt.Fprintf(&b, "exit code %d\n", code)
		}
	}
	text := strings.ReplaceAll(b.String(), r.dir, "DIR")
	return keyID.ReplaceAllStringFunc(text, func(id string) string {
		if names[id] == "" {
			names[id] = fmt.Sprintf("lk-%016d", len(names)+1)
		}
		return names[id]
	})
}
