//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// tty is the controlling terminal, even where standard input is a pipe.
type tty struct{ *os.File }

func openTerminal() (terminal, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, errNoTerminal
	}
	return tty{f}, nil
}

// ReadHidden implements terminal.
func (t tty) ReadHidden(prompt string) ([]byte, error) {
	fd := int(t.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, errNoTerminal
	}
	// A signal must not leave the terminal without echo: it is taken here, the terminal restored, and the answer refused.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(caught)
	quiet := *before
	quiet.Lflag &^= unix.ECHO
	quiet.Lflag |= unix.ICANON | unix.ISIG
	quiet.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, setTermios, &quiet); err != nil {
		return nil, err
	}
	restore := func() {
		unix.IoctlSetTermios(fd, setTermios, before) //nolint:errcheck // it was possible a moment ago
		io.WriteString(t, "\n")                      //nolint:errcheck // the person's line end was not shown
	}
	defer restore()
	if _, err := io.WriteString(t, prompt); err != nil {
		return nil, err
	}
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() { // ends with the line, or with the program
		line, err := readLine(t)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-caught:
		return nil, errors.New("interrupted")
	}
}

// readLine reads up to a line end, byte by byte so that nothing of the next line is taken.
func readLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, 256)
	for b := make([]byte, 1); ; {
		n, err := r.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return line, nil
		case n == 1 && len(line) == 64<<10:
			return nil, errors.New("the line is too long")
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF):
			if len(line) > 0 {
				return line, nil
			}
			return nil, errors.New("nothing was typed")
		case err != nil:
			return nil, err
		}
	}
}
