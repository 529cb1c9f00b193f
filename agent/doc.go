// Package agent is the node's side: it receives commands from a control plane, runs them at most once, and reports until it is heard.
//
// A host embeds an agent so:
//
//	node, err := agent.Register(ctx, registrar, dir, activationID, code, nil) // the first time; later it only reads dir
//	link, err := httptransport.NewClient(httptransport.ClientConfig{URL: url, Address: …, Key: node.Signer()})
//	set, err := action.NewSet(shell.New(nil), rundocument.New(nil), download.New(nil))
//	a, err := agent.New(agent.Config{Node: node, Transport: link, Actions: set})
//	err = a.Run(ctx)
//
// # How it is built
//
// [Engine] decides everything and does nothing: events in, effects out, no I/O, no clock. [Agent] carries the effects out: one goroutine owns the engine, the journal and the
// directories, and steps run on goroutines of their own. A simulator steps engines directly. testdata/engine holds its stories, which are the best description of it.
//
// # What it promises
//
// A step is started at most once for each (command, attempt, step, reboot counter): the journal ([FileStore]) has the start, durably, before a process is forked, and remembers it until
// no valid message can name the command any more and the control plane has confirmed its end. What an agent's or a machine's end cut off is reported as Interrupted and never
// run again; processes that outlive their agent are stopped by the next one. A reboot that a step asks for with exit code 194 raises the step's counter, durably, and the step runs again
// once the machine's boot id is another one. What cannot be made durable is not started.
//
// Deadlines are the control plane's: the agent learns its clock from its answers, and neither a wrong wall clock nor one that jumps lets anything start late or twice.
// Messages that are not signed by the pinned control plane, not addressed to this node, too old, or of an epoch lower than the highest seen start nothing.
//
// # Its directory
//
// Everything lies below one directory of mode 0700, which belongs to one agent at a time. Names are the agent's own, files have mode 0600 (scripts 0700), none is opened through a link:
//
//	node.json   keys, and the control plane's pinned ones
//	epoch       the highest epoch of the control plane
//	journal/    a file for each command
//	work/       a directory for each command: outputs, scripts, downloads; removed once the control plane has it all
package agent
