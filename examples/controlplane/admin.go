package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/ssmops"
)

// admin is what an operator and a load balancer ask: /healthz and /readyz without credentials, and for those who have the rights
//
//	POST /v1/admin/backup?blobs=no         a backup, streamed
//	POST /v1/admin/fsck?repair=yes         what is wrong with the store
//	GET  /v1/admin/doctor?command=&node=   why a command waits
//	GET  /v1/admin/health                  how the control plane stands
type admin struct {
	f        *fleetwright.Fleet
	auth     ssmops.Authenticator
	log      *slog.Logger
	draining atomic.Bool
	busy     chan struct{} // one backup or fsck at a time

	mu    sync.Mutex // of what /readyz said last: whoever asks often costs little
	asked time.Time
	last  []fleetwright.HealthCheck
}

func newAdmin(log *slog.Logger) *admin { return &admin{log: log, busy: make(chan struct{}, 1)} }

// mount adds the endpoints.
func (a *admin) mount(mux *http.ServeMux, f *fleetwright.Fleet, auth ssmops.Authenticator) {
	a.f, a.auth = f, auth
	mux.HandleFunc("GET /healthz", a.healthz)
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("POST /v1/admin/backup", a.known(a.backup))
	mux.HandleFunc("POST /v1/admin/fsck", a.known(a.fsck))
	mux.HandleFunc("GET /v1/admin/doctor", a.known(a.doctor))
	mux.HandleFunc("GET /v1/admin/health", a.known(a.health))
}

// The checks of /readyz: checkTime is how long they may take, checkFor how long an answer is given again.
const (
	checkTime = 2 * time.Second
	checkFor  = 500 * time.Millisecond
)

func (a *admin) checks(ctx context.Context) []fleetwright.HealthCheck {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil || time.Since(a.asked) > checkFor {
		a.last, a.asked = a.f.Checks(context.WithoutCancel(ctx), checkTime), time.Now()
	}
	return a.last
}

// healthz is 200 as long as the process is worth keeping: a full disk, or a store that is away, is no reason to kill it; loops that do not come round are. It does not ask the store.
func (a *admin) healthz(w http.ResponseWriter, _ *http.Request) {
	if c := a.f.Loops(); !c.OK && !a.draining.Load() {
		say(w, http.StatusServiceUnavailable, []fleetwright.HealthCheck{c})
		return
	}
	say(w, http.StatusOK, nil)
}

// readyz is 200 when this control plane can take work.
func (a *admin) readyz(w http.ResponseWriter, r *http.Request) {
	checks := append([]fleetwright.HealthCheck(nil), a.checks(r.Context())...)
	if a.draining.Load() {
		checks = append(checks, fleetwright.HealthCheck{Name: "draining", Text: "the control plane is stopping"})
	}
	status := http.StatusOK
	for _, c := range checks {
		if !c.OK {
			status = http.StatusServiceUnavailable
		}
	}
	say(w, status, checks)
}

// say answers with a line for each check.
func say(w http.ResponseWriter, status int, checks []fleetwright.HealthCheck) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	for _, c := range checks {
		state := "ok "
		if !c.OK {
			state = "BAD"
		}
		fmt.Fprintf(w, "%s %-9s %s\n", state, c.Name, fault.Clean(c.Text))
	}
	if status == http.StatusOK {
		fmt.Fprintln(w, "ok")
	}
}

// known lets those in who have credentials.
func (a *admin) known(h func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		p, err := a.auth.Authenticate(r)
		if err != nil || p.Name == "" {
			refuse(w, http.StatusUnauthorized, fault.New("controlplane", fault.Unauthorized, "the request has no valid credentials"))
			return
		}
		err = h(w, r.WithContext(access.With(r.Context(), p)))
		if err == nil {
			return
		}
		if errors.Is(err, http.ErrAbortHandler) {
			panic(err) //nolint:forbidigo // so that the caller sees that it is not whole
		}
		status := http.StatusInternalServerError
		switch fault.KindOf(err) {
		case fault.Denied:
			status = http.StatusForbidden
		case fault.NotFound:
			status = http.StatusNotFound
		case fault.Invalid:
			status = http.StatusBadRequest
		case fault.Unavailable:
			status = http.StatusServiceUnavailable
		}
		a.log.Warn("an operator's request failed", "path", r.URL.Path, "principal", p.Name, "error", err)
		refuse(w, status, err)
	}
}

func refuse(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"code": string(fault.CodeOf(err)), "message": fault.MessageOf(err)}) //nolint:errcheck // the caller is gone
}

func (a *admin) alone() (func(), error) {
	select {
	case a.busy <- struct{}{}:
		return func() { <-a.busy }, nil
	default:
		return nil, fault.New("controlplane", fault.ServiceUnavailable, "a backup or an fsck is under way: wait for its end")
	}
}

// counted notes whether something was written.
type counted struct {
	http.ResponseWriter
	n int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n += int64(n)
	return n, err
}

func (a *admin) backup(w http.ResponseWriter, r *http.Request) error {
	done, err := a.alone()
	if err != nil {
		return err
	}
	defer done()
	began := time.Now()
	c := &counted{ResponseWriter: w}
	w.Header().Set("Content-Type", "application/octet-stream")
	m, err := a.f.Backup(r.Context(), c, &fleetwright.BackupOptions{NoBlobs: r.URL.Query().Get("blobs") == "no", Files: []string{"callers", "admin.token"}})
	if err != nil {
		if c.n == 0 {
			return err
		}
		a.log.Error("a backup was not finished", "error", err)
		return http.ErrAbortHandler
	}
	a.log.Info("a backup was made", "records", m.Records, "blobs", m.Blobs, "corrupt", m.Corrupt, "sha256", m.SHA256, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

func (a *admin) fsck(w http.ResponseWriter, r *http.Request) error {
	done, err := a.alone()
	if err != nil {
		return err
	}
	defer done()
	rep, err := a.f.Fsck(r.Context(), &fleetwright.FsckOptions{Repair: r.URL.Query().Get("repair") == "yes"})
	if err != nil {
		return err
	}
	a.log.Info("the store was checked", "records", rep.Records, "problems", rep.Found, "repaired", rep.Fixed)
	return write(w, rep)
}

func (a *admin) doctor(w http.ResponseWriter, r *http.Request) error {
	d, err := a.f.Doctor(r.Context(), r.URL.Query().Get("command"), r.URL.Query().Get("node"))
	if err != nil {
		return err
	}
	return write(w, d)
}

func (a *admin) health(w http.ResponseWriter, r *http.Request) error {
	h, err := a.f.Health(r.Context())
	if err != nil {
		return err
	}
	return write(w, h)
}

func write(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}
