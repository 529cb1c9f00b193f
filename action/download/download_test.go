package download_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/download"
	"github.com/fleetwright/fleetwright/message"
)

// loopback lets tests reach their own servers.
var loopback = download.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

func call(t testing.TB, inputs map[string]any) (*action.Call, *bytes.Buffer) {
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	require.NoError(t, os.Mkdir(files, 0o700))
	var out bytes.Buffer
	return &action.Call{Action: download.Name, Inputs: inputs, Dir: dir, Downloads: files, Stdout: &out, Stderr: &out, Log: slog.New(slog.DiscardHandler), Depth: 1}, &out
}

func httpInfo(url string, more ...any) map[string]any {
	info := map[string]any{"url": url, "allowInsecureDownload": true}
	for i := 0; i+1 < len(more); i += 2 {
		info[more[i].(string)] = more[i+1]
	}
	return map[string]any{"sourceType": "HTTP", "sourceInfo": info}
}

func TestHTTP(t *testing.T) {
	var auth []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		auth = append(auth, r.Header.Get("Authorization"))
		io.WriteString(w, "content") //nolint:errcheck // a test
	}))
	defer srv.Close()
	sum := sha256.Sum256([]byte("content"))
	good := "sha256:" + hex.EncodeToString(sum[:])
	a := download.New(&download.Options{Guard: loopback})

	in := httpInfo(srv.URL+"/a/file.sh", "digest", good)
	c, out := call(t, in)
	r := a.Run(t.Context(), c)
	require.Equal(t, message.Success, r.Status, r.Reason)
	b, err := os.ReadFile(c.Downloads + "/file.sh")
	require.NoError(t, err)
	require.Equal(t, "content", string(b))
	info, err := os.Stat(c.Downloads + "/file.sh")
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	require.Contains(t, out.String(), "7 bytes")

	// sourceInfo as a text that holds JSON, names in another case, a place of its own.
	c, _ = call(t, map[string]any{"SourceType": "http", "SourceInfo": fmt.Sprintf(`{"URL": %q, "allowInsecureDownload": "true", "authMethod": "Basic", "username": "u", "password": "p"}`, srv.URL), "destinationPath": "sub/dir/name"})
	r = a.Run(t.Context(), c)
	require.Equal(t, message.Success, r.Status, r.Reason)
	require.FileExists(t, c.Downloads+"/sub/dir/name")
	require.Equal(t, "Basic dTpw", auth[len(auth)-1])

	for name, in := range map[string]map[string]any{
		"wrong digest":        httpInfo(srv.URL, "digest", strings.Repeat("0", 64)),
		"no digest at all":    httpInfo(srv.URL, "digest", "md5:1234"),
		"insecure":            {"sourceType": "HTTP", "sourceInfo": map[string]any{"url": srv.URL}},
		"credentials in url":  httpInfo(strings.Replace(srv.URL, "http://", "http://u:p@", 1)),
		"other scheme":        httpInfo("file:///etc/passwd"),
		"opaque":              httpInfo("http:127.0.0.1"),
		"no host":             httpInfo("http:///x"),
		"digest auth":         httpInfo(srv.URL, "authMethod", "Digest"),
		"unknown auth":        httpInfo(srv.URL, "authMethod", "NTLM"),
		"no source":           {},
		"unknown source":      {"sourceType": "Git", "sourceInfo": map[string]any{}},
		"broken info":         {"sourceType": "HTTP", "sourceInfo": "{"},
		"leads out":           {"sourceType": "HTTP", "sourceInfo": httpInfo(srv.URL)["sourceInfo"], "destinationPath": "../x"},
		"absolute":            {"sourceType": "HTTP", "sourceInfo": httpInfo(srv.URL)["sourceInfo"], "destinationPath": "/tmp/x"},
		"local without roots": {"sourceType": "LocalFile", "sourceInfo": map[string]any{"path": "/etc/passwd"}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := call(t, in)
			r := a.Run(t.Context(), c)
			require.Equal(t, message.Failed, r.Status)
			require.NotEmpty(t, r.Reason)
			names, err := os.ReadDir(c.Downloads)
			require.NoError(t, err)
			require.Empty(t, names, "nothing half-made stays")
		})
	}
}

