// Package download holds the action aws:downloadContent, which brings a file to the node.
//
// Sources (input sourceType): HTTP, with an optional digest that must hold; SSMDocument, a document that came with the command; LocalFile, from directories that the host names;
// and whatever else the host adds in [Options.Sources], such as S3 or a blob store ([FromBlobs]). Everything that is fetched over the network for a document goes through one dialer
// whose [Guard] refuses addresses that are not public (rule R-23), redirects included.
//
//	set, err := action.NewSet(shell.New(nil), download.New(nil))
//
// The file goes to destinationPath below the command's own files, complete or not at all, readable and executable by its owner only.
package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/blob"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/message"
)

// Name is the action's name.
const Name = "aws:downloadContent"

// errRefused is the cause of every refusal of an address.
var errRefused = errors.New("this node does not connect there for a document")

// Source is a host's own kind of source, such as S3. info is the step's sourceInfo. It returns the content and a name for the file, of which only the last element counts. The caller closes it.
type Source interface {
	Open(ctx context.Context, info map[string]any) (io.ReadCloser, string, error)
}

// SourceFunc is a function as a Source.
type SourceFunc func(ctx context.Context, info map[string]any) (io.ReadCloser, string, error)

// Open implements Source.
func (f SourceFunc) Open(ctx context.Context, info map[string]any) (io.ReadCloser, string, error) {
	return f(ctx, info)
}

// FromBlobs returns a Source that reads the blob whose key sourceInfo names.
func FromBlobs(s blob.Store) Source {
	return SourceFunc(func(ctx context.Context, info map[string]any) (io.ReadCloser, string, error) {
		key, err := action.Text(info, "key")
		if err != nil {
			return nil, "", err
		}
		r, err := s.Open(ctx, key)
		return r, path.Base(key), err
	})
}

// Options are a host's choices; nil is the zero value.
type Options struct {
	Guard     Guard             // what may be reached besides public addresses
	MaxBytes  int64             // the largest file; default 1 GiB
	Redirects int               // how many are followed; default 5, negative none
	Sources   map[string]Source // more kinds of sources, by sourceType
	Local     []string          // directories that LocalFile may read below
	Anywhere  bool              // destinationPath may be absolute; otherwise it stays below the command's files
	UserAgent string            // default "fleetwright"
	// Transport makes requests; nil is one that has the Guard, no proxy and no idle connections. Another one must bring its own guard: a proxy connects for the node,
	// so that nobody here sees the address.
	Transport http.RoundTripper
}

// Action is aws:downloadContent. It is safe for concurrent use.
type Action struct {
	o      Options
	client *http.Client
}

// New returns the action.
func New(o *Options) *Action {
	a := &Action{}
	if o != nil {
		a.o = *o
	}
	if a.o.MaxBytes <= 0 {
		a.o.MaxBytes = 1 << 30
	}
	if a.o.Redirects == 0 {
		a.o.Redirects = 5
	}
	if a.o.UserAgent == "" {
		a.o.UserAgent = "fleetwright"
	}
	rt := a.o.Transport
	if rt == nil {
		rt = a.o.Guard.transport()
	}
	a.client = &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return a
}

// Name implements action.Action.
func (*Action) Name() string { return Name }

// content is what a source gives.
type content struct {
	r      io.ReadCloser
	name   string
	digest string // SHA-256, hex; empty when nobody said
}

// Run implements action.Action.
func (a *Action) Run(ctx context.Context, c *action.Call) action.Result {
	kind, err := action.Text(c.Inputs, "sourceType")
	if err != nil {
		return action.Failed(err.Error())
	}
	info, err := action.Map(c.Inputs, "sourceInfo")
	if err != nil {
		return action.Failed(err.Error())
	}
	dest, err := action.Text(c.Inputs, "destinationPath")
	if err != nil {
		return action.Failed(err.Error())
	}
	got, err := a.open(ctx, c, kind, info)
	if err != nil {
		return failed(ctx, err)
	}
	defer got.r.Close() //nolint:errcheck // it was read to its end, or failed
	where, n, err := a.save(c, dest, got)
	if err != nil {
		return failed(ctx, err)
	}
	fmt.Fprintf(c.Stdout, "%d bytes to %s\n", n, where) //nolint:errcheck // a spool never fails
	return action.Succeeded()
}

func failed(ctx context.Context, err error) action.Result {
	r := action.Failed(err.Error())
	if s, ended := action.Cause(ctx); ended {
		r.Status = s
	}
	return r
}

