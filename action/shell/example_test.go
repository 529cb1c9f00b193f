//go:build unix

package shell_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/fleetwright/fleetwright/action"
	"github.com/fleetwright/fleetwright/action/shell"
)

func Example() {
	set, err := action.NewSet(shell.New(nil), shell.NewPowerShell(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	// An agent does this for each step.
	r := action.Run(context.Background(), &action.Call{
		Command: "c1", Action: shell.Name, Inputs: map[string]any{"runCommand": []any{"echo hello from $AWS_SSM_INSTANCE_ID", "exit 3"}},
		Node: "mi-1", Dir: dir, Downloads: dir, Stdout: os.Stdout, Stderr: os.Stderr,
		Actions: set, Spawner: action.System{}, Log: slog.New(slog.DiscardHandler),
	})
	fmt.Println(r.Status, r.ExitCode)
	// Output:
	// hello from mi-1
	// Failed 3
}
