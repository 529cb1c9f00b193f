package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
)

func Example() {
	load := func(name string) error {
		return fault.New("library.Get", fault.InvalidDocument, "document %q does not exist: create it, or check the name", name)
	}
	err := fault.Wrap("command.Send", load("Deploy"))
	fmt.Println(err)
	fmt.Println(fault.CodeOf(err), fault.KindOf(err))
	fmt.Println(errors.Is(err, &fault.Error{Code: fault.InvalidDocument}))
	fmt.Println(fault.MessageOf(err))
	// Output:
	// command.Send: library.Get: InvalidDocument: document "Deploy" does not exist: create it, or check the name
	// InvalidDocument NotFound
	// true
	// document "Deploy" does not exist: create it, or check the name
}

func ExampleClean() {
	fmt.Println(fault.Clean("ok\x1b[2J\u202egnp.exe\n"))
	// Output: ok\x1b[2J\u{202e}gnp.exe\n
}

func ExampleNew() {
	err := fault.New("store.Get", fault.ServiceUnavailable, "reading %s: %w", "a", io.ErrUnexpectedEOF)
	fmt.Println(err)
	fmt.Println(errors.Is(err, io.ErrUnexpectedEOF), err.Kind())
	// Output:
	// store.Get: ServiceUnavailable: reading a: unexpected EOF
	// true Unavailable
}

func TestErrorTextNamesEachThingOnce(t *testing.T) {
	cause := errors.New("disk full")
	for _, c := range []struct {
		err  *fault.Error
		want string
	}{
		{&fault.Error{}, ""},
		{&fault.Error{Op: "a.B"}, "a.B"},
		{&fault.Error{Code: fault.Validation}, "ValidationException"},
		{&fault.Error{Op: "a.B", Code: fault.Validation, Msg: "wrong"}, "a.B: ValidationException: wrong"},
		{&fault.Error{Op: "a.B", Code: fault.Validation, Msg: "wrong", ID: "x-1"}, "a.B: ValidationException: wrong (x-1)"},
		{&fault.Error{Op: "a.B", Code: fault.Validation, Msg: "x-1 is wrong", ID: "x-1"}, "a.B: ValidationException: x-1 is wrong"},
		{&fault.Error{Op: "a.B", Code: fault.Validation, Msg: "wrong", ID: "x\x1b[m"}, `a.B: ValidationException: wrong (x\x1b[m)`},
		{&fault.Error{Op: "a.B", Code: fault.ServiceUnavailable, Err: cause}, "a.B: ServiceUnavailable: disk full"},
		{fault.New("a.B", fault.ServiceUnavailable, "writing: %w", cause), "a.B: ServiceUnavailable: writing: disk full"},
		{&fault.Error{Op: "c.D", Code: fault.ServiceUnavailable, Err: fault.New("a.B", fault.ServiceUnavailable, "writing: %w", cause)}, "c.D: a.B: ServiceUnavailable: writing: disk full"},
		{&fault.Error{Op: "c.D", Code: fault.AccessDenied, Msg: "no", Err: cause}, "c.D: AccessDeniedException: no: disk full"},
	} {
		require.Equal(t, c.want, c.err.Error())
	}
}

func TestNewKeepsEveryCause(t *testing.T) {
	require.NoError(t, fault.New("a.B", fault.Validation, "none").Err)
	one := fault.New("a.B", fault.Validation, "x: %w", io.EOF)
	require.Equal(t, io.EOF, one.Unwrap())
	two := fault.New("a.B", fault.Validation, "%w: %w", io.EOF, fs.ErrClosed)
	require.ErrorIs(t, two, io.EOF)
	require.ErrorIs(t, two, fs.ErrClosed)
	require.Equal(t, "a.B: ValidationException: EOF: file already closed", two.Error())
}

func TestWrapKeepsNilAndCode(t *testing.T) {
	require.True(t, fault.Wrap("a.B", nil) == nil, "nil stays an untyped nil")
	require.Equal(t, fault.Throttling, fault.CodeOf(fault.Wrap("a.B", fault.New("c.D", fault.Throttling, "slow down"))))
	require.Equal(t, fault.RequestCanceled, fault.CodeOf(fault.Wrap("a.B", context.Canceled)))
}

func TestAboutLeavesTheOriginal(t *testing.T) {
	e := fault.New("a.B", fault.InvalidCommandID, "no such command")
	require.Equal(t, "c-1", e.About("c-1").ID)
	require.Empty(t, e.ID)
}

func TestIsComparesCodesAlone(t *testing.T) {
	e := fmt.Errorf("outer: %w", fault.New("a.B", fault.InvalidDocument, "x"))
	require.ErrorIs(t, e, &fault.Error{Code: fault.InvalidDocument})
	require.NotErrorIs(t, e, &fault.Error{Code: fault.Validation})
	require.NotErrorIs(t, e, &fault.Error{Code: fault.InvalidDocument, Op: "a.B"})
	require.NotErrorIs(t, e, io.EOF)
}

// coded is an error of another package with a code of its own.
type coded struct{}

