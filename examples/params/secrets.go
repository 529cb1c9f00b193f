package main

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/secret"
)

const (
	mostValue      = 1 << 20 // bytes that are read as a value; the limits of parameters are far below
	mostPassphrase = 1024
)

// terminal is where a person is asked.
type terminal interface {
	// ReadHidden reads a line without showing it. It restores the terminal whatever happens, signals included.
	ReadHidden(prompt string) ([]byte, error)
	Close() error
}

var errNoTerminal = errors.New("there is no terminal to ask on")

// ask asks for a secret on the terminal, twice if it must be right. instead says what else would have given it.
func (a *app) ask(what string, twice bool, instead string) (secret.Value, error) {
	t, err := a.terminal()
	if err != nil {
		return secret.Value{}, bad("the %s cannot be asked for (%v): give %s", what, err, instead)
	}
	defer t.Close() //nolint:errcheck // it was read only
	first, err := t.ReadHidden(what + ": ")
	if err != nil {
		return secret.Value{}, tell(fault.Validation, "the %s was not read: %v", what, err)
	}
	if twice {
		again, err := t.ReadHidden(what + ", again: ")
		if err != nil {
			return secret.Value{}, tell(fault.Validation, "the %s was not read: %v", what, err)
		}
		same := bytes.Equal(first, again)
		clear(again)
		if !same {
			clear(first)
			return secret.Value{}, bad("the %s was not the same the second time: nothing was changed", what)
		}
	}
	return secret.Take(first), nil
}

// readValue reads a value from standard input, or asks for it if that is a terminal. One line end at its end does not belong to it, unless exact.
func (a *app) readValue(hidden, exact bool) (secret.Value, error) {
	if hidden && isTerminal(a.stdin) {
		return a.ask("value", true, "it on standard input")
	}
	if isTerminal(a.stdin) {
		a.note("type the value, then Ctrl-D")
	}
	return readAll(a.stdin, mostValue, exact, "the value on standard input")
}

func passphraseFile(path string) (secret.Value, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret.Value{}, tell(fault.Validation, "the passphrase cannot be read: %v", err)
	}
	defer f.Close() //nolint:errcheck // it was read only
	v, err := readAll(f, mostPassphrase, false, "the passphrase in "+path)
	if err == nil && v.IsZero() {
		err = tell(fault.Validation, "the passphrase in %s is empty", path)
	}
	return v, err
}

func readAll(r io.Reader, most int64, exact bool, what string) (secret.Value, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return secret.Value{}, tell(fault.Validation, "%s cannot be read: %v", what, err)
	}
	if int64(len(b)) > most {
		return secret.Value{}, tell(fault.Validation, "%s is longer than %d bytes", what, most)
	}
	if !exact {
		b = bytes.TrimSuffix(b, []byte("\n"))
		b = bytes.TrimSuffix(b, []byte("\r"))
	}
	return secret.Take(b), nil
}
