package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// binary is the tool as it is built, once.
var binary struct {
	once sync.Once
	dir  string
	out  []byte
	err  error
}

func build(t *testing.T) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "params"); binary.err == nil {
			binary.out, binary.err = exec.Command("go", "build", "-o", filepath.Join(binary.dir, "params"), ".").CombinedOutput()
		}
	})
	require.NoError(t, binary.err, "%s", binary.out)
	return filepath.Join(binary.dir, "params")
}
