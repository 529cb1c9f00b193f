//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"time"

	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/transport"
)

// presence is a further transport, which counts who is connected.
type presence interface {
	transport.Transport
	connected() int
	Close() error
}

// handler answers everybody: /healthz (the process works), /readyz (send nodes and callers here), and what is behind them once it is there.
func (p *plane) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, "") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, p.unready(r.Context())) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		front := p.front.Load()
		if front == nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		(*front).ServeHTTP(w, r)
	})
	return mux
}

func answer(w http.ResponseWriter, wrong string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if wrong != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(wrong + "\n")) //nolint:errcheck // whoever asked is gone
		return
	}
	w.Write([]byte("ok\n")) //nolint:errcheck // likewise
}

// unready says why it is not ready, "" when it is: the store answers within a second, the lease on its name is alive, and everything runs.
func (p *plane) unready(ctx context.Context) string {
	if m := p.missing.Load(); m != nil {
		return *m
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := p.store.View(ctx, func(ctx context.Context, r store.Reader) error {
		_, err := r.Get(ctx, memberKey(p.o.name))
		return err
	})
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return "the store does not answer"
	case !p.name.alive():
		return "its leases are not renewed"
	}
	return ""
}

// status is how a control plane sees itself and the others.
type status struct {
	Name    string   `json:"name"`
	PID     int      `json:"pid"`
	Ready   string   `json:"ready"` // "" or why not
	Shards  []int    `json:"shards"`
	HTTPS   int      `json:"https"` // nodes connected
	NATS    int      `json:"nats"`
	Refused int64    `json:"refused"` // writes that the store did not take, the lease being another's
	Broken  int64    `json:"broken"`  // times a stale write was found to have been taken: always 0
	Members []member `json:"members"`
}

func (p *plane) status(ctx context.Context) (status, error) {
	members, err := p.name.list(ctx)
	s := status{Name: p.o.name, PID: os.Getpid(), Ready: p.unready(ctx), Shards: p.fleet.Commands.Owned(), HTTPS: p.nodes.Stats().Connected, Refused: p.store.refused.Load(),
		Broken: p.name.broken.Load(), Members: members}
	for _, t := range p.more {
		s.NATS += t.connected()
	}
	return s, err
}

// statusHandler shows the status to known callers.
func (p *plane) statusHandler(callers *ssmops.Callers) http.Handler {
	auth := callers.Bearer()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := auth.Authenticate(r)
		if err == nil {
			err = callers.Authorize(r.Context(), who, "ssm:DescribeInstanceInformation", "*", nil)
		}
		if err != nil || who.Name == "" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		s, err := p.status(r.Context())
		if err != nil {
			http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s) //nolint:errcheck // whoever asked is gone
	})
}
