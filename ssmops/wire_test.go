package ssmops

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/store"
	"github.com/fleetwright/fleetwright/target"
)

func TestTimeIsSecondsAsANumber(t *testing.T) {
	for want, at := range map[string]time.Time{
		"1550181014.717": time.UnixMilli(1550181014717), // AWS's documented example
		"1550181014":     time.Unix(1550181014, 0),
		"1550181014.7":   time.UnixMilli(1550181014700),
		"0":              time.Unix(0, 0),
		"null":           {},
	} {
		b, err := json.Marshal(Time{at})
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	var v Time
	for in, want := range map[string]time.Time{"1550181014.717": time.UnixMilli(1550181014717), "1.550181014717E9": time.UnixMilli(1550181014717), `"2019-02-14T21:50:14.717Z"`: time.UnixMilli(1550181014717),
		"0": time.Unix(0, 0)} {
		require.NoError(t, json.Unmarshal([]byte(in), &v), in)
		require.True(t, want.Equal(v.Time), "%s: %v", in, v)
	}
	require.NoError(t, json.Unmarshal([]byte("null"), &v))
	require.True(t, v.IsZero())
	for _, in := range []string{"-1", "1e300", "true", `"soon"`, `""`, "{}", "[]", "253402300800"} {
		require.Error(t, json.Unmarshal([]byte(in), &v), in)
	}
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, latestSecond*1000).Draw(t, "ms")
		b, err := json.Marshal(Time{time.UnixMilli(ms)})
		if err != nil {
			t.Fatal(err)
		}
		var back Time
		if err := json.Unmarshal(b, &back); err != nil || back.UnixMilli() != ms {
			t.Fatalf("%d: %s: %v %v", ms, b, back, err)
		}
	})
}

func TestR29_TextTimes(t *testing.T) {
	require.Equal(t, "2019-01-30T14:16:03.478Z", stringTime(time.UnixMilli(1548857763478)))
	require.Equal(t, "", stringTime(time.Time{}))
	for want, d := range map[string]time.Duration{"PT1.755S": 1755 * time.Millisecond, "PT0S": 0, "PT1M": time.Minute, "PT2H3M4.5S": 2*time.Hour + 3*time.Minute + 4500*time.Millisecond, "PT0.001S": time.Millisecond} {
		require.Equal(t, want, duration(d))
	}
}

func TestErrorBodies(t *testing.T) {
	for want, err := range map[string]error{
		`{"__type":"InvalidDocument","Message":"no such thing"}`:                                                           fault.New("x", fault.InvalidDocument, "no such thing"),
		`{"__type":"InvalidCommandId","message":"no such thing"}`:                                                          fault.New("x", fault.InvalidCommandID, "no such thing"),
		`{"__type":"ParameterNotFound","message":"p"}`:                                                                     fault.New("x", "ParameterNotFound", "p"),
		`{"__type":"ValidationException","Message":"a\nb <&> \\x1b[2J"}`:                                                   fault.New("x", fault.Validation, "a\nb <&> \x1b[2J"),
		`{"__type":"InternalServerError","Message":"internal error: the control plane's log has it under the request id"}`: errors.New("password in a file"),
		`{"__type":"DataCorrupt","Message":"internal error: the control plane's log has it under the request id"}`:         fault.New("x", fault.DataCorrupt, "record at /var/lib"),
		`{"__type":"UnrecognizedClientException","message":"the request has no valid credentials"}`:                        fault.New("x", fault.Unauthorized, "there is no user bob"),
		`{"__type":"InvalidParameters"}`:                                                                                   &fault.Error{Code: fault.InvalidParameters, Err: fault.Wrap("y", &fault.Error{Op: "z", Code: fault.InvalidParameters, Err: errors.New("open /etc/x")})},
		`{"__type":"ServiceUnavailable","Message":"the control plane takes no changes at present, most often because its disk is full; what is there can be read, try again later"}`: fault.Wrap("x", fmt.Errorf("%w: write /var/lib/store: %w", store.ErrReadOnly, errors.New("no space left on device"))),
		`{"__type":"InvalidTarget","Message":"targets: argument 1, column 2: no"}`:                                                                                                   fault.Wrap("x", &target.SyntaxError{Arg: 1, Column: 2, Reason: "no"}),
	} {
		require.Equal(t, want, string(errorBody(err)))
	}
	long := errorBody(fault.New("x", fault.Validation, "%s", strings.Repeat("é", maxText)))
	require.Less(t, len(long), maxText+100)
	require.True(t, json.Valid(long))
	for code, want := range map[fault.Code]int{fault.InvalidDocument: 400, fault.Throttling: 400, fault.AccessDenied: 403, fault.Unauthorized: 401, fault.InternalServerError: 500, fault.OutcomeUnknown: 500,
		fault.ServiceUnavailable: 503, tooLarge: 413, "SomethingElse": 400} {
		require.Equal(t, want, status(code), code)
	}
}

