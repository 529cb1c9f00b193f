package ssmops

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

func bearerRequest(values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header["Authorization"] = values
	if values == nil {
		delete(r.Header, "Authorization")
	}
	return r
}

func parseText(t *testing.T, text string) *Callers {
	t.Helper()
	c, err := ParseCallers(strings.NewReader(text))
	require.NoError(t, err)
	return c
}

func TestR15_Tokens(t *testing.T) {
	token, other := NewToken(), NewToken()
	require.False(t, token.Equal(other))
	require.Len(t, token.Reveal(), 4+43, "32 random bytes")
	require.Equal(t, "***", fmt.Sprint(token), "a token prints as nothing")
	plain := string(token.Reveal())
	c := parseText(t, "admin "+TokenHash(token)+" *\nci "+TokenHash(other)+" ssm:SendCommand red\nalice cert ssm:*\n")

	p, err := c.Bearer().Authenticate(bearerRequest("Bearer " + plain))
	require.NoError(t, err)
	require.Equal(t, access.Principal{Tenant: "default", Name: "admin", Attributes: map[string]string{"credential": "token"}}, p)
	p, err = c.Bearer().Authenticate(bearerRequest("bearer " + string(other.Reveal())))
	require.NoError(t, err)
	require.Equal(t, "red", p.Tenant)

	// Everything else ends in the same way, word for word.
	for name, values := range map[string][]string{
		"none": nil, "empty": {""}, "another scheme": {"Basic " + plain}, "no scheme": {plain}, "no token": {"Bearer "}, "unknown": {"Bearer " + string(NewToken().Reveal())},
		"one letter off": {"Bearer " + plain[:len(plain)-1] + "~"}, "cut": {"Bearer " + plain[:len(plain)-1]}, "longer": {"Bearer " + plain + "x"}, "two": {"Bearer " + plain, "Bearer " + plain},
		"its hash": {"Bearer " + TokenHash(token)}, "huge": {"Bearer " + strings.Repeat("x", 1<<16)}, "a blank behind": {"Bearer " + plain + " "}, "a blank more": {"Bearer  " + plain},
	} {
		_, err := c.Bearer().Authenticate(bearerRequest(values...))
		require.EqualError(t, err, errUnknown().Error(), name)
		require.Equal(t, fault.Unauthenticated, fault.KindOf(err), name)
	}
	// A short token is none, even if somebody put its hash into the file.
	c = parseText(t, "weak "+TokenHash(secret.String("password"))+" *\nempty "+TokenHash(secret.String(""))+" *\n")
	for _, v := range []string{"Bearer password", "Bearer ", ""} {
		_, err := c.Bearer().Authenticate(bearerRequest(v))
		require.Error(t, err, v)
	}
}

func TestCertificates(t *testing.T) {
	token := NewToken()
	c := parseText(t, "alice cert ssm:*\nadmin "+TokenHash(token)+" *\nbob cert ssm:List* red\n")
	with := func(cn string, verified bool) *http.Request {
		r := bearerRequest()
		leaf := &x509.Certificate{Subject: pkix.Name{CommonName: cn}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		if verified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{leaf}}
		}
		return r
	}
	p, err := c.Certificates().Authenticate(with("bob", true))
	require.NoError(t, err)
	require.Equal(t, access.Principal{Tenant: "red", Name: "bob", Attributes: map[string]string{"credential": "certificate"}}, p)
	for name, r := range map[string]*http.Request{"not verified": with("alice", false), "unknown": with("mallory", true), "a token's name": with("admin", true), "empty": with("", true),
		"no TLS": bearerRequest()} {
		_, err := c.Certificates().Authenticate(r)
		require.EqualError(t, err, errUnknown().Error(), name)
	}
	either := Either(c.Bearer(), c.Certificates())
	p, err = either.Authenticate(with("alice", true))
	require.NoError(t, err)
	require.Equal(t, "alice", p.Name)
	r := with("alice", true)
	r.Header.Set("Authorization", "Bearer "+string(token.Reveal()))
	p, err = either.Authenticate(r)
	require.NoError(t, err)
	require.Equal(t, "admin", p.Name, "the token goes before the certificate")
	r.Header.Set("Authorization", "Bearer wrong")
	_, err = either.Authenticate(r)
	require.Error(t, err, "a certificate does not make a wrong token good")
	_, err = c.Bearer().Authenticate(with("alice", true))
	require.Error(t, err)
}

func TestGrants(t *testing.T) {
	c := parseText(t, "a cert *\nb cert ssm:List*,ssm:SendCommand\nc cert resource-groups:*\nb2 cert ssm:SendCommand red\n")
	may := func(tenant, name, action string) bool {
		err := c.Authorize(t.Context(), access.Principal{Tenant: tenant, Name: name}, action, "x", nil)
		require.True(t, err == nil || fault.KindOf(err) == fault.Denied)
		return err == nil
	}
	require.True(t, may("default", "a", "anything:At"))
	require.True(t, may("default", "b", "ssm:ListCommands"))
	require.True(t, may("default", "b", "ssm:SendCommand"))
	require.False(t, may("default", "b", "ssm:SendCommands"))
	require.False(t, may("default", "b", "ssm:Send"))
	require.False(t, may("default", "b", "ssm:CancelCommand"))
	require.True(t, may("default", "c", "resource-groups:CreateGroup"))
	require.False(t, may("default", "c", "ssm:CreateGroup"))
	require.False(t, may("red", "a", "ssm:SendCommand"), "a name of another tenant is another caller")
	require.False(t, may("default", "b2", "ssm:SendCommand"))
	require.True(t, may("red", "b2", "ssm:SendCommand"))
	require.False(t, may("default", "", "ssm:SendCommand"), "nobody has no grants")
}

