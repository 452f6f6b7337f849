package service

import (
	"os"

	"golang.org/x/sys/unix"
)

const (
	// datagramSize is the greatest datagram; a longer one is cut.
	datagramSize = 64 << 10
	// datagramBurst is the number of datagrams after which Worker.Quiet is called
	// although more are waiting.
	datagramBurst = 256
)

// datagramLoop receives datagrams on a non-blocking socket until it is closed.
func (s *server) datagramLoop(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		s.env.Log.Warnf("receive datagrams: %v", err)
		return
	}
	buf := make([]byte, datagramSize)
	n := 0
	quiet := func() {
		if n > 0 && s.w.Quiet != nil {
			s.w.Quiet()
		}
		n = 0
	}
	err = raw.Read(func(fd uintptr) bool {
		for {
			size, _, err := unix.Recvfrom(int(fd), buf, 0)
			switch err {
			case nil:
				s.w.Datagram(buf[:size])
				if n++; n >= datagramBurst {
					quiet()
				}
			case unix.EINTR:
			case unix.EAGAIN:
				quiet()
				return s.isStopped()
			default:
				quiet()
				s.env.Log.Warnf("receive datagram: %v", err)
				return true
			}
		}
	})
	if !s.isStopped() {
		s.env.Log.Warnf("receive datagrams: %v", err)
		s.leave(reasonOwn)
	}
}
