package action

import (
	"maps"
	"os"
	"slices"
	"strings"
)

// MarkerVar is the variable by which a process tells of which run it is (Call.Marker). It holds nothing secret.
const MarkerVar = "FLEETWRIGHT_RUN"

// inherited are the variables that a script gets from the agent. Everything else is cleared: LD_*, BASH_ENV, ENV, IFS, PYTHONPATH and their like would let whoever
// started the agent change what scripts do, and an agent's own environment may hold secrets.
var inherited = [...]string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
	// Windows cannot start programs without these.
	"SystemRoot", "SYSTEMROOT", "SystemDrive", "ComSpec", "PATHEXT", "TEMP", "TMP", "windir", "ProgramData", "ProgramFiles", "USERPROFILE"}

// DefaultPath is PATH for an agent that has none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environ returns the environment of a process of the step, sorted: a few variables of the agent, those of AWS (AWS_SSM_INSTANCE_ID, AWS_SSM_REGION_NAME, AWS_SSM_PLATFORM_NAME,
// AWS_SSM_PLATFORM_VERSION, SSM_COMMAND_ID), the document's ENV_VAR parameters, more, which wins, and the marker. The caller has checked c.Env and more with ValidVar.
func (c *Call) Environ(user *User, more map[string]string) []string {
	m := map[string]string{"PATH": DefaultPath, "HOME": "/"}
	for _, name := range inherited {
		if v, ok := os.LookupEnv(name); ok && v != "" {
			m[name] = v
		}
	}
	for _, kv := range os.Environ() {
		if name, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(name, "LC_") {
			m[name] = v
		}
	}
	if user != nil {
		m["USER"], m["LOGNAME"], m["HOME"] = user.Name, user.Name, user.Home
		delete(m, "TMPDIR")
		delete(m, "SHELL")
	}
	m["AWS_SSM_INSTANCE_ID"] = c.Node
	m["AWS_SSM_REGION_NAME"] = c.Region
	m["AWS_SSM_PLATFORM_NAME"] = c.Facts.PlatformName
	m["AWS_SSM_PLATFORM_VERSION"] = c.Facts.PlatformVersion
	m["SSM_COMMAND_ID"] = c.Command
	maps.Copy(m, c.Env)
	maps.Copy(m, more)
	m[MarkerVar] = c.Marker
	env := make([]string, 0, len(m))
	for k, v := range m {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

// ValidVar reports whether a variable can be given to a process: a name of [A-Za-z_][A-Za-z0-9_]* and a value without NUL.
func ValidVar(name, value string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c != '_' && ('a' > c || c > 'z') && ('A' > c || c > 'Z') && (i == 0 || '0' > c || c > '9') {
			return false
		}
	}
	return name != "" && strings.IndexByte(value, 0) < 0
}
