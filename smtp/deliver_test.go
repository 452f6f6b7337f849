package main

import (
	"strings"
	"testing"

	"sealpost/lib/sendopts"
)

const piped = "PIPELINING SIZE=10240000 ENHANCEDSTATUSCODES 8BITMIME DSN SMTPUTF8"

// TestServerBehaviours: what one server says, and what becomes of the mail.
func TestServerBehaviours(t *testing.T) {
	const said = "host 127.0.0.1[127.0.0.1] said: "
	for _, tc := range []struct {
		name string
		ehlo string
		on   map[string]string
		set  map[string]string
		rcpt string
		want string
		hop  string // reason that qmgr gets
	}{
		{name: "pipelined", ehlo: piped, want: "a@b.test sent 2.0.0 250 2.0.0 queued"},
		{name: "not pipelined", ehlo: "SIZE", want: "a@b.test sent 2.0.0 250 2.0.0 queued"},
		{name: "HELO after EHLO was refused", ehlo: "-", want: "a@b.test sent 2.0.0 250 2.0.0 queued"},
		{name: "reply without enhanced code", on: map[string]string{"DOT": "250 ok"}, want: "a@b.test sent 2.0.0 250 ok"},
		{name: "multi-line reply", on: map[string]string{"DOT": "250-2.0.0 a|250 2.6.0 b"},
			want: "a@b.test sent 2.6.0 250-2.0.0 a 250 2.6.0 b"},
		{name: "greeting 4xx", on: map[string]string{"BANNER": "450 4.3.2 later"},
			want: "a@b.test deferred 4.3.2 host 127.0.0.1[127.0.0.1] refused to talk to me: 450 4.3.2 later",
			hop:  "host 127.0.0.1[127.0.0.1] refused to talk to me: 450 4.3.2 later"},
		{name: "greeting 5xx", on: map[string]string{"BANNER": "554 5.7.1 go away"},
			want: "a@b.test deferred 4.7.1 host 127.0.0.1[127.0.0.1] refused to talk to me: 554 5.7.1 go away",
			hop:  "host 127.0.0.1[127.0.0.1] refused to talk to me: 554 5.7.1 go away"},
		{name: "greeting 5xx believed", on: map[string]string{"BANNER": "554 5.7.1 go away"}, set: map[string]string{"smtp_skip_5xx_greeting": "no"},
			want: "a@b.test bounced 5.7.1 host 127.0.0.1[127.0.0.1] refused to talk to me: 554 5.7.1 go away"},
		{name: "greeting hangs up", on: map[string]string{"BANNER": "!close"},
			want: "a@b.test deferred 4.4.2 lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting",
			hop:  "lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting"},
		{name: "greeting never comes", on: map[string]string{"BANNER": "!hang"}, set: map[string]string{"smtp_helo_timeout": "1s"},
			want: "a@b.test deferred 4.4.2 conversation with 127.0.0.1[127.0.0.1] timed out while receiving the initial server greeting",
			hop:  "conversation with 127.0.0.1[127.0.0.1] timed out while receiving the initial server greeting"},
		{name: "greeting is no reply", on: map[string]string{"BANNER": "hello"},
			want: "a@b.test deferred 4.5.0 protocol error: host 127.0.0.1[127.0.0.1] sent a malformed reply while receiving the initial server greeting"},
		{name: "EHLO hangs up", on: map[string]string{"EHLO": "!close"},
			want: "a@b.test deferred 4.4.2 lost connection with 127.0.0.1[127.0.0.1] while performing the EHLO handshake",
			hop:  "lost connection with 127.0.0.1[127.0.0.1] while performing the EHLO handshake"},
		{name: "HELO refused", ehlo: "-", on: map[string]string{"HELO": "550 5.7.1 bad name"},
			want: "a@b.test bounced 5.7.1 host 127.0.0.1[127.0.0.1] refused to talk to me: 550 5.7.1 bad name"},
		{name: "EHLO 421", on: map[string]string{"EHLO": "421 4.3.2 full!close"},
			want: "a@b.test deferred 4.3.2 host 127.0.0.1[127.0.0.1] refused to talk to me: 421 4.3.2 full",
			hop:  "host 127.0.0.1[127.0.0.1] refused to talk to me: 421 4.3.2 full"},
		{name: "MAIL 5xx", ehlo: piped, on: map[string]string{"MAIL": "550 5.1.7 no", "RCPT": "503 5.5.1 no", "DATA": "503 5.5.1 no"},
			want: "a@b.test bounced 5.1.7 " + said + "550 5.1.7 no (in reply to MAIL FROM command)"},
		{name: "MAIL 4xx not pipelined", on: map[string]string{"MAIL": "450 4.1.8 later"},
			want: "a@b.test deferred 4.1.8 " + said + "450 4.1.8 later (in reply to MAIL FROM command)"},
		{name: "MAIL 421 and close", ehlo: piped, on: map[string]string{"MAIL": "421 4.7.0 bye!close"},
			want: "a@b.test deferred 4.7.0 " + said + "421 4.7.0 bye (in reply to MAIL FROM command)"},
		{name: "MAIL hangs up", on: map[string]string{"MAIL": "!close"},
			want: "a@b.test deferred 4.4.2 lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM",
			hop:  "lost connection with 127.0.0.1[127.0.0.1] while sending MAIL FROM"},
		{name: "RCPT 5xx of one", ehlo: piped, on: map[string]string{"RCPT TO:<c@b.test>": "550 5.1.1 unknown"}, rcpt: "a@b.test c@b.test",
			want: "a@b.test sent 2.0.0 250 2.0.0 queued\nc@b.test bounced 5.1.1 " + said + "550 5.1.1 unknown (in reply to RCPT TO command)"},
		{name: "RCPT 4xx of one", on: map[string]string{"RCPT TO:<c@b.test>": "450 4.2.1 full"}, rcpt: "a@b.test c@b.test",
			want: "a@b.test sent 2.0.0 250 2.0.0 queued\nc@b.test deferred 4.2.1 " + said + "450 4.2.1 full (in reply to RCPT TO command)"},
		{name: "RCPT 5xx of all", ehlo: piped, on: map[string]string{"RCPT": "550 5.1.1 unknown", "DATA": "554 5.5.1 no recipients"},
			want: "a@b.test bounced 5.1.1 " + said + "550 5.1.1 unknown (in reply to RCPT TO command)"},
		{name: "RCPT 5xx of all, DATA 354", ehlo: piped, on: map[string]string{"RCPT": "550 5.1.1 unknown"},
			want: "a@b.test bounced 5.1.1 " + said + "550 5.1.1 unknown (in reply to RCPT TO command)"},
		{name: "RCPT 421", ehlo: piped, on: map[string]string{"RCPT TO:<c@b.test>": "421 4.7.0 too many!close"}, rcpt: "a@b.test c@b.test",
			want: "a@b.test deferred 4.7.0 " + said + "421 4.7.0 too many (in reply to RCPT TO command)\n" +
				"c@b.test deferred 4.7.0 " + said + "421 4.7.0 too many (in reply to RCPT TO command)"},
		{name: "enhanced code of another class", on: map[string]string{"RCPT": "550 4.1.1 odd"},
			want: "a@b.test bounced 5.0.0 " + said + "550 4.1.1 odd (in reply to RCPT TO command)"},
		{name: "mismatched codes", on: map[string]string{"RCPT": "250-yes|550 5.1.1 no"},
			want: "a@b.test bounced 5.1.1 " + said + "250-yes 550 5.1.1 no (in reply to RCPT TO command)"},
		{name: "control characters", on: map[string]string{"RCPT": "550 5.1.1 a\x00\x1b[1m\x07b"},
			want: "a@b.test bounced 5.1.1 " + said + "550 5.1.1 a??[1m?b (in reply to RCPT TO command)"},
		{name: "RCPT 354", on: map[string]string{"RCPT": "354 what"},
			want: "a@b.test bounced 5.5.0 " + said + "354 what (in reply to RCPT TO command)"},
		{name: "DATA 4xx", on: map[string]string{"DATA": "451 4.3.0 no"},
			want: "a@b.test deferred 4.3.0 " + said + "451 4.3.0 no (in reply to DATA command)"},
		{name: "DATA 5xx pipelined", ehlo: piped, on: map[string]string{"DATA": "554 5.3.0 no"},
			want: "a@b.test bounced 5.3.0 " + said + "554 5.3.0 no (in reply to DATA command)"},
		{name: "DATA 250", ehlo: piped, on: map[string]string{"DATA": "250 2.0.0 sure"},
			want: "a@b.test bounced 5.5.0 Protocol error: " + said + "250 2.0.0 sure (in reply to DATA command)"},
		{name: "250 before the end", ehlo: piped, on: map[string]string{"DATA": "354 go|250 2.0.0 queued"},
			want: "a@b.test deferred 4.5.0 protocol error: host 127.0.0.1[127.0.0.1] replied before the end of the message: 250 2.0.0 queued"},
		{name: "refused before the end", ehlo: piped, on: map[string]string{"DATA": "354 go|552 5.3.4 too big"},
			want: "a@b.test bounced 5.3.4 " + said + "552 5.3.4 too big (in reply to end of DATA command)"},
		{name: "end of data 5xx", ehlo: piped, on: map[string]string{"DOT": "554 5.7.1 spam"}, rcpt: "a@b.test c@b.test",
			want: "a@b.test bounced 5.7.1 " + said + "554 5.7.1 spam (in reply to end of DATA command)\n" +
				"c@b.test bounced 5.7.1 " + said + "554 5.7.1 spam (in reply to end of DATA command)"},
		{name: "end of data 421", on: map[string]string{"DOT": "421 4.3.0 shutting down!close"},
			want: "a@b.test deferred 4.3.0 " + said + "421 4.3.0 shutting down (in reply to end of DATA command)"},
		{name: "end of data hangs up", on: map[string]string{"DOT": "!close"},
			want: "a@b.test deferred 4.4.2 lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than once",
			hop:  "lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than once"},
		{name: "end of data times out", on: map[string]string{"DOT": "!hang"}, set: map[string]string{"smtp_data_done_timeout": "1s"},
			want: "a@b.test deferred 4.4.2 conversation with 127.0.0.1[127.0.0.1] timed out while sending end of data -- message may be sent more than once",
			hop:  "conversation with 127.0.0.1[127.0.0.1] timed out while sending end of data -- message may be sent more than once"},
		{name: "message too big", ehlo: "SIZE=50",
			want: "a@b.test bounced 5.3.4 message size 100 exceeds size limit 50 of server 127.0.0.1[127.0.0.1]"},
		{name: "endless reply", on: map[string]string{"RCPT": strings.Repeat("250-x|", 3000) + "250 x"},
			want: "a@b.test deferred 4.5.0 protocol error: host 127.0.0.1[127.0.0.1] sent a malformed reply while sending RCPT TO"},
		{name: "reply line of 1 MB", on: map[string]string{"RCPT": "250 " + strings.Repeat("x", 1<<20)},
			want: "a@b.test deferred 4.5.0 protocol error: host 127.0.0.1[127.0.0.1] sent a malformed reply while sending RCPT TO"},
		{name: "second reply in a reply", on: map[string]string{"RCPT": "553-|553||dispatcher: x"},
			want: "a@b.test bounced 5.0.0 " + said + "553- 553 (in reply to RCPT TO command)"},
		{name: "own hostname on another port", on: map[string]string{"BANNER": "220 client.test", "EHLO": "250 client.test"},
			want: "a@b.test sent 2.0.0 250 2.0.0 queued"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, script{ehlo: tc.ehlo, on: tc.on})
			f := newFixture(t, "smtp", tc.set, nil)
			rcpts := strings.Fields(tc.rcpt)
			if len(rcpts) == 0 {
				rcpts = []string{"a@b.test"}
			}
			out := f.run(t, request(s.nexthop(), rcpts...))
			if out.String() != tc.want {
				t.Errorf("got  %s\nwant %s", out, tc.want)
			}
			if out.hop.Reason != tc.hop {
				t.Errorf("destination status %q\nwant %q", out.hop.Reason, tc.hop)
			}
			if strings.Contains(s.seen(), "BAD LINE") {
				t.Errorf("the server saw\n%s", s.seen())
			}
		})
	}
}

