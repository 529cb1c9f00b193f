package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/parameter"
)

func TestBadArgumentsAreToldAndChangeNothing(t *testing.T) {
	r := newRig(t)
	r.ok("", "init")
	r.ok("", "put", "/a/x", "1")
	r.ok("s3cret-canary\n", "put", "-secret", "/a/s")
	before := r.ok("", "list", "-values") + r.ok("", "history", "/a/s")
	long := strings.Repeat("v", 5000)
	for _, c := range []struct {
		rule, in string
		args     []string
		code     int
		says     string
	}{
		{"nothing", "", nil, 2, "say what to do"},
		{"an unknown verb", "", []string{"steal"}, 2, `"steal" is none of init, put`},
		{"an unknown verb that would act on a terminal", "", []string{"\x1b[2J"}, 2, `"\x1b[2J" is none of`},
		{"an unknown flag", "", []string{"get", "-force", "/a/x"}, 2, "get: flag provided but not defined: -force"},
		{"an unknown output", "", []string{"get", "/a/x", "-o", "xml"}, 2, "table or json"},
		{"get without a name", "", []string{"get"}, 2, "NAME is missing"},
		{"get with an empty name", "", []string{"get", ""}, 2, "NAME is empty"},
		{"get with two names", "", []string{"get", "/a/x", "/a/s"}, 2, "at most 1"},
		{"get of what is not there", "", []string{"get", "/a/none"}, 1, "ParameterNotFound"},
		{"get of a version that is not there", "", []string{"get", "/a/x:9"}, 1, "ParameterVersionNotFound"},
		{"get at no time", "", []string{"get", "/a/x", "-at", "tomorrowish"}, 2, "is no time"},
		{"get before it was there", "", []string{"get", "/a/x", "-at", "1000d"}, 1, "ParameterNotFound"},
		{"put without a name", "", []string{"put"}, 2, "NAME is missing"},
		{"put with a word too many", "", []string{"put", "/b", "two", "words"}, 2, "at most 2"},
		{"put of a secret in the arguments", "", []string{"put", "-secret", "/b", "s3cret-canary"}, 2, "is not taken from the arguments"},
		{"put of a secret's type in the arguments", "", []string{"put", "-type", "SecureString", "/b", "s3cret-canary"}, 2, "is not taken from the arguments"},
		{"put over a secret in the arguments", "", []string{"put", "-overwrite", "/a/s", "s3cret-canary"}, 2, "is not taken from the arguments"},
		{"put over a secret in the arguments, as another type", "", []string{"put", "-overwrite", "-type", "String", "/a/s", "s3cret-canary"}, 2, "is not taken from the arguments"},
		{"put with two types", "", []string{"put", "-secret", "-type", "String", "/b"}, 2, "exclude each other"},
		{"put of no type", "", []string{"put", "-type", "Text", "/b", "v"}, 1, "UnsupportedParameterType"},
		{"put of what is there", "", []string{"put", "/a/x", "2"}, 1, "-overwrite"},
		{"put of another type", "v\n", []string{"put", "-overwrite", "-secret", "/a/x"}, 1, "HierarchyTypeMismatch"},
		{"put of an empty value", "\n", []string{"put", "/b"}, 1, "ValidationException"},
		{"put of an empty secret", "", []string{"put", "-secret", "/b"}, 1, "ValidationException"},
		{"put of a value that is too long", long, []string{"put", "/b"}, 1, "ValidationException"},
		{"put of a value without an end", strings.Repeat("v", mostValue+1), []string{"put", "/b"}, 1, "is longer than 1048576 bytes"},
		{"put under a name that is none", "", []string{"put", "/b c", "v"}, 1, "ValidationException"},
		{"put below aws", "", []string{"put", "/aws/x", "v"}, 1, "AccessDeniedException"},
		{"put against its pattern", "", []string{"put", "/b", "v", "-pattern", "^[0-9]+$"}, 1, "ParameterPatternMismatch"},
		{"put with a pattern that is none", "", []string{"put", "/b", "v", "-pattern", "("}, 1, "InvalidAllowedPattern"},
		{"put with a tag that is none", "", []string{"put", "/b", "v", "-tag", "x"}, 2, "KEY=VALUE"},
		{"put of another version", "", []string{"put", "/a/x", "2", "-if-version", "7"}, 1, "ParameterVersionMismatch"},
		{"put of what must not be there", "", []string{"put", "/a/x", "2", "-if-version", "0"}, 1, "ParameterVersionMismatch"},
		{"put that expires at no time", "", []string{"put", "/b", "v", "-expires", "soon"}, 2, "is no time"},
		{"put with policies from nowhere", "", []string{"put", "/b", "v", "-policies", "@/nowhere"}, 2, "-policies"},
		{"put with policies twice", "", []string{"put", "/b", "v", "-policies", "[]", "-expires", "2027-01-01T00:00:00Z"}, 2, "exclude each other"},
		{"put with policies that are none", "", []string{"put", "/b", "v", "-tier", "Advanced", "-policies", "{"}, 1, "ValidationException"},
		{"put of a tier that is none", "", []string{"put", "/b", "v", "-tier", "Gold"}, 1, "ValidationException"},
		{"list of no path", "", []string{"list", "a"}, 1, "InvalidFilterValue"},
		{"list of no type", "", []string{"list", "-type", "Blob"}, 1, "InvalidFilterValue"},
		{"history of what is not there", "", []string{"history", "/a/none"}, 1, "ParameterNotFound"},
		{"diff of nothing", "", []string{"diff"}, 2, "PATH is missing"},
		{"diff of one path now", "", []string{"diff", "/a"}, 2, "give two paths"},
		{"diff of no path", "", []string{"diff", "a", "b"}, 1, "ValidationException"},
		{"label without a label", "", []string{"label", "/a/x"}, 2, "labels"},
		{"label of a version that is none", "", []string{"label", "/a/x:zero", "l"}, 2, "is no version"},
		{"label of a version that is not there", "", []string{"label", "/a/x:9", "l"}, 1, "ParameterVersionNotFound"},
		{"a label that is none", "", []string{"label", "/a/x", "aws1"}, 1, "no labels: aws1"},
		{"unlabel without a version", "", []string{"unlabel", "/a/x", "l"}, 2, "/a/x:VERSION"},
		{"unlabel of what it has not", "", []string{"unlabel", "/a/x:1", "l"}, 1, "does not have l"},
		{"tags of what is not there", "", []string{"tags", "/a/none"}, 1, "InvalidResourceId"},
		{"tags that are none", "", []string{"tags", "/a/x", "set", "novalue"}, 2, "is not KEY=VALUE"},
		{"tags with another word", "", []string{"tags", "/a/x", "add", "k=v"}, 2, "set KEY=VALUE"},
		{"delete without a name", "", []string{"delete"}, 2, "NAME is missing"},
		{"delete of what is not there", "", []string{"delete", "/a/none"}, 1, "there is no /a/none"},
		{"delete of a path with nothing", "", []string{"delete", "-r", "/none", "-yes"}, 1, "nothing below /none"},
		{"delete of two paths", "", []string{"delete", "-r", "/a", "/b"}, 2, "one path"},
		{"delete of a path, not meant", "", []string{"delete", "-r", "/a"}, 1, "say it again with -yes"},
		{"exec without a program", "", []string{"exec", "/a"}, 2, "behind --"},
		{"exec without a program behind --", "", []string{"exec", "/a", "--"}, 2, "no program"},
		{"exec without a path", "", []string{"exec", "--", "true"}, 2, "PATH is missing"},
		{"exec of nothing", "", []string{"exec", "/a", "--", "no-such-program-at-all"}, 127, "no-such-program-at-all"},
		{"exec of what is no program", "", []string{"exec", "/a", "--", "/etc/passwd"}, 126, "permission denied"},
		{"exec of an empty path", "", []string{"exec", "/none", "--", "true"}, 1, "no parameters below /none"},
		{"export in no format", "", []string{"export", "-format", "ini"}, 2, "json, yaml, dotenv or aws"},
		{"export of secrets without anybody to ask", "", []string{"export", "-secrets"}, 2, "-passphrase-file FILE"},
		{"export with a passphrase for nothing", "", []string{"export", "-passphrase-file", "x"}, 2, "goes with -secrets"},
		{"export to where nothing can be", "", []string{"export", "-out", "/nowhere/x"}, 1, "was not written"},
		{"import of nothing", "", []string{"import"}, 2, "FILE is missing"},
		{"import from nowhere", "", []string{"import", "/nowhere"}, 1, "cannot be read"},
		{"import of no export", "s3cret-canary", []string{"import", "-"}, 1, "is no json of an export"},
		{"import of a damaged line", "A=1\nnovalue\n", []string{"import", "-", "-format", "dotenv"}, 1, "line 2"},
		{"import over what is there", "x=2\n", []string{"import", "-", "-format", "dotenv", "-path", "/a"}, 1, "ParameterAlreadyExists"},
		{"watch of no number", "", []string{"watch", "-after", "-7"}, 2, "-after"},
		{"watch of less than nothing", "", []string{"watch", "-n", "-1"}, 2, "-n"},
		{"watch of no path", "", []string{"watch", "a"}, 1, "ValidationException"},
		{"who with a number that is none", "", []string{"who", "-n", "-1"}, 2, "-n"},
		{"keys with an argument", "", []string{"keys", "x"}, 2, "at most 0"},
		{"rotate-key with an argument", "", []string{"rotate-key", "x"}, 2, "at most 0"},
		{"init again", "", []string{"init"}, 1, "there already"},
		{"a store that is not there", "", []string{"list", "-dir", "/nowhere"}, 1, "make one with params init"},
		{"a database with its password in the arguments", "", []string{"list", "-postgres", "postgres://u:s3cret-canary@h/d"}, 2, "PGPASSWORD"},
		{"a database with its password among words", "", []string{"list", "-postgres", "host=h password = s3cret-canary"}, 2, "PGPASSWORD"},
		{"a database with its password in a query", "", []string{"list", "-postgres", "postgres://h/d?password=s3cret-canary"}, 2, "PGPASSWORD"},
		{"a database that is no address", "", []string{"list", "-postgres", "host='"}, 2, "address of the database"},
		{"a database that is not there", "", []string{"list", "-postgres", "host=/nowhere user=x"}, 1, "ServiceUnavailable"},
		{"a passphrase file that is not there", "", []string{"get", "/a/s", "-key-passphrase-file", "/nowhere"}, 1, "passphrase cannot be read"},
		{"a key file that is not there", "", []string{"get", "/a/s", "-keys", "/nowhere/k"}, 1, "is not there"},
		{"a key file that is none", "", []string{"get", "/a/s", "-keys", "/etc/passwd"}, 1, "InvalidKeyId"},
	} {
		t.Run(c.rule, func(t *testing.T) {
			r.t = t
			r.started = nil
			out, errs, code := r.run(c.in, c.args...)
			require.Equal(t, c.code, code, "%s%s", out, errs)
			require.Contains(t, errs, c.says)
			require.True(t, strings.HasPrefix(errs, "params") && strings.HasSuffix(errs, "\n"), "it says who speaks: %q", errs)
			require.NotContains(t, out+errs, "s3cret-canary")
			require.NotContains(t, errs, "\x1b")
			require.Nil(t, r.started)
		})
	}
	r.t = t
	require.Equal(t, before, r.ok("", "list", "-values")+r.ok("", "history", "/a/s"))
	require.Equal(t, "s3cret-canary\n", r.ok("", "get", "/a/s"))
}

