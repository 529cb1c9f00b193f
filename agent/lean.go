package agent

import (
	"math"
	"runtime/debug"
)

// Lean makes the Go runtime of a program that is nothing but an agent keep little memory: it collects garbage at a quarter more than what lives, and before
// the heap reaches 64 MiB, whichever comes first. It changes settings of the whole process, which is why no agent does it by itself; GOGC and GOMEMLIMIT are left alone when
// they are set to something other than Go's defaults.
func Lean() {
	if was := debug.SetGCPercent(25); was != 100 {
		debug.SetGCPercent(was)
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(64 << 20)
	}
}
