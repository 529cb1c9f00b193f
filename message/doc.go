// Package message holds the words that the control plane and its nodes speak: the [Envelope], its canonical encoding, the bodies of every
// kind, the statuses, and the keys ([Identity], [Peer]) that sign and seal envelopes above whatever transport carries them.
//
// A sender signs and seals, a receiver opens; nothing else is trusted (rules ):
//
//	data, err := controller.Seal(node.Public(), message.Envelope{Kind: message.KindCancel, ID: message.NewID(nil), …, Body: body})
//	…
//	e, err := node.Open(data, peers, now, 0) // signed by a known sender, addressed to this node, of its tenant, not expired
//	seen, err := replay.Seen(ctx, e.ReplayKey(), e.NotAfter)
//	cancel, err := message.Unmarshal[message.Cancel](e)
//
// # Canonical encoding
//
// [Encode] gives each envelope exactly one sequence of bytes, and [Decode] accepts no other. Integers are big endian; a text is its length as 2
// bytes and its bytes:
//
//	"fwe" 0x01 | tenant | from | to | kind | id | attempt (4 bytes) | epoch (8) |
//	not-before (8, Unix milliseconds) | not-after (8) | length of the body (4) | body
//
// # Signature
//
// Ed25519ctx (RFC 8032) with the context "fleetwright/message/v1/" + kind over the canonical encoding. The context keeps a signature of one
// kind, or one that a transport asked for, from ever being taken for another.
//
// # Sealed message
//
//	"fws" 0x01 | tenant | to | ephemeral X25519 public key (32) | salt (32) | AES-256-GCM(canonical encoding | signature (64))
//
// All before the ciphertext is the header. With Z = X25519(ephemeral, receiver):
//
//	key (32) | nonce (12) = HKDF-SHA-256(Z, salt, "fleetwright/message/v1/seal" 0x00 | ephemeral public | receiver public | header)
//
// and the header is the associated data too. The salt is random for every message, so each has a key of its own although a sender reuses its ephemeral
// key for a while ([EphemeralUses], [EphemeralAge]) and both sides remember Z. There is no algorithm field and nothing to negotiate.
// testdata/vectors.json holds vectors with every intermediate value.
//
// What this gives: only the addressed receiver reads, only the named sender wrote, neither name nor kind nor time can be changed, and
// nothing can be moved to another receiver or tenant. What it does not give: a receiver's key that is stolen opens all messages to it
// that were captured before; and a captured message can be delivered again until its NotAfter, which is what [Replay] is for.
package message
