package kms

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"maps"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/seal"
)

// Messages of the AWS Encryption SDK, which Parameter Store's tier Advanced writes, by that SDK's "message format reference". Read are both versions of the header, framed and
// not framed bodies, and every algorithm suite of AES-GCM with 256 bits: 0x0078, 0x0178, 0x0378 (signed), 0x0478 and 0x0578 (committing, the latter signed). Data keys of KMS
// only. Nothing here writes such a message.

// suite is an algorithm suite.
type suite struct {
	hash   func() hash.Hash // of HKDF; nil is none
	commit bool
	signed bool
}

func suiteOf(id uint16) (suite, bool) {
	switch id {
	case 0x0078:
		return suite{}, true
	case 0x0178:
		return suite{hash: sha256.New}, true
	case 0x0378:
		return suite{hash: sha512.New384, signed: true}, true
	case 0x0478:
		return suite{hash: sha512.New, commit: true}, true
	case 0x0578:
		return suite{hash: sha512.New, commit: true, signed: true}, true
	}
	return suite{}, false
}

// isMessage tells a message from what KMS's Encrypt returns, which begins 01 02.
func isMessage(b []byte) bool {
	return len(b) > 2 && (b[0] == 1 && b[1] == 0x80 || b[0] == 2 && (b[1] == 4 || b[1] == 5))
}

// cut reads a message from its beginning.
type cut struct {
	rest []byte
	bad  bool
}

