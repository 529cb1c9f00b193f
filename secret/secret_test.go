package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"log"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/secret"
)

func Example() {
	v := secret.String("correct horse")
	fmt.Println(v)
	fmt.Printf("%v %+v %#v %q %x\n", v, struct{ Password secret.Value }{v}, v, v, v)
	fmt.Println(len(v.Reveal()), v.Equal(secret.String("correct horse")))
	// Output:
	// ***
	// *** {Password:***} *** *** ***
	// 13 true
}

const canary = `canary-"6f1d" <2c9a>&\7b`

// encodings of the canary that must not be found either.
func encodings() []string {
	j, _ := json.Marshal(canary)
	var x bytes.Buffer
	_ = xml.EscapeText(&x, []byte(canary))
	dec := strings.Trim(fmt.Sprint([]byte(canary)), "[]")
	return []string{canary, base64.StdEncoding.EncodeToString([]byte(canary)), base64.RawURLEncoding.EncodeToString([]byte(canary)), hex.EncodeToString([]byte(canary)),
		strings.ToUpper(hex.EncodeToString([]byte(canary))), url.QueryEscape(canary), url.PathEscape(canary), strings.Trim(string(j), `"`), x.String(),
		htmltemplate.HTMLEscapeString(canary), fmt.Sprintf("%q", canary), fmt.Sprintf("%#v", []byte(canary)), dec, strings.ReplaceAll(dec, " ", ","), canary[:10], canary[len(canary)-10:]}
}

func clean(t *testing.T, how, out string) {
	t.Helper()
	for _, e := range encodings() {
		require.NotContains(t, out, e, how)
	}
}

// holder holds secrets in every place that a formatter walks through.
type holder struct {
	Public  secret.Value
	private secret.Value
	Ptr     *secret.Value
	List    []secret.Value
	Map     map[string]secret.Value
	Any     any
	Deep    struct{ deeper struct{ v secret.Value } }
}

func newHolder() holder {
	v := secret.String(canary)
	h := holder{Public: v, private: v, Ptr: &v, List: []secret.Value{v}, Map: map[string]secret.Value{"k": v}, Any: v}
	h.Deep.deeper.v = v
	return h
}

func TestR12FmtPrintsTheMask(t *testing.T) {
	v, h := secret.String(canary), newHolder()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%p", "% x", "%#x", "%+q", "%10s", "%-40v", "%.3s", "%z"} {
		out := fmt.Sprintf(verb, v)
		if verb != "%p" { // which package fmt answers itself, with an address
			require.Equal(t, secret.Mask, out, verb)
		}
		clean(t, verb, out)
		for _, x := range []any{&v, h, &h, []any{v}, map[string]any{"k": v}, [1]secret.Value{v}, errors.Join(fmt.Errorf("x: "+verb, v))} {
			clean(t, verb, fmt.Sprintf(verb, x))
		}
	}
	clean(t, "%T", fmt.Sprintf("%T %[1]v", v))
	clean(t, "Print", fmt.Sprint(v, h, &h)+fmt.Sprintln(v, h))
	require.Equal(t, secret.Mask, v.String())
	require.Equal(t, secret.Mask, v.GoString())
	require.Equal(t, "wrong password ***", fmt.Errorf("wrong password %w", fmt.Errorf("%v", v)).Error())
}

