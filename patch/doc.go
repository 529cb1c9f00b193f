// Package patch decides what is right and what is wrong with the packages of a machine, as AWS Patch Manager decides it: a baseline, the
// facts of a node, what is installed, what is on offer and an instant go in; states, compliance, counts and reasons come out.
// It is a model: values in, values out, no I/O, no goroutine, no clock. Equal inputs give equal bytes.
//
// # A tour
//
// A [Baseline] says what a node must have. [ParseBaseline] reads it from AWS's JSON, [Validate] holds it to AWS's limits, [Lint] warns of what AWS
// accepts but does not do, [Predefined] has the seventeen that AWS provides. [Choose] finds a node's own by tag, patch group and default.
//
// Readers fill [Installed] and [Available]: package patch/apt from Debian's and Ubuntu's archives, patch/rpm from repositories of RPM packages. A
// package may have several notices ([Advisory]), and stand in several repositories.
//
// [Evaluate] decides. Its [Result] has a [Patch] for each package, [Counts], the node's compliance and overall severity;
// [Result.Explain] answers why, as a tree of filters, rules, dates and entries of lists, each with what would have to change.
//
// [Result.Plan] says what an Install does, with an [OverrideList] or without; [Plan.Reboot] whether it ends with a reboot; [Result.Settle] what is reported
// afterwards. [Run.Simulate] plays all of it in imagination.
//
// [Sweep] is a time machine over archived metadata: when would a patch have been approved, and which never are because their notice keeps
// moving. [Timeline] replays a node; [Diff] and [Compare] tell two baselines, or their effects, apart.
//
// [CompareDeb] and [CompareRPM] are the version orders of dpkg and librpm, without allocation.
//
// # Where AWS is silent
//
// Rules carry the ids of the project's notes on the user guide: E order of evaluation, B choice of baseline, F filters, A dates, N security, L lists of
// names, R rejection, C states, K kernel live patches, M counts, O override lists, W reboots. Where the guide says nothing, these are our readings:
//
//   - Days are compared in UTC (A8): a patch of 7 July with 7 days is approved when 14 July begins. [Options.Exact] compares instants instead.
//   - Names in lists match without epoch (L7) and with regard to case; properties match without (F7).
//   - Debian and Ubuntu: only apt's candidate counts (N5). An installed version that is in no archive, and newer than all that are, is InstalledOther.
//   - A package that is Missing reports the highest level, classification and severity of all approved notices that its wanted version brings, and
//     the CVE ids of all notices (C14, M6).
//   - A package that is not installed but obsoletes one that is counts as Missing under its own name, as dnf would replace it; [Options.IgnoreObsoletes] turns that off.
//   - With BLOCK, an installed version that is rejected is InstalledRejected also while a newer one is approved; Install brings the newer one.
//   - A SUSE package in no patch needs EnableNonSecurity. macOS has no notion of security, so nothing needs it there; what softwareupdate lists is
//     applicable, so it is Missing when it is approved and not installed.
//   - Windows: spaces in classifications and products do not count, as Windows Update writes "Security Updates" (F7), and an update
//     without a severity is Unspecified.
//   - An InstallOverrideList that brings one package in a version which another one of it cannot do with leaves that other one out (O5).
//   - Windows: an update that another one of the catalogue supersedes is never wanted (E6), also while the other one waits for its approval.
package patch
