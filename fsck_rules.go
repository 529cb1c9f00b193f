package fleetwright

import (
	"github.com/fleetwright/fleetwright/command"
	"github.com/fleetwright/fleetwright/store/key"
	"github.com/fleetwright/fleetwright/store/record"
)

// space says what the records of a service mean to a person who has lost one.
type keySpace struct {
	what  string
	do    string
	kinds map[string][2]string // by kind: what it means that one is damaged, and what to do
}

const fromBackup = "restore it from a backup"

func (s keySpace) explain(kind string) (meaning, do string) {
	if k, ok := s.kinds[kind]; ok {
		return k[0], k[1]
	}
	meaning, do = s.what, s.do
	if meaning == "" {
		meaning = "a record of a service that this release does not know"
	}
	if do == "" {
		do = fromBackup
	}
	return meaning, do
}

// jsonSpaces are the services all of whose records that look like JSON are.
var jsonSpaces = map[string]bool{"command": true, "lease": true, "audit": true, "library": true, "controller": true}

// spaces are the services that this release knows.
func spaces() map[string]keySpace {
	return map[string]keySpace{
		"command": {what: "a part of a command's story", kinds: map[string][2]string{
			"command":    {"this command can neither be shown nor go on", "send it again under a new id if it had not ended; " + fromBackup + " for its history"},
			"state":      {"this command's counters: it does not go on", "see with get on its nodes how far it came, send it again to the others; or " + fromBackup},
			"target":     {"a part of the list of this command's nodes: it does not go on to them", "send the command to the nodes that did not have it; or " + fromBackup},
			"document":   {"the document of this command: nothing more of it is started", "send it again; or " + fromBackup},
			"invocation": {"how this command went on this node", "the node's own journal has it for the command's lifetime; or " + fromBackup},
			"head":       {"the beginning of a step's output", "the status is right; the output is lost, or " + fromBackup},
			"stream":     {"where a step's output lies: it cannot be read", "the status is right; the output is lost, or " + fromBackup},
			"stray":      {"the name of a command that only nodes know: which was lost in a restore", "harmless to everything else; the log of when the node reported has it"},
			"strays":     {"how many commands only nodes know", "harmless: the limit of what is kept of them cannot be told"},
			"event":      {"a part of the story that watch shows", "statuses are right; it goes with the command"},
			"time":       {"an entry of the list of commands: this one is not listed", "-repair cannot mend damage; get COMMAND still shows it"},
			"active":     {"an entry of the list of commands that have not ended", fromBackup},
			"todo":       {"a message or cancellation that waits for a command's owner", "cancel again if you had; nodes repeat their messages"},
			"token":      {"which command a client token made: a repeated Send with it may make another", fromBackup},
		}},
		"node": {what: "a part of what is known of nodes", kinds: map[string][2]string{
			"node":       {"this node: it can neither connect nor be sent anything", "register the machine anew, or " + fromBackup},
			"seen":       {"when this node was last heard of", "harmless: its next heartbeat writes it anew"},
			"activation": {"this activation: nobody can register with it", "make a new one"},
			"group":      {"this resource group", "make it anew"},
			"all":        {"an entry of the list of nodes", fromBackup},
			"tag":        {"an entry of the index of tags: the node is not found by this tag", "set the tag again on the node"},
			"tagkey":     {"an entry of the index of tags: the node is not found by this tag's name", "set the tag again on the node"},
		}},
		"library":    {what: "a document or a version of it: it cannot be run", do: "create or update the document anew, or " + fromBackup},
		"parameter":  {what: "a parameter, or a part of its history", do: "put the parameter anew, or " + fromBackup},
		"automation": {what: "an execution of a runbook, or a part of it: it does not go on", do: "start it anew from the step that it had come to, or " + fromBackup},
		"compliance": {what: "what a node reported about its compliance", do: "the node's next report writes it anew"},
		"patch":      {what: "a patch baseline, group, or what patching found", do: "make the baseline anew; the next scan writes what was found"},
		"inventory":  {what: "inventory of a node, or an index of it: queries may miss it", do: "gather inventory anew, or " + fromBackup},
		"audit":      {what: "an entry of the audit log, or a checkpoint: the chain is broken there", do: "keep this copy as evidence, and " + fromBackup},
		"lease": {what: "who owns a part of the work", do: "stop all control planes and restore the newest backup: ownership cannot be guessed", kinds: map[string][2]string{
			"session": {"the sign of life of a control plane", "harmless: restart that control plane"}}},
		"controller": {what: "the control plane's own keys: nodes cannot be spoken to", do: "stop everything and " + fromBackup + "; nothing else helps", kinds: map[string][2]string{
			"pin": {"which of the control plane's keys this node obeys", "harmless unless keys were rotated: the node's next hello writes it anew"}}},
		"fleetwright": {what: "the key that authenticates all records: nothing can be read without it", do: "stop everything and " + fromBackup},
		"blob":        {what: "a piece of a command's output", do: "the status is right; the output is lost, or " + fromBackup},
	}
}

