package service

import (
	"bufio"
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
)

// passTimeout bounds the reading of a passed connection's attributes (§2.21).
const passTimeout = 100 * time.Second

// receive takes the client's connection from the one that postscreen made (§2.21):
// a byte with the descriptor, then the addresses. postscreen's connection stays
// open until the session ends. It reports false, and logs, when that failed.
func (s *server) receive(sess *Session) bool {
	local, ok := sess.Conn.(*net.UnixConn)
	if !ok {
		sess.Log.Warnf("a pass service needs a Unix-domain socket")
		return false
	}
	local.SetReadDeadline(time.Now().Add(passTimeout)) //nolint:errcheck // the read tells
	conn, err := receiveConn(local)
	if err != nil {
		sess.Log.Warnf("cannot receive connection attributes: %v", err)
		return false
	}
	d := attr.NewDecoder(bufio.NewReaderSize(local, 512), attr.Lenient)
	sess.ClientAddr = d.Str("client_address")
	sess.ClientPort = d.Str("client_port")
	sess.ServerAddr = d.Str("server_address")
	sess.ServerPort = d.Str("server_port")
	if err := d.End(); err != nil {
		sess.Log.Warnf("cannot receive connection attributes: %v", err)
		conn.Close()
		return false
	}
	sess.Conn = conn
	return true
}

// receiveConn reads one byte and the descriptor that comes with it (§2.5).
func receiveConn(local *net.UnixConn) (net.Conn, error) {
	var b [1]byte
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := local.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, err
	}
	fds, err := descriptors(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if n != 1 || len(fds) != 1 {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, errors.New("no descriptor, or more than one, was passed")
	}
	f := os.NewFile(uintptr(fds[0]), "passed connection")
	defer f.Close()
	return net.FileConn(f)
}

// descriptors takes the descriptors out of control messages.
func descriptors(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var fds []int
	for i := range msgs {
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // credentials or the like
		}
		fds = append(fds, got...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return fds, nil
}