func TestCommandsAndParameters(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	req := request(s.nexthop(), `od d@b.test`, "c@b.test")
	req.EnvelopeID, req.Ret, req.Encoding = "id+1", 2, "8bit"
	req.Recipients[0].OrigRcpt, req.Recipients[0].Notify = "rfc822;o=d@b.test", 6
	req.Recipients[1].OrigAddr, req.Recipients[1].Notify = "orig@b.test", 1
	f.run(t, req)
	want := `EHLO client.test
MAIL FROM:<from@a.test> SIZE=100 BODY=8BITMIME ENVID=id+2B1 RET=HDRS
RCPT TO:<"od d"@b.test> ORCPT=rfc822;o+3Dd@b.test NOTIFY=SUCCESS,FAILURE
RCPT TO:<c@b.test> ORCPT=rfc822;orig@b.test NOTIFY=NEVER
DATA
QUIT`
	if s.waitFor(t, "QUIT"); s.seen() != want {
		t.Errorf("got\n%s\nwant\n%s", s.seen(), want)
	}
	if got := string(s.last(t)); got != "Subject: test\r\n\r\nbody\r\n..dot\r\n..\r\n" {
		t.Errorf("content %q", got)
	}
}

func TestSMTPUTF8(t *testing.T) {
	for _, tc := range []struct {
		name, ehlo, rcpt string
		opts             sendopts.Options
		want, mail       string
	}{
		{"offered", piped, "ü@b.test", sendopts.SMTPUTF8Requested | sendopts.SMTPUTF8Recipient, "ü@b.test sent 2.0.0 250 2.0.0 queued", " SMTPUTF8"},
		{"not offered", "PIPELINING", "a@b.test", sendopts.SMTPUTF8Requested | sendopts.SMTPUTF8Header,
			"a@b.test bounced 5.6.7 message requires SMTPUTF8, but no server was found that supports SMTPUTF8. The last attempted server was 127.0.0.1[127.0.0.1]", ""},
		{"asked for and not needed", "PIPELINING", "a@b.test", sendopts.SMTPUTF8Requested, "a@b.test sent 2.0.0 250 2.0.0 queued", ""},
		{"8-bit address, not asked for", "PIPELINING", "ü@b.test", 0,
			"ü@b.test bounced 5.6.7 message requires SMTPUTF8, but no server was found that supports SMTPUTF8. The last attempted server was 127.0.0.1[127.0.0.1]", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, script{ehlo: tc.ehlo})
			f := newFixture(t, "smtp", nil, nil)
			req := request(s.nexthop(), tc.rcpt)
			req.SendOpts = tc.opts
			if out := f.run(t, req); out.String() != tc.want {
				t.Errorf("got  %s\nwant %s", out, tc.want)
			}
			if sent := strings.Contains(s.seen(), "MAIL FROM:"); sent != strings.Contains(tc.want, " sent ") {
				t.Errorf("the server saw\n%s", s.seen())
			}
			if strings.Contains(s.seen(), " SMTPUTF8") != (tc.mail != "") {
				t.Errorf("the server saw\n%s", s.seen())
			}
		})
	}
}