func TestValuesComeAndGoAsTheyAre(t *testing.T) {
	r := newRig(t)
	r.ok("", "init")
	for _, c := range []struct {
		rule, in string
		flags    []string
		want     string
	}{
		{"one line end does not belong to it", "v\n", nil, "v"},
		{"of two one does", "v\n\n", nil, "v\n"},
		{"that of Windows does not either", "v\r\n", nil, "v"},
		{"unless it is wanted", "v\n", []string{"-exact"}, "v\n"},
		{"blanks belong to it", "  v  ", nil, "  v  "},
		{"so do other words", "ü\x1b[0m\t\"'$`\\", nil, "ü\x1b[0m\t\"'$`\\"},
	} {
		for _, kind := range []string{"-type=String", "-secret"} {
			t.Run(c.rule+kind, func(t *testing.T) {
				r.t = t
				name := "/v/" + kind[1:5]
				r.ok(c.in, append([]string{"put", kind, name, "-overwrite"}, c.flags...)...)
				require.Equal(t, c.want, r.ok("", "get", "-n", name))
				require.Equal(t, c.want+"\n", r.ok("", "get", name))
				var got struct{ Value, Type string }
				require.NoError(t, json.Unmarshal([]byte(r.ok("", "get", name, "-o", "json")), &got))
				require.Equal(t, c.want, got.Value)
				r.ok("", "delete", name)
			})
		}
	}
	r.t = t
	r.ok("", "put", "/dash", "--", "-5")
	require.Equal(t, "-5\n", r.ok("", "get", "/dash"))
	r.ok("x", "put", "/minus", "-")
	require.Equal(t, "x\n", r.ok("", "get", "/minus"), "a dash is standard input")
}

