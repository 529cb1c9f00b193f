package httptransport_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)

	// The control plane: a certificate for first use, a server that knows one node, an http.Server of the host's.
	me := transport.Address{Tenant: "default", Name: "mi-1"}
	public, private, _ := ed25519.GenerateKey(nil)
	files, err := httptransport.SelfSigned(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptransport.NewServer(httptransport.ServerConfig{Key: func(_ context.Context, a transport.Address) (ed25519.PublicKey, error) {
		if a == me {
			return public, nil
		}
		return nil, nil
	}})
	defer srv.Close()
	get, _ := httptransport.ReloadingCertificate(files.CertFile, files.KeyFile)
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	host := &http.Server{Handler: srv.Handler(), TLSConfig: httptransport.ServerTLS(get)}
	go host.ServeTLS(l, "", "")
	defer host.Close()

	// The node: it trusts the authority by its pin and answers what it is sent.
	node, err := httptransport.Dial(ctx, httptransport.ClientConfig{URL: "https://" + l.Addr().String() + "/v1/node/", Address: me, Key: private, Pins: []string{files.Pin}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	go node.Receive(ctx, func(ctx context.Context, m transport.Message) {
		node.Send(ctx, transport.Address{Tenant: me.Tenant, Name: message.Controller}, append([]byte("done: "), m.Data...))
	})

	presence := make(chan bool, 9)
	go srv.Watch(ctx, func(_ transport.Address, connected bool) { presence <- connected })
	<-presence
	answer := make(chan transport.Message, 1)
	go srv.Receive(ctx, func(_ context.Context, m transport.Message) { answer <- m })
	srv.Send(ctx, me, []byte("uptime"))
	m := <-answer
	fmt.Println(m.From, string(m.Data))
	// Output: default/mi-1 done: uptime
}
