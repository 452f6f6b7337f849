package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/service"
	"sealpost/test/capture"
)

// recorded is what one recorded stream to cleanup says about its SMTP session.
type recorded struct {
	id      string
	flags   mailproto.CleanupFlags
	stream  []byte // without the flags
	attrs   map[string]string
	arrival time.Time
	mail    string
	rcpts   []string
	content []string // lines as sent, dots not stuffed
	ended   bool     // END was sent
	foreign bool     // made with milters, access tables or REQUIRETLS
}

func parseRecorded(t *testing.T, c capture.Conn) recorded {
	t.Helper()
	r := recorded{attrs: map[string]string{}}
	greeting, err := mailproto.ReadGreeting(attr.NewDecoder(bufio.NewReader(bytes.NewReader(c.Server)), attr.Strict), mailproto.ProtoCleanup)
	if err != nil {
		t.Fatal(err)
	}
	r.id = greeting.QueueID
	br := bufio.NewReader(bytes.NewReader(c.Client))
	req, err := mailproto.ReadCleanupRequest(attr.NewDecoder(br, attr.Strict))
	if err != nil {
		t.Fatal(err)
	}
	r.flags = req.Flags
	r.foreign = req.Flags&(mailproto.CleanupMilter|mailproto.CleanupReqTLS) != 0
	if r.stream, err = io.ReadAll(br); err != nil {
		t.Fatal(err)
	}
	r.parseRecords(t)
	return r
}

func (r *recorded) parseRecords(t *testing.T) {
	reader := record.NewReader(bufio.NewReader(bytes.NewReader(r.stream)), 0)
	var params, content string
	inContent := false
	for !r.foreign {
		typ, payload, err := reader.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text := string(payload)
		switch {
		case inContent && typ == record.Cont:
			content += text
		case inContent && typ == record.Norm:
			content += text + "\n"
		case typ == record.Message:
			inContent = true
		case typ == record.Extracted:
			inContent = false
		case typ == record.End:
			r.ended = true
		case typ == record.Time:
			var sec, usec int64
			fmt.Sscanf(text, "%d %d", &sec, &usec)
			r.arrival = time.Unix(sec, usec*1000).UTC()
		case typ == record.From:
			r.mail = text
		case typ == record.Attr:
			name, value, _ := record.SplitAttr(text)
			r.attrs[name] = value
			if name == "notify_flags" {
				params += " NOTIFY=" + notifyWords(value)
			}
		case typ == record.Rcpt:
			if orcpt := r.attrs["dsn_orig_rcpt"]; orcpt != "rfc822;"+text {
				params += " ORCPT=" + strings.ReplaceAll(orcpt, "+", "+2B")
			}
			r.rcpts = append(r.rcpts, "RCPT TO:<"+text+">"+params)
			params = ""
		default:
			r.foreign = true
		}
	}
	r.content = withoutReceived(strings.SplitAfter(content, "\n"))
}

// withoutReceived drops our own header, of which the last line is the first one
// with a date.
func withoutReceived(lines []string) []string {
	for i, line := range lines {
		if strings.HasSuffix(line, "(UTC)\n") {
			return lines[i+1:]
		}
	}
	return nil
}

func notifyWords(mask string) string {
	n, _ := strconv.Atoi(mask)
	var words []string
	for i, w := range []string{"NEVER", "SUCCESS", "FAILURE", "DELAY"} {
		if n&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, ",")
}

func (r *recorded) mailCommand() string {
	cmd := "MAIL FROM:<" + r.mail + ">"
	if v := r.attrs["envelope_id"]; v != "" {
		cmd += " ENVID=" + strings.ReplaceAll(v, "+", "+2B")
	}
	switch r.attrs["ret_flags"] {
	case "1":
		cmd += " RET=FULL"
	case "2":
		cmd += " RET=HDRS"
	}
	switch r.attrs["encoding"] {
	case "8bit":
		cmd += " BODY=8BITMIME"
	case "7bit":
		cmd += " BODY=7BIT"
	}
	if r.flags&mailproto.CleanupSMTPUTF8 != 0 {
		cmd += " SMTPUTF8"
	}
	return cmd
}

// masked is a connection with other addresses than its own.
type masked struct {
	net.Conn
	local, remote *net.TCPAddr
}

func (m masked) LocalAddr() net.Addr  { return m.local }
func (m masked) RemoteAddr() net.Addr { return m.remote }

func tcpAddr(t *testing.T, host, port string) *net.TCPAddr {
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), uint16(n)))
}

// TestRecordedStreams repeats the sessions behind the recorded streams from
// smtpd to cleanup; ours must be the same to the byte.
func TestRecordedStreams(t *testing.T) {
	compared := 0
	for _, c := range capture.Conns(t, "cleanup-from-smtpd", "cleanup-w-from-smtpd") {
		rec := parseRecorded(t, c)
		if rec.foreign {
			continue
		}
		compared++
		t.Run(c.Name(), func(t *testing.T) {
			m := replay(t, &rec)
			if m == nil {
				t.Fatal("no message")
			}
			if m.flags != rec.flags {
				t.Errorf("flags %d, want %d", m.flags, rec.flags)
			}
			if !bytes.Equal(m.stream, rec.stream) {
				t.Errorf("stream\n%q\nwant\n%q", m.stream, rec.stream)
			}
		})
	}
	if compared < 20 {
		t.Errorf("only %d recorded sessions", compared)
	}
}

// replay runs a recorded session and returns what cleanup got.
func replay(t *testing.T, rec *recorded) *fakeMessage {
	r := newRig(t, "mynetworks=127.0.0.0/8", "smtpd_reject_unlisted_recipient=no")
	r.srv.now = func() time.Time { return rec.arrival }
	var message *fakeMessage
	r.srv.openQueue = func(_ context.Context, flags mailproto.CleanupFlags) (queueWriter, error) {
		message = &fakeMessage{owner: r.cleanup, id: rec.id, flags: flags}
		return message, nil
	}
	client, server := net.Pipe()
	d := &dialog{t: t, conn: client, in: bufio.NewReader(client), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		r.srv.serve(context.Background(), &service.Session{Log: r.srv.env.Log, Conn: masked{server,
			tcpAddr(t, rec.attrs["server_address"], rec.attrs["server_port"]),
			tcpAddr(t, rec.attrs["client_address"], rec.attrs["client_port"])}})
		server.Close()
	}()
	d.reply()
	hello := "EHLO "
	if rec.attrs["protocol_name"] == "SMTP" {
		hello = "HELO "
	}
	d.say(hello + rec.attrs["helo_name"])
	d.want(rec.mailCommand(), senderOK)
	for _, rcpt := range rec.rcpts {
		d.want(rcpt, rcptOK)
	}
	if rec.ended {
		d.want("DATA", goAhead)
		for _, line := range rec.content {
			if line == "" {
				continue
			}
			if line[0] == '.' {
				line = "." + line
			}
			d.send(strings.TrimSuffix(line, "\n") + "\r\n")
		}
		if got := d.say("."); got != "250 2.0.0 Ok: queued as "+rec.id {
			t.Errorf("end of data: %q", got)
		}
	}
	client.Close()
	<-d.done
	return message
}
