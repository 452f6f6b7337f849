package agent

import (
	"bufio"
	"net"
	"os"
	"strings"
	"testing"

	"sealpost/lib/attr"
	"sealpost/lib/mailproto"
)

// otherAgent answers one delivery request on private/other.
func otherAgent(t *testing.T, answer bool, retry bool) <-chan *mailproto.DeliveryRequest {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("private", 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", "private/other")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	got := make(chan *mailproto.DeliveryRequest, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var e attr.Encoder
		mailproto.Greeting{Protocol: mailproto.ProtoDelivery}.Append(&e)
		conn.Write(e.Bytes())
		req, _ := mailproto.ReadDeliveryRequest(attr.NewDecoder(bufio.NewReader(conn), attr.Strict))
		got <- req
		if answer {
			e.Reset()
			mailproto.DeliveryReply{Retry: retry}.Append(&e)
			conn.Write(e.Bytes())
		}
	}()
	return got
}

func TestPass(t *testing.T) {
	for _, tc := range []struct {
		name          string
		answer, retry bool
		transport     string
		log           string
		wantRetry     bool
	}{
		{"taken over", true, false, "other", "", false},
		{"tried again later", true, true, "other", "", true},
		{"no answer", false, false, "other", "dsn=4.3.0, status=deferred (mail transport unavailable)", true},
		{"no such transport", true, false, "nosuch", "dsn=4.3.0, status=deferred (mail transport unavailable)", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, nil)
			got := otherAgent(t, tc.answer, tc.retry)
			d := f.frame.newDelivery(f.frame.env.Log, f.req, nil)
			d.Pass(t.Context(), &f.req.Recipients[0], tc.transport, "hop")
			if d.retry != tc.wantRetry || !strings.Contains(f.log.String(), tc.log) || tc.log == "" && f.log.Len() > 0 {
				t.Errorf("retry %v, log %q", d.retry, f.log)
			}
			if tc.transport != "other" {
				return
			}
			if req := <-got; req == nil || req.Nexthop != "hop" || len(req.Recipients) != 1 || req.Recipients[0] != f.req.Recipients[0] {
				t.Errorf("request %+v", req)
			}
		})
	}
}