func TestProtocol(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		h := w.api.Handler(byHeader(), nil)
		got := post(h, "admin", "", "ListDocuments", `{"Filters":[{"Key":"Owner","Values":["Self"]}],"NoSuchMember":{"a":[1]}}`)
		require.Equal(t, http.StatusOK, got.Code)
		require.Equal(t, `{"DocumentIdentifiers":[]}`, got.Body.String(), "compact; no NextToken at the end; members that are not known are left alone")
		require.Equal(t, "application/x-amz-json-1.1", got.Header().Get("Content-Type"))
		require.Equal(t, "26", got.Header().Get("Content-Length"))
		require.Regexp(t, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`, got.Header().Get("x-amzn-requestid"))
		require.Equal(t, "no-store", got.Header().Get("Cache-Control"))

		w.create("Greet", greet)
		got = post(h, "admin", "", "DeleteDocument", `{"Name":"Greet"}`)
		require.Equal(t, "{}", got.Body.String(), "an operation without output answers {}")
		require.Equal(t, `{"Commands":[]}`, post(h, "admin", "", "ListCommands", "").Body.String(), "an empty body is an empty request")

		got = post(h, "admin", "", "GetDocument", `{"Name":"Greet"}`)
		require.Equal(t, http.StatusBadRequest, got.Code)
		require.Equal(t, "InvalidDocument", got.Header().Get("x-amzn-errortype"))
		require.Regexp(t, `^\{"__type":"InvalidDocument","Message":"[^"]+"\}$`, got.Body.String())
		require.NotEmpty(t, got.Header().Get("x-amzn-requestid"))

		for body, want := range map[string]string{
			`{"Name":1}`:             "Name cannot be a JSON number",
			`{"Name":`:               "the request is no JSON",
			`[]`:                     "must be a JSON object",
			`{"Name":"x"} {}`:        "the request is no JSON",
			`{"MaxResults":"fifty"}`: "",
		} {
			got = post(h, "admin", "", "GetDocument", body)
			require.Equal(t, http.StatusBadRequest, got.Code, body)
			if want != "" {
				require.Contains(t, got.Body.String(), want)
				require.Contains(t, got.Body.String(), "SerializationException")
			}
		}
		got = post(h, "admin", "", "CreateActivation", `{"ExpirationDate":"soon"}`)
		require.Contains(t, got.Body.String(), "is no time")

		for _, c := range []struct{ method, path, target string }{
			{"GET", "/", "AmazonSSM.ListCommands"}, {"POST", "/x", "AmazonSSM.ListCommands"}, {"POST", "/", "ListCommands"}, {"POST", "/", "AmazonSSM.NoSuch\x1b"}, {"POST", "/", ""},
			{"POST", "/", "AmazonSSM.listcommands"},
		} {
			r := request(c.method, c.path, "{}")
			r.Header.Set("X-Amz-Target", c.target)
			rec := serve(h, r)
			require.Equal(t, http.StatusBadRequest, rec.Code)
			require.Contains(t, rec.Body.String(), `{"__type":"UnknownOperationException"`)
			require.NotContains(t, rec.Body.String(), "\x1b")
		}
	})
}

func TestR20_RequestsAreAtMostOneMiB(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		h := w.api.Handler(byHeader(), nil)
		fill := func(n int) string { return `{"x":"` + strings.Repeat("y", n-8) + `"}` }
		require.Equal(t, http.StatusOK, post(h, "admin", "", "ListCommands", fill(MaxRequest)).Code)
		got := post(h, "admin", "", "ListCommands", fill(MaxRequest+1))
		require.Equal(t, http.StatusRequestEntityTooLarge, got.Code)
		require.Contains(t, got.Body.String(), "RequestEntityTooLargeException")
		endless := &counted{}
		r := request(http.MethodPost, "/", "")
		r.Header.Set("X-Amz-Target", "AmazonSSM.ListCommands")
		r.Body = io.NopCloser(endless)
		require.Equal(t, http.StatusRequestEntityTooLarge, serve(h, r).Code)
		require.LessOrEqual(t, endless.n, 2*MaxRequest, "what is too much is not read")
		_, err := w.api.Call(w.ctx, "ListCommands", []byte(fill(MaxRequest+1)))
		require.Equal(t, tooLarge, fault.CodeOf(err))
	})
}