func TestControlCharactersInAddresses(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := newFixture(t, "smtp", nil, nil)
	out := f.run(t, request(s.nexthop(), "a\r\nDATA\r\n@b.test", "ok@b.test"))
	if !strings.Contains(out.String(), " bounced 5.1.3 bad recipient address") || !strings.Contains(out.String(), "ok@b.test sent") {
		t.Error(out)
	}
	if strings.Count(s.seen(), "DATA") != 1 {
		t.Errorf("the server saw\n%s", s.seen())
	}
}

func TestDiscardedKeywords(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	for value, want := range map[string]string{
		"pipelining, dsn, chunking": "4XYZ: discarding EHLO keywords: DSN PIPELINING",
		"silent-discard, DSN":       "",
		"starttls":                  "",
	} {
		f := newFixture(t, "smtp", map[string]string{"smtp_discard_ehlo_keywords": value}, nil)
		req := request(s.nexthop(), "a@b.test")
		req.Recipients[0].Notify = 1
		before := strings.Count(s.seen(), "NOTIFY")
		f.run(t, req)
		if got := f.logged(); got != want {
			t.Errorf("%s: log %q, want %q", value, got, want)
		}
		if used := strings.Count(s.seen(), "NOTIFY") > before; used != (value == "starttls") {
			t.Errorf("%s: DSN used: %v", value, used)
		}
	}
}