func TestTheSizeIsLimited(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 1000 {
			w.Write(make([]byte, 1000)) //nolint:errcheck // a test
		}
	}))
	defer srv.Close()
	c, _ := call(t, httpInfo(srv.URL))
	r := download.New(&download.Options{Guard: loopback, MaxBytes: 5000}).Run(t.Context(), c)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "5000")
}

func TestRedirects(t *testing.T) { // R-23
	var seen []string
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	}))
	defer secure.Close()
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Host+r.URL.Path+" "+r.Header.Get("Authorization"))
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/iam", http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/other":
			http.Redirect(w, r, "http://localhost:"+srv.URL[strings.LastIndex(srv.URL, ":")+1:]+"/end", http.StatusFound)
		case "/end":
			io.WriteString(w, "end") //nolint:errcheck // a test
		}
	}))
	defer srv.Close()
	a := download.New(&download.Options{Guard: loopback})
	run := func(path string, more ...any) action.Result {
		c, _ := call(t, httpInfo(srv.URL+path, more...))
		return a.Run(t.Context(), c)
	}
	require.Contains(t, run("/loop").Reason, "more than 5 times")
	r := run("/metadata")
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "does not connect")
	require.Equal(t, message.Failed, run("/file").Status)
	seen = nil
	require.Equal(t, message.Success, run("/other", "authMethod", "Basic", "username", "u", "password", "p").Status)
	require.Len(t, seen, 2)
	require.Contains(t, seen[0], "Basic")
	require.NotContains(t, seen[1], "Basic", "credentials go to nobody else")
}

