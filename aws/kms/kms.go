package kms

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
)

// API is what is used of *kms.Client of AWS's SDK.
type API interface {
	Encrypt(ctx context.Context, in *awskms.EncryptInput, o ...func(*awskms.Options)) (*awskms.EncryptOutput, error)
	Decrypt(ctx context.Context, in *awskms.DecryptInput, o ...func(*awskms.Options)) (*awskms.DecryptOutput, error)
	GenerateDataKey(ctx context.Context, in *awskms.GenerateDataKeyInput, o ...func(*awskms.Options)) (*awskms.GenerateDataKeyOutput, error)
	DescribeKey(ctx context.Context, in *awskms.DescribeKeyInput, o ...func(*awskms.Options)) (*awskms.DescribeKeyOutput, error)
}

// Options are the choices of New; nil is the zero value.
type Options struct {
	// Partition ("aws" when empty), Region ("local") and Account (the record's tenant) make the ARN of a parameter.
	Partition, Region, Account string
	// ParameterARN replaces that rule. It must give the same record the same ARN for ever: what was wrapped with another does not open.
	ParameterARN func(b seal.Binding) string
	// Accept says which keys, by ARN, a stored data key may name. Whoever can write to the store could else put a value there that a key of his own wrapped. nil accepts the keys of
	// the account that the primary key belongs to, in its region or another; a primary key that is not given by ARN is asked for once (DescribeKey).
	Accept func(arn string) bool
	// Timeout is the longest that one call may take with all its tries; 0 is 15 seconds, negative leaves it to ctx.
	Timeout time.Duration
}

// Wrapper is a seal.Wrapper and seal.DataKeyGenerator over KMS. Its methods are safe for concurrent use.
type Wrapper struct {
	api     API
	primary string
	opt     Options
	owner   atomic.Pointer[string] // of the primary key: arn:PARTITION:kms and ACCOUNT
}

var (
	_ seal.Wrapper          = (*Wrapper)(nil)
	_ seal.DataKeyGenerator = (*Wrapper)(nil)
	_ API                   = (*awskms.Client)(nil)
)

// New returns a wrapper whose primary key is that of the id, ARN, alias (alias/NAME) or alias ARN. It makes no call: see Resolve. Ciphertexts name keys by ARN.
// To rotate to another key, point the alias at it, or make a Wrapper for it, and rewrap; KMS's own yearly rotation needs nothing.
func New(api API, primary string, o *Options) (*Wrapper, error) {
	if api == nil || primary == "" {
		return nil, fault.New("kms.New", fault.Validation, "a client and the id of a key are needed")
	}
	w := &Wrapper{api: api, primary: primary}
	if o != nil {
		w.opt = *o
	}
	if o := owner(primary); o != "" {
		w.owner.Store(&o)
	}
	if w.opt.Timeout == 0 {
		w.opt.Timeout = 15 * time.Second
	}
	return w, nil
}

// Format writes the id of the primary key, whatever the verb.
func (w *Wrapper) Format(f fmt.State, _ rune) { io.WriteString(f, "kms:"+w.primary) } //nolint:errcheck // fmt.State never fails

const (
	version        = 1
	tagSize        = sha256.Size
	keySize        = 32
	contextRecord  = "fleetwright/kms/v1/record\x00"
	parameterKey   = "PARAMETER_ARN"
	recordKey      = "fleetwright:record"
	maxCiphertext  = 6144 // of KMS's Decrypt
	maxContextText = 4096 // of what is sent as context; KMS takes 8,192 characters
)

