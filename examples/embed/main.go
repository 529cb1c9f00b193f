// Command embed is the README's example: a control plane and an agent in one program, with everything in the directory "data".
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	f, err := fleetwright.Open(ctx, "data", nil) // store, keys, output: all in one directory
	if err != nil {
		return err
	}
	defer f.Close()
	web, err := f.StartAgent(ctx, "web-1", nil) // this machine is the fleet
	if err != nil {
		return err
	}
	c, results, err := f.Commands.Execute(ctx, command.SendRequest{
		DocumentName: "AWS-RunShellScript", InstanceIDs: []string{web.ID},
		Parameters: map[string][]string{"commands": {"uptime"}}})
	for _, r := range results {
		fmt.Println(r.Node, r.Status, command.Line(r.Steps))
	}
	fmt.Println(c.StatusDetails)
	return err
}