func (a *Action) open(ctx context.Context, c *action.Call, kind string, info map[string]any) (*content, error) {
	for name, s := range a.o.Sources {
		if strings.EqualFold(name, kind) {
			r, file, err := s.Open(ctx, info)
			if err != nil {
				return nil, err
			}
			return withDigest(&content{r: r, name: file}, info)
		}
	}
	switch {
	case strings.EqualFold(kind, "HTTP"):
		return a.fetch(ctx, info)
	case strings.EqualFold(kind, "SSMDocument"):
		name, err := action.Text(info, "name")
		if err != nil {
			return nil, err
		}
		in, ok := c.Documents[name]
		if plain, _ := document.CutVersion(name); !ok {
			in, ok = c.Documents[plain] // the control plane chose the version when it sent the document along
		}
		if !ok {
			return nil, fmt.Errorf("the document %q was not sent along with the command", name)
		}
		ext := ".json"
		if strings.EqualFold(in.Format, "YAML") {
			ext = ".yaml"
		}
		return &content{r: io.NopCloser(strings.NewReader(string(in.Document))), name: in.Name + ext, digest: in.Hash}, nil
	case strings.EqualFold(kind, "LocalFile"):
		return a.local(info)
	case kind == "":
		return nil, errors.New("the step has no sourceType")
	}
	return nil, fmt.Errorf("this node has no source of type %q: its host can add one", kind)
}

// withDigest takes the digest from sourceInfo, which is beyond AWS: "digest": "sha256:<hex>", or without the prefix.
func withDigest(c *content, info map[string]any) (*content, error) {
	d, err := action.Text(info, "digest")
	if err == nil {
		d = strings.TrimPrefix(strings.ToLower(d), "sha256:")
		if b, bad := hex.DecodeString(d); d != "" && (bad != nil || len(b) != sha256.Size) {
			err = errors.New("sourceInfo's digest is no SHA-256 in hexadecimal")
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.r.Close())
	}
	c.digest = d
	return c, nil
}

