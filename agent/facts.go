package agent

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/fleetwright/fleetwright/message"
)

// GatherFacts reads what the machine is, without starting a process. Capabilities stay empty: an agent fills them in from its actions.
func GatherFacts() message.Facts {
	f := message.Facts{AgentName: "fleetwright", AgentVersion: version(), PlatformType: platform(), Architecture: runtime.GOARCH, BootID: BootID()}
	f.PlatformName, f.PlatformVersion = distribution()
	if f.PlatformName == "" {
		f.PlatformName = runtime.GOOS
	}
	if h, err := os.Hostname(); err == nil {
		f.ComputerName = h
	}
	f.IPAddress = address()
	return f
}

// platform returns AWS's name of the platform.
func platform() string {
	switch runtime.GOOS {
	case "windows":
		return "Windows"
	case "darwin":
		return "MacOS"
	}
	return "Linux"
}

// version returns the version of this module in the program.
func version() string {
	const path = "github.com/fleetwright/fleetwright"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	if info.Main.Path == path {
		return info.Main.Version
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}

// address returns the machine's first global address, IPv4 before IPv6.
func address() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	var v6 string
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok || !n.IP.IsGlobalUnicast():
		case n.IP.To4() != nil:
			return n.IP.String()
		case v6 == "":
			v6 = n.IP.String()
		}
	}
	return v6
}
