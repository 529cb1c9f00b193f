// Package natstransport carries messages between control planes and their nodes over NATS: the way past one machine. Any number of planes share a cluster of brokers, each plane reaches every
// node whatever broker it is on, and neither planes nor nodes need an open port.
//
// The planes share a secret, of which the brokers know the public part only:
//
//	keys, err := natstransport.NewKeys(shared)                                       // every plane; 32 random bytes or more
//	srv, err := broker.Start(broker.Config{Trust: keys.Trust(), Listen: ":4222", Certificate: get}) // or nats-server, with keys.Trust().Config() in its file
//	c, err := natstransport.NewController(natstransport.ControllerConfig{Keys: keys, Key: fleet.NodeKey, Brokers: natstransport.Brokers{URLs: urls}})
//	n, err := natstransport.NewNode(natstransport.NodeConfig{Address: me, Key: private, Brokers: natstransport.Brokers{URLs: urls, RootCAs: caPEM}})
//
// The tour: [Controller] is a plane's end, [Node] a node's, [Enroll] what somebody without an identity calls; [Brokers] is what they share, [Keys] and [Trust] who believes whom. Package broker is the
// embedded server.
//
// # Who is who
//
// A node has the Ed25519 key that it always had, and nothing else: it signs the broker's nonce, the broker asks a plane (NATS's auth callout), and the plane compares with the key in the node's record and
// answers with what that connection may do: hear its own subject, speak on its own subject. So a node is enrolled, gets a new key, or is removed, without a word to any broker. The answer ends
// after [ControllerConfig.Validity], and at once with [Controller.Disconnect]. An unknown node and a wrong key are let in to nothing, which is how the node learns that it is refused
// (transport.ErrRefused) and not merely that no plane was there to ask. Names are encoded, so that dots, wildcards and spaces in a tenant or a node id are none in a subject. A broker is a carrier: it may
// lose, delay, repeat and read what passes, and make up who sent it; messages are signed and sealed by package message.
//
// # Several planes
//
// Presence is by beats, not by the brokers' events: a node says hello to all planes when it has a connection, and beats every [ControllerConfig.Beat] to all of them; two and a half beats of silence, a
// farewell, or the broker's word that nobody listens on the node's subject when something is sent, and it is gone. Connected is therefore true on every plane for every node that is there, not on one
// plane only, and Watch tells every plane; a plane that lost its broker is connected with nobody, and takes up with those it knew when it is back, while a roll call over
// [ControllerConfig.Roll] tells it of the others. There is no owner of a connection: any plane may send to any node at any time.
//
// A node's message reaches exactly one plane: the one that sent to the node last, since that is who waits for an answer; at first the one that answered its hello first. When that plane is killed the
// broker says so at the first message; when it is stopped without a word, a node that sent something and heard nothing for [NodeConfig.Doubt] asks all planes and goes on with the first that answers.
// What was under way is lost, and is sent again by those above.
//
// # Pressure
//
// Between a node and a plane at most a window of messages is on the way in each direction and not yet handled by the other side's Receive; then Send answers ErrBusy. So a node that is stuck holds up no
// other, costs a window of memory, wherever its messages are, and never becomes a slow consumer of the broker's. Messages larger than the broker's max_payload (256 KiB fit into the
// default of 1 MiB, and into the embedded broker's 512 KiB) go in pieces; 4 KiB is the least that is taken. JetStream is not used: what a broker keeps is nothing, and a broker that is
// killed, wiped or paused costs time only.
package natstransport