func (a *Action) local(info map[string]any) (*content, error) {
	p, err := action.Text(info, "path")
	if err != nil {
		return nil, err
	}
	if !filepath.IsAbs(p) {
		return nil, errors.New("sourceInfo's path must be absolute for a LocalFile")
	}
	for _, dir := range a.o.Local {
		below, err := filepath.Rel(dir, filepath.Clean(p))
		if err != nil || !filepath.IsLocal(below) {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close() //nolint:errcheck // read only
		f, err := root.Open(below)
		if err != nil {
			return nil, err
		}
		return withDigest(&content{r: f, name: filepath.Base(p)}, info)
	}
	return nil, fmt.Errorf("this node gives no local file %q to documents: its host names the directories that may be read", p)
}

// place is where a file goes: a directory, and a name within it.
type place struct {
	dir, name string
}

// where decides the file's place. A destination that ends in a slash, or is a directory, gets the source's name.
func (a *Action) where(c *action.Call, dest, name string) (place, error) {
	name = path.Base(filepath.ToSlash(name))
	if name == "." || name == "/" || name == ".." || strings.ContainsRune(name, 0) {
		name = "content"
	}
	p := place{dir: c.Downloads}
	switch {
	case filepath.IsAbs(dest):
		below, err := filepath.Rel(c.Downloads, dest)
		switch {
		case err == nil && filepath.IsLocal(below):
			dest = trailing(dest, below)
		case a.o.Anywhere:
			p.dir, dest = filepath.VolumeName(dest)+string(filepath.Separator), trailing(dest, strings.TrimLeft(dest[len(filepath.VolumeName(dest)):], `/\`))
		default:
			return p, fmt.Errorf("destinationPath %q is not below the command's own files: give a relative path", dest)
		}
	case dest != "" && !filepath.IsLocal(dest):
		return p, fmt.Errorf("destinationPath %q leads out of the command's own files", dest)
	}
	p.name = dest
	if dest == "" || strings.HasSuffix(dest, "/") || isDir(p.dir, dest) {
		p.name = filepath.Join(dest, name)
	}
	return p, nil
}

func trailing(was, now string) string {
	if strings.HasSuffix(was, "/") && !strings.HasSuffix(now, "/") {
		return now + "/"
	}
	return now
}

func isDir(dir, below string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close() //nolint:errcheck // read only
	info, err := root.Stat(below)
	return err == nil && info.IsDir()
}

// save writes the content under a temporary name and renames it once it is whole and its digest holds. Nothing is written through a link that leads out.
func (a *Action) save(c *action.Call, dest string, got *content) (string, int64, error) {
	p, err := a.where(c, dest, got.name)
	if err != nil {
		return "", 0, err
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return "", 0, fmt.Errorf("the directory for downloads cannot be used: %w", err)
	}
	defer root.Close() //nolint:errcheck // the file was closed
	if dir := filepath.Dir(p.name); dir != "." {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return "", 0, fmt.Errorf("destinationPath cannot be made: %w", err)
		}
	}
	temp := filepath.Join(filepath.Dir(p.name), ".download-"+message.NewID(nil))
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	if err != nil {
		return "", 0, fmt.Errorf("destinationPath cannot be written: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(got.r, a.o.MaxBytes+1))
	err = errors.Join(err, f.Close())
	switch {
	case err != nil:
		err = fmt.Errorf("the download broke off after %d bytes: %w", n, err)
	case n > a.o.MaxBytes:
		err = fmt.Errorf("the content has more than %d bytes, the most that this node takes", a.o.MaxBytes)
	case got.digest != "" && got.digest != hex.EncodeToString(sum.Sum(nil)):
		err = errors.New("the content is not what was expected: its SHA-256 is " + hex.EncodeToString(sum.Sum(nil)))
	default:
		err = root.Rename(temp, p.name)
	}
	if err != nil {
		if rm := root.Remove(temp); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
			err = errors.Join(err, rm)
		}
		return "", n, err
	}
	return filepath.Join(p.dir, p.name), n, nil
}

// fetch gets an HTTP source.
func (a *Action) fetch(ctx context.Context, info map[string]any) (*content, error) {
	raw, err := action.Text(info, "url")
	if err != nil {
		return nil, err
	}
	insecure, err := action.Bool(info, "allowInsecureDownload")
	if err != nil {
		return nil, err
	}
	auth, err := action.Word(info, "authMethod", "None", "Basic", "Digest")
	if err != nil {
		return nil, err
	}
	if auth == "Digest" {
		return nil, errors.New("authMethod Digest is not supported by this node: use Basic over https")
	}
	user, err := action.Text(info, "username")
	if err != nil {
		return nil, err
	}
	password, err := action.Text(info, "password")
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("sourceInfo's url is none")
	}
	first := u.Scheme + "://" + u.Host
	for hop := 0; ; hop++ {
		if err := mayFetch(u, insecure); err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, errors.New("sourceInfo's url is none")
		}
		req.Header.Set("User-Agent", a.o.UserAgent)
		if auth == "Basic" && u.Scheme+"://"+u.Host == first { // credentials go to nobody else
			req.SetBasicAuth(user, password)
		}
		resp, err := a.client.Do(req)
		if err != nil {
			return nil, clean(err)
		}
		switch {
		case resp.StatusCode == http.StatusOK:
			return withDigest(&content{r: resp.Body, name: path.Base(u.Path)}, info)
		case resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.Header.Get("Location") != "":
			resp.Body.Close() //nolint:errcheck // its content does not matter
			if hop >= a.o.Redirects {
				return nil, fmt.Errorf("the server redirects more than %d times", max(a.o.Redirects, 0))
			}
			next, err := u.Parse(resp.Header.Get("Location"))
			if err != nil {
				return nil, errors.New("the server redirects to something that is no address")
			}
			next.User = nil
			u = next
		default:
			resp.Body.Close() //nolint:errcheck // its content does not matter
			return nil, fmt.Errorf("the server answered %s", resp.Status)
		}
	}
}

// mayFetch checks what can be seen of an address before it is resolved.
func mayFetch(u *url.URL, insecure bool) error {
	switch {
	case u.Host == "" || u.Opaque != "":
		return errors.New("sourceInfo's url has no host")
	case u.User != nil:
		return errors.New("sourceInfo's url holds credentials: give username and password, which are not written to logs")
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("only http and https are fetched, not %q", u.Scheme)
	case !insecure:
		return errors.New("the content would come unprotected over http: use https, or set allowInsecureDownload")
	}
	return nil
}

// clean takes the address out of an error of http: it may hold a token.
func clean(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return fmt.Errorf("the content could not be fetched: %w", ue.Err)
	}
	return err
}

// headerTimeout is how long a server may take to answer; the step's own time bounds the rest.
const headerTimeout = time.Minute