func TestTheKeyFilesPassphrase(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(r.dir, "passphrase")
	require.NoError(t, os.WriteFile(file, []byte("correct horse\n"), 0o600))
	_, errs, code := r.run("", "init", "-passphrase")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "-key-passphrase-file FILE")
	r.person = &person{answers: []string{"correct horse", "another"}}
	_, errs, code = r.run("", "init", "-passphrase")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "not the same the second time")
	r.person = &person{answers: []string{"correct horse", "correct horse"}}
	r.ok("", "init", "-passphrase")
	r.person = nil
	r.ok("", "put", "/open", "x")
	require.Equal(t, "x\n", r.ok("", "get", "/open"), "who reads no secret needs no passphrase")
	r.ok("s", "put", "-secret", "/s", "-key-passphrase-file", file)
	r.person = &person{answers: []string{"correct horse"}}
	require.Equal(t, "s\n", r.ok("", "get", "/s"))
	require.Equal(t, []string{"passphrase of the key file: "}, r.person.asked)
	r.person = &person{answers: []string{"wrong horse"}}
	out, errs, code := r.run("", "get", "/s")
	require.Equal(t, 1, code)
	require.Empty(t, out)
	require.Contains(t, errs, "the passphrase is wrong")
	require.NotContains(t, errs, "wrong horse")
	r.person = nil
	creds := filepath.Join(r.dir, "creds")
	require.NoError(t, os.Mkdir(creds, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(creds, credential), []byte("correct horse\n"), 0o600))
	r.env["CREDENTIALS_DIRECTORY"] = creds
	require.Equal(t, "s\n", r.ok("", "get", "/s"), "a service has it from systemd")
}

