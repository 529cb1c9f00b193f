package natstransport

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fleetwright/fleetwright/transport"
)

// Disconnect ends the node's connections, wherever in the cluster they are: it has to show its key anew. For a node that was deregistered or whose key changed. It returns at once: the node is told, and
// each broker is asked through the system account to cut it, tried again until all that are reached have answered or a minute has passed. A broker that was not reached lets the
// connection live until its credentials end, within [ControllerConfig.Validity].
func (c *Controller) Disconnect(a transport.Address) {
	if !nodeAddress(a) {
		return
	}
	c.mu.RLock()
	var tell *frame
	p := c.peers[a]
	if p != nil && p.flow != nil {
		tell = &frame{kind: kindDrop, session: p.flow.session, plane: c.id}
	}
	c.mu.RUnlock()
	if tell != nil {
		c.tell(p, *tell)
		c.forget(a, tell.session)
	}
	c.goes(func() {
		ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
		defer cancel()
		for attempt := 0; ; attempt++ {
			err := c.kick(ctx, a)
			if err == nil {
				return
			}
			t := time.NewTimer(backoff(attempt, c.d.BackoffBase, c.d.BackoffCap, 1))
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				c.log.Warn("brokers were not asked to cut a node; its credentials end by themselves", "node", userName(a), "error", err)
				return
			}
		}
	})
}

// kick asks every broker for the node's connections and cuts them.
func (c *Controller) kick(ctx context.Context, a transport.Address) error {
	d, err := c.cfg.Brokers.dialer("natstransport.Disconnect", 5*time.Second)
	if err != nil {
		return err
	}
	defer d.cut()
	d.name = "fw1.kick." + c.id.String()
	d.secrets = func() (nats.Option, error) { return byNkey(c.cfg.Keys.system, c.cfg.Keys.trust.Kicker), nil }
	nc, closed, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { nc.Close(); <-closed }()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	q, err := json.Marshal(map[string]any{"user": userName(a), "auth": true, "acc": c.cfg.Keys.trust.Account})
	if err != nil {
		return err
	}
	if err := nc.PublishRequest("$SYS.REQ.SERVER.PING.CONNZ", inbox, q); err != nil {
		return err
	}
	answers := 0
	for wait := c.d.Handshake; ; wait = kickWait { // the first may take long, the others come with it
		msg, err := sub.NextMsg(wait)
		if err != nil {
			if answers == 0 {
				return fmt.Errorf("no broker answered: %w", err)
			}
			return nil
		}
		answers++
		var z struct {
			Server struct {
				ID string `json:"id"`
			} `json:"server"`
			Data struct {
				Connections []struct {
					CID uint64 `json:"cid"`
				} `json:"connections"`
			} `json:"data"`
		}
		if err := json.Unmarshal(msg.Data, &z); err != nil {
			return err
		}
		for _, conn := range z.Data.Connections {
			if _, err := nc.Request("$SYS.REQ.SERVER."+z.Server.ID+".KICK", fmt.Appendf(nil, `{"cid":%d}`, conn.CID), c.d.Handshake); err != nil {
				return err
			}
		}
	}
}

// kickWait is how long further brokers of the cluster may take to answer after one did.
const kickWait = time.Second
