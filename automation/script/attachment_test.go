package script_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/script"
)

// attachments answers by name.
type attachments map[string][]byte

func (a attachments) Attachment(_ context.Context, _ automation.Call, name string) ([]byte, error) {
	b, ok := a[name]
	if !ok {
		return nil, errors.New("there is none of that name")
	}
	return b, nil
}

// zipped makes a zip of names and texts, in turn.
func zipped(t *testing.T, mode fs.FileMode, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h := &zip.FileHeader{Name: files[i], Method: zip.Deflate}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		_, err = f.Write([]byte(files[i+1]))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestAttachments(t *testing.T) {
	all := attachments{
		"code.zip": zipped(t, 0o644, "main.py", "import lib.deep\ndef handler(e, c): return lib.deep.f(e['n'])", "lib/__init__.py", "", "lib/deep.py", "def f(n): return n * 2", "data/x.txt", "hello"),
		"one.zip":  zipped(t, 0o644, "only.py", "def handler(e, c): return open(__file__.replace('only.py', 'data/x.txt')).read()", "data/x.txt", "hello"),
		"alone.py": []byte("def handler(e, c): return 'alone'"),
		"bad.zip":  []byte("PK\x03\x04 nothing"),
		"out.zip":  zipped(t, 0o644, "../../etc/cron.d/x", "evil"),
		"abs.zip":  zipped(t, 0o644, "/etc/x", "evil"),
		"win.zip":  zipped(t, 0o644, `..\x.py`, "evil"),
		"link.zip": zipped(t, fs.ModeSymlink|0o777, "main.py", "/etc/shadow"),
		"both.zip": zipped(t, 0o644, "a", "file", "a/b", "file"),
		"same.zip": zipped(t, 0o644, "a.py", "x", "./a.py", "y"),
	}
	if !testing.Short() {
		all["bomb.zip"] = zipped(t, 0o644, "a", string(make([]byte, 130<<20)))
	}
	some(t, func(t *testing.T, rt script.Runtime) {
		o := &script.Options{Attachments: all}
		for i, c := range []struct {
			rule    string
			handler string
			inputs  []any
			want    any
		}{
			{"a module of a zip", "main.handler", []any{"Attachment", "code.zip", "InputPayload", map[string]any{"n": 21}}, 42.0},
			{"a module in a folder of a zip", "lib/deep.f", []any{"Attachment", "one.zip"}, nil},
			{"the only module needs no name", "handler", []any{"Attachment", "one.zip"}, "hello"},
			{"a file that is no zip", "handler", []any{"Attachment", "alone.py"}, "alone"},
			{"a Script that is a placeholder beside an Attachment with the handler's file", "main.handler", []any{"Attachment", "code.zip", "Script", "%PYTHONSCRIPT%", "InputPayload", map[string]any{"n": 21}}, 42.0},
			{"a handler with a dot that no file has is one of the Script", "script.handler", []any{"Attachment", "code.zip", "Script", "def handler(e, c): return 'own'"}, "own"},
			{"a Script beside an Attachment imports from it", "handler", []any{"Attachment", "code.zip", "Script", "from lib.deep import f\ndef handler(e, c): return f(3)"}, 6.0},
		} {
			t.Run(c.rule, func(t *testing.T) {
				sparse(t, i)
				out, bad := step(t, rt, o, python("", append([]any{"Handler", c.handler}, c.inputs...)...))
				if c.want == nil {
					require.NotNil(t, bad, "there is no such module")
					require.Contains(t, bad.Message, "ModuleNotFoundError")
					return
				}
				require.Nil(t, bad, "%+v", bad)
				require.Equal(t, c.want, out["Payload"])
			})
		}
	})
	never := runtimeFunc(func(context.Context, script.Job) (script.Outcome, error) { panic("it must not run") })
	for _, name := range []string{"bad.zip", "out.zip", "abs.zip", "win.zip", "link.zip", "both.zip", "same.zip", "bomb.zip", "missing.zip"} {
		t.Run(name+" is refused", func(t *testing.T) {
			_, bad := step(t, never, &script.Options{Attachments: all}, python("", "Attachment", name, "Handler", "a.b"))
			require.NotNil(t, bad)
			require.Equal(t, automation.PreVerification, bad.Stage)
		})
	}
}

// What a zip holds comes out as it went in, below where it is put; or it is refused whole.
func FuzzUnzip(f *testing.F) {
	f.Add("main.py", "a", "lib/x.py", "b", uint32(0o644))
	f.Add("../x", "a", "/etc/y", "b", uint32(0o755))
	f.Add("a", "", "a/b", "", uint32(0))
	f.Add("a\\..\\..\\b", "c:/x", "nul\x00", "\xff", uint32(fs.ModeSymlink|0o777))
	f.Fuzz(func(t *testing.T, name1, text1, name2, text2 string, mode uint32) {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for _, e := range [][2]string{{name1, text1}, {name2, text2}} {
			h := &zip.FileHeader{Name: e[0], Method: zip.Deflate}
			h.SetMode(fs.FileMode(mode))
			in, err := w.CreateHeader(h)
			if err != nil {
				return
			}
			if _, err := in.Write([]byte(e[1])); err != nil {
				return // a folder has no content
			}
		}
		if w.Close() != nil {
			return
		}
		files, err := script.Unzip(b.Bytes())
		if err != nil {
			require.Empty(t, files)
			return
		}
		for _, file := range files {
			require.True(t, filepath.IsLocal(filepath.FromSlash(file.Path)), "%q", file.Path)
			require.True(t, fs.ValidPath(strings.ToValidUTF8(file.Path, "?")), "%q", file.Path)
		}
		if len(files) == 2 {
			require.Equal(t, []string{text1, text2}, []string{string(files[0].Data), string(files[1].Data)})
			require.NotEqual(t, files[0].Path, files[1].Path)
		}
	})
}
