package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "controlplane-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if runtime.GOOS != "windows" {
		bin = filepath.Join(dir, "controlplane")
		if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
			os.Exit(1)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// text collects what a program logs.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(b []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(b)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// plane is a running control plane.
type plane struct {
	t    *testing.T
	cmd  *exec.Cmd
	url  string
	out  string
	log  *text
	done chan struct{}
}

// up starts one and waits until it says its three lines.
func up(t *testing.T, dir string, args ...string) *plane {
	t.Helper()
	p := launch(t, append([]string{"-dir", dir, "-listen", "127.0.0.1:0"}, args...)...)
	p.url = regexp.MustCompile(`https://\S+?:\d+`).FindString(p.out)
	require.NotEmpty(t, p.url, "%s\n%s", p.out, p.log)
	return p
}

func launch(t *testing.T, args ...string) *plane {
	t.Helper()
	if bin == "" {
		t.Skip("SKIPPED: signals of unix are needed")
	}
	p := &plane{t: t, cmd: exec.Command(bin, args...), log: &text{}, done: make(chan struct{})}
	p.cmd.Stderr = p.log
	r, w, err := os.Pipe()
	require.NoError(t, err)
	p.cmd.Stdout = w
	require.NoError(t, p.cmd.Start())
	w.Close()
	go func() { p.cmd.Wait(); close(p.done) }()                     //nolint:errcheck // the state tells
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.done; r.Close() }) //nolint:errcheck // it may have ended
	in := bufio.NewReader(r)
	for range 3 {
		s, err := in.ReadString('\n')
		p.out += s
		if err != nil {
			break
		}
	}
	return p
}

func (p *plane) signal(s os.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }

func (p *plane) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.t.Fatal("it does not stop: " + p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	require.NoError(t, err)
	return b
}

func client(t *testing.T, url, dir, tokenFile string) *ssmops.Client {
	t.Helper()
	c, err := ssmops.NewClient(url, &ssmops.ClientOptions{Token: secret.New(bytes.TrimSpace(read(t, tokenFile))), CA: read(t, dir, "tls", "ca.pem")})
	require.NoError(t, err)
	return c
}

func TestFirstStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := up(t, dir)
	token := strings.TrimSpace(string(read(t, dir, "admin.token")))
	require.Equal(t, 3, strings.Count(p.out, "\n"), "three lines say what to do next")
	require.Contains(t, p.out, filepath.Join(dir, "admin.token"), "and where the token lies")
	require.NotContains(t, p.out+p.log.String(), token, "but not the token")
	require.Contains(t, p.out, "activations create")
	require.Contains(t, p.out, " run -targets ")

	// Nothing in the directory is for others, and the callers file does not hold the token.
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, "%s has mode %04o", path, info.Mode().Perm())
		if !d.IsDir() && d.Name() != "admin.token" {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NotContains(t, string(b), token, path)
		}
		return nil
	}))
	var prof profile
	require.NoError(t, json.Unmarshal(read(t, dir, "fleetctl.json"), &prof))
	require.Equal(t, profile{Server: p.url, TokenFile: filepath.Join(dir, "admin.token"), CAFile: filepath.Join(dir, "tls", "ca.pem")}, prof)

	c := client(t, p.url, dir, prof.TokenFile)
	var made ssmops.CreateActivationResult
	require.NoError(t, c.Call(t.Context(), "CreateActivation", nil, &made))
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit(), p.log.String())
	require.Contains(t, p.log.String(), "stopped")
	require.NotContains(t, p.log.String(), made.ActivationCode)

	// The second start keeps everything: the token, the authority, the activation.
	ca := read(t, dir, "tls", "ca.pem")
	p = up(t, dir)
	require.Equal(t, token, strings.TrimSpace(string(read(t, dir, "admin.token"))))
	require.Equal(t, ca, read(t, dir, "tls", "ca.pem"))
	var list ssmops.DescribeActivationsResult
	require.NoError(t, client(t, p.url, dir, prof.TokenFile).Call(t.Context(), "DescribeActivations", nil, &list))
	require.Equal(t, made.ActivationID, list.ActivationList[0].ActivationID)

	// One process has the directory at a time, and the other one says who has it.
	second := launch(t, "-dir", dir, "-listen", "127.0.0.1:0")
	require.Equal(t, 1, second.exit())
	require.Contains(t, second.log.String(), fmt.Sprint(p.cmd.Process.Pid))
	p.signal(os.Interrupt)
	require.Zero(t, p.exit())
}

