package gather

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
)

// Exec is the Runner that starts programs as children of this process, with a small environment and the C locale.
func Exec(ctx context.Context, program string, args ...string) ([]byte, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, err
	}
	var out, errs capped
	out.left, errs.left = maxProgramBytes, 4<<10
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=" + os.Getenv("PATH"), "HOME=/"}
	for _, k := range [...]string{"SystemRoot", "SystemDrive", "ProgramData", "ProgramFiles", "windir", "TEMP"} {
		if v := os.Getenv(k); v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return nil, fault.New("gather.Exec", fault.InternalServerError, "%s failed: %w: %s", program, err, fault.Clean(strings.TrimSpace(errs.String())))
	}
	if out.over {
		return nil, fault.New("gather.Exec", fault.InternalServerError, "%s wrote more than %d bytes", program, maxProgramBytes)
	}
	return out.Bytes(), nil
}

// capped is a buffer that drops what comes beyond its room.
type capped struct {
	bytes.Buffer
	left int
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	n := len(p)
	if n > c.left {
		p, c.over = p[:c.left], true
	}
	c.left -= len(p)
	c.Buffer.Write(p)
	return n, nil
}
