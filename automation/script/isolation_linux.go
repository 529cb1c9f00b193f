package script

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/fleetwright/fleetwright/fault"
)

func refuse(format string, a ...any) error {
	return fault.New("script.Isolate", fault.UnsupportedOperation, format, a...)
}

// The first thing that runs is a shell that sets limits for itself and what it starts: kibibytes of memory, 512-byte blocks of a file, tasks. What limits tasks is called -u or -p.
const limited = `set -eu
ulimit -c 0 && ulimit -n 512 && ulimit -f "$2" && ulimit "$1" "$3"
if (ulimit -u "$4") 2>/dev/null; then ulimit -u "$4"; else ulimit -p "$4"; fi
shift 4
`

const asUser = limited + `exec "$@"
`

// rlimits are the arguments of limited.
func (b *box) rlimits() []string {
	memory := "-v"
	if b.lang == PowerShell {
		memory = "-d"
	}
	return []string{memory, strconv.FormatInt(max(b.limits.Disk/512, 1), 10), strconv.FormatInt(max(b.limits.Memory/1024, 1), 10), strconv.Itoa(b.limits.Tasks)}
}

// probe fails for the first of its arguments that can be read, written or looked into.
const probe = `for p do
if [ -r "$p" ] || [ -w "$p" ] || [ -x "$p" ]; then exit 3; fi
done
`

func (u *User) wrap(b *box) error {
	switch {
	case os.Geteuid() != 0:
		return refuse("scripts cannot run as another user: the control plane is not root; choose script.Namespace")
	case u.UID == 0 || u.GID == 0:
		return refuse("scripts do not run as root: give User.UID and User.GID of a user that owns nothing")
	}
	cred := &syscall.Credential{Uid: u.UID, Gid: u.GID}
	if err := u.shut(cred); err != nil {
		return err
	}
	if err := give(b.dir, u.UID, u.GID); err != nil {
		return err
	}
	b.cmd.Path, b.cmd.Args, b.cmd.Dir = "/bin/sh", append(append([]string{"sh", "-c", asUser, "sh"}, b.rlimits()...), b.argv...), b.dir
	for i, kv := range b.cmd.Env {
		if kv == "HOME=/tmp" || kv == "TMPDIR=/tmp" {
			b.cmd.Env[i] = strings.TrimSuffix(kv, "/tmp") + b.dir
		}
	}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: cred, Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC}
	if !u.Network {
		b.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	return nil
}

// shut finds out, as the user, whether what must not be open is.
func (u *User) shut(cred *syscall.Credential) error {
	if len(u.Protect) == 0 {
		return nil
	}
	for _, p := range u.Protect {
		if _, err := os.Lstat(p); err != nil || !filepath.IsAbs(p) {
			return refuse("it cannot be told whether a script could open %s: name folders and files that are there, by their whole path", fault.Clean(p))
		}
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", probe, "sh"}, u.Protect...)...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{}, "/", &syscall.SysProcAttr{Credential: cred}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 3:
		return refuse("the user %d could open what a script must not: take the rights of others, and of its group, from %s", u.UID, fault.Clean(strings.Join(u.Protect, ", ")))
	case err != nil:
		return refuse("it cannot be told whether a script could open what it must not: %s", fault.Clean(err.Error()))
	}
	return nil
}

// give makes a folder another user's.
func give(dir string, uid, gid uint32) error {
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(uid), int(gid))
	})
	if err != nil {
		return refuse("the script's folder cannot be given to the user: %s", fault.Clean(err.Error()))
	}
	return nil
}