// Two first starts at once make one admin, whose token works.
func TestTwoFirstStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var wg sync.WaitGroup
	ps := make([]*plane, 2)
	for i := range ps {
		wg.Go(func() { ps[i] = launch(t, "-dir", dir, "-listen", "127.0.0.1:0") })
	}
	wg.Wait()
	won := 0
	for _, p := range ps {
		url := regexp.MustCompile(`https://\S+?:\d+`).FindString(p.out)
		if url == "" {
			require.Equal(t, 1, p.exit())
			continue
		}
		won++
		require.NoError(t, client(t, url, dir, filepath.Join(dir, "admin.token")).Call(t.Context(), "ListCommands", nil, nil))
	}
	require.Equal(t, 1, won)
}

func TestAnonymousLearnsNothing(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(read(t, dir, "tls", "ca.pem")))
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer hc.CloseIdleConnections()
	var bodies []string
	for _, c := range [][3]string{{"POST", "/", "AmazonSSM.ListCommands"}, {"POST", "/", "AmazonSSM.NoSuchThing"}, {"GET", "/", ""}, {"GET", "/debug/pprof/", ""}, {"DELETE", "/x/../y", ""}, {"POST", "/v1/nodes", ""}} {
		r, err := http.NewRequest(c[0], p.url+c[1], strings.NewReader("{}"))
		require.NoError(t, err)
		r.Header.Set("X-Amz-Target", c[2])
		r.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 47))
		resp, err := hc.Transport.RoundTrip(r)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		require.NoError(t, err)
		if c[1] == "/x/../y" && resp.StatusCode/100 == 3 {
			continue // the multiplexer cleans paths
		}
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode, c)
		require.Empty(t, resp.Header.Get("Server"))
		bodies = append(bodies, string(b))
	}
	for _, b := range bodies {
		require.Equal(t, bodies[0], b)
	}
}

func TestCallersAreAddedAndTakenAway(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir)
	out := &bytes.Buffer{}
	add := func(args ...string) (int, string) {
		errs := &bytes.Buffer{}
		return run(context.Background(), append([]string{"-dir", dir}, args...), out, errs), errs.String()
	}
	code, errs := add("-add-caller", "reader", "-grants", "ssm:List*,ssm:Describe*")
	require.Zero(t, code, errs)
	file := filepath.Join(dir, "reader.token")
	require.NotContains(t, out.String(), strings.TrimSpace(string(read(t, file))))
	c := client(t, p.url, dir, file)
	require.Equal(t, fault.Unauthorized, fault.CodeOf(c.Call(t.Context(), "ListCommands", nil, nil)), "not before the file was read again")
	p.signal(syscall.SIGHUP)
	require.Eventually(t, func() bool { return c.Call(t.Context(), "ListCommands", nil, nil) == nil }, time.Minute, 20*time.Millisecond)
	require.Equal(t, fault.AccessDenied, fault.CodeOf(c.Call(t.Context(), "CreateActivation", nil, nil)), "it may do what it was granted")
	for _, bad := range [][]string{{"-add-caller", "reader"}, {"-add-caller", "admin"}, {"-add-caller", "../x"}, {"-add-caller", "a b"}, {"-add-caller", "x", "-grants", "everything"}, {"-add-caller", "x", "-tenant", "a b"}} {
		code, errs = add(bad...)
		require.Equal(t, 1, code, bad)
		require.Contains(t, errs, "-add-caller", bad)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "callers"), []byte("nonsense"), 0o600))
	p.signal(syscall.SIGHUP)
	require.Eventually(t, func() bool { return strings.Contains(p.log.String(), "stays as it was") }, time.Minute, 20*time.Millisecond)
	require.NoError(t, c.Call(t.Context(), "ListCommands", nil, nil))
}

// authority makes a certificate authority and a client certificate of it.
func authority(t *testing.T, cn string) (ca []byte, pair tls.Certificate) {
	t.Helper()
	now := time.Now()
	make := func(tmpl, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		if by == nil {
			by, parent = key, tmpl
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
		require.NoError(t, err)
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return c, key, der
	}
	root, rootKey, der := make(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "people"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	_, key, leaf := make(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: cn}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}, root, rootKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	ca, alice := authority(t, "alice")
	_, forged := authority(t, "alice") // of another authority
	caFile := filepath.Join(dir, "people.pem")
	require.NoError(t, os.WriteFile(caFile, ca, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "callers"), []byte("alice cert ssm:List*\n"), 0o600))
	p := up(t, dir, "-client-ca", caFile)
	with := func(pair *tls.Certificate) error {
		c, err := ssmops.NewClient(p.url, &ssmops.ClientOptions{Certificate: pair, CA: read(t, dir, "tls", "ca.pem")})
		require.NoError(t, err)
		return c.Call(t.Context(), "ListCommands", nil, nil)
	}
	require.NoError(t, with(&alice))
	require.Equal(t, fault.Unauthorized, fault.CodeOf(with(nil)))
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(with(&forged)), "TLS refuses it")
	_, err := os.Stat(filepath.Join(dir, "admin.token"))
	require.ErrorIs(t, err, fs.ErrNotExist, "who brings callers gets no admin")
}

