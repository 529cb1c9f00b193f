//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func owned(st fs.FileInfo, bits fs.FileMode) error {
	if m := st.Mode().Perm(); m&bits != 0 {
		return fmt.Errorf("its mode is %04o; others must not get at it: chmod %04o", m, m&^bits)
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to somebody else (uid %d)", s.Uid)
	}
	return nil
}
