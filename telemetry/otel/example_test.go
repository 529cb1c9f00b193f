package otel_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/fleetwright/fleetwright"
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/telemetry/otel"
)

// The exporter here keeps spans in memory; a host takes otlptracehttp.New(ctx) and sdktrace.WithBatcher.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)

	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter), sdktrace.WithIDGenerator(otel.IDs(nil)))
	defer provider.Shutdown(ctx)
	traces := otel.New(provider, nil)

	f, err := fleetwright.Open(ctx, dir, &fleetwright.Options{Config: fleetwright.Config{Observer: traces}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	a, err := f.StartAgent(ctx, "one", &fleetwright.LocalOptions{Observer: traces})
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := f.Commands.Send(ctx, command.SendRequest{DocumentName: "AWS-RunShellScript", InstanceIDs: []string{a.ID}, Parameters: map[string][]string{"commands": {"echo hello"}}})
	if err == nil {
		_, err = f.Commands.Wait(ctx, c.ID)
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := 0; i < 1000 && len(exporter.GetSpans()) < 8; i++ { // a moment after it is durable
		time.Sleep(10 * time.Millisecond)
	}
	spans := exporter.GetSpans()
	fmt.Println(spans[0].SpanContext.TraceID().String() == strings.ReplaceAll(c.ID, "-", ""))
	for _, name := range []string{"SendCommand", "dispatch", "deliver", "step", "run", "report", "invocation", "command"} {
		for _, s := range spans {
			if s.Name == name {
				fmt.Println(s.Name, s.Status.Code)
			}
		}
	}
	// Output:
	// true
	// SendCommand Unset
	// dispatch Unset
	// deliver Unset
	// step Ok
	// run Ok
	// report Unset
	// invocation Ok
	// command Ok
}
