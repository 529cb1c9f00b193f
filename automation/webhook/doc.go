// Package webhook calls what aws:invokeWebhook names: an integration, which the host looks up ([Integrations]), gets the step's Body.
//
// A runbook chooses among the integrations that the host has; it never names an address. Even so an integration may be written by somebody who should not reach the control plane's own
// network. So every address that is connected to is asked of a [Guard] at the moment of connecting, after the name was resolved and after each redirect, so that neither an odd
// spelling nor a name that resolves differently the second time gets past it; only HTTPS is spoken unless Plain is chosen, no proxy is asked, and a
// redirect is followed to the same host only, so that an integration's secrets go nowhere else.
//
//	actions["aws:invokeWebhook"] = webhook.New(integrations, &download.Guard{}, nil)
//
// The integration's URL and headers are secrets: they stand in no error, no log and no history.
package webhook
