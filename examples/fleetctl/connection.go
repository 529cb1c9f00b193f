package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
)

// connection says where the control plane is and who calls.
type connection struct {
	server, tokenFile, ca, cert, key, profile string
	format                                    string

	client *ssmops.Client
	token  secret.Value
}

// flags declares the flags that every subcommand has; those that were given before it are their defaults.
func (c *connection) flags(fs *flag.FlagSet) {
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	fs.StringVar(&c.server, "server", c.server, "`URL` of the control plane, https://HOST:PORT")
	fs.StringVar(&c.tokenFile, "token-file", c.tokenFile, "`file` with the token")
	fs.StringVar(&c.ca, "ca", c.ca, "`file` (PEM) of the authority to trust")
	fs.StringVar(&c.cert, "cert", c.cert, "client certificate `file` (PEM)")
	fs.StringVar(&c.key, "key", c.key, "key `file` (PEM) of -cert")
	fs.StringVar(&c.profile, "profile", c.profile, "profile `file`")
	fs.StringVar(&c.format, "o", or(c.format, "table"), "table or json")
}

// profile is what a control plane writes at its start.
type profile struct {
	Server    string `json:"server"`
	TokenFile string `json:"tokenFile"`
	CAFile    string `json:"caFile"`
	CertFile  string `json:"certFile"`
	KeyFile   string `json:"keyFile"`
}

// places are where a profile is looked for.
func places() []string {
	var out []string
	if p := os.Getenv("FLEETCTL_PROFILE"); p != "" {
		return []string{p}
	}
	out = append(out, filepath.Join("data", "fleetctl.json"))
	if d, err := os.UserConfigDir(); err == nil {
		out = append(out, filepath.Join(d, "fleetwright", "fleetctl.json"))
	}
	return append(out, "/var/lib/fleetwright/fleetctl.json")
}

// open makes the client.
func (a *app) open() error {
	c := &a.conn
	if c.client != nil {
		return nil
	}
	if c.server == "" {
		if err := c.readProfile(); err != nil {
			return err
		}
	}
	if (c.cert == "") != (c.key == "") {
		return bad("-cert and -key belong together")
	}
	o := &ssmops.ClientOptions{}
	if c.ca != "" {
		b, err := os.ReadFile(c.ca)
		if err != nil {
			return bad("-ca: %v", err)
		}
		o.CA = b
	}
	switch {
	case c.cert != "":
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return bad("-cert, -key: %v", err)
		}
		o.Certificate = &pair
	case c.tokenFile == "":
		return bad("-token-file is missing: say who you are (or -cert and -key)")
	}
	if c.tokenFile != "" {
		b, err := private(c.tokenFile, 0o077)
		if err != nil {
			return bad("-token-file: %v", err)
		}
		o.Token = secret.New(bytes.TrimSpace(b))
		c.token = o.Token
		clear(b)
	}
	client, err := ssmops.NewClient(c.server, o)
	if err != nil {
		return bad("-server: %s", fault.MessageOf(err))
	}
	c.client = client
	return nil
}

func (c *connection) readProfile() error {
	list := places()
	if c.profile != "" {
		list = []string{c.profile}
	}
	for _, file := range list {
		b, err := private(file, 0o022)
		if errors.Is(err, fs.ErrNotExist) && c.profile == "" {
			continue
		}
		if err != nil {
			return bad("-profile: %v", err)
		}
		var p profile
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil || p.Server == "" {
			return bad("-profile %s: it is no profile: {\"server\": URL, \"tokenFile\": FILE, \"caFile\": FILE}", file)
		}
		fill := func(to *string, v string) {
			if *to == "" {
				*to = v
			}
		}
		fill(&c.server, p.Server)
		fill(&c.ca, p.CAFile)
		if c.cert == "" && c.tokenFile == "" {
			c.tokenFile, c.cert, c.key = p.TokenFile, p.CertFile, p.KeyFile
		}
		return nil
	}
	return bad("-server is missing: give -server, -token-file and -ca, or a -profile (none of %v exists)", list)
}

// private reads a file that decides where a token goes, or is one: it must belong to the caller or root, and its mode must have none of the bits.
func private(file string, bits fs.FileMode) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := owned(st, bits); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	const most = 64 << 10
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err == nil && len(b) == most {
		err = fmt.Errorf("%s: too large", file)
	}
	return b, err
}

// call calls an operation.
func (a *app) call(ctx context.Context, op string, in, out any) error {
	if err := a.open(); err != nil {
		return err
	}
	return a.conn.client.Call(ctx, op, in, out)
}