func (c *cut) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.rest) {
		c.bad = true
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cut) number(size int) uint64 {
	var n uint64
	for _, b := range c.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (c *cut) field() []byte { return c.take(int(c.number(2))) }

type message struct {
	suite   suite
	suiteID uint16
	version byte
	id      []byte
	context map[string]string
	keys    []encryptedKey
	framed  bool
	frame   int
	commit  []byte
	header  []byte // all that the header's tag covers
	nonce   []byte
	tag     []byte
	body    []byte
	all     []byte
}

type encryptedKey struct {
	provider, arn string
	blob          []byte
}

func readMessage(b []byte) (*message, error) {
	m, c := &message{all: b}, &cut{rest: b}
	m.version = byte(c.number(1))
	idSize := 32
	if m.version == 1 {
		c.take(1) // the type, which isMessage looked at
		idSize = 16
	}
	m.suiteID = uint16(c.number(2))
	var ok bool
	if m.suite, ok = suiteOf(m.suiteID); !ok || m.suite.commit != (m.version == 2) {
		return nil, fmt.Errorf("it is a message of the AWS Encryption SDK in the algorithm suite %#04x, which this program does not read: read it with AWS's SDK and import the value", m.suiteID)
	}
	m.id = c.take(idSize)
	if err := m.readContext(c.field()); err != nil {
		return nil, err
	}
	for range c.number(2) {
		k := encryptedKey{provider: string(c.field()), arn: string(c.field()), blob: c.field()}
		if c.bad {
			return nil, errCut
		}
		m.keys = append(m.keys, k)
	}
	kind := c.number(1)
	ivSize := uint64(nonceSize)
	if m.version == 1 {
		if c.number(4) != 0 {
			return nil, errCut
		}
		ivSize = c.number(1)
	}
	m.framed, m.frame = kind == 2, int(c.number(4))
	if m.suite.commit {
		m.commit = c.take(32)
	}
	m.header = b[:len(b)-len(c.rest)]
	m.nonce = make([]byte, nonceSize)
	if m.version == 1 {
		m.nonce = c.take(nonceSize)
	}
	m.tag = c.take(gcmTagSize)
	m.body = c.rest
	if c.bad || kind != 1 && kind != 2 || ivSize != nonceSize || m.framed != (m.frame > 0) {
		return nil, errCut
	}
	return m, nil
}

const (
	nonceSize, gcmTagSize = 12, 16
	publicKeyName         = "aws-crypto-public-key"
)

var errCut = fmt.Errorf("%w: the message of the AWS Encryption SDK is cut or damaged", seal.ErrTampered)

func (m *message) readContext(b []byte) error {
	m.context = map[string]string{}
	if len(b) == 0 {
		return nil
	}
	c := &cut{rest: b}
	n := c.number(2)
	for range n {
		k, v := string(c.field()), string(c.field())
		if _, twice := m.context[k]; c.bad || twice {
			return errCut
		}
		m.context[k] = v
	}
	if c.bad || len(c.rest) > 0 || n == 0 {
		return errCut
	}
	return nil
}

// openMessage reads a message that must be of that parameter: beside PARAMETER_ARN its context may only have the public key of its signature.
func (w *Wrapper) openMessage(ctx context.Context, b []byte, parameterARN, keyID string) ([]byte, error) {
	const op = "kms.Import"
	m, err := readMessage(b)
	if err != nil {
		return nil, err
	}
	others := maps.Clone(m.context)
	delete(others, parameterKey)
	delete(others, publicKeyName)
	if m.context[parameterKey] != parameterARN || len(others) > 0 {
		return nil, fmt.Errorf("%w: the message's encryption context is not that of the parameter", seal.ErrTampered)
	}
	var last error = fault.New(op, seal.InvalidKeyID, "%w: no data key of the message is of KMS", seal.ErrKeyNotFound)
	for _, k := range m.keys[:min(len(m.keys), 16)] {
		if k.provider != "aws-kms" || len(k.blob) == 0 || len(k.blob) > maxCiphertext {
			continue
		}
		if keyID != "" && keyID != k.arn && strings.Contains(keyID, ":key/") {
			continue
		}
		pin := or(keyID, k.arn)
		key, err := w.decrypt(ctx, op, pin, k.blob, m.context)
		if err != nil {
			last = err
			continue
		}
		plain, err := m.open(key)
		clear(key)
		return plain, err
	}
	return nil, last
}

// open verifies and decrypts everything under the data key.
func (m *message) open(dataKey []byte) ([]byte, error) {
	if len(dataKey) != keySize {
		return nil, errCut
	}
	key := dataKey
	if m.suite.hash != nil {
		label := binary.BigEndian.AppendUint16(nil, m.suiteID)
		var salt []byte
		var err error
		if m.suite.commit {
			salt = m.id
			commit, err := hkdf.Key(m.suite.hash, dataKey, salt, "COMMITKEY", 32)
			if err != nil || !hmac.Equal(commit, m.commit) {
				return nil, errCut
			}
			label = append(label, "DERIVEKEY"...)
		} else {
			label = append(label, m.id...)
		}
		if key, err = hkdf.Key(m.suite.hash, dataKey, salt, string(label), keySize); err != nil {
			return nil, err
		}
		defer clear(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	if _, err := aead.Open(nil, m.nonce, m.tag, m.header); err != nil {
		return nil, errCut
	}
	c := &cut{rest: m.body}
	plain, err := m.openBody(aead, c)
	if err == nil {
		err = m.verify(c)
	}
	if err != nil {
		clear(plain)
		return nil, err
	}
	return plain, nil
}

func (m *message) openBody(aead cipher.AEAD, c *cut) ([]byte, error) {
	plain := []byte{}
	part := func(name string, sequence uint32, nonce []byte, n uint64) error {
		if n > uint64(len(c.rest)) {
			return errCut
		}
		aad := append(append([]byte{}, m.id...), "AWSKMSEncryptionClient "+name...)
		aad = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(aad, sequence), n)
		sealed := c.take(int(n) + gcmTagSize)
		if c.bad {
			return errCut
		}
		var err error
		if plain, err = aead.Open(plain, nonce, sealed, aad); err != nil {
			plain = plain[:0]
			return errCut
		}
		return nil
	}
	if !m.framed {
		nonce := c.take(nonceSize)
		err := part("Single Block", 1, nonce, c.number(8))
		return plain, err
	}
	for want := uint32(1); ; want++ {
		n := uint32(c.number(4))
		last := n == 0xffffffff
		if last {
			n = uint32(c.number(4))
		}
		nonce := c.take(nonceSize)
		if c.bad || n != want {
			return plain, errCut
		}
		if !last {
			if err := part("Frame", n, nonce, uint64(m.frame)); err != nil {
				return plain, err
			}
			continue
		}
		size := c.number(4)
		if size > uint64(m.frame) {
			return plain, errCut
		}
		return plain, part("Final Frame", n, nonce, size)
	}
}

// verify checks the footer's signature, or that there is none.
func (m *message) verify(c *cut) error {
	if !m.suite.signed {
		if len(c.rest) > 0 || c.bad {
			return errCut
		}
		return nil
	}
	signed := m.all[:len(m.all)-len(c.rest)]
	signature := c.field()
	point, err := base64.StdEncoding.DecodeString(m.context[publicKeyName])
	if err != nil || c.bad || len(c.rest) > 0 {
		return errCut
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P384(), point)
	if x == nil {
		return errCut
	}
	uncompressed := make([]byte, 1+2*48)
	uncompressed[0] = 4
	x.FillBytes(uncompressed[1:49])
	y.FillBytes(uncompressed[49:])
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P384(), uncompressed)
	if err != nil {
		return errCut
	}
	sum := sha512.Sum384(signed)
	if !ecdsa.VerifyASN1(public, sum[:], signature) {
		return errCut
	}
	return nil
}