// referencesOf returns what a record promises about others.
func referencesOf(codec *record.Codec, k, v []byte, p place) (out []reference) {
	text := func(i int) string {
		if i < len(p.rest) && p.rest[i].kind == 2 {
			return p.rest[i].text
		}
		return ""
	}
	dangling := func(to []byte, meaning string) {
		out = append(out, reference{of: k, to: to, problem: Problem{Kind: "dangling", Where: keyText(k), Meaning: meaning, Do: "-repair removes it", Safe: true, del: k}})
	}
	missing := func(to []byte, meaning, do string, safe bool) {
		r := reference{of: k, to: to, problem: Problem{Kind: "missing", Where: keyText(to), Meaning: meaning, Do: do, Safe: safe}}
		if safe {
			r.problem.put = to
		}
		out = append(out, r)
	}
	switch p.service {
	case "command":
		main := func(tenant, id string) key.K { return key.New(tenant).Str("command").Str("command").Str(id) }
		switch p.kind {
		case "command":
			if text(0) == "" {
				return nil
			}
			missing(key.New(p.tenant).Str("command").Str("state").Str(text(0)), "the command's counters are gone: it does not go on", "send it again, or "+fromBackup, false)
		case "state":
			if text(0) == "" {
				return nil
			}
			out = append(out, reference{of: k, to: main(p.tenant, text(0)), problem: Problem{Kind: "missing", Where: keyText(main(p.tenant, text(0))),
				Meaning: "the command's record is gone, its counters are there", Do: fromBackup}})
			payload, err := codec.Open(k, v)
			if err != nil {
				return out
			}
			index, ended, err := command.IndexKeys(p.tenant, text(0), payload)
			if err != nil {
				return out
			}
			missing(index[0], "the command is not in the list of commands", "-repair writes the entry", true)
			if !ended {
				missing(index[1], "the command has not ended and is not in its owner's list: nobody goes on with it", "-repair writes the entry; a running control plane sees it when it is restarted", true)
			}
		case "time":
			dangling(main(p.tenant, text(1)), "an entry of the list of commands whose command is gone")
		case "active":
			dangling(main(text(1), text(2)), "an entry of the list of active commands whose command is gone")
		case "target", "document", "invocation", "head", "stream":
			// A removed command's parts are cleared away after it; until then trash has its name. Both missing is an orphan.
			to := main(p.tenant, text(0))
			trash := key.New(p.tenant).Str("command").Str("trash").Str(text(0))
			out = append(out, reference{of: k, to: to, unless: trash, problem: Problem{Kind: "orphan", Where: keyText(k), Meaning: "a part of a command that is gone", Do: "-repair removes it", Safe: true, del: k}})
		}
	case "node":
		main := func(id string) key.K { return key.New(p.tenant).Str("node").Str("node").Str(id) }
		last := text(len(p.rest) - 1)
		switch p.kind {
		case "node":
			missing(key.New(p.tenant).Str("node").Str("all").Str(last), "the node is not in the list of nodes: no target finds it", "-repair writes the entry", true)
		case "all", "seen", "tag", "tagkey":
			dangling(main(last), "an entry about a node that is gone")
		}
	case "library":
		if len(p.rest) != 2 {
			return nil
		}
		other := map[string]string{"version": "content", "content": "version"}[p.kind]
		if other == "" || p.rest[1].kind != 3 {
			return nil
		}
		missing(key.New(p.tenant).Str("library").Str(other).Str(text(0)).Uint(p.rest[1].num), "a document's version lacks its "+other+": it cannot be run", "store the document anew, or "+fromBackup, false)
	case "automation":
		main := func(tenant, id string) key.K {
			return key.New(tenant).Str("automation").Str("execution").Str(id).Str("head")
		}
		switch p.kind {
		case "time":
			dangling(main(p.tenant, text(1)), "an entry of the list of executions whose execution is gone")
		case "active":
			dangling(main(text(1), text(2)), "an entry of the list of active executions whose execution is gone")
		}
	}
	return out
}