// within builds the new root and goes there. Its arguments are the place for the root, the size of /tmp, and then kind, from, to and options for each thing that is to be in the root;
// behind -- stands what is run in the end.
const within = limited + `umask 022
new=$1 size=$2; shift 2
mount -t tmpfs -o mode=0755,nosuid,nodev,size=1m tmpfs "$new"
mkdir "$new/proc" "$new/dev" "$new/tmp" "$new/.old"
mount -t tmpfs -o "mode=0777,nosuid,nodev,size=$size" tmpfs "$new/tmp"
while [ "$1" != -- ]; do
  to=$new$3
  case $1 in
  link) mkdir -p "${to%/*}"; ln -s "$2" "$to" ;;
  dir) mkdir -p "$to"; mount --rbind "$2" "$to"; mount -o "remount,bind,$4" "$to" ;;
  file) mkdir -p "${to%/*}"; : >"$to"; mount --bind "$2" "$to"; mount -o "remount,bind,$4" "$to" ;;
  dev) : >"$to"; mount --bind "$2" "$to" ;;
  esac
  shift 4
done
shift
mount -t proc -o nosuid,nodev,noexec proc "$new/proc" 2>/dev/null || mount -t tmpfs -o nosuid,nodev,noexec,size=4k tmpfs "$new/proc"
cd "$new"
pivot_root . .old
cd /
umount -l /.old
rmdir /.old
{ echo 0 >/proc/sys/user/max_user_namespaces; } 2>/dev/null || :
mount -o remount,bind,ro,nosuid,nodev /
cd /tmp
exec setpriv --inh-caps=-all --bounding-set=-all --no-new-privs -- "$@"
`

// What a script sees of the machine.
var (
	systemDirs  = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt/microsoft/powershell"}
	systemFiles = []string{"/etc/alternatives", "/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem",
		"/etc/pki/tls/openssl.cnf", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime",
		"/etc/mime.types", "/etc/nsswitch.conf", "/etc/protocols", "/etc/services"}
	networkFiles = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf"}
)

// scriptAt is where the script's folder is within its root.
const scriptAt = "/var/task"

func (n *Namespace) wrap(b *box) error {
	path := []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	for _, tool := range []string{"mount", "umount", "pivot_root", "setpriv", "mkdir", "rmdir", "ln"} {
		if !slices.ContainsFunc(path, func(dir string) bool { _, err := os.Stat(dir + "/" + tool); return err == nil }) {
			return refuse("scripts cannot be kept apart here: there is no %s; install util-linux, or run them on a node", tool)
		}
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if uid == 0 {
		if uid, gid = n.UID, n.GID; uid == 0 {
			uid = 65534
		}
		if gid == 0 {
			gid = 65534
		}
		if err := give(b.dir, uid, gid); err != nil {
			return err
		}
	}
	things, err := n.things(b)
	if err != nil {
		return err
	}
	root := filepath.Join(b.dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return refuse("the script's root cannot be made: %s", fault.Clean(err.Error()))
	}
	args := append([]string{"sh", "-c", within, "sh"}, b.rlimits()...)
	args = append(args, root, strconv.FormatInt(b.limits.Disk, 10))
	args = append(append(args, things...), "--", b.argv[0])
	for _, a := range b.argv[1:] {
		args = append(args, strings.Replace(a, b.dir, scriptAt, 1))
	}
	b.cmd.Path, b.cmd.Args, b.cmd.Dir = "/bin/sh", args, "/"
	for i, kv := range b.cmd.Env {
		if p, ok := strings.CutPrefix(kv, "PATH="); ok {
			b.cmd.Env[i] = "PATH=" + p + ":/usr/sbin:/sbin"
		}
	}
	attr := &syscall.SysProcAttr{Setsid: true,
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(uid), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(gid), Size: 1}},
	}
	if os.Geteuid() == 0 { // its groups, which are not mapped, would stay with it
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	}
	if !n.Network {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	b.cmd.SysProcAttr = attr
	return nil
}

