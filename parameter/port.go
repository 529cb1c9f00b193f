package parameter

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v4"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

// Format is a form of exports.
type Format string

// The formats. In all of them a secret is text of the form that [Export] describes.
const (
	FormatJSON   Format = "json"   // all that Export knows
	FormatYAML   Format = "yaml"   // the same
	FormatDotenv Format = "dotenv" // NAME="value" lines, with the parameter's name and type in a comment before each
	FormatAWS    Format = "aws"    // what `aws ssm get-parameters-by-path` prints
)

// ExportRequest says what to write.
type ExportRequest struct {
	Path   string // all levels below it
	Format Format
	// Passphrase encrypts the values of SecureStrings; without one they are left out.
	Passphrase secret.Value
	Rounds     int // of deriving a key from it; 0 is 600,000. Fewer than that are for tests and for passphrases that are random keys
}

// ExportResult is an export.
type ExportResult struct {
	Data    []byte
	Count   int      // parameters in Data
	LeftOut []string // SecureStrings, for want of a passphrase
}

// exported is a parameter in the formats json and yaml.
type exported struct {
	Name           string            `json:"name" yaml:"name"`
	Type           Type              `json:"type" yaml:"type"`
	Value          string            `json:"value" yaml:"value"`
	Description    string            `json:"description,omitempty" yaml:"description,omitempty"`
	AllowedPattern string            `json:"allowedPattern,omitempty" yaml:"allowedPattern,omitempty"`
	DataType       string            `json:"dataType,omitempty" yaml:"dataType,omitempty"`
	Tier           Tier              `json:"tier,omitempty" yaml:"tier,omitempty"`
	KeyID          string            `json:"keyId,omitempty" yaml:"keyId,omitempty"`
	Policies       string            `json:"policies,omitempty" yaml:"policies,omitempty"`
	Tags           map[string]string `json:"tags,omitempty" yaml:"tags,omitempty"`
}

type exportFile struct {
	Format     string     `json:"format" yaml:"format"`
	Parameters []exported `json:"parameters" yaml:"parameters"`
}

const exportFormat = "fleetwright-parameters-1"

// Export writes the parameters below a path, each in its newest version. It needs ssm:GetParametersByPath on each; what is decrypted is audited as a read. All pages are not of one instant.
//
// A secret is never written in the clear. With a passphrase its value is the text
//
//	fwsecret1$ITERATIONS$SALT$SEALED
//
// where SALT is 16 random bytes of the export and SEALED a nonce of 12 bytes with the AES-256-GCM ciphertext and tag, both in unpadded base64url. The key is PBKDF2-HMAC-SHA-256 of the passphrase and SALT, of 32
// bytes; the associated data is "fleetwright/parameter/export/v1", 0x00, the parameter's name as it is keyed (with its slash).
func (s *Service) Export(ctx context.Context, req ExportRequest) (out ExportResult, err error) {
	const op, action = "parameter.Export", "ssm:GetParametersByPath"
	path, err := checkPath(op, req.Path)
	if err != nil {
		return out, err
	}
	if err := checkFormat(op, req.Format); err != nil {
		return out, err
	}
	var locker *locker
	if !req.Passphrase.IsZero() {
		if req.Rounds == 0 {
			req.Rounds = lockIterations
		}
		if req.Rounds < 1 || req.Rounds > mostIterations {
			return out, fault.New(op, fault.Validation, "Rounds is %d; it is 1 to %d", req.Rounds, mostIterations)
		}
		if locker, err = newLocker(op, req.Passphrase, nil, req.Rounds); err != nil {
			return out, err
		}
	}
	q := &query{Below: path}
	var all []exported
	var plain []Parameter
	var told []disclosure
	for after := ""; ; {
		page, next, err := s.list(ctx, op, action, q, after, readAtOnce, false)
		if err != nil {
			s.audited(ctx, action, resource(clip(req.Path)), err)
			return ExportResult{}, err
		}
		for _, c := range page {
			v := c.v
			e := exported{Name: v.Name, Type: v.Type, Value: v.Value, Description: v.Desc, AllowedPattern: v.Pattern, Tier: v.Tier, KeyID: v.KeyID, Policies: v.Policies, Tags: v.Tags}
			if v.DataType != DataText {
				e.DataType = v.DataType
			}
			if v.Type == SecureString {
				if locker == nil {
					out.LeftOut = append(out.LeftOut, v.Name)
					continue
				}
				value, err := s.reveal(ctx, op, access.Tenant(ctx), c.canon, v, true)
				if err != nil {
					return ExportResult{}, err
				}
				told = append(told, disclosure{c.canon, v.Version})
				e.Value = locker.lock(c.canon, value.Secret())
			}
			all = append(all, e)
			plain = append(plain, Parameter{Name: v.Name, Type: v.Type, Version: int64(v.Version), LastModifiedDate: v.Modified, ARN: s.place.arn(access.Tenant(ctx), c.canon), DataType: v.DataType})
		}
		if len(told) >= mostItems || next == "" {
			if err := s.disclosed(ctx, op, action, told); err != nil {
				return ExportResult{}, err
			}
			told = nil
		}
		if after = next; after == "" {
			break
		}
	}
	if err := s.recorded(ctx, op, action, strings.TrimSuffix(path, "/")); err != nil {
		return ExportResult{}, err
	}
	out.Count = len(all)
	out.Data, err = encodeExport(op, req.Format, path, all, plain)
	return out, err
}

