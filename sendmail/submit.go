package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
)

// channel is a way into the mail system: the submit socket, or a postdrop.
type channel struct {
	io.Writer
	in    *bufio.Reader
	close func() error
}

// errUnavailable: neither way is open; exit status 69.
var errUnavailable = errors.New("the mail system cannot be reached")

// connectTimeout bounds how long a full socket is waited for before the message
// goes into maildrop instead.
const connectTimeout = 10 * time.Second

// openChannel connects to the submit socket or, when nobody answers there, runs
// postdrop.
func openChannel(set settings, configDir string) (*channel, error) {
	if c, err := dialSubmit(set.QueueDir); err == nil {
		return c, nil
	}
	return runPostdrop(set.CommandDir+"/postdrop", configDir)
}

// dialSubmit connects to the socket user/submit. The name is relative: with the
// directory in front it may be longer than a socket address can hold.
func dialSubmit(queueDir string) (*channel, error) {
	back, err := os.Getwd()
	if err != nil {
		back = "/"
	}
	if err := os.Chdir(queueDir); err != nil {
		return nil, err
	}
	defer os.Chdir(back)
	conn, err := net.DialTimeout("unix", mailproto.PathSubmit, connectTimeout)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReader(conn)
	conn.SetReadDeadline(time.Now().Add(connectTimeout))
	if _, err := mailproto.ReadGreeting(attr.NewDecoder(in, attr.Strict), mailproto.ProtoPostdrop); err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetReadDeadline(time.Time{})
	return &channel{Writer: conn, in: in, close: conn.Close}, nil
}

func runPostdrop(path, configDir string) (*channel, error) {
	cmd := exec.Command(path, "-r")
	cmd.Env = []string{"MAIL_CONFIG=" + configDir, "LANG=C", "PATH=/usr/bin:/bin", "TZ=" + os.Getenv("TZ")}
	cmd.Stderr = os.Stderr
	w, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: no answer on the submit socket, and %v", errUnavailable, err)
	}
	closeAll := func() error {
		w.Close()
		return cmd.Wait()
	}
	in := bufio.NewReader(r)
	if _, err := mailproto.ReadGreeting(attr.NewDecoder(in, attr.Strict), mailproto.ProtoPostdrop); err != nil {
		closeAll()
		return nil, fmt.Errorf("%w: no answer on the submit socket, and %s failed", errUnavailable, path)
	}
	return &channel{Writer: w, in: in, close: closeAll}, nil
}

// finish waits for the verdict. No answer is not a success: the caller tries
// again, at worst the message arrives twice.
func (c *channel) finish() (mailproto.CleanupReply, error) {
	reply, err := mailproto.ReadCleanupReply(attr.NewDecoder(c.in, attr.Strict))
	c.close() // its verdict was in the reply
	if err != nil {
		return reply, fmt.Errorf("the mail system gave no answer: %w", err)
	}
	return reply, nil
}
