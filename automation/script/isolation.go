package script

// User runs scripts as another user of this machine, in a process namespace of their own. It needs Linux and a control plane that runs as root and may make namespaces. What that user may not read by the machine's permissions is out of a script's
// reach; /tmp, and what everybody may read, is not: [Namespace] is stricter.
type User struct {
	// UID and GID are what scripts run as, without other groups; 0 is refused. The user should own nothing and run nothing else.
	UID, GID uint32
	// Protect are folders and files that a script must not be able to open: the store, the keys, the audit log. Before each script is started it is tried, as the user, whether
	// they can be; if so, nothing is run.
	Protect []string
	// Network gives scripts the machine's network. Without it they have none.
	Network bool
}

// Namespace runs scripts within user, mount, process, IPC, host name and network namespaces of their own (Linux), without any capability. They see a root that holds the
// machine's programs and libraries and cannot be written to, a /tmp of their own in memory, and nothing else: no store, no keys, no home, no socket of a service. A control plane
// need not be root, but the machine must let it make user namespaces; programs of util-linux (mount, umount, pivot_root, setpriv) do the preparing.
type Namespace struct {
	// UID and GID are what scripts are outside of the namespace when the control plane is root; 0 is 65534, nobody. Otherwise they are the control plane's own.
	UID, GID uint32
	// Protect are folders and files that a script must not be able to open: the store, the keys, the audit log. They are not in its root; when one would be, because Allow names a
	// folder above or below, nothing is run.
	Protect []string
	// Allow are folders and files that scripts may read beside the system's own, such as one with Python packages.
	Allow []string
	// Network gives scripts the machine's network. Without it they have none.
	Network bool
}