// encryptionContext is what KMS is shown of the associated data.
func (w *Wrapper) encryptionContext(op string, aad []byte) (map[string]string, error) {
	b, ok := seal.BindingOf(aad)
	if !ok || b.Kind != "parameter" {
		sum := sha256.Sum256(aad)
		return map[string]string{recordKey: base64.StdEncoding.EncodeToString(sum[:])}, nil
	}
	arn := ""
	if w.opt.ParameterARN != nil {
		arn = w.opt.ParameterARN(b)
	} else {
		arn = "arn:" + or(w.opt.Partition, "aws") + ":ssm:" + or(w.opt.Region, "local") + ":" + or(w.opt.Account, b.Tenant) + ":parameter/" + strings.TrimPrefix(b.Name, "/")
	}
	if arn == "" || len(arn) > maxContextText || !utf8.ValidString(arn) {
		return nil, fault.New(op, fault.Validation, "%s has no ARN that KMS takes as encryption context: it is empty, over %d bytes or not UTF-8", b, maxContextText)
	}
	return map[string]string{parameterKey: arn}, nil
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// tag binds a data key to its key-encryption key and all of its associated data.
func tag(key []byte, id string, aad []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(contextRecord))
	m.Write(binary.BigEndian.AppendUint16(nil, uint16(len(id))))
	m.Write([]byte(id))
	m.Write(aad)
	return m.Sum(nil)
}

func wrapped(op string, key []byte, id *string, blob, aad []byte) (seal.Wrapped, error) {
	if id == nil || *id == "" || len(*id) > 2048 || len(blob) == 0 || len(blob) > maxCiphertext {
		return seal.Wrapped{}, fault.New(op, fault.ServiceUnavailable, "KMS answered without a key id or without a ciphertext of 1 to %d bytes", maxCiphertext)
	}
	data := make([]byte, 0, 1+tagSize+len(blob))
	data = append(append(append(data, version), tag(key, *id, aad)...), blob...)
	return seal.Wrapped{KeyID: *id, Data: data}, nil
}

// limit is ctx with the wrapper's own deadline.
func (w *Wrapper) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.opt.Timeout < 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, w.opt.Timeout)
}

func (w *Wrapper) id(keyID string) *string {
	if keyID == "" {
		keyID = w.primary
	}
	return &keyID
}

// WrapKey implements seal.Wrapper by KMS's Encrypt.
func (w *Wrapper) WrapKey(ctx context.Context, keyID string, key, aad []byte) (seal.Wrapped, error) {
	const op = "kms.WrapKey"
	ec, err := w.encryptionContext(op, aad)
	if err != nil {
		return seal.Wrapped{}, err
	}
	limited, cancel := w.limit(ctx)
	defer cancel()
	out, err := w.api.Encrypt(limited, &awskms.EncryptInput{KeyId: w.id(keyID), Plaintext: key, EncryptionContext: ec})
	if err != nil {
		return seal.Wrapped{}, failed(ctx, op, err)
	}
	return wrapped(op, key, out.KeyId, out.CiphertextBlob, aad)
}

// GenerateDataKey implements seal.DataKeyGenerator by KMS's GenerateDataKey: one call, with the randomness of KMS.
func (w *Wrapper) GenerateDataKey(ctx context.Context, keyID string, aad []byte) ([]byte, seal.Wrapped, error) {
	const op = "kms.GenerateDataKey"
	ec, err := w.encryptionContext(op, aad)
	if err != nil {
		return nil, seal.Wrapped{}, err
	}
	limited, cancel := w.limit(ctx)
	defer cancel()
	out, err := w.api.GenerateDataKey(limited, &awskms.GenerateDataKeyInput{KeyId: w.id(keyID), KeySpec: types.DataKeySpecAes256, EncryptionContext: ec})
	if err != nil {
		return nil, seal.Wrapped{}, failed(ctx, op, err)
	}
	if len(out.Plaintext) != keySize {
		clear(out.Plaintext)
		return nil, seal.Wrapped{}, fault.New(op, fault.ServiceUnavailable, "KMS answered with a data key that has not %d bytes", keySize)
	}
	s, err := wrapped(op, out.Plaintext, out.KeyId, out.CiphertextBlob, aad)
	if err != nil {
		clear(out.Plaintext)
		return nil, seal.Wrapped{}, err
	}
	return out.Plaintext, s, nil
}

