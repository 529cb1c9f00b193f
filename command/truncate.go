package command

import "unicode/utf8"

// AWS's caps on output (R24, R25). They are a profile for faces that speak AWS's language; this package keeps everything.
const (
	MaxStandardOutput = 24_000 // GetCommandInvocation, StandardOutputContent
	MaxStandardError  = 8_000  // GetCommandInvocation, StandardErrorContent
	MaxPluginOutput   = 2_500  // ListCommandInvocations with details: both together
)

// Markers of AWS's agent for output that was cut (spelled as there).
const (
	outputTruncated = "\n---Output truncated---"
	errorTruncated  = "\n---Error truncated----"
	errorHeader     = "\n----------ERROR-------\n"
)

// cut returns at most n bytes of text without splitting a rune.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	n = max(0, n)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// Truncate joins a step's stdout and stderr into at most limit bytes as AWS's plugin output has them (R24): all of both if they fit; else each may fill half, and what one leaves
// the other takes. Cuts are marked and never split a rune (R26).
func Truncate(stdout, stderr string, limit int) string {
	if stderr == "" {
		return mark1(stdout, limit, outputTruncated)
	}
	room := limit - len(errorHeader)
	if len(stdout)+len(stderr) <= room {
		return stdout + errorHeader + stderr
	}
	half := room / 2
	switch {
	case len(stdout) <= half:
		stderr = mark1(stderr, room-len(stdout), errorTruncated)
	case len(stderr) <= half:
		stdout = mark1(stdout, room-len(stderr), outputTruncated)
	default:
		stdout, stderr = mark1(stdout, half, outputTruncated), mark1(stderr, half, errorTruncated)
	}
	return cut(stdout+errorHeader+stderr, max(0, limit))
}

// mark1 cuts text to n bytes, the marker included.
func mark1(text string, n int, marker string) string {
	if len(text) <= n {
		return text
	}
	return cut(cut(text, n-len(marker))+marker, max(0, n))
}
