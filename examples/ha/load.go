//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/ssmops"
	"github.com/fleetwright/fleetwright/target"
)

// work leaves a line in a file before it does anything else: what the nodes did is counted there, and not where the control planes keep it.
const work = `schemaVersion: "2.2"
description: Leaves a line in a file for each start, and takes its time.
parameters:
  file: {type: String, interpolationType: ENV_VAR}
  mark: {type: String, interpolationType: ENV_VAR}
  seconds: {type: String, interpolationType: ENV_VAR}
  lines: {type: String, interpolationType: ENV_VAR}
mainSteps:
  - action: aws:runShellScript
    name: work
    inputs:
      timeoutSeconds: "120"
      runCommand:
        - echo "{{ mark }} $AWS_SSM_INSTANCE_ID" >> "{{ file }}"
        - sleep "{{ seconds }}"
        - seq 1 "{{ lines }}"
`

// What a command of the crowd writes, and one that is there to be disturbed: enough not to fit into reports.
const (
	fewLines  = 3
	manyLines = 8000
)

// outputSum is the SHA-256 of what each node writes for one of these, about 39 KB.
func outputSum() string {
	var b bytes.Buffer
	for i := range manyLines {
		fmt.Fprintln(&b, i+1)
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:])
}

// order is a command as who sent it knows it.
type order struct {
	mark    string
	id      string // "" until a control plane accepted it
	sent    time.Time
	ended   time.Time
	targets int
	done    int
	running int
	detail  message.Detail
	long    bool // it was sent to be disturbed
}

// load sends commands all the time and keeps the books.
type load struct {
	h     *house
	file  string // where the nodes leave their lines
	mu    sync.Mutex
	all   []*order
	stop  context.CancelFunc
	wg    sync.WaitGroup
	count int
	lines int64 // of the file, as far as it was read
	read  int64
	fail  error // a refusal that no patience helps against
}

func newLoad(h *house) *load { return &load{h: h, file: h.dir + "/starts"} }

// mostOpen is how many commands are under way at once.
const mostOpen = 4

// run sends and follows until stop is called.
func (l *load) run(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	l.wg.Go(func() {
		t := time.NewTicker(l.h.o.pace)
		defer t.Stop()
		for {
			if l.open() < mostOpen {
				l.wg.Go(func() { l.send(context.WithoutCancel(ctx), 200*time.Millisecond, false) })
			}
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
		}
	})
}

// end stops sending and waits until every send was answered.
func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

func (l *load) open() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.all {
		if o.ended.IsZero() {
			n++
		}
	}
	return n
}

// send has one command accepted, however many control planes have to be asked. The token makes it one command.
func (l *load) send(ctx context.Context, takes time.Duration, long bool) *order {
	l.mu.Lock()
	l.count++
	o := &order{mark: fmt.Sprintf("c%04d", l.count), sent: time.Now(), long: long}
	l.all = append(l.all, o)
	l.mu.Unlock()
	lines := fewLines
	if long {
		lines = manyLines
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var got ssmops.SendCommandResult
	err := l.h.call(ctx, "SendCommand", ssmops.SendCommandRequest{SendRequest: command.SendRequest{DocumentName: "work", Content: []byte(work), ClientToken: l.h.o.run + "-" + o.mark,
		Targets: []target.Target{{Key: "tag:Fleet", Values: []string{"ha"}}}, MaxConcurrency: "100%", MaxErrors: "100%", NoRamp: true,
		Parameters: map[string][]string{"file": {l.file}, "mark": {o.mark}, "seconds": {fmt.Sprint(takes.Seconds())}, "lines": {fmt.Sprint(lines)}}}}, &got)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		o.ended = time.Now()
		l.fail = fmt.Errorf("a command was not accepted: %w", err)
		return o
	}
	o.id, o.targets = got.Command.ID, got.Command.TargetCount
	return o
}