func TestR12EncodersWriteTheMask(t *testing.T) {
	v, h := secret.String(canary), newHolder()
	for _, x := range []any{v, &v, h, &h, []any{v}, map[secret.Value]int{v: 1}} {
		b, err := json.Marshal(x)
		require.NoError(t, err)
		require.Contains(t, string(b), secret.Mask)
		clean(t, "json", string(b))
	}
	type inXML struct {
		V secret.Value
		A secret.Value `xml:"a,attr"`
		p secret.Value
	}
	b, err := xml.Marshal(inXML{v, v, v})
	require.NoError(t, err)
	require.Contains(t, string(b), secret.Mask)
	clean(t, "xml", string(b))
	text, err := v.MarshalText()
	require.NoError(t, err)
	require.Equal(t, secret.Mask, string(text))
	var out bytes.Buffer
	if err := gob.NewEncoder(&out).Encode(struct{ V secret.Value }{v}); err == nil {
		clean(t, "gob", out.String())
	}
	bin, err := v.MarshalBinary()
	require.NoError(t, err)
	require.Equal(t, secret.Mask, string(bin))
	var read struct{ V secret.Value }
	require.Error(t, json.Unmarshal([]byte(`{"V":"***"}`), &read), "the mask is no secret, so it is not read as one")
}

func TestR12LoggersWriteTheMask(t *testing.T) {
	v, h := secret.String(canary), newHolder()
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}), slog.NewJSONHandler(&out, nil)} {
		l := slog.New(handler).With("with", v).WithGroup("g")
		l.Info("message", "v", v, "ptr", &v, "h", h, "hp", &h, "list", []secret.Value{v}, slog.Group("sub", "v", v), "err", fmt.Errorf("%v", v))
		l.Error(fmt.Sprint(v), "any", map[string]any{"v": v})
	}
	log.New(&out, "", 0).Printf("%v %+v", v, h)
	require.Contains(t, out.String(), "with=***")
	require.Contains(t, out.String(), `"with":"***"`)
	clean(t, "log", out.String())
}

func TestR12TemplatesWriteTheMask(t *testing.T) {
	h := newHolder()
	const text = `{{.Public}} {{printf "%s %x" .Public .Public}} {{.List}} {{.Map.k}} {{.Any}} {{.}} {{print .Ptr}} {{html .Public}} {{js .Public}}`
	var out bytes.Buffer
	require.NoError(t, template.Must(template.New("t").Parse(text)).Execute(&out, h))
	require.NoError(t, htmltemplate.Must(htmltemplate.New("t").Parse(text+`<a href="{{.Public}}"></a><script>var x = {{.Public}}, y = {{.}}</script>`)).Execute(&out, h))
	require.Contains(t, out.String(), secret.Mask)
	clean(t, "template", out.String())
}

func TestPanicsShowTheMask(t *testing.T) {
	defer func() { clean(t, "panic", fmt.Sprint(recover())) }()
	panic(secret.String(canary))
}

func TestRevealGivesTheBytes(t *testing.T) {
	b := []byte("bytes")
	v := secret.New(b)
	b[0] = 'x'
	require.Equal(t, "bytes", string(v.Reveal()), "New copies")
	require.Equal(t, 5, v.Len())
	require.False(t, v.IsZero())
	taken := secret.Take(b)
	b[0] = 'y'
	require.Equal(t, "yytes", string(taken.Reveal()), "Take does not copy")
}

func TestTheZeroValueIsTheEmptySecret(t *testing.T) {
	var v secret.Value
	require.True(t, v.IsZero())
	require.Zero(t, v.Len())
	require.Nil(t, v.Reveal())
	require.Equal(t, secret.Mask, fmt.Sprint(v), "not even emptiness shows")
	require.True(t, v.Equal(secret.String("")))
	v.Wipe()
	require.True(t, secret.Take(nil).IsZero())
}

func TestEqualComparesBytes(t *testing.T) {
	require.True(t, secret.String("a").Equal(secret.New([]byte("a"))))
	require.False(t, secret.String("a").Equal(secret.String("b")))
	require.False(t, secret.String("a").Equal(secret.String("aa")))
	require.False(t, secret.String("a").Equal(secret.Value{}))
}

func TestWipeReachesEveryCopy(t *testing.T) {
	v := secret.String("bytes")
	w, b := v, v.Reveal()
	v.Wipe()
	require.Equal(t, make([]byte, 5), b)
	require.True(t, v.IsZero())
	require.True(t, w.IsZero())
}