// things are the arguments of within: what is in the root.
func (n *Namespace) things(b *box) (args []string, err error) {
	mounts, err := mountFlags()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var shown []string
	add := func(p, to string) error {
		if seen[to] {
			return nil
		}
		seen[to] = true
		st, err := os.Lstat(p)
		if err != nil {
			return nil //nolint:nilerr // not every machine has all
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(p)
			if err != nil {
				return refuse("%s cannot be read", fault.Clean(p))
			}
			if slices.Contains(systemDirs, p) { // /bin is within /usr
				args = append(args, "link", target, to, "-")
				return nil
			}
		}
		real, err := filepath.EvalSymlinks(p)
		if err != nil {
			return nil //nolint:nilerr // a link to nothing
		}
		if st, err = os.Stat(real); err != nil {
			return nil //nolint:nilerr // gone
		}
		kind := "file"
		if st.IsDir() {
			kind = "dir"
		}
		shown = append(shown, real)
		args = append(args, kind, real, to, mounts.readOnly(real))
		return nil
	}
	all := append(slices.Clone(systemDirs), systemFiles...)
	if n.Network {
		all = append(all, networkFiles...)
	}
	for _, p := range n.Allow {
		if !filepath.IsAbs(p) || filepath.Clean(p) == "/" {
			return nil, refuse("Namespace.Allow must hold whole paths, and not the root")
		}
		if _, err := os.Stat(p); err != nil {
			return nil, refuse("Namespace.Allow: there is no %s", fault.Clean(p))
		}
		all = append(all, filepath.Clean(p))
	}
	for _, p := range all {
		if err := add(p, p); err != nil {
			return nil, err
		}
	}
	if home := b.argv[0]; !under(home, shown) { // a Python of its own, such as one of pyenv: …/bin/python3.11
		if err := add(filepath.Dir(filepath.Dir(home)), filepath.Dir(filepath.Dir(home))); err != nil {
			return nil, err
		}
	}
	for _, p := range n.Protect {
		real, err := filepath.EvalSymlinks(p)
		if err != nil || !filepath.IsAbs(p) {
			return nil, refuse("it cannot be told whether a script could open %s: name folders and files that are there, by their whole path", fault.Clean(p))
		}
		if under(real, shown) || slices.ContainsFunc(shown, func(s string) bool { return under(s, []string{real}) }) {
			return nil, refuse("a script could open what it must not: %s lies in, or above, what scripts see", fault.Clean(p))
		}
	}
	args = append(args, "dir", b.dir, scriptAt, mounts.readOnly(b.dir))
	for _, dev := range []string{"null", "zero", "full", "random", "urandom"} {
		args = append(args, "dev", "/dev/"+dev, "/dev/"+dev, "-")
	}
	args = append(args, "link", "/proc/self/fd", "/dev/fd", "-")
	return args, nil
}

// under reports whether a path is one of the folders or lies in one.
func under(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return p == d || strings.HasPrefix(p, strings.TrimSuffix(d, "/")+"/") })
}

// flags are the options of the mounts of this machine, by where they are.
type flags map[string]string

// mountFlags reads them: what is locked by them must be said again when a mount is made read-only within a namespace.
func mountFlags() (flags, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, refuse("the machine's mounts cannot be read: %s", fault.Clean(err.Error()))
	}
	defer f.Close() //nolint:errcheck // a reader
	out := flags{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if w := strings.Fields(sc.Text()); len(w) > 6 {
			out[strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(w[4])] = w[5]
		}
	}
	return out, nil
}

// readOnly are the options with which the mount that holds a path is made read-only.
func (m flags) readOnly(p string) string {
	best := "/"
	for at := range m {
		if len(at) > len(best) && under(p, []string{at}) {
			best = at
		}
	}
	out := []string{"ro", "nosuid", "nodev"}
	for o := range strings.SplitSeq(m[best], ",") {
		if slices.Contains([]string{"noexec", "noatime", "nodiratime", "relatime"}, o) {
			out = append(out, o)
		}
	}
	return strings.Join(out, ",")
}

// start starts the process without a way to new privileges, and so that it does not outlive this program.
func (b *box) start() error {
	started := make(chan error, 1)
	if b.cmd.SysProcAttr == nil {
		b.cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	b.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	go func() { // in a thread of its own: what is set for it is inherited by the process, which is killed when the thread ends
		runtime.LockOSThread()
		const prSetNoNewPrivs = 38
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
			started <- errno
			return
		}
		err := b.cmd.Start()
		started <- err
		if err == nil {
			<-b.ended
		}
	}()
	if err := <-started; err != nil {
		return refuse("a script cannot be kept apart on this machine: %s", fault.Clean(err.Error()))
	}
	return nil
}

// kill ends the process, which is the first of its process namespace: the kernel ends the others with it.
func (b *box) kill() {
	b.cmd.Process.Kill() //nolint:errcheck // it may have ended
}
