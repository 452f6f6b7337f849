package service

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stdinConn is standard input and output as a connection (-S).
func stdinConn() (net.Conn, error) {
	var st unix.Stat_t
	if err := unix.Fstat(0, &st); err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		if c, err := net.FileConn(os.Stdin); err == nil {
			return c, nil
		}
	}
	return &stdio{in: os.Stdin, out: os.Stdout}, nil
}

// stdio joins two files to a connection. Deadlines work for pipes; a regular
// file or a terminal has none.
type stdio struct{ in, out *os.File }

func (s *stdio) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

func (s *stdio) Close() error {
	s.in.Close()
	return s.out.Close()
}

// stdioAddr is the address of both ends; Network is "stdio".
type stdioAddr struct{}

func (stdioAddr) Network() string { return "stdio" }
func (stdioAddr) String() string  { return "stdio" }

func (s *stdio) LocalAddr() net.Addr  { return stdioAddr{} }
func (s *stdio) RemoteAddr() net.Addr { return stdioAddr{} }

func (s *stdio) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline does nothing where files have no deadlines.
func (s *stdio) SetReadDeadline(t time.Time) error {
	_ = s.in.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline does nothing where files have no deadlines.
func (s *stdio) SetWriteDeadline(t time.Time) error {
	_ = s.out.SetWriteDeadline(t)
	return nil
}
