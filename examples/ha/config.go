//go:build unix

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleetwright/fleetwright/seal/localkeys"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

// What all control planes have in common, in a directory that init makes and a person copies to each machine.
const (
	keysFile    = "keys.json"
	callersFile = "callers"
	tokenFile   = "admin.token"
	tlsDir      = "tls"
)

// initDir makes what is missing in the directory: the key file, an authority and a certificate for the hosts, and a caller named admin. What is there stays.
func initDir(dir string, hosts []string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if _, err := localkeys.Create(filepath.Join(dir, keysFile), nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := httptransport.SelfSigned(filepath.Join(dir, tlsDir), hosts...); err != nil {
		return err
	}
	if err := initNATS(dir); err != nil {
		return err
	}
	callers := filepath.Join(dir, callersFile)
	if _, err := os.Lstat(callers); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	token := ssmops.NewToken()
	defer token.Wipe()
	// The token first: a callers file whose token nobody has would lock everybody out.
	if err := os.WriteFile(filepath.Join(dir, tokenFile), append(token.Reveal(), '\n'), 0o600); err != nil {
		return err
	}
	return os.WriteFile(callers, []byte(fmt.Sprintf("# NAME TOKEN-SHA256 GRANTS [TENANT]\nadmin %s *\n", ssmops.TokenHash(token))), 0o600)
}

// initVerb is the verb init.
func initVerb(args []string, stdout io.Writer) error {
	fs := flag.NewFlagSet("ha init", flag.ContinueOnError)
	dir := fs.String("dir", "ha-data", "the `directory` to make")
	hosts := fs.String("hosts", "", "comma separated `names` and addresses under which nodes and callers reach the control planes (default localhost, 127.0.0.1, ::1)")
	if err := parse(fs, args); err != nil {
		return err
	}
	if err := initDir(*dir, list(*hosts)); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s has the keys, the certificate and the callers of all control planes: copy it to each machine, readable by its control plane alone.\n", *dir)
	fmt.Fprintf(stdout, "  keys.json     without it no secret in the store is ever read again: keep a copy elsewhere\n  tls/ca.pem    what agents and callers trust\n  admin.token   of the caller admin\n  nats.conf     what the configuration of each NATS server includes, if you have some\n")
	return nil
}

func list(s string) (out []string) {
	for _, w := range strings.Split(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			out = append(out, w)
		}
	}
	return out
}

// usageError marks bad arguments: exit code 2.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// parse parses flags; a flag that the command line lacks is taken from the environment, FLEETWRIGHT_POSTGRES for -postgres.
func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(os.Stderr)
			fmt.Fprintf(os.Stderr, "Flags of %s; each may stand in the environment, as FLEETWRIGHT_DIR for -dir:\n", fs.Name())
			fs.PrintDefaults()
			return err
		}
		return usageError{err}
	}
	if fs.NArg() > 0 {
		return usage("argument %q: flags only", fs.Arg(0))
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var err error
	fs.VisitAll(func(f *flag.Flag) {
		name := "FLEETWRIGHT_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if v, ok := os.LookupEnv(name); ok && !given[f.Name] && err == nil {
			if e := fs.Set(f.Name, v); e != nil {
				err = usage("%s: %v", name, e)
			}
		}
	})
	return err
}
