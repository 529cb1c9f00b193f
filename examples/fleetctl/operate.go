package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// errWrong means that everything was told already, and that something is wrong.
var errWrong = errors.New("something is wrong")

func operateVerbs() []verb {
	dir := func(fs *flag.FlagSet) {
		fs.String("dir", "", "the `directory` of a control plane that is stopped, instead of asking one that runs")
		fs.String("passphrase-file", "", "with -dir: `file` of the key file's passphrase, if it has one")
	}
	with := func(more func(fs *flag.FlagSet)) func(fs *flag.FlagSet) {
		return func(fs *flag.FlagSet) { dir(fs); more(fs) }
	}
	return []verb{
		{name: "doctor", args: "[COMMAND [NODE]]", summary: "say why a command waits, on one screen; or how the control plane stands", flags: dir, run: (*app).doctor},
		{name: "backup", args: "FILE", summary: "copy everything into a new file, while the control plane goes on",
			more:  "The key file (keys.json) is never in it: keep a copy of that elsewhere.\nWithout it nobody can use the backup, you neither.\n",
			flags: with(func(fs *flag.FlagSet) { fs.Bool("no-output", false, "leave the output of commands out") }), run: (*app).backup},
		{name: "restore", args: "FILE", summary: "make a control plane's directory out of a backup", more: "Everything is verified before anything is replaced. Start the control plane afterwards.\n",
			flags: func(fs *flag.FlagSet) {
				fs.String("dir", "data", "the `directory`; missing or empty")
				fs.String("keys", "", "the key `file` of the control plane that was backed up (default keys.json in -dir)")
				fs.String("passphrase-file", "", "`file` of the key file's passphrase, if it has one")
				fs.Bool("force", false, "replace a directory that is not empty; what was in it is kept beside it")
				fs.Bool("skip-damaged", false, "leave out records that were damaged before the backup")
			}, run: (*app).restore},
		{name: "fsck", summary: "read every record and say what is wrong; exit code 1 when something is", flags: with(func(fs *flag.FlagSet) { fs.Bool("repair", false, "mend what can be mended without losing anything") }), run: (*app).fsck},
		{name: "compact", summary: "give back what the store of a stopped control plane does not use", flags: func(fs *flag.FlagSet) { fs.String("dir", "data", "its `directory`") }, run: (*app).compact},
	}
}

// inspect opens the directory of -dir.
func (a *app) inspect(ctx context.Context, p *parsed) (*fleetwright.Fleet, error) {
	pass, err := passphrase(p)
	if err != nil {
		return nil, err
	}
	return fleetwright.Inspect(ctx, p.str("dir"), &fleetwright.Options{Passphrase: pass})
}

func passphrase(p *parsed) (v secret.Value, err error) {
	name := p.str("passphrase-file")
	if name == "" {
		return v, nil
	}
	b, err := private(name, 0o077)
	if err != nil {
		return v, bad("-passphrase-file: %v", err)
	}
	defer clear(b)
	return secret.String(strings.TrimRight(string(b), "\r\n")), nil
}

// ask sends a request to the control plane's operator's endpoint.
func (a *app) ask(ctx context.Context, method, path string, q url.Values) (*http.Response, error) {
	if err := a.open(); err != nil {
		return nil, err
	}
	c := &a.conn
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		b, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, bad("-ca: %v", err)
		}
		conf.RootCAs = x509.NewCertPool()
		conf.RootCAs.AppendCertsFromPEM(b)
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, bad("-cert, -key: %v", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	u := strings.TrimSuffix(c.server, "/") + path
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, nil)
	if err != nil {
		return nil, bad("-server: %v", err)
	}
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+string(c.token.Reveal()))
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, fault.New("fleetctl", fault.ServiceUnavailable, "the control plane at %s cannot be reached: %w; if it is stopped, say where its directory is with -dir", c.server, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e struct{ Code, Message string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&e); err != nil || e.Code == "" {
		return nil, fault.New("fleetctl", fault.ServiceUnavailable, "the control plane at %s answers %s: does it know this? it may be an older release", c.server, resp.Status)
	}
	return nil, fault.New("fleetctl", fault.Code(fault.Clean(e.Code)), "%s", fault.Clean(e.Message))
}

// get asks for something that is JSON.
func (a *app) getJSON(ctx context.Context, method, path string, q url.Values, out any) error {
	resp, err := a.ask(ctx, method, path, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<20)).Decode(out); err != nil {
		return fault.New("fleetctl", fault.ServiceUnavailable, "the answer did not arrive whole: %w", err)
	}
	return nil
}

func (a *app) doctor(ctx context.Context, p *parsed) (err error) {
	if len(p.args) > 2 || p.rest != nil {
		return bad("give COMMAND and NODE, COMMAND alone, or nothing")
	}
	args := append(append([]string{}, p.args...), "", "")
	var f *fleetwright.Fleet
	if p.str("dir") != "" {
		if f, err = a.inspect(ctx, p); err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // it was only read
	}
	if len(p.args) == 0 {
		var h fleetwright.Health
		if f != nil {
			h, err = f.Health(ctx)
		} else {
			err = a.getJSON(ctx, http.MethodGet, "/v1/admin/health", nil, &h)
		}
		if err != nil {
			return err
		}
		if err := a.show(h, h.String()); err != nil {
			return err
		}
		if !h.OK() {
			return errWrong
		}
		return nil
	}
	var d fleetwright.Diagnosis
	if f != nil {
		d, err = f.Doctor(ctx, args[0], args[1])
	} else {
		err = a.getJSON(ctx, http.MethodGet, "/v1/admin/doctor", url.Values{"command": {args[0]}, "node": {args[1]}}, &d)
	}
	if err != nil {
		return err
	}
	return a.show(d, d.String())
}

