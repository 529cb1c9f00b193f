package ssmops

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
)

// Limits of a callers file (rule R-20).
const (
	MaxCallers   = 10_000
	MaxCallerLen = 128 // characters of a name
	maxGrants    = 256
	maxLine      = 16 << 10
)

// Caller is one line of a callers file.
type Caller struct {
	Name        string
	Tenant      string   // access.DefaultTenant when the line names none
	Hash        string   // SHA-256 of the bearer token in hexadecimal; "" when the caller shows a certificate
	Certificate bool     // a client certificate whose common name is Name
	Grants      []string // actions; a * at the end stands for anything
}

type callerKey struct{ tenant, name string }

// callers is a table that does not change any more.
type callers struct {
	list   []Caller
	sums   [][sha256.Size]byte // of list, in its order; zero for certificates
	grants map[callerKey][]string
	byName map[string]int // certificates only
}

// Callers are who may call, and what they may do: authenticator and authorizer in one, read from a file:
//
//	# name    credential                                                          grants                        tenant
//	admin     2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824    *
//	ci        486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5afa6c659edc2cf6    ssm:SendCommand,ssm:List*     default
//	alice     cert                                                                ssm:*,resource-groups:*
//
// The credential is the SHA-256 of a bearer token, or "cert" for a client certificate with that common name. Grants are actions (see access.Actions), separated by commas; they hold for every resource
// of the caller's tenant. It is safe for concurrent use.
type Callers struct {
	path string
	now  atomic.Pointer[callers]
}

