package kms

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"testing"

	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
)

const vectorARN = "arn:aws:ssm:us-east-1:444455556666:parameter/app/db"

// vector is a message that AWS's own Encryption SDK (for JavaScript, 4.2) made with a data key of KMS.
type vector struct {
	Suite, Plaintext, DataKey, Message string
	Frame                              int
}

func vectors(t testing.TB) []vector {
	raw, err := os.ReadFile("testdata/esdk.json")
	require.NoError(t, err)
	var all []vector
	require.NoError(t, json.Unmarshal(raw, &all))
	require.Len(t, all, 8)
	return all
}

func (v vector) parts(t testing.TB) (key, message []byte) {
	key, err := hex.DecodeString(v.DataKey)
	require.NoError(t, err)
	message, err = base64.StdEncoding.DecodeString(v.Message)
	require.NoError(t, err)
	return key, message
}

// holder is a KMS that knows the data key of one message.
type holder struct {
	API
	key  []byte
	want map[string]string
	arn  string
	fail error
}

func (h *holder) Decrypt(_ context.Context, in *awskms.DecryptInput, _ ...func(*awskms.Options)) (*awskms.DecryptOutput, error) {
	switch {
	case h.fail != nil:
		return nil, h.fail
	case in.KeyId == nil || *in.KeyId != h.arn:
		return nil, &types.IncorrectKeyException{}
	case !maps.Equal(in.EncryptionContext, h.want):
		return nil, &types.InvalidCiphertextException{}
	}
	return &awskms.DecryptOutput{KeyId: &h.arn, Plaintext: bytes.Clone(h.key)}, nil
}

func holding(t testing.TB, v vector) (*Wrapper, *holder) {
	key, message := v.parts(t)
	m, err := readMessage(message)
	require.NoError(t, err)
	h := &holder{key: key, want: m.context, arn: m.keys[0].arn}
	w, err := New(h, "arn:aws:kms:r:1:key/x", nil)
	require.NoError(t, err)
	return w, h
}

// TestAValueOfAWSAdvancedTier (S26): messages of AWS's Encryption SDK are opened, if and only if they are of the parameter.
func TestAValueOfAWSAdvancedTier(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Suite, func(t *testing.T) {
			w, h := holding(t, v)
			for _, pin := range []string{"", h.arn} {
				got, err := w.Import(t.Context(), v.Message, vectorARN, pin)
				require.NoError(t, err)
				require.Equal(t, v.Plaintext, string(got.Reveal()))
			}
			_, err := w.Import(t.Context(), v.Message, vectorARN+"2", "")
			require.ErrorIs(t, err, seal.ErrTampered)
			_, err = w.Import(t.Context(), v.Message, vectorARN, "arn:aws:kms:r:1:key/x")
			require.ErrorIs(t, err, seal.ErrKeyNotFound)
			h.fail = &types.DisabledException{}
			_, err = w.Import(t.Context(), v.Message, vectorARN, "")
			require.ErrorIs(t, err, seal.ErrKeyDisabled)
			h.fail, h.key = nil, make([]byte, 32)
			_, err = w.Import(t.Context(), v.Message, vectorARN, "")
			require.ErrorIs(t, err, seal.ErrTampered)
		})
	}
}

// TestAMessageThatWasChanged: every byte of a message counts, its header, data keys and signature included.
func TestAMessageThatWasChanged(t *testing.T) {
	for _, v := range vectors(t) {
		_, message := v.parts(t)
		w, _ := holding(t, v)
		try := func(b []byte) error {
			_, err := w.Import(t.Context(), base64.StdEncoding.EncodeToString(b), vectorARN, "")
			return err
		}
		m, err := readMessage(message)
		require.NoError(t, err)
		blob := bytes.Index(message, m.keys[0].blob) // it is KMS that authenticates this one; the header's tag covers it, too
		require.Positive(t, blob)
		for i := range message {
			for _, bit := range []byte{1, 0x80} {
				b := bytes.Clone(message)
				b[i] ^= bit
				require.Error(t, try(b), "%s: byte %d", v.Suite, i)
			}
		}
		for n := range message {
			require.Error(t, try(message[:n]), "%s: cut at %d", v.Suite, n)
		}
		require.Error(t, try(append(bytes.Clone(message), 0)))
	}
}

