package apt_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/apt"
	"github.com/stretchr/testify/require"
)

const body = "Package: a\nVersion: 1\nArchitecture: all\n"

func releaseText(head string) string {
	return head + fmt.Sprintf("MD5Sum:\n %x %d main/binary-amd64/Packages\n %x 3 old\nSHA256:\n %x   %d main/binary-amd64/Packages\n",
		md5.Sum([]byte(body)), len(body), md5.Sum([]byte("old")), sha256.Sum256([]byte(body)), len(body))
}

func TestParseRelease(t *testing.T) {
	rel, err := apt.ParseRelease("R", strings.NewReader(releaseText(`Origin: Debian
Label: Debian Backports
Suite: stable-backports
Version: 12.1
Codename: bookworm-backports
Date: Sat, 11 Jul 2026 10:16:37 UTC
Valid-Until: Sat,  1 Aug 2026 10:16:37 UTC
NotAutomatic: yes
ButAutomaticUpgrades: yes
Acquire-By-Hash: yes
No-Support-for-Architecture-all: Packages
Architectures: all amd64
Components: main contrib
`)), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"Debian", "Debian Backports", "stable-backports", "12.1", "bookworm-backports"},
		[]string{rel.Origin, rel.Label, rel.Suite, rel.Version, rel.Codename})
	require.True(t, rel.NotAutomatic && rel.ButAutomaticUpgrades && rel.ByHash && rel.NoArchAll)
	require.Equal(t, []string{"main", "contrib"}, rel.Components)
	require.Equal(t, time.Date(2026, 7, 11, 10, 16, 37, 0, time.UTC), rel.Date)
	require.NoError(t, rel.Expired(rel.ValidUntil))
	require.Error(t, rel.Expired(rel.ValidUntil.Add(time.Second)))
	require.Equal(t, 2, rel.Len())
	f, ok := rel.Index("main/binary-amd64/Packages")
	require.True(t, ok)
	require.Equal(t, "SHA256", f.Hash)
	require.Equal(t, "main/binary-amd64/by-hash/SHA256/"+f.Sum, f.ByHash())

	never, err := apt.ParseRelease("R", strings.NewReader("Origin: x\nArchive: stable"), nil)
	require.NoError(t, err)
	require.Equal(t, "stable", never.Suite)
	require.NoError(t, never.Expired(time.Now()))
}

func TestReleaseCheck(t *testing.T) {
	rel, err := apt.ParseRelease("R", strings.NewReader(releaseText("")), nil)
	require.NoError(t, err)
	const path = "main/binary-amd64/Packages"
	for name, tc := range map[string]struct{ text, want string }{
		"the right bytes": {body, ""},
		"one too few":     {body[1:], "ends after"},
		"one too many":    {body + "\n", "longer"},
		"other bytes":     {strings.Replace(body, "1", "2", 1), "another SHA256"},
		"nothing":         {"", "ends after 0"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := rel.Check(path, strings.NewReader(tc.text))
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			if tc.want == "" {
				require.NoError(t, err)
				require.Equal(t, body, string(got))
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.ErrorContains(t, err, path)
		})
	}
	_, err = rel.Check("main/binary-arm64/Packages", strings.NewReader(""))
	require.ErrorContains(t, err, "does not list")
	_, err = rel.Check("old", strings.NewReader("old"))
	require.ErrorContains(t, err, "MD5Sum only")
}

func TestParseReleaseRefuses(t *testing.T) {
	h := strings.Repeat("a", 64)
	for name, tc := range map[string]struct{ text, want string }{
		"an empty file":            {"\n\n", "R:1: the file is empty"},
		"two stanzas":              {"Origin: a\n\nOrigin: b\n", "R:3"},
		"a field twice":            {"Origin: a\nOrigin: b\n", "R:2"},
		"a date that is none":      {"Origin: a\nDate: yesterday\n", "R:2"},
		"a zone that is not known": {"Valid-Until: Sat, 11 Jul 2026 10:16:37 XYZ\n", "R:1"},
		"a short hash":             {"SHA256:\n abc 1 f\n", "R:2"},
		"a hash that is no hex":    {"SHA256:\n " + h[1:] + "g 1 f\n", "R:2"},
		"a negative size":          {"SHA256:\n " + h + " 1 f\n " + h + " -1 g\n", "R:3"},
		"no path":                  {"SHA256:\n " + h + " 1\n", "R:2"},
		"a path that leaves":       {"SHA256:\n " + h + " 1 ../f\n", "R:2"},
		"an absolute path":         {"SHA256:\n " + h + " 1 /f\n", "R:2"},
		"a path that wanders":      {"SHA256:\n " + h + " 1 a/../f\n", "R:2"},
		"one path, two contents":   {"SHA256:\n " + h + " 1 f\n " + h + " 2 f\n", "R:3"},
		"sizes that disagree":      {"MD5Sum:\n " + h[:32] + " 1 f\nSHA256:\n " + h + " 2 f\n", "R:4"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := apt.ParseRelease("R", strings.NewReader(tc.text), nil)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, fault.Validation, fault.CodeOf(err))
		})
	}
	_, err := apt.ParseRelease("R", strings.NewReader(releaseText("")), &apt.Limits{Total: 100})
	require.Equal(t, fault.MaxDocumentSizeExceeded, fault.CodeOf(err))
}

