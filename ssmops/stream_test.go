package ssmops

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
)

// lines reads a stream of WatchCommand, and returns how many empty lines were in it.
func lines(t *testing.T, b []byte) (us []WatchUpdate, beats int) {
	t.Helper()
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		if len(sc.Bytes()) == 0 {
			beats++
			continue
		}
		var u WatchUpdate
		require.NoError(t, json.Unmarshal(sc.Bytes(), &u), sc.Text())
		us = append(us, u)
	}
	require.True(t, bytes.HasSuffix(b, []byte("\n")), "every line ends")
	return us, beats
}

func TestWatchCommand(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		c := w.run(n)
		var b bytes.Buffer
		require.NoError(t, w.api.Stream(w.ctx, "WatchCommand", []byte(`{"CommandId":"`+c.ID+`"}`), &b))
		us, _ := lines(t, b.Bytes())
		last := us[len(us)-1]
		require.True(t, last.Done)
		require.Equal(t, []any{message.Success, 1, 1, 0}, []any{last.Status, last.TargetCount, last.CompletedCount, last.ErrorCount})
		var end WatchChange
		for i, u := range us {
			require.Equal(t, i == len(us)-1, u.Done, "Done is the last one")
			if i > 0 {
				require.Greater(t, u.Cursor, us[i-1].Cursor)
			}
			for _, ch := range u.Changes {
				end = ch
			}
		}
		require.Equal(t, WatchChange{InstanceID: n, StatusDetails: message.DetailSuccess, Step: 1, StepCount: 1, StepName: "greet", ElapsedSeconds: 1.755, FirstLine: "hello"}, end)

		// Behind a cursor comes exactly the rest.
		for i := range us {
			b.Reset()
			in, err := json.Marshal(WatchCommandRequest{CommandID: c.ID, Cursor: us[i].Cursor})
			require.NoError(t, err)
			require.NoError(t, w.api.Stream(w.ctx, "WatchCommand", in, &b))
			rest, _ := lines(t, b.Bytes())
			require.Equal(t, len(us)-i-1, len(rest))
		}

		// Who asks for nothing that there is gets an error as from any other operation.
		got := post(w.api.Handler(byHeader(), nil), "admin", "", "WatchCommand", `{"CommandId":"x"}`)
		require.Equal(t, http.StatusBadRequest, got.Code)
		require.Contains(t, got.Body.String(), `"InvalidCommandId"`)
	})
}

// hanging sends a command whose nodes say that they began and nothing more.
func hanging(w *world) string {
	n := w.register(nil)
	w.create("Greet", greet)
	w.reports(func(ref message.Ref) message.Report {
		rep := succeed(ref)
		rep.Detail, rep.Ended, rep.ExitCode, rep.Steps = message.DetailInProgress, time.Time{}, -1, nil
		return rep
	})
	return call1[SendCommandResult](w, "SendCommand", m{"DocumentName": "Greet", "InstanceIds": []string{n}}).Command.ID
}

func TestWatchBeatsAndStops(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := hanging(w)
		stop := make(chan struct{})
		h := w.api.Handler(byHeader(), &HandlerOptions{Stop: stop})
		rec := httptest.NewRecorder()
		r := request(http.MethodPost, "/", `{"CommandId":"`+id+`"}`)
		r.Header.Set("X-Amz-Target", "AmazonSSM.WatchCommand")
		done := make(chan struct{})
		go func() { defer close(done); h.ServeHTTP(rec, r) }()
		time.Sleep(time.Minute + time.Second)
		select {
		case <-done:
			t.Fatal("the stream ended and the command did not")
		default:
		}
		close(stop)
		<-done
		require.Equal(t, "application/x-ndjson", rec.Header().Get("Content-Type"))
		require.True(t, rec.Flushed)
		us, beats := lines(t, rec.Body.Bytes())
		require.Equal(t, 1+4, beats, "one line at once, and one every 15 seconds")
		last := us[len(us)-1]
		require.Equal(t, fault.ServiceUnavailable, last.Error, "the stream says why it ends")
		require.Contains(t, last.Message, "watch again")
		require.NotZero(t, us[len(us)-2].Cursor)
	})
}

