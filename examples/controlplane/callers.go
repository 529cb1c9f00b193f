package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/ssmops"
)

const header = `# Who may call: NAME CREDENTIAL GRANTS [TENANT]. The credential is the SHA-256 of a token, or cert for a client certificate of that common name.
# controlplane -add-caller NAME -grants ACTIONS adds a line; kill -HUP makes it known.
`

// firstCaller reads the callers file. At the first start it makes it, with the caller admin.
func firstCaller(o *options) (*ssmops.Callers, error) {
	if _, err := os.Lstat(o.callers); errors.Is(err, fs.ErrNotExist) {
		// The token first: a callers file whose token nobody has would lock everybody out.
		line, err := newToken("admin", "*", "", filepath.Join(o.dir, "admin.token"))
		if err != nil {
			return nil, err
		}
		if err := replace(o.callers, header+line); err != nil {
			return nil, err
		}
	}
	return ssmops.ReadCallers(o.callers)
}

// late is the authorizer before the callers are known: nobody may do anything until then.
type late struct{ atomic.Pointer[ssmops.Callers] }

// Authorize implements access.Authorizer.
func (l *late) Authorize(ctx context.Context, p access.Principal, action, resource string, attributes map[string]string) error {
	if c := l.Load(); c != nil {
		return c.Authorize(ctx, p, action, resource, attributes)
	}
	return access.DenyAll{}.Authorize(ctx, p, action, resource, attributes)
}

// newToken writes a fresh token to a file and returns the line for the callers file. The token is nowhere else.
func newToken(name, grants, tenant, file string) (line string, err error) {
	token := ssmops.NewToken()
	defer token.Wipe()
	line = strings.TrimRight(fmt.Sprintf("%s %s %s %s", name, ssmops.TokenHash(token), grants, tenant), " ") + "\n"
	if _, err := ssmops.ParseCallers(strings.NewReader(line)); err != nil {
		return "", err
	}
	return line, replace(file, string(token.Reveal())+"\n")
}

// addCaller adds a line to the callers file.
func addCaller(o *options, stdout io.Writer) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	callers, err := firstCaller(o)
	if err != nil {
		return err
	}
	tenant := o.tenant
	if tenant == "" {
		tenant = access.DefaultTenant
	}
	for _, c := range callers.List() {
		if c.Name == o.addCaller && c.Tenant == tenant {
			return fmt.Errorf("-add-caller %s: it is in %s already; remove the line for a new token", c.Name, o.callers)
		}
	}
	file := o.tokenOut
	if file == "" {
		if strings.ContainsAny(o.addCaller, "/\\") {
			return fmt.Errorf("-add-caller %q: a name has no slashes", o.addCaller)
		}
		file = filepath.Join(o.dir, o.addCaller+".token")
	}
	line, err := newToken(o.addCaller, o.grants, o.tenant, file)
	if err != nil {
		return fmt.Errorf("-add-caller: %w", err)
	}
	old, err := os.ReadFile(o.callers)
	if err != nil {
		return err
	}
	if len(old) > 0 && old[len(old)-1] != '\n' {
		old = append(old, '\n')
	}
	if err := replace(o.callers, string(old)+line); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s added to %s, its token is in %s; kill -HUP the control plane to make it known\n", o.addCaller, o.callers, file)
	return nil
}

// profile is what fleetctl needs to reach this control plane.
type profile struct {
	Server    string `json:"server"`
	TokenFile string `json:"tokenFile"`
	CAFile    string `json:"caFile,omitempty"`
}

// writeProfile writes fleetctl.json into the directory.
func writeProfile(o *options, f *fleetwright.Fleet) (string, error) {
	p := profile{Server: strings.TrimSuffix(f.URL(), fleetwright.NodePath), TokenFile: filepath.Join(o.dir, "admin.token")}
	if o.cert == "" {
		p.CAFile = filepath.Join(o.dir, "tls", "ca.pem")
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(o.dir, "fleetctl.json")
	return file, replace(file, string(b)+"\n")
}

// replace puts a file of mode 0600 in place whole, and durable.
func replace(file, text string) error {
	t, err := os.CreateTemp(filepath.Dir(file), ".new-*") // 0600 by contract
	if err != nil {
		return err
	}
	defer os.Remove(t.Name()) //nolint:errcheck // it is there only after an error
	_, err = io.WriteString(t, text)
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err == nil {
		err = os.Rename(t.Name(), file)
	}
	return err
}
