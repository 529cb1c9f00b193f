// Package patchbaseline holds the action fleetwright:patchBaseline: it finds out which patches a machine has and lacks, by the baseline that the control plane names, puts the missing ones on it when
// it is asked to, and reports. The documents AWS-RunPatchBaseline, AWS-RunPatchBaselineWithHooks and AWS-RunPatchBaselineAssociation are made of it.
//
//	set, err := action.NewSet(shell.New(nil), patchbaseline.New(nil))
//
// # A tour
//
// A run asks the control plane for a snapshot of the baseline (GetDeployablePatchSnapshotForInstance), refreshes the package manager's metadata where it may, reads them, and has package patch decide.
// Scan reports that (PutPatchReport), and changes nothing. Install hands exactly what was decided to the machine's own package manager, reads what is then really there, and reports that, with
// everything that was tried and not reached as Failed.
//
// A [Manager] is a machine's package manager: apt, dnf, zypper and Windows Update; a host may bring another. No question is ever asked at a terminal, files that an administrator changed
// stay as they are, nothing is removed but what a patch takes the place of, and a package manager that is at work is waited for and never disturbed. A transaction that has begun outlives the agent: it is not stopped
// when the agent is, and a command that is cancelled meanwhile waits for it as long as Options.Finish says.
//
// # Reboots
//
// What an Install put on the machine is noted down with the boot id, before it begins. Until the machine has another boot id these patches are InstalledPendingReboot (C6), whoever asks. With RebootIfNeeded the action
// demands a reboot, after it has reported, and runs once more behind it.
//
// A tracking file that cannot be read is taken for the worst: what came since the machine started is taken for our own.
//
// # Where AWS is silent
//
// Scan refreshes the metadata when it runs as root, and goes on with what is there when that fails, saying so; it fails when it knows of a security archive without knowing what is in it, since the
// machine would look better than it is. A package that is unpacked but not configured counts with the version that was configured last. An Install of which any patch ends as Failed is a failed step; AWS
// leaves that open. A dependency that is not installed comes along without the packages that it merely recommends.
package patchbaseline