// follow learns how the open commands are.
func (l *load) follow(ctx context.Context) {
	l.readFile()
	l.mu.Lock()
	open := map[string]*order{}
	for _, o := range l.all {
		if o.id != "" && o.ended.IsZero() {
			open[o.id] = o
		}
	}
	l.mu.Unlock()
	if len(open) == 0 {
		return
	}
	var got ssmops.ListCommandsResult
	if l.h.call(ctx, "ListCommands", ssmops.ListCommandsRequest{MaxResults: 50}, &got) != nil {
		return
	}
	listed := map[string]bool{}
	for _, c := range got.Commands {
		listed[c.ID] = true
	}
	for id := range open { // one that waits for long has left the page of the newest
		var one ssmops.ListCommandsResult
		if !listed[id] && l.h.call(ctx, "ListCommands", ssmops.ListCommandsRequest{CommandID: id}, &one) == nil {
			got.Commands = append(got.Commands, one.Commands...)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range got.Commands {
		o := open[c.ID]
		if o == nil || !o.ended.IsZero() { // somebody else has followed it meanwhile
			continue
		}
		o.done, o.running, o.detail = c.CompletedCount, c.Running, c.StatusDetails
		if o.detail.Terminal() {
			o.ended = time.Now()
		}
	}
}

// readFile reads what the nodes wrote since.
func (l *load) readFile() {
	f, err := os.Open(l.file)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // read only
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := f.Seek(l.read, io.SeekStart); err != nil {
		return
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return
	}
	l.read += int64(len(b))
	l.lines += int64(bytes.Count(b, []byte{'\n'}))
}

// books is the sum of it.
type books struct {
	sent, ended, running, unaccepted int
	success                          int
	other                            []string // details that are not Success
	starts, expected                 int
	doubled, lost, strange           []string
}

// now returns how it stands, without the file's lines.
func (l *load) now() (b books) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.all {
		b.sent++
		switch {
		case o.id == "" && !o.ended.IsZero():
			b.unaccepted++
		case o.ended.IsZero():
			b.running++
		default:
			b.ended++
			if o.detail == message.DetailSuccess && o.done == o.targets {
				b.success++
			} else {
				b.other = append(b.other, fmt.Sprintf("%s %s", o.id, o.detail))
			}
		}
		b.expected += o.targets
	}
	b.starts = int(l.lines)
	return b
}

// settle waits until every command has ended.
func (l *load) settle(ctx context.Context, patience time.Duration) error {
	return l.h.until(ctx, patience, "every command has ended", func() bool {
		l.follow(ctx)
		return l.open() == 0
	})
}

// audit compares what the nodes did with what was asked for: a line for each command and node, no more and no less.
func (l *load) audit(nodes []string) (books, error) {
	raw, err := os.ReadFile(l.file)
	if err != nil && !os.IsNotExist(err) {
		return books{}, err
	}
	b := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	starts := map[string]int{}
	b.starts = 0
	for line := range strings.Lines(string(raw)) {
		starts[strings.TrimSpace(line)]++
		b.starts++
	}
	b.expected = 0
	for _, o := range l.all {
		if o.id == "" {
			continue
		}
		for _, n := range nodes {
			k := o.mark + " " + n
			b.expected++
			switch c := starts[k]; {
			case c == 0:
				b.lost = append(b.lost, k)
			case c > 1:
				b.doubled = append(b.doubled, fmt.Sprintf("%s (%d times)", k, c))
			}
			delete(starts, k)
		}
	}
	for k := range starts {
		b.strange = append(b.strange, k)
	}
	slices.Sort(b.strange)
	return b, nil
}

// sameOutput reads what one node wrote, from every plane that answers, and counts those that have it whole.
func (l *load) sameOutput(ctx context.Context, node string) (right, asked int, err error) {
	l.mu.Lock()
	id := ""
	for _, o := range l.all {
		if o.long && o.detail == message.DetailSuccess {
			id = o.id
		}
	}
	l.mu.Unlock()
	if id == "" {
		return 0, 0, nil
	}
	want := outputSum()
	for i, c := range l.h.clients {
		if l.h.planes[i].is() != running {
			continue
		}
		asked++
		body, _, e := c.Stream(ctx, "GetCommandOutput", ssmops.GetCommandOutputRequest{CommandID: id, InstanceID: node})
		if e != nil {
			err = e
			continue
		}
		sum := sha256.New()
		_, e = io.Copy(sum, body)
		body.Close() //nolint:errcheck // read only
		if e != nil {
			err = e
		} else if hex.EncodeToString(sum.Sum(nil)) == want {
			right++
		}
	}
	return right, asked, err
}