func TestANameThatResolvesElsewhereIsRefused(t *testing.T) { // R-23: rebinding
	if _, err := net.DefaultResolver.LookupHost(t.Context(), "localhost"); err != nil {
		t.Skip("SKIPPED: localhost does not resolve here")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, _ := call(t, httpInfo("http://localhost:"+fmt.Sprint(l.Addr().(*net.TCPAddr).Port)))
	r := download.New(nil).Run(t.Context(), c)
	require.Equal(t, message.Failed, r.Status)
	require.Contains(t, r.Reason, "does not connect")
}

// spellings are addresses that a document must not reach, as somebody who tries would write them.
func spellings() []string {
	var all []string
	for _, a := range []string{"127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.127.255.254",
		"0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16"} {
		v4 := netip.MustParseAddr(a).As4()
		n := uint32(v4[0])<<24 | uint32(v4[1])<<16 | uint32(v4[2])<<8 | uint32(v4[3])
		all = append(all, a,
			fmt.Sprint(n), fmt.Sprintf("0x%x", n), fmt.Sprintf("0%o", n), // one number
			fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", v4[0], v4[1], v4[2], v4[3]), fmt.Sprintf("0%o.0%o.0%o.0%o", v4[0], v4[1], v4[2], v4[3]), // others bases
			fmt.Sprintf("%d.%d", v4[0], n&0xffffff), a+".", // short, with a dot
			"[::ffff:"+a+"]", fmt.Sprintf("[::ffff:%x:%x]", n>>16, n&0xffff), fmt.Sprintf("[0:0:0:0:0:ffff:%x:%x]", n>>16, n&0xffff), // mapped
			fmt.Sprintf("[::%x:%x]", n>>16, n&0xffff), fmt.Sprintf("[64:ff9b::%x:%x]", n>>16, n&0xffff), fmt.Sprintf("[64:ff9b:1::%x:%x]", n>>16, n&0xffff), // compatible, NAT64
			fmt.Sprintf("[2002:%x:%x::1]", n>>16, n&0xffff), fmt.Sprintf("[2001:0:1:2:3:4:%x:%x]", ^n>>16, ^n&0xffff), // 6to4, Teredo
			fmt.Sprintf("[::ffff:0:%x:%x]", n>>16, n&0xffff)) // translated
	}
	return append(all, "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[fe80::1]", "[fe80::1%25lo]", "[febf::1]", "[fc00::1]", "[fd00:ec2::254]", "[fdff::1]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[100::1]", "[2001:db8::1]",
		"[2001:20::1]", "[3fff::1]", "[5f00::1]", "[4000::1]", "[::ffff:127.0.0.1%25lo]", "localhost", "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①", "127。0。0。1")
}

func TestNoSpellingGetsPastTheGuard(t *testing.T) { // R-23, T-SSRF
	all := spellings()
	require.Greater(t, len(all), 200)
	a := download.New(nil)
	var wg sync.WaitGroup
	queue := make(chan string)
	for range 32 { // names that are none take the resolver's time
		wg.Go(func() {
			for host := range queue {
				c, _ := call(t, httpInfo("http://"+host+"/"))
				if r := a.Run(t.Context(), c); r.Status != message.Failed {
					t.Errorf("%s: %s", host, r.Status)
				}
			}
		})
	}
	for _, host := range all {
		if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && testing.Short() {
			continue // names that are none wait for a resolver; the guard below sees what a system may make of them
		}
		queue <- host
	}
	close(queue)
	wg.Wait()
	t.Logf("%d spellings", len(all))

	// The same through the guard alone, so that no resolver decides.
	var g download.Guard
	checked := 0
	for _, host := range all {
		addr, err := netip.ParseAddr(strings.ReplaceAll(strings.Trim(host, "[]"), "%25", "%"))
		if err != nil {
			continue
		}
		checked++
		require.Error(t, g.Check(addr), host)
		network := "tcp4"
		if addr.Is6() {
			network = "tcp6"
		}
		require.Error(t, g.Control(network, netip.AddrPortFrom(addr, 80).String(), nil), host)
	}
	require.Greater(t, checked, 200)
}

func TestThePublicInternetIsReachable(t *testing.T) {
	var g download.Guard
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
		"192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450::1", "2003::1"} {
		require.NoError(t, g.Check(netip.MustParseAddr(a)), a)
	}
	require.Error(t, g.Check(netip.Addr{}))
	require.Error(t, g.Control("udp4", "8.8.8.8:53", nil))
	require.Error(t, g.Control("tcp4", "8.8.8.8", nil))
	own := download.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	require.NoError(t, own.Check(netip.MustParseAddr("10.1.2.3")))
	require.NoError(t, own.Check(netip.MustParseAddr("::ffff:10.1.2.3")))
	require.Error(t, own.Check(netip.MustParseAddr("10.2.0.1")))
}

func TestDestinationsStayBelowTheFiles(t *testing.T) { // R-02
	src := download.SourceFunc(func(_ context.Context, info map[string]any) (io.ReadCloser, string, error) {
		name, err := action.Text(info, "name")
		return io.NopCloser(strings.NewReader("x")), name, err
	})
	outside := t.TempDir()
	for _, c := range []struct{ dest, name, want string }{
		{"", "a", "a"}, {"", "../../a", "a"}, {"", "", "content"}, {"", "..", "content"}, {"dir/", "a", "dir/a"}, {"there", "a", "there/a"}, {"x/y", "a", "x/y"}, {"FILES/q", "a", "q"}, {"FILES/q/", "a", "q/a"},
		{"../a", "a", ""}, {"/etc/a", "a", ""}, {"FILES/../a", "a", ""}, {"out/a", "a", ""}, {"x/../../a", "a", ""}, {"a\x00b", "a", ""},
	} {
		t.Run(c.dest+" "+c.name, func(t *testing.T) {
			cl, _ := call(t, nil)
			require.NoError(t, os.Mkdir(cl.Downloads+"/there", 0o700))
			require.NoError(t, os.Symlink(outside, cl.Downloads+"/out"))
			cl.Inputs = map[string]any{"sourceType": "Test", "sourceInfo": map[string]any{"name": c.name}, "destinationPath": strings.Replace(c.dest, "FILES", cl.Downloads, 1)}
			r := download.New(&download.Options{Sources: map[string]download.Source{"test": src}}).Run(t.Context(), cl)
			if c.want == "" {
				require.Equal(t, message.Failed, r.Status)
			} else {
				require.Equal(t, message.Success, r.Status, r.Reason)
				require.FileExists(t, cl.Downloads+"/"+c.want)
			}
			names, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, names)
		})
	}
	cl, _ := call(t, map[string]any{"sourceType": "Test", "sourceInfo": map[string]any{"name": "n"}, "destinationPath": outside + "/"})
	r := download.New(&download.Options{Anywhere: true, Sources: map[string]download.Source{"test": src}}).Run(t.Context(), cl)
	require.Equal(t, message.Success, r.Status, r.Reason)
	require.FileExists(t, outside+"/n")
}