// counted is a body of 64 MiB that counts what is read of it.
type counted struct{ n int }

func (c *counted) Read(b []byte) (int, error) {
	if c.n >= 64<<20 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = ' '
	}
	c.n += len(b)
	return len(b), nil
}

func TestAPanicIsAnInternalError(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		o := w.api.ops["ListCommands"]
		o.call = nil // calling it panics
		w.api.ops["ListCommands"] = o
		h := w.api.Handler(byHeader(), nil)
		got := post(h, "admin", "", "ListCommands", "{}")
		require.Equal(t, http.StatusInternalServerError, got.Code)
		require.NotContains(t, got.Body.String(), "nil pointer")
		require.Equal(t, http.StatusOK, post(h, "admin", "", "ListDocuments", "{}").Code, "and the next call is answered")
	})
}

func TestTooManyCallsAreThrottled(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		h := w.api.Handler(byHeader(), &HandlerOptions{Calls: 1})
		in, out := make(chan struct{}), make(chan struct{})
		r := request(http.MethodPost, "/", "")
		r.Header.Set("X-Amz-Target", "AmazonSSM.ListCommands")
		r.Body = slow{in, out}
		done := make(chan int)
		go func() { done <- serve(h, r).Code }()
		<-in
		got := post(h, "admin", "", "ListCommands", "{}")
		require.Equal(t, http.StatusBadRequest, got.Code)
		require.Contains(t, got.Body.String(), "ThrottlingException")
		close(out)
		require.Equal(t, http.StatusOK, <-done)
		require.Equal(t, http.StatusOK, post(h, "admin", "", "ListCommands", "{}").Code)
	})
}

// Anybody can call without credentials as often as they like: at most one entry a second is written, and none of them is lost from the count.
func TestRefusalsAreCountedAndNotFlooding(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		h := w.api.Handler(byHeader(), nil)
		count := func() (entries, calls int) {
			require.NoError(t, w.log.Flush(t.Context()))
			for _, e := range call1[ListAuditResult](w, "ListAudit", map[string]any{"Action": ActionAuthenticate, "MaxResults": 1000}).Entries {
				n := 0
				require.NoError(t, json.Unmarshal([]byte(e.IDs["calls"]), &n))
				require.Equal(t, "192.0.2.1", e.IDs["remote"])
				require.EqualValues(t, "Denied", e.Outcome)
				entries, calls = entries+1, calls+n
			}
			return entries, calls
		}
		for range 500 {
			post(h, "", "", "SendCommand", "{}")
		}
		e, c := count()
		require.Equal(t, []int{1, 1}, []int{e, c})
		time.Sleep(time.Second)
		post(h, "", "", "SendCommand", "{}")
		e, c = count()
		require.Equal(t, []int{2, 501}, []int{e, c})
	})
}

func TestServicesThatAreNotThere(t *testing.T) {
	a := New(Services{}, nil)
	for _, o := range Operations() {
		var err error
		if o.Streams {
			err = a.Stream(as("admin", ""), o.Name, nil, &strings.Builder{})
			_, other := a.Call(as("admin", ""), o.Name, nil)
			require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(other))
		} else {
			_, err = a.Call(as("admin", ""), o.Name, nil)
		}
		require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(err), o.Name)
	}
	require.Equal(t, fault.UnsupportedOperation, fault.CodeOf(a.Stream(as("admin", ""), "ListCommands", nil, nil)))
	_, err := a.Call(as("admin", ""), "Nonsense", nil)
	require.Equal(t, unknownOperation, fault.CodeOf(err))
}

func FuzzRequests(f *testing.F) {
	for _, s := range samples() {
		b, err := json.Marshal(s(things{node: "mi-00000000000000000", command: "00000000-0000-4000-8000-000000000000", activation: "x"}))
		require.NoError(f, err)
		f.Add(byte(3), b)
	}
	ops := Operations()
	f.Fuzz(func(t *testing.T, n byte, body []byte) {
		got := post(newWorld(t).api.Handler(byHeader(), nil), "admin", "", ops[int(n)%len(ops)].Name, string(body))
		if got.Code != http.StatusOK {
			var e struct {
				Type string `json:"__type"`
			}
			require.NoError(t, json.Unmarshal(got.Body.Bytes(), &e))
			require.NotEmpty(t, e.Type)
			require.NotEqual(t, http.StatusInternalServerError, got.Code, got.Body.String())
			require.Equal(t, fault.Clean(got.Body.String()), got.Body.String(), "errors are printable")
		}
	})
}