// N6: what the Release files of the archives really say.
func TestReleaseSecurity(t *testing.T) {
	for _, tc := range []struct {
		origin, label, suite, codename string
		want                           bool
	}{
		{"Debian", "Debian", "oldstable", "bookworm", false},
		{"Debian", "Debian", "oldstable-updates", "bookworm-updates", false},
		{"Debian", "Debian-Security", "oldstable-security", "bookworm-security", true},
		{"Debian", "Debian-Security", "stable-security", "trixie-security", true},
		{"Debian", "Debian-Security", "stable", "buster", true}, // Debian 10 and before
		{"Debian", "Debian", "stable-proposed-updates", "trixie-proposed-updates", false},
		{"Debian Backports", "Debian Backports", "stable-backports", "trixie-backports", false},
		{"Ubuntu", "Ubuntu", "jammy", "jammy", false},
		{"Ubuntu", "Ubuntu", "jammy-updates", "jammy", false},
		{"Ubuntu", "Ubuntu", "jammy-security", "jammy", true},
		{"Ubuntu", "Ubuntu", "jammy-backports", "jammy", false},
		{"Ubuntu", "Ubuntu", "jammy-proposed", "jammy", false},
		{"UbuntuESM", "UbuntuESM", "focal-infra-security", "focal", true},
		{"UbuntuESM", "UbuntuESM", "focal-infra-updates", "focal", false},
		{"Docker", "Docker CE", "bookworm", "bookworm", false},
		{"x-security", "security", "security", "", false},
		{"", "", "", "", false},
		{"", "", "-security", "", false},
	} {
		rel := &apt.Release{Origin: tc.origin, Label: tc.label, Suite: tc.suite, Codename: tc.codename}
		require.Equal(t, tc.want, rel.Security(), "%+v", tc)
	}
}

var signedAt = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func clock(at time.Time) func() time.Time { return func() time.Time { return at } }

func newKey(t testing.TB, name string) *openpgp.Entity { return newKeyAt(t, name, signedAt) }

func newKeyAt(t testing.TB, name string, at time.Time) *openpgp.Entity {
	e, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{Time: clock(at), Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: 86400 * 30})
	require.NoError(t, err)
	return e
}

func ring(t testing.TB, armoured bool, keys ...*openpgp.Entity) io.Reader {
	var b bytes.Buffer
	for _, k := range keys {
		var w io.Writer = &b
		var c io.Closer
		if armoured {
			a, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
			require.NoError(t, err)
			w, c = a, a
		}
		require.NoError(t, k.Serialize(w))
		if c != nil {
			require.NoError(t, c.Close())
			b.WriteString("\n")
		}
	}
	return &b
}

func inRelease(t testing.TB, text string, keys ...*openpgp.Entity) []byte {
	return inReleaseAt(t, text, signedAt, keys...)
}

func inReleaseAt(t testing.TB, text string, at time.Time, keys ...*openpgp.Entity) []byte {
	var b bytes.Buffer
	var private []*packet.PrivateKey
	for _, k := range keys {
		private = append(private, k.PrivateKey)
	}
	w, err := clearsign.EncodeMulti(&b, private, &packet.Config{Time: clock(at)})
	require.NoError(t, err)
	_, err = io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return append(b.Bytes(), '\n')
}

