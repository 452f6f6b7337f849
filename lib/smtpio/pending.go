package smtpio

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pending reports whether something from the peer waits to be read, or the end of the
// connection. Nothing is read and nothing waits.
func (c *Conn) Pending() bool { return c.Buffered() > 0 || readable(c.nc) }

// readable asks the kernel whether a read would not wait. For a connection that is
// no socket the answer is no.
func readable(nc net.Conn) bool {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = over.NetConn() // a TLS connection: a record or an end would come from here
	}
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	ready := false
	err = rc.Control(func(fd uintptr) {
		p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(p[:], 0)
		ready = n > 0
	})
	return ready || err != nil
}