func (coded) Error() string         { return "coded" }
func (coded) FaultCode() fault.Code { return fault.Throttling }

func TestCodeOfAnswersForEveryError(t *testing.T) {
	for want, errs := range map[fault.Code][]error{
		"":                        {nil},
		fault.InvalidTarget:       {fault.New("a.B", fault.InvalidTarget, "x"), fmt.Errorf("y: %w", fault.New("a.B", fault.InvalidTarget, "x")), errors.Join(io.EOF, fault.New("a.B", fault.InvalidTarget, "x"))},
		fault.Throttling:          {coded{}, fmt.Errorf("y: %w", coded{})},
		fault.RequestCanceled:     {context.Canceled, context.DeadlineExceeded, fmt.Errorf("y: %w", context.Canceled)},
		fault.InternalServerError: {io.EOF, errors.New("")},
	} {
		for _, err := range errs {
			require.Equal(t, want, fault.CodeOf(err), "%v", err)
			require.Equal(t, want.Kind(), fault.KindOf(err), "%v", err)
		}
	}
}

func TestKindsOfCodes(t *testing.T) {
	for kind, codes := range map[fault.Kind][]fault.Code{
		fault.OK:              {""},
		fault.Denied:          {fault.AccessDenied},
		fault.Unauthenticated: {fault.Unauthorized},
		fault.Exists:          {fault.AlreadyExists, fault.DocumentAlreadyExists, fault.DuplicateDocumentContent, fault.DuplicateDocumentVersionName},
		fault.NotFound:        {fault.DoesNotExist, fault.InvalidCommandID, fault.InvalidInstanceID, fault.InvocationDoesNotExist, fault.InvalidDocument, fault.InvalidActivationID, fault.InvalidResourceID},
		fault.Conflict:        {fault.IdempotentParameterMismatch, fault.TargetNotConnected, fault.UnsignedNode},
		fault.Limit:           {fault.DocumentLimitExceeded, fault.DocumentVersionLimitExceeded, fault.MaxDocumentSizeExceeded, fault.TooManyTags},
		fault.Throttled:       {fault.Throttling},
		fault.Unavailable:     {fault.ServiceUnavailable},
		fault.Unknown:         {fault.OutcomeUnknown},
		fault.Corrupt:         {fault.DataCorrupt},
		fault.Canceled:        {fault.RequestCanceled},
		fault.Internal:        {fault.InternalServerError},
		fault.Invalid:         {fault.Validation, fault.InvalidParameters, fault.InvalidNextToken, "OfTheHost"},
	} {
		for _, c := range codes {
			require.Equal(t, kind, c.Kind(), c)
			require.Equal(t, kind, (&fault.Error{Code: c}).Kind())
		}
		require.NotContains(t, kind.String(), "Kind(")
	}
	require.Equal(t, "Kind(200)", fault.Kind(200).String())
}

func TestMessageOfIsForPeople(t *testing.T) {
	require.Empty(t, fault.MessageOf(nil))
	require.Equal(t, "EOF", fault.MessageOf(io.EOF))
	require.Equal(t, "inner", fault.MessageOf(fault.Wrap("a.B", fault.New("c.D", fault.Validation, "inner"))))
	require.Equal(t, "outer", fault.MessageOf(fault.New("a.B", fault.Validation, "outer")))
	require.Equal(t, "a.B: InternalServerError: EOF", fault.MessageOf(fault.Wrap("a.B", io.EOF)))
}

func TestR11CleanEscapes(t *testing.T) {
	for in, want := range map[string]string{
		"":                       "",
		"plain, ünïcode 🚀 \\n":   "plain, ünïcode 🚀 \\n",
		"a\nb\rc\td":             `a\nb\rc\td`,
		"\x00\x1b]52;c;\x07\x7f": `\x00\x1b]52;c;\x07\x7f`,
		"\u0085\u009b":           `\x85\x9b`,
		"\u200e\u202a\u2066":     `\u{200e}\u{202a}\u{2066}`,
		"\u2028\u2029\ufeff":     `\u{2028}\u{2029}\u{feff}`,
		"\xff\xc3(":              `\xff\xc3(`,
		"\ufffd":                 "\ufffd",
	} {
		require.Equal(t, want, fault.Clean(in), "%q", in)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[31m", "\u202e", "\xff\xfe", "ü\x80", "\\x1b", "\u2028\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := fault.Clean(s)
		if again := fault.Clean(c); again != c {
			t.Fatalf("Clean(Clean(%q)) = %q, not %q", s, again, c)
		}
		if !utf8.ValidString(c) {
			t.Fatalf("Clean(%q) = %q is no UTF-8", s, c)
		}
		bad := func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
		}
		if i := strings.IndexFunc(c, bad); i >= 0 {
			t.Fatalf("Clean(%q) = %q has a control character at %d", s, c, i)
		}
		if utf8.ValidString(s) && !strings.ContainsFunc(s, bad) && c != s {
			t.Fatalf("Clean(%q) = %q changed clean text", s, c)
		}
	})
}
