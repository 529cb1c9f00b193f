package webhook_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/fleetwright/fleetwright/automation"
	"github.com/fleetwright/fleetwright/automation/webhook"
	"github.com/fleetwright/fleetwright/secret"
)

// A step tells a chat what happened. The guard lets it reach this machine, on which the example's server is.
func Example() {
	chat := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "posted %s as %s", b, r.Header.Get("Authorization"))
	}))
	defer chat.Close()
	integrations := hooks{"team": {URL: secret.String(chat.URL), Headers: map[string]secret.Value{"Authorization": secret.String("Bearer abc")}}}
	act := webhook.New(integrations, loopback{}, &webhook.Options{Plain: true})

	out, err := act.Run(context.Background(), automation.Call{Inputs: map[string]any{"IntegrationName": "team", "Body": "web-1 is patched"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := out.(map[string]any)
	fmt.Println(answer["ResponseCode"], answer["Response"])
	// Output: 200 posted web-1 is patched as Bearer abc
}
