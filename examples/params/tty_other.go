//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package main

// openTerminal: hiding what is typed is not done here, and showing it would be worse.
func openTerminal() (terminal, error) { return nil, errNoTerminal }
