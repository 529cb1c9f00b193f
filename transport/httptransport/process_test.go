package httptransport_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/transport"
	"github.com/fleetwright/fleetwright/transport/httptransport"
)

const serveEnv = "FLEETWRIGHT_TEST_SERVE" // a directory: this process is a server for another one's test

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := serveForAnother(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveForAnother is a control plane that knows every node, until its standard input ends.
func serveForAnother(dir string) error {
	files, err := httptransport.SelfSigned(dir)
	if err != nil {
		return err
	}
	srv := httptransport.NewServer(httptransport.ServerConfig{Poll: 10 * time.Minute, KeepAlive: time.Hour, AdmitBurst: 1 << 20, Key: func(_ context.Context, a transport.Address) (ed25519.PublicKey, error) {
		return keyOf(a).Public().(ed25519.PublicKey), nil
	}})
	get, err := httptransport.ReloadingCertificate(files.CertFile, files.KeyFile)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	hs := &http.Server{Handler: srv.Handler(), TLSConfig: httptransport.ServerTLS(get), ErrorLog: quiet()}
	go hs.ServeTLS(l, "", "")
	fmt.Println("https://" + l.Addr().String() + "/")
	bufio.NewReader(os.Stdin).ReadString('\n')
	srv.Close()
	return hs.Close()
}

// otherProcess starts a server in another process.
func otherProcess(t *testing.T) (url string, ca []byte) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	ca, err = os.ReadFile(dir + "/ca.pem")
	require.NoError(t, err)
	return strings.TrimSpace(line), ca
}
