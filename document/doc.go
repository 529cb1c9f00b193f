// Package document reads SSM documents, says everything that is wrong with them, with the place, and understands what it read.
//
// [Parse] reads a text (JSON by a scanner of its own, YAML by go.yaml.in/yaml/v4, both with line and column of every value) into a [Document]; a bad
// text gives [Findings], all at once. [Document.Check] adds warnings and advice. [Document.Bind] takes the parameters of a SendCommand, checks
// and coerces them, and gives a [Bound], whose [Bound.Steps] are the steps as they run on a platform: interpolated, with their preconditions
// decided, in the order and with the rules of AWS's agent. [Actions] is the table of what may stand in a step, as data; a host adds its own.
//
// A finding says what to do, and where that is mechanical it has the [Edit]s that do it: [Fix] applies them to the text and leaves everything else of
// it byte for byte, comments too. [Document.CheckWith] looks at the documents that steps run besides. [Document.JSON] and [Document.YAML] render a
// document in either form, the same bytes every time; [Document.Upgrade] brings one of schema 1.2 to 2.2. [Codes] is the table of all findings.
//
// Nothing here does I/O or looks at a clock: values in, values out. A [Document] is immutable and safe for concurrent use.
//
// A parameter is pasted into a script as text (RAW) unless its declaration says interpolationType ENV_VAR, as on AWS. Check warns of it and
// has the fix; [BindOptions] has RefuseRaw. With ENV_VAR a placeholder in a script becomes a reference to the environment variable
// SSM_<parameter>, quoted where a shell would split it, so that a value is data whatever it holds.
package document