// callerName has no blank, nothing that a terminal acts upon, and not the separator of tenants.
var callerName = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9@._+-]*\z`)

var grantText = regexp.MustCompile(`\A(\*|[a-z][a-z-]{0,62}:(\*|[A-Za-z]{1,128}\*?))\z`)

// ReadCallers reads a callers file. Nobody but its owner may be able to write it.
func ReadCallers(path string) (*Callers, error) {
	c := &Callers{path: path}
	return c, c.Reload()
}

// ParseCallers reads the text of a callers file. Errors name the line.
func ParseCallers(r io.Reader) (*Callers, error) {
	t, err := parseCallers(r)
	if err != nil {
		return nil, err
	}
	c := &Callers{}
	c.now.Store(t)
	return c, nil
}

// Reload reads the file again. With an error everything stays as it was.
func (c *Callers) Reload() error {
	const op = "ssmops.ReadCallers"
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(op, fault.DoesNotExist, "there is no callers file %s", clip(c.path))
	}
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "the callers file cannot be read: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fault.New(op, fault.ServiceUnavailable, "the callers file cannot be read: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o022 != 0 {
		return fault.New(op, fault.Validation, "%s can be written by others (mode %04o): chmod go-w it", clip(c.path), st.Mode().Perm())
	}
	t, err := parseCallers(f)
	if err != nil {
		return err
	}
	c.now.Store(t)
	return nil
}

func parseCallers(r io.Reader) (*callers, error) {
	const op = "ssmops.ReadCallers"
	t := &callers{grants: map[callerKey][]string{}, byName: map[string]int{}}
	seen := map[[sha256.Size]byte]int{}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), maxLine)
	n := 0
	for sc.Scan() {
		n++
		bad := func(format string, args ...any) error {
			return fault.New(op, fault.Validation, "callers file, line %d: "+format, append([]any{n}, args...)...)
		}
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		w := strings.Fields(line)
		if len(w) < 3 || len(w) > 4 {
			return nil, bad("%d words; write NAME CREDENTIAL GRANTS, and TENANT if it is not %s", len(w), access.DefaultTenant)
		}
		cl := Caller{Name: w[0], Tenant: access.DefaultTenant, Grants: strings.Split(w[2], ",")}
		if len(w) == 4 {
			cl.Tenant = w[3]
		}
		if len(cl.Name) > MaxCallerLen || !callerName.MatchString(cl.Name) {
			return nil, bad("%q is no name: up to %d letters, digits and @ . _ + -", clip(cl.Name), MaxCallerLen)
		}
		if len(cl.Tenant) > MaxCallerLen || !callerName.MatchString(cl.Tenant) {
			return nil, bad("%q is no tenant: up to %d letters, digits and @ . _ + -", clip(cl.Tenant), MaxCallerLen)
		}
		if len(cl.Grants) > maxGrants {
			return nil, bad("%d grants; at most %d are allowed", len(cl.Grants), maxGrants)
		}
		for _, g := range cl.Grants {
			if !grantText.MatchString(g) {
				return nil, bad("%q is no grant: write actions such as ssm:SendCommand, ssm:List* or *, separated by commas without blanks", clip(g))
			}
		}
		k := callerKey{cl.Tenant, cl.Name}
		if _, twice := t.grants[k]; twice {
			return nil, bad("%s stands here twice", cl.Name)
		}
		if len(t.list) == MaxCallers {
			return nil, bad("more than %d callers", MaxCallers)
		}
		var sum [sha256.Size]byte
		if w[1] == "cert" {
			if other, twice := t.byName[cl.Name]; twice {
				return nil, bad("the certificate of %s is that of tenant %s already", cl.Name, t.list[other].Tenant)
			}
			cl.Certificate = true
			t.byName[cl.Name] = len(t.list)
		} else {
			b, err := hex.DecodeString(w[1])
			if err != nil || len(b) != sha256.Size {
				return nil, bad("the credential of %s is neither the SHA-256 of a token (64 hexadecimal digits) nor cert", cl.Name)
			}
			sum = [sha256.Size]byte(b)
			if other, twice := seen[sum]; twice {
				return nil, bad("%s has the token of %s", cl.Name, t.list[other].Name)
			}
			seen[sum] = len(t.list)
			cl.Hash = strings.ToLower(w[1])
		}
		t.list, t.sums, t.grants[k] = append(t.list, cl), append(t.sums, sum), cl.Grants
	}
	if err := sc.Err(); err != nil {
		return nil, fault.New(op, fault.Validation, "callers file, line %d: %w", n+1, err)
	}
	return t, nil
}

// List returns the callers in the order of the file.
func (c *Callers) List() []Caller {
	out := slices.Clone(c.now.Load().list)
	for i := range out {
		out[i].Grants = slices.Clone(out[i].Grants)
	}
	return out
}

// Bearer knows callers by the header "Authorization: Bearer TOKEN". Every caller's hash is compared, in constant time each, whether one fits or none.
func (c *Callers) Bearer() Authenticator {
	return AuthenticatorFunc(func(r *http.Request) (access.Principal, error) {
		t := c.now.Load()
		sum, ok := bearer(r)
		at := -1
		for i := range t.sums {
			fits := subtle.ConstantTimeCompare(t.sums[i][:], sum[:])
			at = subtle.ConstantTimeSelect(fits, i, at)
		}
		if !ok || at < 0 || t.list[at].Certificate {
			return access.Principal{}, errUnknown()
		}
		return t.list[at].principal("token"), nil
	})
}

// Certificates knows callers by the common name of a client certificate that the server has verified against its client authorities (tls.Config.ClientCAs).
func (c *Callers) Certificates() Authenticator {
	return AuthenticatorFunc(func(r *http.Request) (access.Principal, error) {
		t := c.now.Load()
		at, ok := t.byName[commonName(r)]
		if !ok {
			return access.Principal{}, errUnknown()
		}
		return t.list[at].principal("certificate"), nil
	})
}

func (c *Caller) principal(by string) access.Principal {
	return access.Principal{Tenant: c.Tenant, Name: c.Name, Attributes: map[string]string{"credential": by}}
}

// Authorize implements access.Authorizer: a caller may do what the file grants it now, in its own tenant.
func (c *Callers) Authorize(_ context.Context, p access.Principal, action, _ string, _ map[string]string) error {
	for _, g := range c.now.Load().grants[callerKey{p.Tenant, p.Name}] {
		if prefix, any := strings.CutSuffix(g, "*"); g == action || any && strings.HasPrefix(action, prefix) {
			return nil
		}
	}
	return fault.New("ssmops.Callers", fault.AccessDenied, "no grant of %s", clip(action))
}
