package ssmparam_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/aws/ssmparam"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// memory is as much of AWS as the cache's tests need: values that change, reads that can be held.
type memory struct {
	ssmparam.API
	mu     sync.Mutex
	values map[string]string
	kind   types.ParameterType
	reads  int
	asked  int // names
	fail   error
	held   chan struct{} // reads have looked and wait for it before they answer; nil waits for nothing
	slow   chan struct{} // writes wait for it before they begin
}

func (m *memory) at(name string) (types.Parameter, error) {
	m.mu.Lock()
	v, ok := m.values[name]
	held, fail := m.held, m.fail
	m.mu.Unlock()
	if held != nil {
		<-held
	}
	if fail != nil {
		return types.Parameter{}, fail
	}
	if !ok {
		return types.Parameter{}, &types.ParameterNotFound{}
	}
	return types.Parameter{Name: aws.String(name), Value: aws.String(v), Type: m.kind}, nil
}

func (m *memory) GetParameter(ctx context.Context, in *ssm.GetParameterInput, _ ...func(*ssm.Options)) (*ssm.GetParameterOutput, error) {
	m.mu.Lock()
	m.reads++
	m.mu.Unlock()
	p, err := m.at(*in.Name)
	if cerr := ctx.Err(); cerr != nil {
		err = cerr
	}
	return &ssm.GetParameterOutput{Parameter: &p}, err
}

func (m *memory) GetParameters(_ context.Context, in *ssm.GetParametersInput, _ ...func(*ssm.Options)) (*ssm.GetParametersOutput, error) {
	m.mu.Lock()
	m.reads++
	m.asked += len(in.Names)
	m.mu.Unlock()
	out := &ssm.GetParametersOutput{}
	for _, n := range in.Names {
		p, err := m.at(n)
		if err != nil {
			out.InvalidParameters = append(out.InvalidParameters, n)
			continue
		}
		out.Parameters = append(out.Parameters, p)
	}
	return out, nil
}

func (m *memory) PutParameter(_ context.Context, in *ssm.PutParameterInput, _ ...func(*ssm.Options)) (*ssm.PutParameterOutput, error) {
	m.mu.Lock()
	slow := m.slow
	m.mu.Unlock()
	if slow != nil {
		<-slow
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[*in.Name] = *in.Value
	return &ssm.PutParameterOutput{}, nil
}

func newMemory() *memory {
	return &memory{values: map[string]string{"a": "1", "b": "2", "c": "3"}, kind: types.ParameterTypeString}
}

func get(t testing.TB, st *ssmparam.Store, name string) string {
	t.Helper()
	out, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: name, WithDecryption: true})
	require.NoError(t, err)
	return out.Parameter.Value.Reveal()
}

func TestCacheForgetsAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		st := open(t, m, &ssmparam.Options{Timeout: -1, Cache: &ssmparam.Cache{}})
		for range 3 {
			get(t, st, "a")
			time.Sleep(20 * time.Second) // of the bubble
		}
		require.Equal(t, 1, m.reads, "a minute unless said otherwise")
		get(t, st, "a")
		require.Equal(t, 2, m.reads)
		_, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "a"})
		require.NoError(t, err)
		require.Equal(t, 3, m.reads, "read without decryption is another answer")
	})
}

func TestCacheIsBounded(t *testing.T) {
	m := newMemory()
	for i := range 100 {
		m.values[fmt.Sprint("n", i)] = "v"
	}
	st := open(t, m, &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Hour, Entries: 10}})
	for i := range 100 {
		get(t, st, fmt.Sprint("n", i))
		get(t, st, "a")
	}
	require.Equal(t, 101, m.reads, "what is used stays")
	for i := range 9 {
		get(t, st, fmt.Sprint("n", 91+i))
	}
	require.Equal(t, 101, m.reads)
	get(t, st, "n90")
	require.Equal(t, 102, m.reads)
}

