package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
)

// settings parses flags from the command line, then takes those that it lacks from the environment, then from the file that -config names.
func settings(fs *flag.FlagSet, args, environ []string) error {
	config := fs.String("config", "", "`file` of lines name=value, one for each flag")
	if err := fs.Parse(args); err != nil {
		return err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	set := func(name, value, from string) error {
		if given[name] {
			return nil
		}
		if err := fs.Set(name, value); err != nil {
			return fmt.Errorf("%s: %s: %w", from, name, err)
		}
		given[name] = true
		return nil
	}
	for _, e := range environ {
		k, v, _ := strings.Cut(e, "=")
		k, ours := strings.CutPrefix(k, "FLEETWRIGHT_")
		name := strings.ReplaceAll(strings.ToLower(k), "_", "-")
		if !ours || fs.Lookup(name) == nil {
			continue
		}
		if err := set(name, v, "FLEETWRIGHT_"+k); err != nil {
			return err
		}
	}
	if *config == "" {
		return nil
	}
	f, err := os.Open(*config)
	if err != nil {
		return fmt.Errorf("-config: %w", err)
	}
	defer f.Close()
	seen := map[string]bool{}
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		at := fmt.Sprintf("%s:%d", *config, n)
		k, v, ok := strings.Cut(line, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		switch {
		case !ok:
			return fmt.Errorf("%s: write name=value", at)
		case k == "config" || fs.Lookup(k) == nil:
			return fmt.Errorf("%s: there is no flag %q", at, k)
		case seen[k]:
			return fmt.Errorf("%s: %s stands twice", at, k)
		}
		seen[k] = true
		if err := set(k, v, at); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s: %w", *config, err)
	}
	return nil
}

// notify tells systemd (Type=notify) about the program's state; elsewhere it does nothing.
func notify(state string) {
	addr := os.Getenv("NOTIFY_SOCKET")
	if addr == "" {
		return
	}
	if c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: addr, Net: "unixgram"}); err == nil {
		defer c.Close()
		c.Write([]byte(state)) //nolint:errcheck // systemd will time out
	}
}
