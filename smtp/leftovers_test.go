package main

import (
	"cmp"
	"context"
	"strings"
	"testing"

	"sealpost/lib/maillog"
	"sealpost/lib/sendopts"
)

// TestReusedConnectionAndOtherHosts: a message that a host leaves for a time, asked over
// an idle connection, goes to the other hosts; this host gets it once, and its connection
// is told of in the log when it was the last one.
func TestReusedConnectionAndOtherHosts(t *testing.T) {
	grey := map[string]string{"RCPT TO:<c@b.test>": "450 4.2.0 grey", "RCPT TO:<d@b.test>": "452 4.2.2 full"}
	good := script{ehlo: piped}
	for _, tc := range []struct {
		name    string
		scripts []script
		set     map[string]string
		rcpts   string
		opts    sendopts.Options
		want    string
		relay   string // of the last outcome
		field   string // its tls=; "": may:none
		dials   string
		asked   int // MAIL commands at the first host, that of the first message included
	}{
		{name: "the next host takes it", scripts: []script{{ehlo: piped, on: grey}, good}, rcpts: "c@b.test",
			want: "c@b.test sent 2.0.0 250 2.0.0 queued", relay: "mx2.test[192.0.2.2]:25", dials: "mx1.test mx2.test", asked: 2},
		{name: "one of two recipients", scripts: []script{{ehlo: piped, on: grey}, good}, rcpts: "a@b.test c@b.test",
			want: "a@b.test sent 2.0.0 250 2.0.0 queued\nc@b.test sent 2.0.0 250 2.0.0 queued", relay: "mx2.test[192.0.2.2]:25", dials: "mx1.test mx2.test", asked: 2},
		{name: "there is no other host", scripts: []script{{ehlo: piped, on: grey}}, rcpts: "c@b.test d@b.test",
			want: "c@b.test deferred 4.2.0 host mx1.test[192.0.2.1] said: 450 4.2.0 grey (in reply to RCPT TO command)\n" +
				"d@b.test deferred 4.2.2 host mx1.test[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command)",
			relay: "mx1.test[192.0.2.1]:25", dials: "mx1.test", asked: 2},
		{name: "no limit of sessions", scripts: []script{{ehlo: piped, on: grey}}, set: map[string]string{"smtp_mx_session_limit": "0"}, rcpts: "c@b.test",
			want:  "c@b.test deferred 4.2.0 host mx1.test[192.0.2.1] said: 450 4.2.0 grey (in reply to RCPT TO command)",
			relay: "mx1.test[192.0.2.1]:25", dials: "mx1.test", asked: 2},
		{name: "the next host knows SMTPUTF8", scripts: []script{{ehlo: "PIPELINING"}, good}, rcpts: "ü@b.test", opts: sendopts.SMTPUTF8Requested | sendopts.SMTPUTF8Recipient,
			want: "ü@b.test sent 2.0.0 250 2.0.0 queued", relay: "mx2.test[192.0.2.2]:25", dials: "mx1.test mx2.test", asked: 1},
		{name: "no host knows SMTPUTF8", scripts: []script{{ehlo: "PIPELINING"}}, set: map[string]string{"smtp_mx_session_limit": "0"}, rcpts: "ü@b.test",
			opts:  sendopts.SMTPUTF8Requested | sendopts.SMTPUTF8Recipient,
			want:  "ü@b.test bounced 5.6.7 message requires SMTPUTF8, but no server was found that supports SMTPUTF8. The last attempted server was mx1.test[192.0.2.1]",
			relay: "mx1.test[192.0.2.1]:25", dials: "mx1.test", asked: 1},
		{name: "the next host is down", scripts: []script{{ehlo: piped, on: grey}, {on: map[string]string{"BANNER": "!close"}}}, rcpts: "c@b.test",
			want:  "c@b.test deferred 4.4.2 lost connection with mx2.test[192.0.2.2] while receiving the initial server greeting",
			relay: "mx2.test[192.0.2.2]:25", field: "may?", dials: "mx1.test mx2.test", asked: 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &mxs{}
			for _, sc := range tc.scripts {
				m.servers = append(m.servers, serve(t, sc))
			}
			f := m.fixture(t, tc.set)
			first := cachingRequest("b.test")
			if out := f.run(t, first); !strings.Contains(out.String(), " sent ") {
				t.Fatal(out)
			}
			req := request("b.test", strings.Fields(tc.rcpts)...)
			req.Flags, req.SendOpts = first.Flags, tc.opts
			out := f.run(t, req)
			if out.String() != tc.want {
				t.Errorf("got  %s\nwant %s", out, tc.want)
			}
			o, field := out.full[len(out.full)-1], cmp.Or(tc.field, "may:none")
			if o.Relay != tc.relay || o.TLS != field {
				t.Errorf("relay=%s, tls=%s; want relay=%s, tls=%s", o.Relay, o.TLS, tc.relay, field)
			}
			if got := strings.Join(m.dials, " "); got != tc.dials {
				t.Errorf("connected to %s, want %s", got, tc.dials)
			}
			if n := strings.Count(m.servers[0].seen(), "MAIL FROM:"); n != tc.asked {
				t.Errorf("%d MAIL commands at the first host, want %d:\n%s", n, tc.asked, m.servers[0].seen())
			}
		})
	}
}

// endsAt is a log that ends the process when a line has this text.
type endsAt struct {
	text string
	end  context.CancelFunc
}

func (e endsAt) Write(b []byte) (int, error) {
	if strings.Contains(string(b), e.text) {
		e.end()
	}
	return len(b), nil
}

// TestProcessEndsBetweenHosts: what is permanent only when no other host is left is not
// permanent because this process had no time for the others.
func TestProcessEndsBetweenHosts(t *testing.T) {
	m := &mxs{servers: []*server{serve(t, script{ehlo: "PIPELINING"}), serve(t, script{ehlo: piped})}}
	f := m.fixture(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const reason = "message requires SMTPUTF8, but no server was found that supports SMTPUTF8."
	out := &outcomesLog{}
	f.deliver(ctx, job{req: request("b.test", "ü@b.test"), out: out, data: func() content { return &lines{rest: message7bit} },
		log: maillog.New(maillog.Options{Program: "smtp", Writer: endsAt{reason, cancel}})})
	if want := "ü@b.test deferred 4.3.2 delivery was interrupted (" + reason; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got  %s\nwant %s", out, want)
	}
}
