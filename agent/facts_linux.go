package agent

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
)

// BootID returns what the kernel says of this start of the machine; it changes with each.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// distribution returns NAME and VERSION_ID of os-release.
func distribution() (name, version string) {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		b, err := io.ReadAll(io.LimitReader(f, 64<<10))
		f.Close() //nolint:errcheck // read only
		if err == nil {
			return osRelease(b)
		}
	}
	return "", ""
}

// osRelease reads os-release(5): shell assignments, values bare or quoted.
func osRelease(b []byte) (name, version string) {
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if !ok {
			continue
		}
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0] {
			if u, err := strconv.Unquote(value); err == nil && value[0] == '"' {
				value = u
			} else {
				value = value[1 : len(value)-1]
			}
		}
		switch key {
		case "NAME":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return name, version
}