func checkFormat(op string, f Format) error {
	switch f {
	case FormatJSON, FormatYAML, FormatDotenv, FormatAWS:
		return nil
	}
	return fault.New(op, fault.Validation, "%q is no format: use json, yaml, dotenv or aws", clip(string(f)))
}

func encodeExport(op string, f Format, path string, all []exported, plain []Parameter) ([]byte, error) {
	if all == nil {
		all = []exported{}
	}
	switch f {
	case FormatJSON:
		b, err := json.MarshalIndent(exportFile{exportFormat, all}, "", "  ")
		return append(b, '\n'), fault.Wrap(op, err)
	case FormatYAML:
		b, err := yaml.Marshal(exportFile{exportFormat, all})
		return b, fault.Wrap(op, err)
	case FormatAWS:
		type entry struct {
			Name, Type, Value string
			Version           int64
			LastModifiedDate  string
			ARN, DataType     string
		}
		list := make([]entry, len(all))
		for i, e := range all {
			p := plain[i]
			list[i] = entry{e.Name, string(e.Type), e.Value, p.Version, p.LastModifiedDate.Format("2006-01-02T15:04:05.000000-07:00"), p.ARN, p.DataType}
		}
		b, err := json.MarshalIndent(map[string]any{"Parameters": list}, "", "    ")
		return append(b, '\n'), fault.Wrap(op, err)
	}
	var b bytes.Buffer
	for _, e := range all {
		b.WriteString("#: " + e.Name + " " + string(e.Type) + "\n" + envName(strings.TrimPrefix(canonical(e.Name), path)) + "=" + envQuote(e.Value) + "\n")
	}
	return b.Bytes(), nil
}

// envName makes a name that shells take: letters of a path in upper case, everything else an underline.
func envName(name string) string {
	out := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return unicode.ToUpper(r)
		}
		return '_'
	}, name)
	if out == "" || unicode.IsDigit(rune(out[0])) {
		out = "_" + out
	}
	return out
}

var envEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "$", `\$`, "`", "\\`")

func envQuote(v string) string { return `"` + envEscapes.Replace(v) + `"` }

// ImportRequest says what to read.
type ImportRequest struct {
	Data   []byte
	Format Format
	Path   string // where names of a dotenv file without comments go; "" is /
	// Passphrase opens what Export encrypted. A value that is not encrypted is taken as it is, whatever its type.
	Passphrase secret.Value
	Overwrite  bool // make new versions of what exists; else the whole import fails when a name is taken
	DryRun     bool // read and check, write nothing
}

// ImportResult says what was written, or would be.
type ImportResult struct {
	Names []string // with an error too: what was written before it
}

