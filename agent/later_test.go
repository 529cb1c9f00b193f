package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleetwright/fleetwright/message"
)

// R-10, F15: an agent that does not know what a document of a newer release needs refuses it, and a kind of message that it does not know changes nothing.
func TestR10_AnOldAgentRefusesWhatItDoesNotKnow(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	e := NewEngine(EngineConfig{Node: "mi-1", Session: "s", Capabilities: []string{"aws:runShellScript", "feature:preconditions"}}, nil)
	e.Step(now, Booted{BootID: "b"})
	e.Step(now, Connected{})
	say := func(kind message.Kind, body string) []Effect {
		return e.Step(now, Received{message.Envelope{From: message.Controller, To: "mi-1", Kind: kind, ID: "m", Attempt: 1, NotBefore: now, NotAfter: now.Add(time.Hour), Body: []byte(body)}})
	}
	offer := func(needs string) message.Ready {
		for _, eff := range say(message.KindOffer, `{"command":"c","attempt":1,"document":"d","needs":[`+needs+`],"expiresAt":"2026-11-25T00:00:00Z","later":1}`) {
			if s, ok := eff.(Send); ok && s.Kind == message.KindReady {
				return s.Body.(message.Ready)
			}
		}
		require.Fail(t, "no answer")
		return message.Ready{}
	}
	require.Empty(t, offer(`"aws:runShellScript"`).Refused)
	for _, need := range []string{"feature:ENV_VAR", "feature:later", "aws:later"} {
		require.Equal(t, message.DetailInvalidPlatform, offer(`"aws:runShellScript","`+need+`"`).Refused, need)
	}
	require.Empty(t, e.Entries(), "an offer leaves no trace")
	for _, eff := range say("later", `{"command":"c","attempt":1}`) {
		_, starts := eff.(StartStep)
		require.False(t, starts)
	}
	require.Empty(t, e.Entries())
}