func TestR20_CallersFileLimitsAndErrors(t *testing.T) {
	h := strings.Repeat("ab", 32)
	other := strings.Repeat("cd", 32)
	name := func(n int) string { return strings.Repeat("n", n) }
	for text, want := range map[string]string{
		"":                                     "",
		"# nobody\n\n":                         "",
		"a " + h + " *":                        "",
		"  a\t" + strings.ToUpper(h) + " *":    "",
		"a " + h + " *\na " + other + " * red": "", // one name in two tenants
		name(128) + " " + h + " *":             "",
		name(129) + " " + h + " *":             "line 1: \"nnn",
		"a " + h + " * " + name(128):           "",
		"a " + h + " * " + name(129):           "is no tenant",
		"a " + h + " " + strings.Repeat("ssm:A,", 255) + "ssm:B": "",
		"a " + h + " " + strings.Repeat("ssm:A,", 256) + "ssm:B": "257 grants",
		"# x\na " + h:                                  "line 2: 2 words",
		"a " + h + " * red blue":                       "5 words",
		"a " + h[:63] + " *":                           "neither the SHA-256",
		"a " + h + "0 *":                               "neither the SHA-256",
		"a plain-token *":                              "neither the SHA-256",
		"a " + h + " ssm":                              "is no grant",
		"a " + h + " ssm:Send*Command":                 "is no grant",
		"a " + h + " ssm:*,":                           "is no grant",
		"a " + h + " SSM:Send":                         "is no grant",
		"-a " + h + " *":                               "is no name",
		"a/b " + h + " *":                              "is no name",
		"a\x1b[2J " + h + " *":                         `\x1b[2J`,
		"a " + h + " *\nb " + h + " *":                 "b has the token of a",
		"a " + h + " *\na " + other + " ssm:*":         "line 2: a stands here twice",
		"a cert *\na cert * red":                       "is that of tenant default already",
		"a " + h + " *" + strings.Repeat(" ", maxLine): "line 1: ",
	} {
		_, err := ParseCallers(strings.NewReader(text))
		if want == "" {
			require.NoError(t, err, text)
			continue
		}
		require.ErrorContains(t, err, want, text)
		require.Equal(t, fault.Validation, fault.CodeOf(err))
		require.NotContains(t, err.Error(), "\x1b")
		require.NotContains(t, err.Error(), h, "hashes are not for logs")
	}
}

func TestCallersFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "callers")
	_, err := ReadCallers(file)
	require.Equal(t, fault.DoesNotExist, fault.CodeOf(err))
	one, two := NewToken(), NewToken()
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("one " + TokenHash(one) + " *\n")
	c, err := ReadCallers(file)
	require.NoError(t, err)
	knows := func(tok secret.Value) bool {
		_, err := c.Bearer().Authenticate(bearerRequest("Bearer " + string(tok.Reveal())))
		return err == nil
	}
	require.True(t, knows(one))
	require.False(t, knows(two))
	write("two " + TokenHash(two) + " ssm:*\n")
	require.True(t, knows(one), "nothing changes until it is read again")
	require.NoError(t, c.Reload())
	require.False(t, knows(one), "who was taken out is not known any more")
	require.True(t, knows(two))
	require.Error(t, c.Authorize(t.Context(), access.Principal{Tenant: "default", Name: "one"}, "ssm:SendCommand", "", nil), "and may do nothing in calls that are under way")
	write("two broken")
	require.Error(t, c.Reload())
	require.True(t, knows(two), "an error changes nothing")
	list := c.List()
	require.Equal(t, []Caller{{Name: "two", Tenant: "default", Hash: TokenHash(two), Grants: []string{"ssm:*"}}}, list)
	list[0].Grants[0] = "*"
	require.Equal(t, "ssm:*", c.List()[0].Grants[0], "the list is the caller's own")
	if runtime.GOOS != "windows" {
		write("two " + TokenHash(two) + " ssm:*\n")
		require.NoError(t, os.Chmod(file, 0o620))
		require.ErrorContains(t, c.Reload(), "can be written by others")
	}
}

func TestNoAuthenticatorRefusesEverybody(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for _, auth := range []Authenticator{nil, AuthenticatorFunc(func(*http.Request) (access.Principal, error) {
			return access.Principal{Name: "admin"}, errors.New("secret reason")
		})} {
			got := post(w.api.Handler(auth, nil), "admin", "", "ListCommands", "{}")
			require.Equal(t, http.StatusUnauthorized, got.Code)
			require.NotContains(t, got.Body.String(), "secret reason")
		}
	})
}

func FuzzParseCallers(f *testing.F) {
	h := strings.Repeat("ab", 32)
	f.Add("a " + h + " *\nb cert ssm:List*,ssm:SendCommand red\n# x\n")
	f.Add("a cert *")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCallers(strings.NewReader(text))
		if err != nil {
			require.Equal(t, fault.Clean(err.Error()), err.Error(), "an error is printable")
			return
		}
		var b strings.Builder
		for _, cl := range c.List() {
			cred := cl.Hash
			if cl.Certificate {
				cred = "cert"
			}
			fmt.Fprintf(&b, "%s %s %s %s\n", cl.Name, cred, strings.Join(cl.Grants, ","), cl.Tenant)
		}
		again, err := ParseCallers(strings.NewReader(b.String()))
		require.NoError(t, err)
		require.Equal(t, c.List(), again.List())
	})
}
