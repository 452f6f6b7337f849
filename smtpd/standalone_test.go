package main

import (
	"bufio"
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"sealpost/lib/attr"
	"sealpost/lib/mailclient"
	"sealpost/lib/mailproto"
	"sealpost/lib/record"
	"sealpost/lib/submit"
)

// TestStandAlone: what sendmail -bs submits passes the checks for local users.
func TestStandAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("user", 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", mailproto.PathSubmit)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	type outcome struct {
		types string
		notes []string
		err   error
	}
	got := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() { got <- o }()
		conn, err := l.Accept()
		if err != nil {
			o.err = err
			return
		}
		defer conn.Close()
		var e attr.Encoder
		mailproto.Greeting{Protocol: mailproto.ProtoPostdrop}.Append(&e)
		conn.Write(e.Bytes())
		r := record.NewReader(bufio.NewReader(conn), 0)
		var check submit.Checker
		for !check.Done() {
			typ, payload, err := r.Read()
			if err != nil {
				o.err = err
				return
			}
			_, note, err := check.Accept(typ, payload)
			if err != nil {
				o.err = err
				return
			}
			if note != "" {
				o.notes = append(o.notes, note)
			}
			o.types += string(typ)
		}
		e.Reset()
		mailproto.CleanupReply{}.Append(&e)
		conn.Write(e.Bytes())
	}()
	r := newRig(t, "mynetworks=10.0.0.0/8", "smtpd_client_restrictions=reject")
	r.srv.env.StandAlone = true
	r.srv.openQueue = func(ctx context.Context, _ mailproto.CleanupFlags) (queueWriter, error) {
		return mailclient.OpenSubmission(ctx, "/nonexistent/postdrop", "")
	}
	d := r.start()
	d.want(mailA+" BODY=8BITMIME RET=FULL", senderOK, "RCPT TO:<x@elsewhere.example> NOTIFY=NEVER", rcptOK,
		"DATA", goAhead, "Subject: x\r\n\r\nbody\r\n.", "250 2.0.0 Ok: queued")
	o := <-got
	if o.err != nil || o.notes != nil {
		t.Errorf("records %q, notes %q, err %v", o.types, o.notes, o.err)
	}
	if !strings.HasPrefix(o.types, "A") || !strings.HasSuffix(o.types, "XE") {
		t.Errorf("records %q", o.types)
	}
}

func TestStandAloneWithoutAWayIn(t *testing.T) {
	t.Chdir(t.TempDir())
	r := newRig(t)
	r.srv.env.StandAlone = true
	r.srv.openQueue = func(ctx context.Context, _ mailproto.CleanupFlags) (queueWriter, error) {
		return mailclient.OpenSubmission(ctx, "/nonexistent/postdrop", "")
	}
	d := r.start()
	d.want(mailA, "451 4.3.0 Error: queue file write error", rcptBob, needMail)
}
