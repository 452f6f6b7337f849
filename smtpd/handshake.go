package main

import (
	"errors"
	"net"
	"os"
	"time"
)

// handshakeConn is the connection below TLS. A drain of the worker interrupts the
// reads of all sessions; a handshake that is under way must go on all the same: a
// client that was cut off there could not be told why, and might take it for a
// fault of TLS.
type handshakeConn struct {
	net.Conn
	under bool // the handshake is under way; only the session's goroutine asks
}

func (c *handshakeConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if n > 0 || !c.under || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		// The handshake's own time limit closes the connection.
		if err := c.Conn.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
}
