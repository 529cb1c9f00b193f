package agent

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// trim lets go of the program's own code that is mapped: an idle agent runs little of it, and what it needs comes back from the file, or from the page cache without a read. Only mappings that
// nobody can have changed are touched, those of code that is not writable. It is a favour: errors change nothing.
func trim() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // read only
	for s := bufio.NewScanner(f); s.Scan(); {
		// 00400000-00b21000 r-xp 00000000 fe:00 1234 /usr/bin/agent
		fields := strings.Fields(s.Text())
		if len(fields) != 6 || fields[1] != "r-xp" || fields[5] != self {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && end > start {
			syscall.Syscall(syscall.SYS_MADVISE, uintptr(start), uintptr(end-start), syscall.MADV_DONTNEED) //nolint:errcheck // see above
		}
	}
}