// Import makes parameters of an export, of AWS's output, or of a dotenv file. All is read, decrypted and checked before anything is written; it is written in transactions of up to 100, so that an import of that size is made whole
// or not at all. It needs what Put needs. Errors: ValidationException with the place in the file, and those of Put.
func (s *Service) Import(ctx context.Context, req ImportRequest) (out ImportResult, err error) {
	const op = "parameter.Import"
	if err := checkFormat(op, req.Format); err != nil {
		return out, err
	}
	if len(req.Data) > 64<<20 {
		return out, fault.New(op, fault.Validation, "the file has %d bytes; at most 64 MiB are read", len(req.Data))
	}
	list, err := decodeImport(op, req)
	if err != nil {
		return out, err
	}
	lockers := map[string]*locker{}
	puts := make([]PutRequest, 0, len(list))
	seen := map[string]bool{}
	for i, e := range list {
		value := Text(e.Value)
		if e.Type == SecureString {
			value = Secret(secret.String(e.Value))
		}
		if strings.HasPrefix(e.Value, lockPrefix) {
			plain, err := unlock(op, lockers, req.Passphrase, canonical(strings.Trim(e.Name, " ")), e.Value)
			if err != nil {
				return ImportResult{}, fault.New(op, fault.Validation, "parameter %d, %s: %s", i+1, clip(e.Name), fault.MessageOf(err))
			}
			value = Secret(plain)
		}
		p := PutRequest{PutParameterRequest: PutParameterRequest{Name: e.Name, Type: e.Type, Value: value, Description: e.Description, AllowedPattern: e.AllowedPattern, DataType: e.DataType, Tier: e.Tier,
			KeyID: e.KeyID, Policies: e.Policies, Overwrite: req.Overwrite}, SetTags: len(e.Tags) > 0}
		for k, v := range e.Tags {
			p.Tags = append(p.Tags, Tag{k, v})
		}
		it, err := s.putItem(op, access.Tenant(ctx), &p)
		if err != nil {
			return ImportResult{}, fault.New(op, fault.CodeOf(err), "parameter %d: %s", i+1, fault.MessageOf(err))
		}
		if seen[it.canon] {
			return ImportResult{}, fault.New(op, fault.Validation, "parameter %d: %s is there twice", i+1, clip(e.Name))
		}
		seen[it.canon] = true
		puts = append(puts, p)
		out.Names = append(out.Names, it.name)
	}
	if req.DryRun {
		return out, nil
	}
	for len(puts) > 0 {
		n := min(len(puts), mostItems)
		if _, err := s.transact(ctx, op, Transaction{Puts: puts[:n]}); err != nil {
			out.Names = out.Names[:len(out.Names)-len(puts)]
			return out, err
		}
		puts = puts[n:]
	}
	return out, nil
}

func decodeImport(op string, req ImportRequest) ([]exported, error) {
	bad := func(err error) error { // parsers quote what they read, which may be secret: only the place is told
		place := ""
		if at := linePlace.FindString(err.Error()); at != "" {
			place = ", " + at
		}
		if syntax := new(json.SyntaxError); errors.As(err, &syntax) {
			place = ", byte " + strconv.FormatInt(syntax.Offset, 10)
		}
		return fault.New(op, fault.Validation, "the file is no %s of an export%s", req.Format, place)
	}
	switch req.Format {
	case FormatDotenv:
		return decodeDotenv(op, req)
	case FormatAWS:
		var doc struct {
			Parameter  *exportedAWS
			Parameters []exportedAWS
		}
		if err := json.Unmarshal(req.Data, &doc); err != nil {
			return nil, bad(err)
		}
		if doc.Parameter != nil {
			doc.Parameters = append(doc.Parameters, *doc.Parameter)
		}
		if doc.Parameters == nil {
			return nil, fault.New(op, fault.Validation, "the file has neither Parameters nor Parameter: it is not what `aws ssm get-parameters…` prints")
		}
		out := make([]exported, len(doc.Parameters))
		for i, e := range doc.Parameters {
			out[i] = exported{Name: e.Name, Type: Type(e.Type), Value: e.Value, DataType: e.DataType}
		}
		return out, nil
	}
	var doc exportFile
	var err error
	if req.Format == FormatJSON {
		err = json.Unmarshal(req.Data, &doc)
	} else {
		err = yaml.Unmarshal(req.Data, &doc)
	}
	if err != nil {
		return nil, bad(err)
	}
	if doc.Format != exportFormat {
		return nil, fault.New(op, fault.Validation, "the file's format is %q, not %s", clip(doc.Format), exportFormat)
	}
	return doc.Parameters, nil
}

var linePlace = regexp.MustCompile(`line [0-9]+`)

type exportedAWS struct{ Name, Type, Value, DataType string }

// decodeDotenv reads NAME=value lines: bare, in single quotes, or in double quotes with escapes. A comment "#: NAME TYPE" names the parameter of the next line; without one it is a String below the request's path.
func decodeDotenv(op string, req ImportRequest) ([]exported, error) {
	prefix := strings.TrimSuffix(req.Path, "/") + "/"
	var out []exported
	var next exported
	for n, line := range strings.Split(string(req.Data), "\n") {
		bad := func(text string) error {
			return fault.New(op, fault.Validation, "line %d: %s", n+1, text)
		}
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "#: "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			next = exported{Name: name, Type: Type(kind)}
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || !validChars(name) || strings.Contains(name, "/") {
			return nil, bad("it is not NAME=value")
		}
		text, err := envUnquote(strings.TrimSpace(value))
		if err != "" {
			return nil, bad(err)
		}
		e := next
		next = exported{}
		if e.Name == "" {
			e = exported{Name: prefix + name, Type: String}
		}
		e.Value = text
		out = append(out, e)
	}
	return out, nil
}

