// Package gather makes the inventory of the machine that it runs on, and reports what changed.
//
// A [Gatherer] reads package databases, /proc and /sys, and runs a few programs of the system; it needs neither root nor cgo. Its filesystem root, its programs, its network interfaces and,
// on Windows, its PowerShell are handed in, so that another tree or a test can be gathered as well:
//
//	g := gather.New(gather.Config{Node: "mi-0123456789abcdef0"})
//	found := g.Gather(ctx, gather.Plan{Applications: true, Network: true})
//	sent, err := (&gather.Sender{Node: "mi-…", Reporter: plane, Journal: gather.FileJournal(path)}).Send(ctx, found.Items)
//
// Gatherers run at the same time, a few at once, each with a time limit; one that fails does not stop the others. What they collect is what AWS's agent does (spec ids V1 to V13),
// with these differences: packages that were removed and left configuration behind are no applications unless asked for (V5); CPUSpeedMHz is known where lscpu prints
// none (V11); a network interface has all its addresses, its netmask, gateway and name servers (V12); services of systemd are gathered as AWS:Service, which AWS does on Windows alone.
package gather