func TestOpenInRelease(t *testing.T) {
	good, other, old := newKey(t, "good"), newKey(t, "other"), newKey(t, "old")
	text := releaseText("Origin: Debian\nSuite: stable\n- a: b\n"[:29])
	signed := inRelease(t, text, good)
	later := signedAt.Add(24 * time.Hour)
	for name, tc := range map[string]struct {
		file []byte
		ring io.Reader
		at   time.Time
		ok   bool
	}{
		"the key of the ring":                    {signed, ring(t, false, other, good), later, true},
		"an armoured ring":                       {signed, ring(t, true, other, good), later, true},
		"two signatures, the second one known":   {inRelease(t, text, old, good), ring(t, false, good), later, true},
		"CRLF":                                   {bytes.ReplaceAll(signed, []byte("\n"), []byte("\r\n")), ring(t, false, good), later, true},
		"another key":                            {signed, ring(t, false, other), later, false},
		"a key that has expired":                 {signed, ring(t, false, good), later.AddDate(0, 2, 0), false},
		"a text that was changed":                {bytes.Replace(signed, []byte("stable"), []byte("Stable"), 1), ring(t, false, good), later, false},
		"no signature":                           {[]byte(text), ring(t, false, good), later, false},
		"an armour that is cut off":              {signed[:len(signed)-60], ring(t, false, good), later, false},
		"text behind the signature":              {append(bytes.Clone(signed), "\nOrigin: evil\n"...), ring(t, false, good), later, false},
		"text before the armour":                 {append([]byte("Origin: evil\n\n"), signed...), ring(t, false, good), later, false},
		"an empty file":                          {nil, ring(t, false, good), later, false},
		"a header that hides text in the armour": {bytes.Replace(signed, []byte("\nHash:"), []byte("\nOrigin: evil\nHash:"), 1), ring(t, false, good), later, false},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := apt.Keyring(clock(tc.at), tc.ring)
			require.NoError(t, err)
			rel, err := apt.OpenInRelease("InRelease", bytes.NewReader(tc.file), v, nil)
			if !tc.ok {
				require.Equal(t, fault.AccessDenied, fault.CodeOf(err), "%v", err)
				require.Nil(t, rel)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "Debian", rel.Origin)
			require.Equal(t, []string{fmt.Sprintf("%X", good.PrimaryKey.Fingerprint)}, rel.Signers)
		})
	}
	_, err := apt.OpenInRelease("InRelease", bytes.NewReader(signed), nil, nil)
	require.Error(t, err, "no verifier is no permission")
	clear, err := apt.ClearText("InRelease", signed)
	require.NoError(t, err)
	require.Equal(t, text, string(clear))
	_, err = apt.ClearText("InRelease", signed[:100])
	require.Error(t, err)
}

func TestOpenRelease(t *testing.T) {
	good, other := newKey(t, "good"), newKey(t, "other")
	text := releaseText("Origin: Debian\n")
	for _, armoured := range []bool{false, true} {
		var sig bytes.Buffer
		sign := openpgp.DetachSign
		if armoured {
			sign = openpgp.ArmoredDetachSign
		}
		require.NoError(t, sign(&sig, good, strings.NewReader(text), &packet.Config{Time: clock(signedAt)}))
		v, err := apt.Keyring(clock(signedAt.Add(time.Hour)), ring(t, true, good))
		require.NoError(t, err)
		rel, err := apt.OpenRelease("Release", strings.NewReader(text), bytes.NewReader(sig.Bytes()), v, nil)
		require.NoError(t, err)
		require.Len(t, rel.Signers, 1)
		_, err = apt.OpenRelease("Release", strings.NewReader(text+"X: y\n"), bytes.NewReader(sig.Bytes()), v, nil)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		_, err = apt.OpenRelease("Release", strings.NewReader(text), strings.NewReader(""), v, nil)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
		w, err := apt.Keyring(clock(signedAt.Add(time.Hour)), ring(t, false, other))
		require.NoError(t, err)
		_, err = apt.OpenRelease("Release", strings.NewReader(text), bytes.NewReader(sig.Bytes()), w, nil)
		require.Equal(t, fault.AccessDenied, fault.CodeOf(err))
	}
}

func TestKeyringRefuses(t *testing.T) {
	_, err := apt.Keyring(nil)
	require.ErrorContains(t, err, "hold no key")
	_, err = apt.Keyring(nil, strings.NewReader(""))
	require.ErrorContains(t, err, "hold no key")
	_, err = apt.Keyring(nil, strings.NewReader("this is no keyring"))
	require.ErrorContains(t, err, "keyring 1")
}

func sha(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
