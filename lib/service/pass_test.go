package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sealpost/lib/attr"
)

// passed sends a connection the way postscreen does; attrs follow the descriptor.
func passed(t *testing.T, c net.Conn, send *net.TCPConn, attrs []byte) {
	t.Helper()
	f, err := send.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	oob := unix.UnixRights(int(f.Fd()))
	if _, _, err := c.(*net.UnixConn).WriteMsgUnix([]byte{0}, oob, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(attrs); err != nil {
		t.Fatal(err)
	}
}

func tcpPair(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func TestPassService(t *testing.T) {
	env, log := testEnv(t)
	w := &Worker{Conn: func(_ context.Context, s *Session) {
		fmt.Fprintf(s.Conn, "%s %s %s %s\n", s.ClientAddr, s.ClientPort, s.ServerAddr, s.ServerPort)
	}}
	s := newServer(t.Context(), env, w)
	s.pass = true
	ln, dial := listen(t)
	s.addListener(ln)
	s.serveTest(t)
	client, server := tcpPair(t)
	var e attr.Encoder
	e.Str("client_address", "192.0.2.1")
	e.Str("client_port", "54672")
	e.Str("server_address", "192.0.2.2")
	e.Str("server_port", "25")
	e.End()
	c := dial()
	passed(t, c, server, e.Bytes())
	server.Close()
	if got, err := bufio.NewReader(client).ReadString('\n'); got != "192.0.2.1 54672 192.0.2.2 25\n" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the passing connection: %v", err)
	}
	// Without a descriptor, and with a list that is cut off.
	bad := dial()
	bad.Write(append([]byte{0}, e.Bytes()...))
	bad.Read(make([]byte, 1)) //nolint:errcheck // waits for the end
	_, server2 := tcpPair(t)
	bad = dial()
	passed(t, bad, server2, e.Bytes()[:20])
	bad.(*net.UnixConn).CloseWrite()
	bad.Read(make([]byte, 1)) //nolint:errcheck // waits for the end
	if n := strings.Count(log.String(), "cannot receive connection attributes"); n != 2 {
		t.Errorf("log: %s", log)
	}
}