func TestCacheKeepsNoErrors(t *testing.T) {
	m := newMemory()
	st := open(t, m, &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Hour}})
	for range 2 {
		_, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "none"})
		require.Equal(t, parameter.CodeNotFound, fault.CodeOf(err))
	}
	require.Equal(t, 2, m.reads)
	m.fail = errors.New("away")
	_, err := st.GetParameter(t.Context(), parameter.GetParameterRequest{Name: "a"})
	require.Equal(t, fault.ServiceUnavailable, fault.CodeOf(err))
	m.fail = nil
	require.Equal(t, "1", get(t, st, "a"))
	for range 2 {
		out, err := st.GetParameters(t.Context(), parameter.GetParametersRequest{Names: []string{"none", "b"}})
		require.NoError(t, err)
		require.Equal(t, []string{"none"}, out.InvalidParameters)
	}
	require.Equal(t, 3, m.asked, "b is kept, none is asked for again")
}

func TestCacheKeepsDecryptedSecretsOnlyWhenAsked(t *testing.T) {
	for _, secrets := range []bool{false, true} {
		m := newMemory()
		m.kind = types.ParameterTypeSecureString
		st := open(t, m, &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Hour, Secrets: secrets}})
		for range 3 {
			get(t, st, "a")
			out, err := st.GetParameters(t.Context(), parameter.GetParametersRequest{Names: []string{"a"}, WithDecryption: true})
			require.NoError(t, err)
			require.True(t, out.Parameters[0].Value.IsSecret())
		}
		require.Equal(t, map[bool]int{false: 6, true: 1}[secrets], m.reads)
	}
}

func TestCacheAsksGetParametersForTheRestOnly(t *testing.T) {
	m := newMemory()
	st := open(t, m, &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Hour}})
	get(t, st, "b")
	for range 2 {
		out, err := st.GetParameters(t.Context(), parameter.GetParametersRequest{Names: []string{"c", "b", "a"}, WithDecryption: true})
		require.NoError(t, err)
		require.Len(t, out.Parameters, 3)
		for i, want := range []string{"a", "b", "c"} {
			require.Equal(t, want, out.Parameters[i].Name, "alphabetical, kept or not")
		}
	}
	require.Equal(t, 2, m.asked)
	get(t, st, "c")
	require.Equal(t, 2, m.reads)
}

// TestCacheNeverAnswersWithWhatWasBeforeOwnWrites: whenever the write falls, and with whatever spelling of the name.
func TestCacheNeverAnswersWithWhatWasBeforeOwnWrites(t *testing.T) {
	s := serve(t)
	st := open(t, s.client(t), &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Hour}})
	ctx := t.Context()
	_, err := st.PutParameter(ctx, put("x", "1"))
	require.NoError(t, err)
	spellings := []string{"x", "/x", " x ", "x:1", "/x:good", "arn:aws:ssm:" + region + ":" + account + ":parameter/x"}
	_, err = st.LabelParameterVersion(ctx, parameter.LabelParameterVersionRequest{Name: "x", Labels: []string{"good"}})
	require.NoError(t, err)
	read := func() (out []string) {
		for _, n := range spellings {
			got, err := st.GetParameter(ctx, parameter.GetParameterRequest{Name: n})
			if err != nil {
				out = append(out, string(fault.CodeOf(err)))
				continue
			}
			out = append(out, got.Parameter.Value.Reveal())
		}
		return out
	}
	require.Equal(t, []string{"1", "1", "1", "1", "1", "1"}, read())
	s.seen()
	require.Equal(t, []string{"1", "1", "1", "1", "1", "1"}, read())
	require.Empty(t, s.seen())
	_, err = st.PutParameter(ctx, put("/x", "2"))
	require.NoError(t, err)
	require.Equal(t, []string{"2", "2", "2", "1", "1", "2"}, read())
	_, err = st.LabelParameterVersion(ctx, parameter.LabelParameterVersionRequest{Name: "x", Labels: []string{"good"}})
	require.NoError(t, err)
	require.Equal(t, []string{"2", "2", "2", "1", "2", "2"}, read())
	_, err = st.UnlabelParameterVersion(ctx, parameter.UnlabelParameterVersionRequest{Name: "x", ParameterVersion: 2, Labels: []string{"good"}})
	require.NoError(t, err)
	require.Equal(t, "ParameterVersionNotFound", read()[4])
	_, err = st.DeleteParameters(ctx, parameter.DeleteParametersRequest{Names: []string{"x"}})
	require.NoError(t, err)
	for _, got := range read() {
		require.Equal(t, "ParameterNotFound", got)
	}
}

func TestCacheAndAReadThatTheWriteOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		st := open(t, m, &ssmparam.Options{Timeout: -1, Cache: &ssmparam.Cache{TTL: time.Hour}})
		m.held = make(chan struct{})
		old := make(chan string, 2)
		go func() { old <- get(t, st, "a") }()
		go func() {
			out, _ := st.GetParameters(context.Background(), parameter.GetParametersRequest{Names: []string{"a"}, WithDecryption: true})
			old <- out.Parameters[0].Value.Reveal()
		}()
		synctest.Wait() // both have seen the old value
		_, err := st.PutParameter(t.Context(), put("a", "new"))
		require.NoError(t, err)
		held := m.held
		m.mu.Lock()
		m.held = nil
		m.mu.Unlock()
		require.Equal(t, "new", get(t, st, "a"), "it does not wait for a read from before the write")
		close(held)
		require.Equal(t, []string{"1", "1"}, []string{<-old, <-old}, "they began before")
		synctest.Wait()
		require.Equal(t, "new", get(t, st, "a"), "and what they saw is not kept")

		m.slow = make(chan struct{}) // a read that falls between the beginning and the end of a write
		done := make(chan error)
		go func() {
			_, err := st.PutParameter(context.Background(), put("a", "newer"))
			done <- err
		}()
		synctest.Wait()
		require.Equal(t, "new", get(t, st, "a"))
		close(m.slow)
		require.NoError(t, <-done)
		require.Equal(t, "newer", get(t, st, "a"))
	})
}

func TestCacheReadsOnceForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		st := open(t, m, &ssmparam.Options{Timeout: -1, Cache: &ssmparam.Cache{TTL: time.Hour}})
		m.held = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		codes := make(chan fault.Code, 100)
		read := func(ctx context.Context) {
			_, err := st.GetParameter(ctx, parameter.GetParameterRequest{Name: "a"})
			codes <- fault.CodeOf(err)
		}
		go read(ctx)
		synctest.Wait()
		for range 50 {
			go read(t.Context())
		}
		impatient, stop := context.WithCancel(t.Context())
		go read(impatient)
		synctest.Wait()
		stop()
		require.Equal(t, fault.RequestCanceled, <-codes, "who waits may stop waiting")
		require.Equal(t, 1, m.reads)
		cancel() // the one who reads for all goes away: another takes over
		close(m.held)
		failed := 0
		for range 51 {
			if <-codes != "" {
				failed++
			}
		}
		require.Equal(t, 1, failed)
		require.Equal(t, 2, m.reads)
	})
}

// TestCacheIsLinearForItsProgram: reads and writes of many goroutines, each of which writes a name of its own and reads it back at once.
func TestCacheIsLinearForItsProgram(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		entries := rapid.IntRange(1, 8).Draw(rt, "entries")
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			st := open(t, m, &ssmparam.Options{Timeout: -1, Cache: &ssmparam.Cache{TTL: 3 * time.Second, Entries: entries}})
			var wg sync.WaitGroup
			for g := range 4 {
				name := fmt.Sprint("w", g)
				wg.Go(func() {
					for i := range 10 {
						want := fmt.Sprint(i)
						if _, err := st.PutParameter(context.Background(), put(name, want)); err != nil {
							t.Error(err)
						}
						for range 2 {
							out, err := st.GetParameter(context.Background(), parameter.GetParameterRequest{Name: name})
							if err != nil || out.Parameter.Value.Reveal() != want {
								t.Errorf("read %v, %v after writing %s", out, err, want)
							}
							time.Sleep(time.Second)
						}
					}
				})
				wg.Go(func() {
					for range 30 {
						st.GetParameter(context.Background(), parameter.GetParameterRequest{Name: name}) //nolint:errcheck // it fills the cache
					}
				})
			}
			wg.Wait()
		})
	})
}