func TestAKeyFileOfAnotherStoreOrOfBeforeARotationIsRefused(t *testing.T) {
	r, other := newRig(t), newRig(t)
	r.ok("", "init")
	other.ok("", "init")
	r.ok("s", "put", "-secret", "/s")
	at := filepath.Join(r.dir, "params", "keys.json")
	old, err := os.ReadFile(at)
	require.NoError(t, err)
	r.ok("", "rotate-key")
	now, err := os.ReadFile(at)
	require.NoError(t, err)
	foreign, err := os.ReadFile(filepath.Join(other.dir, "params", "keys.json"))
	require.NoError(t, err)
	for _, wrong := range [][]byte{old, foreign} {
		require.NoError(t, os.WriteFile(at, wrong, 0o600))
		for _, args := range [][]string{{"get", "/s"}, {"put", "-secret", "/new"}, {"rotate-key"}, {"keys"}} {
			out, errs, code := r.run("v", args...)
			require.Equal(t, 1, code)
			require.Empty(t, out)
			require.Contains(t, errs, "it belongs to another store, or is a copy from before the last rotation")
		}
	}
	require.NoError(t, os.WriteFile(at, now, 0o600))
	require.Equal(t, "s\n", r.ok("", "get", "/s"))
}

func TestExportsAreImported(t *testing.T) {
	r := newRig(t)
	r.ok("", "init")
	r.ok("", "put", "/a/host", "db 1", "-tag", "k=v", "-description", "where")
	r.ok("hunter2-canary", "put", "-secret", "/a/password")
	pass := filepath.Join(r.dir, "pass")
	require.NoError(t, os.WriteFile(pass, []byte("long enough words\n"), 0o600))
	for _, name := range []string{"all.json", "all.yaml", "all.env"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), name)
			r.t = t
			r.ok("", "export", "/a", "-secrets", "-passphrase-file", pass, "-out", file)
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NotContains(t, string(b), "hunter2-canary")
			info, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			_, errs, code := r.run("", "export", "/a", "-out", file)
			require.Equal(t, 1, code, "an export is not written over")
			require.Contains(t, errs, "exists")
			to := newRig(t)
			to.ok("", "init")
			to.person = &person{answers: []string{"long enough words"}}
			require.Equal(t, "/a/host\n/a/password\n", to.ok("", "import", file, "-dry-run"))
			require.Empty(t, to.ok("", "list"))
			to.person = &person{answers: []string{"wrong enough words"}}
			_, errs, code = to.run("", "import", file)
			require.Equal(t, 1, code)
			require.Contains(t, errs, "does not open")
			require.Empty(t, to.ok("", "list"), "nothing by halves")
			to.ok("", "import", file, "-passphrase-file", pass)
			require.Equal(t, "hunter2-canary\n", to.ok("", "get", "/a/password"))
			require.Equal(t, "db 1\n", to.ok("", "get", "/a/host"))
		})
	}
	r.t = t
	out, errs, code := r.run("", "export", "/a")
	require.Zero(t, code)
	require.NotContains(t, out, "password")
	require.Contains(t, errs, "left out for being secret: /a/password")
}

