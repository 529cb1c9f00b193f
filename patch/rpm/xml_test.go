package rpm

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/stretchr/testify/require"
)

// walk writes the tokens of a document in one form: element names without prefix, sorted as they stand, text joined.
func walk(r io.Reader, lim *Limits) (string, error) {
	x := newXML("op", "F", r, lim)
	var b strings.Builder
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			fmt.Fprintf(&b, "%q", text.String())
			text.Reset()
		}
	}
	for x.next() {
		switch x.kind {
		case atText:
			if x.cdata {
				text.WriteString(x.valid(strings.ReplaceAll(strings.ReplaceAll(string(x.text), "\r\n", "\n"), "\r", "\n")))
			} else {
				text.WriteString(x.plain(x.text))
			}
		case atClose:
			flush()
			b.WriteString("</" + string(x.name) + ">")
		case atOpen:
			flush()
			b.WriteString("<" + string(x.name))
			for rest := x.attrs; ; {
				name, value, more, ok, err := nextAttr(rest)
				if !ok || err != nil {
					break
				}
				fmt.Fprintf(&b, " %s=%q", local(name), x.plain(value))
				rest = more
			}
			b.WriteString(">")
		}
	}
	return b.String(), x.err
}

// reference does the same with encoding/xml.
func reference(s string) (string, error) {
	d := xml.NewDecoder(strings.NewReader(s))
	var b, text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			fmt.Fprintf(&b, "%q", text.String())
			text.Reset()
		}
	}
	depth := 0
	for {
		t, err := d.RawToken()
		if err == io.EOF {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			if depth > 0 {
				text.Write(t)
			}
		case xml.StartElement:
			flush()
			depth++
			b.WriteString("<" + t.Name.Local)
			for _, a := range t.Attr {
				fmt.Fprintf(&b, " %s=%q", a.Name.Local, a.Value)
			}
			b.WriteString(">")
		case xml.EndElement:
			flush()
			depth--
			b.WriteString("</" + t.Name.Local + ">")
		case xml.Directive:
			return "", errors.New("a directive")
		}
	}
}

// What is accepted is read as encoding/xml reads it, whatever the size of the reads.
func FuzzXML(f *testing.F) {
	for _, s := range []string{
		`<?xml version="1.0" encoding="UTF-8"?><a b="1" c='&lt;&#65;&#x42;'>t<d/><!-- c -- --><e:f>x&amp;y</e:f><![CDATA[<raw>]]></a>`,
		"<a>\r\n x </a>\n", `<a b=">">]]</a>`, `<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>`, "<a></b>", "<a/><b/>", "\ufeff<a/>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lim := &Limits{Token: 1 << 12, Depth: 8, Total: 1 << 14}
		got, err := walk(strings.NewReader(s), lim)
		again, err2 := walk(iotest.OneByteReader(strings.NewReader(s)), lim)
		require.Equal(t, err == nil, err2 == nil, "%v, %v", err, err2)
		if err != nil {
			return
		}
		require.Equal(t, got, again)
		if want, err := reference(s); err == nil {
			require.Equal(t, want, got)
		}
	})
}

func TestXMLRefuses(t *testing.T) {
	lim := &Limits{Token: 100, Depth: 3, Total: 2000}
	for name, tc := range map[string]struct {
		text, want string
		code       fault.Code
	}{
		"a document type":          {"\n<!DOCTYPE a>\n<a/>", "F:2", fault.Validation},
		"entities that grow":       {`<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>`, "document type", fault.Validation},
		"an entity of its own":     {"<a>\n&b;</a>", "F:2", fault.Validation},
		"no character":             {"<a>&#0;</a>", "F:1", fault.Validation},
		"a control character":      {"<a>\x01</a>", "F:1", fault.Validation},
		"no UTF-8":                 {"<a>\xff</a>", "F:1", fault.Validation},
		"another encoding":         {`<?xml version="1.0" encoding="UTF-16"?><a/>`, "UTF-8", fault.Validation},
		"a wrong closing tag":      {"<a>\n<b>\n</a>", "F:3", fault.Validation},
		"a tag that is cut off":    {"<a><b c=\"", "F:1", fault.Validation},
		"an end that is missing":   {"<a><b></b>\n", "F:2", fault.Validation},
		"an attribute twice":       {"<a b='1' b='2'/>", "twice", fault.Validation},
		"an attribute bare":        {"<a b/>", "attribute", fault.Validation},
		"attributes not set apart": {`<a b="1"c="2"/>`, "attribute", fault.Validation},
		"text outside":             {"<a/>x", "outside", fault.Validation},
		"two roots":                {"<a/><b/>", "more than one", fault.Validation},
		"nothing":                  {"", "F:1", fault.Validation},
		"too deep":                 {"<a><a><a><a/></a></a></a>", "deeper", fault.MaxDocumentSizeExceeded},
		"a long tag":               {"<a b='" + strings.Repeat("x", 200) + "'/>", "longer than 100", fault.MaxDocumentSizeExceeded},
		"a long text":              {"<a>" + strings.Repeat("x", 200) + "</a>", "longer than 100", fault.MaxDocumentSizeExceeded},
		"a long document":          {"<a>" + strings.Repeat("<b/>", 1000) + "</a>", "longer than 2000", fault.MaxDocumentSizeExceeded},
		"a comment without end":    {"<a><!-- ", "does not end", fault.Validation},
		"CDATA without end":        {"<a><![CDATA[ ", "does not end", fault.Validation},
		"many attributes":          {"<a" + attrs(30) + "/>", "more than 24", fault.Validation},
	} {
		t.Run(name, func(t *testing.T) {
			l := *lim
			if name == "many attributes" {
				l.Token = 1000
			}
			for _, r := range []io.Reader{strings.NewReader(tc.text), iotest.OneByteReader(strings.NewReader(tc.text))} {
				_, err := walk(r, &l)
				require.ErrorContains(t, err, tc.want)
				require.Equal(t, tc.code, fault.CodeOf(err))
			}
		})
	}
	_, err := walk(io.MultiReader(strings.NewReader("<a>\n"), iotest.ErrReader(io.ErrClosedPipe)), nil)
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func attrs(n int) string {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, " a%d='x'", i)
	}
	return b.String()
}