// show prints a report, as JSON when that is wanted.
func (a *app) show(v any, text string) error {
	if a.wantsJSON() {
		return a.json(v)
	}
	_, err := io.WriteString(printable{a.stdout}, text)
	return err
}

// backup writes FILE whole or not at all.
func (a *app) backup(ctx context.Context, p *parsed) (err error) {
	args, err := p.arg("FILE")
	if err != nil {
		return err
	}
	if _, err := os.Lstat(args[0]); err == nil {
		return bad("%s is there: a backup never replaces a file", args[0])
	}
	tmp, err := os.CreateTemp(filepath.Dir(args[0]), ".backup-*") // 0600 by contract
	if err != nil {
		return bad("FILE: %v", err)
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it is there only after an error
	defer tmp.Close()
	if p.str("dir") != "" {
		f, err := a.inspect(ctx, p)
		if err != nil {
			return err
		}
		_, err = f.Backup(ctx, tmp, &fleetwright.BackupOptions{NoBlobs: p.on("no-output"), Files: []string{"callers", "admin.token"}})
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	} else {
		q := url.Values{}
		if p.on("no-output") {
			q.Set("blobs", "no")
		}
		resp, err := a.ask(ctx, http.MethodPost, "/v1/admin/backup", q)
		if err != nil {
			return err
		}
		_, err = io.Copy(tmp, resp.Body)
		resp.Body.Close()
		if err != nil {
			return fault.New("fleetctl", fault.ServiceUnavailable, "the backup did not arrive whole: %w", err)
		}
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	m, err := fleetwright.VerifyBackup(ctx, tmp)
	if err != nil {
		return err
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), args[0]); err != nil { // never over a file that came meanwhile
		return bad("FILE: %v", err)
	}
	if a.wantsJSON() {
		return a.json(m)
	}
	if m.Corrupt > 0 {
		fmt.Fprintf(a.stderr, "fleetctl: %d records are damaged, and so they are in the backup: run fsck\n", m.Corrupt)
	}
	if n := len(m.Listed) + m.ListedMore; n > 0 {
		fmt.Fprintf(a.stderr, "fleetctl: %d outputs are only named, not in it\n", n)
	}
	if !m.Consistent {
		fmt.Fprintln(a.stderr, "fleetctl: the store could not give all records as of one moment: run fsck after a restore, and prefer the database's own backup")
	}
	return a.say("backup      %s\nmade        %s by %s\nrecords     %d\noutputs     %d\nsha256      %s\nnot in it   the key file keys.json: keep a copy of it elsewhere", args[0], when(m.Created), fault.Clean(m.Name), m.Records, m.Blobs, m.SHA256)
}

func (a *app) restore(ctx context.Context, p *parsed) error {
	args, err := p.arg("FILE")
	if err != nil {
		return err
	}
	in, err := os.Open(args[0])
	if err != nil {
		return bad("FILE: %v", err)
	}
	defer in.Close()
	pass, err := passphrase(p)
	if err != nil {
		return err
	}
	rep, err := fleetwright.RestoreDir(ctx, in, p.str("dir"), &fleetwright.RestoreOptions{KeyFile: p.str("keys"), Passphrase: pass, Force: p.on("force"), SkipDamaged: p.on("skip-damaged")})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(rep)
	}
	for _, l := range []struct {
		n    int
		text string
	}{{rep.Skipped, "damaged records were left out"}, {rep.Lost, "outputs are not in the backup and are lost"}} {
		if l.n > 0 {
			fmt.Fprintf(a.stderr, "fleetctl: %d %s\n", l.n, l.text)
		}
	}
	text := fmt.Sprintf("restored    %s\nas of       %s\nrecords     %d\nepoch       %d", p.str("dir"), when(rep.Backup.Created), rep.Backup.Records-rep.Skipped, rep.Epoch)
	if rep.Before != "" {
		text += "\nbefore      " + rep.Before
	}
	return a.say("%s\nnext        start the control plane; doctor then names what nodes know and this does not", text)
}

func (a *app) fsck(ctx context.Context, p *parsed) (err error) {
	if _, err := p.arg(); err != nil {
		return err
	}
	rep := &fleetwright.FsckReport{}
	if p.str("dir") != "" {
		f, err := a.inspect(ctx, p)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // what was repaired is durable
		if rep, err = f.Fsck(ctx, &fleetwright.FsckOptions{Repair: p.on("repair")}); err != nil {
			return err
		}
	} else {
		q := url.Values{}
		if p.on("repair") {
			q.Set("repair", "yes")
		}
		if err := a.getJSON(ctx, http.MethodPost, "/v1/admin/fsck", q, rep); err != nil {
			return err
		}
	}
	if err := a.show(rep, rep.String()); err != nil {
		return err
	}
	if !rep.OK() {
		return errWrong
	}
	return nil
}

func (a *app) compact(ctx context.Context, p *parsed) error {
	if _, err := p.arg(); err != nil {
		return err
	}
	before, after, err := fleetwright.CompactDir(ctx, p.str("dir"))
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(map[string]int64{"before": before, "after": after})
	}
	return a.say("%d KiB before, %d KiB after", before>>10, after>>10)
}
