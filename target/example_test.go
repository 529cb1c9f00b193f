package target_test

import (
	"fmt"

	"github.com/fleetwright/fleetwright/target"
)

func Example() {
	ts, err := target.Parse("Key=tag:Role,Values=web,db", "Key=tag:Env,Values=prod")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range []target.Node{
		{ID: "mi-1", Tags: map[string]string{"Role": "web", "Env": "prod"}},
		{ID: "mi-2", Tags: map[string]string{"Role": "web", "Env": "test"}},
	} {
		fmt.Println(n.ID, target.Match(n, ts, nil))
	}
	// Output:
	// mi-1 true
	// mi-2 false
}

func ExampleParse_place() {
	_, err := target.Parse("Key=tag:Role,Value=web")
	fmt.Println(err)
	// Output: targets: argument 1, column 14: "Value" is no member of a target: write Key=… or Values=…
}

func ExampleRate() {
	concurrency, _ := target.ParseConcurrency("10%")
	errors, _ := target.ParseErrors("10%")
	fmt.Println(concurrency.Concurrency(50), errors.ErrorLimit(50), errors.Exceeded(5, 50), errors.Exceeded(6, 50))
	// Output: 5 5 false true
}

func ExamplePlan() {
	for i, w := range target.Plan(10, target.Rate{N: 4}, target.Rate{N: 1}, true) {
		fmt.Printf("wave %d: nodes %d to %d, at worst %d errors\n", i+1, w.First+1, w.First+w.Size, w.Worst)
	}
	// Output:
	// wave 1: nodes 1 to 1, at worst 1 errors
	// wave 2: nodes 2 to 3, at worst 3 errors
	// wave 3: nodes 4 to 7, at worst 5 errors
	// wave 4: nodes 8 to 10, at worst 4 errors
}