// A stream whose reader is gone ends by itself with the next beat, also when nothing happens.
func TestWatchEndsWhenNobodyReads(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := hanging(w)
		sink := &broken{}
		sink.left.Store(1 << 30)
		done := make(chan error)
		go func() { done <- w.api.Stream(w.ctx, "WatchCommand", []byte(`{"CommandId":"`+id+`"}`), sink) }()
		time.Sleep(20 * time.Second) // everything was told, and a beat too
		sink.left.Store(0)
		begin := time.Now()
		require.Error(t, <-done)
		require.LessOrEqual(t, time.Since(begin), 15*time.Second)
	})
	inWorld(t, func(t *testing.T, w *world) {
		id := hanging(w)
		ctx, cancel := context.WithCancel(w.ctx)
		done := make(chan error)
		go func() {
			done <- w.api.Stream(ctx, "WatchCommand", []byte(`{"CommandId":"`+id+`"}`), io.Discard)
		}()
		synctest.Wait()
		cancel()
		require.Error(t, <-done)
	})
}

// broken takes so many writes.
type broken struct{ left atomic.Int64 }

func (b *broken) Write(p []byte) (int, error) {
	if b.left.Add(-1) < 0 {
		return 0, errors.New("gone")
	}
	return len(p), nil
}

func TestGetCommandOutput(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		n := w.register(nil)
		w.create("Greet", greet)
		w.reports(func(ref message.Ref) message.Report {
			rep := succeed(ref)
			rep.Steps[0].Stderr = message.Stream{Head: "x\x1b[2Jy", Size: 6, Dropped: 9}
			return rep
		})
		c := w.run(n)
		h := w.api.Handler(byHeader(), nil)
		ask := func(more string) *httptest.ResponseRecorder {
			return post(h, "admin", "", "GetCommandOutput", `{"CommandId":"`+c.ID+`","InstanceId":"`+n+`"`+more+`}`)
		}
		got := ask("")
		require.Equal(t, "hello\n", got.Body.String())
		require.Equal(t, "application/octet-stream", got.Header().Get("Content-Type"))
		require.Equal(t, "nosniff", got.Header().Get("X-Content-Type-Options"))
		require.Equal(t, []string{"6", "0", "true"}, []string{got.Header().Get(HeaderSize), got.Header().Get(HeaderDropped), got.Header().Get(HeaderWhole)})
		got = ask(`,"Stream":"stderr","PluginName":"greet"`)
		require.Equal(t, "x\x1b[2Jy", got.Body.String(), "bytes as they came")
		require.Equal(t, []string{"9", "false"}, []string{got.Header().Get(HeaderDropped), got.Header().Get(HeaderWhole)})
		for more, want := range map[string]string{`,"Stream":"stdin"`: "ValidationException", `,"PluginName":"x"`: "InvalidPluginName"} {
			got = ask(more)
			require.Equal(t, http.StatusBadRequest, got.Code)
			require.Contains(t, got.Body.String(), want)
		}
		w.reports(func(ref message.Ref) message.Report {
			rep := succeed(ref)
			rep.Steps = []message.StepReport{step("greet", message.Success, "", "")}
			return rep
		})
		c = w.run(n)
		got = ask("")
		require.Equal(t, http.StatusOK, got.Code)
		require.Empty(t, got.Body.String())
		require.Equal(t, "0", got.Header().Get(HeaderSize))
	})
}

func TestTooManyStreamsAreThrottled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		id := hanging(w)
		h := w.api.Handler(byHeader(), &HandlerOptions{Streams: 1})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := request(http.MethodPost, "/", `{"CommandId":"`+id+`"}`).WithContext(ctx)
			r.Header.Set("X-Amz-Target", "AmazonSSM.WatchCommand")
			serve(h, r)
		}()
		synctest.Wait()
		require.Contains(t, post(h, "admin", "", "WatchCommand", `{"CommandId":"`+id+`"}`).Body.String(), "ThrottlingException")
		require.Equal(t, http.StatusOK, post(h, "admin", "", "ListCommands", "{}").Code, "calls have places of their own")
		cancel()
		<-done
	})
}

func TestStreamsNeedNames(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, err := w.api.Call(w.ctx, "WatchCommand", nil)
		require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err))
		require.ErrorContains(t, err, "call Stream")
		require.Equal(t, unknownOperation, fault.CodeOf(w.api.Stream(w.ctx, "X", nil, &strings.Builder{})))
		require.Equal(t, serialization, fault.CodeOf(w.api.Stream(w.ctx, "WatchCommand", []byte("["), &strings.Builder{})))
	})
}
