// Package pgtest starts PostgreSQL servers of its own for tests: a fresh data directory, a Unix socket, nothing shared with what else runs on the
// machine. A server can be killed, paused, resumed, restarted and copied, which is what fault tests need.
//
//	srv := pgtest.Start(t)             // skips, aloud, where there is no PostgreSQL
//	pool := srv.Pool(t, "parameters")  // a fresh database
//
// It looks for initdb and postgres in FLEETWRIGHT_PGBIN, in /usr/lib/postgresql/*/bin (the newest) and in PATH. PostgreSQL refuses to run as root; a test that runs
// as root runs it as the user postgres, or nobody. A package with many tests shares one server: [New] in TestMain.
package pgtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrNone is what [New] returns where PostgreSQL is not installed.
var ErrNone = errors.New("pgtest: no initdb and postgres in FLEETWRIGHT_PGBIN, /usr/lib/postgresql/*/bin or PATH")

// Options are the options of [New]. The zero value and nil are the defaults.
type Options struct {
	Fsync    bool              // survive more than the death of the server's processes; off is faster
	Settings map[string]string // further settings of the server, e.g. "max_connections"
	From     string            // start over a copy of this data directory instead of a new one; its server must be stopped
}

// Server is a PostgreSQL server that belongs to a test. Its methods are safe for concurrent use.
type Server struct {
	bin, dir, data string
	opts           Options
	cred           *syscall.Credential

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// Start starts a server that ends with the test. Where PostgreSQL is not installed it skips the test.
func Start(tb testing.TB) *Server { return StartWith(tb, nil) }

// StartWith is [Start] with options.
func StartWith(tb testing.TB, opts *Options) *Server {
	tb.Helper()
	s, err := New(opts)
	if errors.Is(err, ErrNone) {
		tb.Skip("SKIPPED: " + err.Error())
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// New starts a server. The caller closes it. The error matches [ErrNone] where PostgreSQL is not installed.
func New(opts *Options) (*Server, error) {
	s := &Server{}
	if opts != nil {
		s.opts = *opts
	}
	var err error
	if s.bin, err = find(); err != nil {
		return nil, err
	}
	if s.cred, err = credential(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("/tmp", "fwpg"); err != nil { // short: it becomes the name of a socket
		return nil, err
	}
	s.data = filepath.Join(s.dir, "data")
	if err := s.prepare(); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	if err := s.Restart(); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	return s, nil
}

// find returns the directory of the binaries.
func find() (string, error) {
	dirs := []string{os.Getenv("FLEETWRIGHT_PGBIN")}
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(installed, func(a, b string) int { return version(b) - version(a) })
	dirs = append(dirs, installed...)
	if p, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, d := range dirs {
		if d == "" {
			continue
		}
		_, e1 := os.Stat(filepath.Join(d, "initdb"))
		_, e2 := os.Stat(filepath.Join(d, "postgres"))
		if e1 == nil && e2 == nil {
			return d, nil
		}
	}
	return "", ErrNone
}

func version(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// credential is who the server runs as: nil for the one who runs the test.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, e1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, e2 := strconv.ParseUint(u.Gid, 10, 32)
		if e1 == nil && e2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("pgtest: PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

// prepare makes the data directory.
func (s *Server) prepare() error {
	if s.cred != nil {
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return err
		}
	}
	if s.opts.From != "" {
		if err := s.run("cp", "-a", s.opts.From, s.data); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Join(s.data, "postmaster.pid"))
	}
	if err := s.run(filepath.Join(s.bin, "initdb"), "--no-sync", "-A", "trust", "-U", "fleet", "-E", "UTF8", "--locale=C", "-D", s.data); err != nil {
		return err
	}
	settings := map[string]string{
		"listen_addresses": "", "unix_socket_directories": s.dir, "fsync": "off", "full_page_writes": "off", "max_connections": "200",
		"shared_buffers": "64MB", "log_min_messages": "fatal", "autovacuum_naptime": "5s", "max_wal_size": "1GB",
	}
	if s.opts.Fsync {
		settings["fsync"], settings["full_page_writes"] = "on", "on"
	}
	for k, v := range s.opts.Settings {
		settings[k] = v
	}
	var conf bytes.Buffer
	for k, v := range settings {
		fmt.Fprintf(&conf, "%s = '%s'\n", k, strings.ReplaceAll(v, "'", "''"))
	}
	f, err := os.OpenFile(filepath.Join(s.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(conf.Bytes())
	return errors.Join(err, f.Close())
}

func (s *Server) run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: %s: %w: %s", filepath.Base(name), err, out)
	}
	return nil
}

// Restart starts the server over the data it has, after [Server.Kill] or [Server.Stop], and waits until it answers. It does nothing to one that runs.
func (s *Server) Restart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		return nil
	}
	// The directory may be a copy of another server's.
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data, "-k", s.dir)
	cmd.Dir = s.dir
	log := &tail{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attr(s.cred)
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	s.cmd, s.gone = cmd, gone
	deadline := time.Now().Add(60 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		c, err := pgx.Connect(ctx, s.DSN("postgres"))
		cancel()
		if err == nil {
			return c.Close(context.Background())
		}
		select {
		case <-gone:
			s.cmd = nil
			return fmt.Errorf("pgtest: the server ended: %s", log)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("pgtest: the server does not answer: %w: %s", err, log)
		}
	}
}

// tail keeps the end of what the server says.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 8<<10 {
		t.buf = slices.Clone(t.buf[len(t.buf)-4<<10:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// DSN returns the connection string of a database on the server's socket; its role may do everything.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s user=fleet dbname=%s", s.dir, database)
}

// Socket returns the path of the server's Unix socket, for a proxy before it.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL.5432") }

// Data returns the server's data directory.
func (s *Server) Data() string { return s.data }

var plainName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// Create makes an empty database unless there is one of that name. The name is lower case letters, digits and underscores.
func (s *Server) Create(ctx context.Context, name string) error {
	if !plainName.MatchString(name) {
		return fmt.Errorf("pgtest: %q is no plain name of a database", name)
	}
	c, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	var there bool
	if err := c.QueryRow(ctx, "select exists(select from pg_database where datname = $1)", name).Scan(&there); err != nil || there {
		return err
	}
	_, err = c.Exec(ctx, "create database "+name)
	return err
}

// Pool returns a pool of connections to the database of that name, which is made if it is missing. The pool ends with the test.
func (s *Server) Pool(tb testing.TB, name string) *pgxpool.Pool {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Create(ctx, name); err != nil {
		tb.Fatal(err)
	}
	cfg, err := pgxpool.ParseConfig(s.DSN(name))
	if err != nil {
		tb.Fatal(err)
	}
	cfg.MaxConns = 16
	p, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Close)
	return p
}

// Kill ends all processes of the server at once, as kill -9 of each. It does nothing to one that does not run.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	// The parent first, so that it starts no new children; they leave its shared memory behind, so all must be gone before a restart.
	kids := s.children()
	_ = s.cmd.Process.Kill()
	<-s.gone
	for _, pid := range kids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range kids {
		for until := time.Now().Add(10 * time.Second); alive(pid) && time.Now().Before(until); {
			time.Sleep(time.Millisecond)
		}
	}
	s.cmd = nil
}

// Stop ends the server in good order, its clients' connections cut.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	<-s.gone
	s.cmd = nil
}

// Pause stops all processes of the server with SIGSTOP: connections stay and nothing answers.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	for _, pid := range s.children() {
		_ = syscall.Kill(pid, sig)
	}
}

// Close ends the server and removes its data.
func (s *Server) Close() {
	s.Resume()
	s.Kill()
	_ = os.RemoveAll(s.dir)
}

// children returns the processes that the server started.
func (s *Server) children() []int {
	want := strconv.Itoa(s.cmd.Process.Pid)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var out []int
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		_, rest, ok := bytes.Cut(b, []byte(") "))
		fields := strings.Fields(string(rest))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); ok && err == nil && len(fields) > 1 && fields[1] == want {
			out = append(out, pid)
		}
	}
	return out
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z'
}