func TestWhoKnowsPathsFromBeginningsOfNames(t *testing.T) {
	r := newRig(t)
	r.ok("", "init")
	r.ok("", "put", "/a/password", "x")
	r.ok("", "get", "/a/password")
	for _, path := range []string{"/a/password", "a/password", "/a", "/a/", "/", ""} {
		require.Contains(t, r.ok("", "who", path), "/a/password", path)
	}
	for _, path := range []string{"/a/pass", "/a/password/x", "/b"} {
		out, errs, code := r.run("", "who", path)
		require.Zero(t, code)
		require.Empty(t, out)
		require.Equal(t, "params: nobody did\n", errs)
	}
}

func TestWatchShowsWhatComes(t *testing.T) {
	r := newRig(t)
	r.ok("", "init")
	r.ok("", "put", "/a/x", "1")
	r.ok("", "put", "/b", "1")
	r.ok("", "label", "/a/x", "prod")
	out := r.ok("", "watch", "/a", "-after", "0", "-n", "2")
	require.Equal(t, "     1  2026-03-01 12:02:00  Create                 /a/x  v1\n     3  2026-03-01 12:04:00  LabelParameterVersion  /a/x  v1  prod\n", out)
	out = r.ok("", "watch", "/a", "-after", "1", "-n", "1", "-o", "json")
	require.Contains(t, out, `"Seq": 3`)
}

func TestWhatExpiredIsGone(t *testing.T) {
	r := newRig(t)
	r.ok("", "init")
	r.ok("", "put", "/x", "1", "-tier", "Advanced", "-expires", r.now.Add(time.Hour).Format(time.RFC3339))
	require.Equal(t, "1\n", r.ok("", "get", "/x"))
	r.now = r.now.Add(2 * time.Hour)
	_, errs, code := r.run("", "get", "/x")
	require.Equal(t, 1, code)
	require.Contains(t, errs, "ParameterNotFound")
	require.Contains(t, r.ok("", "who", "-all", "/x"), "parameter policy")
}

func TestNamesOfVariablesAreChambers(t *testing.T) {
	for name, want := range map[string]string{"/web/db/host": "HOST", "/web/cache-ttl": "CACHE_TTL", "plain": "PLAIN", "/a/b.c-d_e9": "B_C_D_E9", "/Web/Mixed": "MIXED", "/a/9lives": "9LIVES"} {
		require.Equal(t, want, variable(name), name)
	}
	r := newRig(t)
	r.ok("", "init")
	r.ok("", "put", "/a/one/url", "1")
	r.ok("", "put", "/a/two/url", "2")
	r.ok("", "put", "/a/x-y", "3")
	_, errs, code := r.run("", "exec", "/a", "--", "true")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "/a/one/url and /a/two/url would both be URL")
	r.ok("", "exec", "/a", "-one-level", "-pristine", "--", "true", "-n", "--", "x")
	require.Equal(t, []string{"true", "-n", "--", "x", "X_Y=3"}, r.started)
	r.ok("", "label", "/a/x-y", "prod")
	r.ok("", "put", "/a/x-y", "4", "-overwrite")
	r.ok("", "exec", "/a", "-one-level", "-pristine", "-label", "prod", "--", "true")
	require.Equal(t, []string{"true", "X_Y=3"}, r.started)
}

func TestTheTreeHasEveryShape(t *testing.T) {
	var list []parameter.ParameterMetadata
	for _, n := range []string{"/a", "/a/b", "/a/b/c/d", "/a/z", "top"} {
		list = append(list, parameter.ParameterMetadata{Name: n})
	}
	draw := func(path string) (out []string) {
		grow(list).draw(path, func(text string, m *parameter.ParameterMetadata) {
			if m != nil {
				text += " =" + m.Name
			}
			out = append(out, text)
		})
		return out
	}
	require.Equal(t, []string{"/", "├── a =/a", "│   ├── b =/a/b", "│   │   └── c", "│   │       └── d =/a/b/c/d", "│   └── z =/a/z", "└── top =top"}, draw("/"))
	require.Equal(t, []string{"/a/b =/a/b", "└── c", "    └── d =/a/b/c/d"}, draw("/a/b"))
}
