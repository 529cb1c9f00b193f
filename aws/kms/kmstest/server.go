// Package kmstest is a KMS in memory that speaks AWS's protocol over HTTP, for tests of programs that use the real SDK.
//
//	s := kmstest.New()
//	h := httptest.NewServer(s)
//	client := kms.New(kms.Options{Region: "local", BaseEndpoint: &h.URL, Credentials: …})
//	arn := s.CreateKey()
//
// It has real AES-256-GCM bound to key and encryption context, generations of key material (Rotate), aliases, disabled keys and keys waiting for deletion,
// and the faults that a test plants: throttling, errors, refusals, and requests that hang.
package kmstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Region and Account are part of the ARNs of keys.
const (
	Region  = "local"
	Account = "111122223333"
)

// Request is a call that the server got.
type Request struct {
	Operation string // as "Decrypt"
	KeyID     string // as it was sent
	Context   map[string]string
	Failed    string // the error's code; empty when it went well
}

// Server is the service. All methods are safe for concurrent use.
type Server struct {
	mu      sync.Mutex
	keys    map[string]*key   // by id
	aliases map[string]string // alias/NAME to id
	log     []Request
	faults  []string
	refuse  func(r Request) bool
	stalled chan struct{}
}

type key struct {
	id, state string
	material  []cipher.AEAD
}

// New returns a server without keys.
func New() *Server { return &Server{keys: map[string]*key{}, aliases: map[string]string{}} }

func arnOf(rest string) string { return "arn:aws:kms:" + Region + ":" + Account + ":" + rest }

func newMaterial() cipher.AEAD {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // crypto/rand.Read never fails
	block, err := aes.NewCipher(b)
	if err != nil {
		panic(err) // a key of 32 bytes
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return a
}

// CreateKey makes a key and returns its ARN.
func (s *Server) CreateKey() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand.Read never fails
	h := hex.EncodeToString(b[:])
	k := &key{id: h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:], state: "Enabled", material: []cipher.AEAD{newMaterial()}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.id] = k
	return arnOf("key/" + k.id)
}

// Alias points alias/NAME at a key.
func (s *Server) Alias(name, arn string) {
	s.with(arn, func(k *key) { s.aliases["alias/"+name] = k.id })
}

func (s *Server) with(id string, f func(k *key)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.find(id); k != nil {
		f(k)
	}
}

// Rotate gives a key new material, as KMS does each year: its id and older ciphertexts stay good.
func (s *Server) Rotate(arn string) {
	s.with(arn, func(k *key) { k.material = append(k.material, newMaterial()) })
}

// SetState sets the state of a key: Enabled, Disabled, PendingDeletion, Unavailable, ….
func (s *Server) SetState(arn, state string) { s.with(arn, func(k *key) { k.state = state }) }

// Delete removes a key for ever.
func (s *Server) Delete(arn string) { s.with(arn, func(k *key) { delete(s.keys, k.id) }) }

// Fail makes the next n requests fail with that code, as ThrottlingException or KMSInternalException.
func (s *Server) Fail(code string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, slices.Repeat([]string{code}, n)...)
}

// Refuse answers AccessDeniedException where f says so; nil ends that.
func (s *Server) Refuse(f func(r Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// Stall lets requests hang until release is called, or their client goes away.
func (s *Server) Stall() (release func()) {
	c := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stalled = c
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stalled = nil
		close(c)
	})
}

// Requests returns all calls up to now.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Forget drops what Requests returns.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}

func (s *Server) find(id string) *key {
	id = strings.TrimPrefix(id, arnOf(""))
	if name, ok := s.aliases[id]; ok {
		id = name
	}
	return s.keys[strings.TrimPrefix(id, "key/")]
}

// input is the request of every operation.
type input struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
	KeySpec           string
	NumberOfBytes     int
}