type blobs map[string]string

func (blobs) Put(context.Context, string, io.Reader) (int64, error) {
	return 0, errors.New("read only")
}
func (blobs) Delete(context.Context, string) error { return nil }
func (b blobs) Open(_ context.Context, key string) (io.ReadCloser, error) {
	if s, ok := b[key]; ok {
		return io.NopCloser(strings.NewReader(s)), nil
	}
	return nil, errors.New("not found")
}

func TestOtherSources(t *testing.T) {
	local := t.TempDir()
	require.NoError(t, os.WriteFile(local+"/f", []byte("local"), 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", local+"/link"))
	a := download.New(&download.Options{Local: []string{local}, Sources: map[string]download.Source{"Blob": download.FromBlobs(blobs{"a/b": "blob"})}})
	run := func(kind string, info map[string]any) (*action.Call, action.Result) {
		c, _ := call(t, map[string]any{"sourceType": kind, "sourceInfo": info})
		doc := []byte("schemaVersion: '2.2'")
		sum := sha256.Sum256(doc)
		c.Documents = map[string]message.Included{"Doc": {Name: "Doc", Document: doc, Hash: hex.EncodeToString(sum[:]), Format: "YAML"}}
		return c, a.Run(t.Context(), c)
	}
	for _, c := range []struct {
		kind, file, content string
		info                map[string]any
	}{{"Blob", "b", "blob", map[string]any{"key": "a/b"}}, {"LocalFile", "f", "local", map[string]any{"path": local + "/f"}}, {"SSMDocument", "Doc.yaml", "schemaVersion: '2.2'", map[string]any{"name": "Doc:1"}}, {"SSMDocument", "Doc.yaml", "schemaVersion: '2.2'", map[string]any{"name": "Doc"}}} {
		cl, r := run(c.kind, c.info)
		require.Equal(t, message.Success, r.Status, r.Reason)
		b, err := os.ReadFile(cl.Downloads + "/" + c.file)
		require.NoError(t, err)
		require.Equal(t, c.content, string(b))
	}
	for _, c := range []struct {
		kind string
		info map[string]any
	}{{"Blob", map[string]any{"key": "none"}}, {"LocalFile", map[string]any{"path": local + "/../x"}}, {"LocalFile", map[string]any{"path": local + "/link"}}, {"LocalFile", map[string]any{"path": "f"}}, {"SSMDocument", map[string]any{"name": "Other"}}} {
		_, r := run(c.kind, c.info)
		require.Equal(t, message.Failed, r.Status, "%v", c)
	}
}

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	a := download.New(nil)
	r := a.Run(context.Background(), &action.Call{Downloads: dir, Stdout: os.Stdout, Inputs: map[string]any{
		"sourceType": "HTTP", "sourceInfo": map[string]any{"url": "https://169.254.169.254/latest/meta-data/"}}})
	fmt.Println(r.Status)
	fmt.Println(r.Reason)
	// Output:
	// Failed
	// the content could not be fetched: dial tcp 169.254.169.254:443: this node does not connect there for a document: 169.254.169.254 is not a public address
}