func TestAMessageOfAnotherSuite(t *testing.T) {
	w, _ := holding(t, vectors(t)[0])
	for _, id := range []string{"0114", "0346", "0014", "0478"} {
		b, err := hex.DecodeString("0180" + id + "00000000000000000000000000000000")
		require.NoError(t, err)
		_, err = w.Import(t.Context(), base64.StdEncoding.EncodeToString(b), vectorARN, "")
		require.Equal(t, fault.DataCorrupt, fault.CodeOf(err))
		require.ErrorContains(t, err, "0x"+id)
	}
}

// FuzzMessage: nothing but the message itself opens.
func FuzzMessage(f *testing.F) {
	all := vectors(f)
	for _, v := range all {
		_, message := v.parts(f)
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readMessage(b)
		if err != nil {
			return
		}
		for _, v := range all {
			key, message := v.parts(t)
			if plain, err := m.open(key); err == nil {
				require.Equal(t, message, b)
				require.Equal(t, v.Plaintext, string(plain))
			}
		}
	})
}

// TestFramesHaveAnOrder: in a suite without a signature, too, frames cannot be exchanged, left out or repeated.
func TestFramesHaveAnOrder(t *testing.T) {
	const frame, all = 4 + 12 + 8 + 16, 3*(4+12+8+16) + 4 + 4 + 12 + 4 + 5 + 16
	v := vectors(t)[3]
	key, message := v.parts(t)
	open := func(change func(b []byte) []byte) (string, error) {
		m, err := readMessage(message)
		require.NoError(t, err)
		m.suite.signed = false
		m.body = change(bytes.Clone(m.body[:all]))
		plain, err := m.open(key)
		return string(plain), err
	}
	plain, err := open(func(b []byte) []byte { return b })
	require.NoError(t, err)
	require.Equal(t, v.Plaintext, plain)
	for name, change := range map[string]func(b []byte) []byte{
		"exchanged": func(b []byte) []byte { return bytes.Join([][]byte{b[frame : 2*frame], b[:frame], b[2*frame:]}, nil) },
		"left out":  func(b []byte) []byte { return append(b[:frame:frame], b[2*frame:]...) },
		"repeated":  func(b []byte) []byte { return append(b[:frame:frame], b...) },
	} {
		_, err := open(change)
		require.ErrorIs(t, err, seal.ErrTampered, name)
	}
}

// everyKey is a KMS that opens for any key, as a replica of a multi-region key does for its siblings.
type everyKey struct{ holder }

func (h *everyKey) Decrypt(context.Context, *awskms.DecryptInput, ...func(*awskms.Options)) (*awskms.DecryptOutput, error) {
	return &awskms.DecryptOutput{Plaintext: bytes.Clone(h.key)}, nil
}

// TestTheKeyIDIsAuthenticated: also where KMS would take another.
func TestTheKeyIDIsAuthenticated(t *testing.T) {
	h := &everyKey{holder{key: bytes.Repeat([]byte{7}, 32)}}
	id := "arn:aws:kms:eu-central-1:111122223333:key/mrk-1"
	w, err := New(h, id, nil)
	require.NoError(t, err)
	x, err := wrapped("kms.WrapKey", h.key, &id, []byte("blob"), []byte("aad"))
	require.NoError(t, err)
	_, err = w.UnwrapKey(t.Context(), x, []byte("aad"))
	require.NoError(t, err)
	x.KeyID = "arn:aws:kms:us-east-1:111122223333:key/mrk-1"
	_, err = w.UnwrapKey(t.Context(), x, []byte("aad"))
	require.ErrorIs(t, err, seal.ErrTampered)
}