type failure struct {
	status        int
	code, message string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func bad(code, format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// ServeHTTP speaks AWS's JSON protocol 1.1.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	s.mu.Lock()
	stalled := s.stalled
	s.mu.Unlock()
	if stalled != nil {
		select {
		case <-stalled:
		case <-r.Context().Done():
			return
		}
	}
	op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	var in input
	out, fail := any(nil), (*failure)(nil)
	switch {
	case r.Method != http.MethodPost || !ok:
		fail = bad("UnknownOperationException", "no such operation")
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="):
		fail = bad("MissingAuthenticationTokenException", "the request is not signed")
	case json.Unmarshal(body, &in) != nil:
		fail = bad("SerializationException", "the body is no JSON of this operation")
	default:
		out, fail = s.serve(op, &in)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if fail != nil {
		w.Header().Set("X-Amzn-Errortype", fail.code)
		w.WriteHeader(fail.status)
		out = map[string]string{"__type": fail.code, "message": fail.message}
	}
	json.NewEncoder(w).Encode(out) //nolint:errcheck // the client is away
}

func (s *Server) serve(op string, in *input) (out any, fail *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Request{Operation: op, KeyID: in.KeyID, Context: maps.Clone(in.EncryptionContext)}
	defer func() {
		if fail != nil {
			r.Failed = fail.code
		}
		s.log = append(s.log, r)
	}()
	if len(s.faults) > 0 {
		code := s.faults[0]
		s.faults = s.faults[1:]
		fail = bad(code, "planted by a test")
		if strings.Contains(code, "Internal") || strings.Contains(code, "Timeout") {
			fail.status = http.StatusInternalServerError
		}
		return nil, fail
	}
	if s.refuse != nil && s.refuse(r) {
		return nil, bad("AccessDeniedException", "no policy allows kms:%s with this encryption context", op)
	}
	switch op {
	case "Encrypt":
		return s.encrypt(in)
	case "GenerateDataKey":
		if in.KeySpec == "AES_256" {
			in.NumberOfBytes = 32
		}
		if in.NumberOfBytes < 1 || in.NumberOfBytes > 1024 {
			return nil, bad("ValidationException", "the data key is to have 1 to 1024 bytes")
		}
		in.Plaintext = make([]byte, in.NumberOfBytes)
		rand.Read(in.Plaintext) //nolint:errcheck // crypto/rand.Read never fails
		return s.encrypt(in)
	case "Decrypt":
		return s.decrypt(in)
	case "DescribeKey":
		k := s.find(in.KeyID)
		if k == nil {
			return nil, bad("NotFoundException", "Invalid keyId")
		}
		return map[string]any{"KeyMetadata": map[string]any{"KeyId": k.id, "Arn": arnOf("key/" + k.id), "KeyState": k.state, "Enabled": k.state == "Enabled",
			"KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT"}}, nil
	}
	return nil, bad("UnknownOperationException", "no such operation")
}

func (k *key) usable() *failure {
	switch k.state {
	case "Enabled":
		return nil
	case "Disabled":
		return bad("DisabledException", "%s is disabled.", arnOf("key/"+k.id))
	case "Unavailable":
		return &failure{http.StatusInternalServerError, "KeyUnavailableException", "the key is unavailable"}
	}
	return bad("KMSInvalidStateException", "%s is in the state %s.", arnOf("key/"+k.id), k.state)
}

// aad is the canonical encryption context with the key.
func (k *key) aad(context map[string]string) []byte {
	b := []byte(k.id)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		for _, t := range []string{name, context[name]} {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(t))), t...)
		}
	}
	return b
}

func (s *Server) encrypt(in *input) (any, *failure) {
	k := s.find(in.KeyID)
	if k == nil {
		return nil, bad("NotFoundException", "Invalid keyId")
	}
	if fail := k.usable(); fail != nil {
		return nil, fail
	}
	if len(in.Plaintext) < 1 || len(in.Plaintext) > 4096 {
		return nil, bad("ValidationException", "the plaintext is to have 1 to 4096 bytes")
	}
	blob, err := hex.DecodeString("0102020078" + strings.ReplaceAll(k.id, "-", ""))
	if err != nil {
		return nil, bad("KMSInternalException", "key id")
	}
	blob = append(blob, byte(len(k.material)-1))
	blob = k.material[len(k.material)-1].Seal(blob, nil, in.Plaintext, k.aad(in.EncryptionContext))
	return map[string]any{"KeyId": arnOf("key/" + k.id), "CiphertextBlob": base64.StdEncoding.EncodeToString(blob), "Plaintext": in.Plaintext, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, nil
}

func (s *Server) decrypt(in *input) (any, *failure) {
	const head = 5 + 16 + 1
	invalid := bad("InvalidCiphertextException", "")
	b := in.CiphertextBlob
	if len(b) < head || hex.EncodeToString(b[:5]) != "0102020078" {
		return nil, invalid
	}
	h := hex.EncodeToString(b[5:21])
	k := s.keys[h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]]
	if in.KeyID != "" {
		asked := s.find(in.KeyID)
		switch {
		case asked == nil:
			return nil, bad("NotFoundException", "Invalid keyId")
		case k != nil && asked != k:
			return nil, bad("IncorrectKeyException", "The key ID in the request does not identify a CMK that can perform this operation.")
		}
	}
	if k == nil || int(b[21]) >= len(k.material) {
		return nil, invalid
	}
	if fail := k.usable(); fail != nil {
		return nil, fail
	}
	plain, err := k.material[b[21]].Open(nil, nil, b[head:], k.aad(in.EncryptionContext))
	if err != nil {
		return nil, invalid
	}
	return map[string]any{"KeyId": arnOf("key/" + k.id), "Plaintext": plain, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, nil
}