func envUnquote(v string) (text, problem string) {
	switch {
	case len(v) >= 2 && v[0] == '\'' && v[len(v)-1] == '\'':
		return v[1 : len(v)-1], ""
	case v == "" || v[0] != '"' && v[0] != '\'':
		if i := strings.Index(v, " #"); i >= 0 {
			v = strings.TrimSpace(v[:i])
		}
		return v, ""
	case v[0] == '\'':
		return "", "the quote is not closed"
	}
	var b strings.Builder
	for i := 1; i < len(v); i++ {
		switch c := v[i]; c {
		case '"':
			if rest := strings.TrimSpace(v[i+1:]); rest != "" && rest[0] != '#' {
				return "", "there is text after the closing quote"
			}
			return b.String(), ""
		case '\\':
			if i++; i == len(v) {
				return "", "the quote is not closed"
			}
			switch v[i] {
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(v[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "the quote is not closed"
}

const (
	lockPrefix     = "fwsecret1$"
	lockContext    = "fleetwright/parameter/export/v1\x00"
	lockIterations = 600_000
	mostIterations = 10_000_000
)

// locker encrypts the secrets of one export.
type locker struct {
	aead cipher.AEAD
	head string
}

func newLocker(op string, passphrase secret.Value, salt []byte, iterations int) (*locker, error) {
	if passphrase.Len() < 8 {
		return nil, fault.New(op, fault.Validation, "the passphrase has %d bytes; give at least 8, better five random words", passphrase.Len())
	}
	if salt == nil {
		salt = make([]byte, 16)
		rand.Read(salt) //nolint:errcheck // it never fails
	}
	k, err := pbkdf2.Key(sha256.New, string(passphrase.Reveal()), salt, iterations, 32)
	if err != nil {
		return nil, fault.New(op, fault.InternalServerError, "the passphrase cannot be used: %w", err)
	}
	defer clear(k)
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fault.Wrap(op, err)
	}
	return &locker{aead, lockPrefix + strconv.Itoa(iterations) + "$" + base64.RawURLEncoding.EncodeToString(salt) + "$"}, nil
}

func (l *locker) lock(canon string, v secret.Value) string {
	nonce := make([]byte, 12, 12+v.Len()+16)
	rand.Read(nonce) //nolint:errcheck // it never fails
	return l.head + base64.RawURLEncoding.EncodeToString(l.aead.Seal(nonce, nonce, v.Reveal(), []byte(lockContext+canon)))
}

// unlock opens what lock made; keys are derived once an export.
func unlock(op string, lockers map[string]*locker, passphrase secret.Value, canon, text string) (secret.Value, error) {
	malformed := fault.New(op, fault.Validation, "the encrypted value is damaged")
	parts := strings.Split(strings.TrimPrefix(text, lockPrefix), "$")
	if len(parts) != 3 {
		return secret.Value{}, malformed
	}
	n, err := strconv.Atoi(parts[0])
	salt, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	sealed, err3 := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || err2 != nil || err3 != nil || n < 1 || n > mostIterations || len(salt) != 16 || len(sealed) < 12+16 {
		return secret.Value{}, malformed
	}
	if passphrase.IsZero() {
		return secret.Value{}, fault.New(op, fault.Validation, "the value is encrypted: give the passphrase of the export")
	}
	id := parts[0] + "$" + parts[1]
	l := lockers[id]
	if l == nil {
		if len(lockers) >= 16 {
			return secret.Value{}, fault.New(op, fault.Validation, "the file has values of more than 16 exports: import them one by one")
		}
		if l, err = newLocker(op, passphrase, salt, n); err != nil {
			return secret.Value{}, err
		}
		lockers[id] = l
	}
	plain, err := l.aead.Open(nil, sealed[:12], sealed[12:], []byte(lockContext+canon))
	if err != nil {
		return secret.Value{}, fault.New(op, fault.Validation, "the encrypted value does not open: another passphrase, or it was changed or belongs to another name")
	}
	return secret.Take(plain), nil
}