func TestLogsAreJSONOnDemand(t *testing.T) {
	p := up(t, t.TempDir(), "-log", "json")
	p.signal(syscall.SIGTERM)
	require.Zero(t, p.exit())
	for _, line := range strings.Split(strings.TrimSpace(p.log.String()), "\n") {
		require.True(t, json.Valid([]byte(line)), line)
	}
}

func TestNotifiesSystemd(t *testing.T) {
	if bin == "" {
		t.Skip("SKIPPED: a unix socket is needed")
	}
	sock := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", sock)
	p := up(t, t.TempDir())
	b := make([]byte, 64)
	n, err := l.Read(b)
	require.NoError(t, err)
	require.Equal(t, "READY=1", string(b[:n]))
	p.signal(syscall.SIGTERM)
	n, err = l.Read(b)
	require.NoError(t, err)
	require.Equal(t, "STOPPING=1", string(b[:n]))
	require.Zero(t, p.exit())
}

func TestBadArguments(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	require.NoError(t, os.WriteFile(conf, []byte("# x\n\nlisten = :1\nnonsense=1\n"), 0o600))
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"-x", 2, "-x"},
		{"serve", 2, `"serve"`},
		{"-cert a", 2, "-cert and -key"},
		{"-log xml", 2, `-log "xml"`},
		{"-keep -1h", 2, "-keep"},
		{"-keep soon", 2, "-keep"},
		{"-config /nonexistent", 2, "-config"},
		{"-config " + conf, 2, conf + `:4: there is no flag "nonsense"`},
		{"-client-ca /nonexistent", 1, "-client-ca"},
		{"-client-ca " + conf, 1, "no PEM certificate"},
		{"-cert " + conf + " -key " + conf, 1, ""},
		{"-listen nonsense", 1, "nonsense"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"-dir", filepath.Join(dir, "data")}, strings.Fields(c.args)...)
		require.Equal(t, c.code, run(t.Context(), args, &out, &errs), c.args)
		require.Contains(t, errs.String(), c.want, c.args)
		last := strings.Split(strings.TrimSpace(errs.String()), "\n")
		require.True(t, strings.HasPrefix(last[len(last)-1], "controlplane: "), errs.String())
	}
}

// The command line goes before the environment, and that before the file.
func TestSettings(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "conf")
	write := func(s string) { require.NoError(t, os.WriteFile(conf, []byte(s), 0o600)) }
	read := func(args []string, env ...string) (map[string]string, error) {
		fs := flag.NewFlagSet("x", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		for _, n := range []string{"a", "b", "c-d", "e"} {
			fs.String(n, "default", "")
		}
		n := fs.Int("n", 1, "")
		err := settings(fs, args, env)
		got := map[string]string{"n": fmt.Sprint(*n)}
		for _, n := range []string{"a", "b", "c-d", "e"} {
			got[n] = fs.Lookup(n).Value.String()
		}
		return got, err
	}
	write("a=file\nb = file \n# e=comment\nc-d=file=x\nn=2\n")
	got, err := read([]string{"-a", "line", "-config", conf}, "FLEETWRIGHT_B=env", "FLEETWRIGHT_A=env", "FLEETWRIGHT_C_D=env", "FLEETWRIGHT_OTHER=x", "E=x")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "line", "b": "env", "c-d": "env", "e": "default", "n": "2"}, got)
	got, err = read([]string{"-config", conf})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "file", "b": "file", "c-d": "file=x", "e": "default", "n": "2"}, got)
	for text, want := range map[string]string{"a": ":1: write name=value", "a=1\na=2": ":2: a stands twice", "\nn=x": ":2: n: ", "config=x": ":1: there is no flag", "z=1": ":1: there is no flag \"z\""} {
		write(text)
		_, err = read([]string{"-config", conf})
		require.ErrorContains(t, err, want)
	}
	_, err = read(nil, "FLEETWRIGHT_N=x")
	require.ErrorContains(t, err, "FLEETWRIGHT_N: n: ")
}