// UnwrapKey implements seal.Wrapper by KMS's Decrypt, with the key pinned.
func (w *Wrapper) UnwrapKey(ctx context.Context, s seal.Wrapped, aad []byte) ([]byte, error) {
	const op = "kms.UnwrapKey"
	if s.KeyID == "" || len(s.Data) <= 1+tagSize || len(s.Data) > 1+tagSize+maxCiphertext || s.Data[0] != version {
		return nil, fault.New(op, fault.DataCorrupt, "%w: this is no data key that KMS wrapped", seal.ErrTampered)
	}
	if err := w.accept(ctx, op, s.KeyID); err != nil {
		return nil, err
	}
	ec, err := w.encryptionContext(op, aad)
	if err != nil {
		return nil, err
	}
	key, err := w.decrypt(ctx, op, s.KeyID, s.Data[1+tagSize:], ec)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(tag(key, s.KeyID, aad), s.Data[1:1+tagSize]) {
		clear(key)
		return nil, fault.New(op, fault.DataCorrupt, "%w: the data key belongs to another record or key", seal.ErrTampered)
	}
	return key, nil
}

// decrypt asks KMS, with the key pinned unless keyID is empty.
func (w *Wrapper) decrypt(ctx context.Context, op, keyID string, blob []byte, ec map[string]string) ([]byte, error) {
	in := &awskms.DecryptInput{CiphertextBlob: blob, EncryptionContext: ec}
	if keyID != "" {
		in.KeyId = &keyID
	}
	limited, cancel := w.limit(ctx)
	defer cancel()
	out, err := w.api.Decrypt(limited, in)
	if err != nil {
		return nil, failed(ctx, op, err)
	}
	return out.Plaintext, nil
}

// owner is the part of a key's ARN that says whose it is; empty for what is no ARN of a key.
func owner(arn string) string {
	p := strings.SplitN(arn, ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] != "kms" || p[4] == "" {
		return ""
	}
	return p[1] + ":" + p[4]
}

// accept refuses keys that a stored data key must not name.
func (w *Wrapper) accept(ctx context.Context, op, arn string) error {
	whose := owner(arn)
	ok := whose != "" && strings.Contains(arn, ":key/")
	switch {
	case !ok:
	case w.opt.Accept != nil:
		ok = w.opt.Accept(arn)
	default:
		if w.owner.Load() == nil {
			if _, err := w.describe(ctx, op, ""); err != nil {
				return err
			}
		}
		ok = *w.owner.Load() == whose
	}
	if !ok {
		return fault.New(op, seal.InvalidKeyID, "%w: a stored value names a key that is not accepted: it was written by somebody else, or kms.Options.Accept lacks the key", seal.ErrKeyNotFound)
	}
	return nil
}

// Resolve asks KMS for the ARN of a key by its id or alias, "" being the primary one, and whether it can encrypt: to be called at the start, so that a wrong id is found there, and before
// rewrapping, as seal.Box.Rewrap leaves alone what names the ARN already.
func (w *Wrapper) Resolve(ctx context.Context, keyID string) (arn string, err error) {
	const op = "kms.Resolve"
	m, err := w.describe(ctx, op, keyID)
	switch {
	case err != nil:
		return "", err
	case m.KeySpec != "" && m.KeySpec != types.KeySpecSymmetricDefault || m.KeyUsage != "" && m.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return "", fault.New(op, seal.InvalidKeyID, "%w: the key %s is not for symmetric encryption: give another", seal.ErrKeyDisabled, fault.Clean(*m.Arn))
	case m.KeyState != "" && m.KeyState != types.KeyStateEnabled:
		return "", fault.New(op, seal.InvalidKeyID, "%w: the key %s is in the state %s", seal.ErrKeyDisabled, fault.Clean(*m.Arn), fault.Clean(string(m.KeyState)))
	}
	return *m.Arn, nil
}

// describe asks for a key, and learns whose the primary one is.
func (w *Wrapper) describe(ctx context.Context, op, keyID string) (*types.KeyMetadata, error) {
	limited, cancel := w.limit(ctx)
	defer cancel()
	out, err := w.api.DescribeKey(limited, &awskms.DescribeKeyInput{KeyId: w.id(keyID)})
	if err != nil {
		return nil, failed(ctx, op, err)
	}
	m := out.KeyMetadata
	if m == nil || m.Arn == nil || owner(*m.Arn) == "" {
		return nil, fault.New(op, fault.ServiceUnavailable, "KMS answered without the key's ARN")
	}
	if o := owner(*m.Arn); keyID == "" {
		w.owner.Store(&o)
	}
	return m, nil
}
