//go:build unix && !linux

package pgtest

import "syscall"

// attr makes the server run as cred.
func attr(cred *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true}
}