func TestKeywordsDiscardedByAddress(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	const discarding = "4XYZ: discarding EHLO keywords: "
	for _, tt := range []struct{ maps, logged string }{
		{"inline:{ {127.0.0.1 = pipelining, dsn} }", discarding + "DSN PIPELINING"},
		{"inline:{ {127.0.0.1 = silent-discard pipelining dsn} }", ""},
		{"cidr:{ {127.0.0.0/8 dsn} }", discarding + "DSN"},
		{"inline:{ {127.0.0.1 = starttls} }", ""},                   // takes the place of the list
		{"inline:{ {127.0.0.9 = dsn} }", discarding + "PIPELINING"}, // the list
	} {
		f := newFixture(t, "smtp", map[string]string{"smtp_discard_ehlo_keywords": "pipelining",
			"smtp_discard_ehlo_keyword_address_maps": tt.maps}, nil)
		if o := f.run(t, request(s.nexthop(), "a@b.test")); !strings.HasPrefix(o.String(), "a@b.test sent ") {
			t.Errorf("%s: %s", tt.maps, o)
		}
		if got := f.logged(); got != tt.logged {
			t.Errorf("%s: log %q, want %q", tt.maps, got, tt.logged)
		}
	}
	// What a table that fails would hide is not known.
	before := s.seen()
	f := newFixture(t, "smtp", map[string]string{"smtp_discard_ehlo_keyword_address_maps": "fail:x"}, nil)
	o := f.run(t, request(s.nexthop(), "a@b.test"))
	if !strings.HasPrefix(o.String(), "a@b.test deferred 4.3.0 smtp_discard_ehlo_keyword_address_maps: ") {
		t.Errorf("a table that fails: %s", o)
	}
	if s.seen() != before {
		t.Errorf("the server saw\n%s", strings.TrimPrefix(s.seen(), before))
	}
}
