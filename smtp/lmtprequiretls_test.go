package main

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/sendopts"
)

// TestRequireTLSOverLMTP: lmtp_requiretls_policy over TCP and over a Unix socket, with
// LHLO and a reply for each recipient (requiretls.md §6.1, §6.6; decision 7).
func TestRequireTLSOverLMTP(t *testing.T) {
	x := newSecure(t)
	const asked = "Sender requested REQUIRETLS, but "
	compliant := x.script("right", clearExt, secretExt)
	lax := x.script("right", clearExt, "PIPELINING DSN")
	plain := script{ehlo: "PIPELINING DSN REQUIRETLS"}
	secure := map[string]string{"lmtp_tls_security_level": "secure", "lmtp_tls_secure_cert_match": "mx.b.test"}
	dir := t.TempDir() // in the name of a test's own there are commas
	for i, tc := range []struct {
		name, policy string
		unix         bool
		script       script
		set          map[string]string
		want         string // each recipient's outcome and tls=
		mail         string
		log          string
	}{
		{name: "default", script: plain, mail: "clear: <from@a.test> RET=HDRS",
			want: "sent 2.0.0 none/requiretls:none; bounced 5.1.1 none/requiretls:none; deferred 4.2.2 none/requiretls:none"},
		{name: "default, under TLS", script: compliant, set: map[string]string{"lmtp_tls_security_level": "may"}, mail: "tls: <from@a.test> RET=FULL REQUIRETLS",
			want: "sent 2.0.0 may/requiretls:nocertmatch; bounced 5.1.1 may/requiretls:nocertmatch; deferred 4.2.2 may/requiretls:nocertmatch"},
		{name: "enforce", policy: "enforce", script: compliant, set: secure, mail: "tls: <from@a.test> RET=FULL REQUIRETLS",
			want: "sent 2.0.0 secure/requiretls; bounced 5.1.1 secure/requiretls; deferred 4.2.2 secure/requiretls"},
		{name: "enforce, no REQUIRETLS in the reply to LHLO", policy: "enforce", script: lax, set: secure,
			want: "bounced 5.7.30 secure/!requiretls:none"},
		{name: "enforce, no TLS", policy: "enforce", script: plain, want: "bounced 5.7.10 none?/!requiretls:nocertmatch"},
		{name: "a table by domain", policy: "inline:{{127.0.0.1=disable}} enforce", script: plain, mail: "clear: <from@a.test> RET=FULL",
			want: "sent 2.0.0 none; bounced 5.1.1 none; deferred 4.2.2 none"},
		{name: "a table that fails", policy: "fail:x", script: plain, want: "deferred 4.7.10 none?"},
		{name: "Unix socket, default", unix: true, script: plain, mail: "clear: <from@a.test> RET=HDRS",
			want: "sent 2.0.0 none/requiretls:none; bounced 5.1.1 none/requiretls:none; deferred 4.2.2 none/requiretls:none"},
		{name: "Unix socket, enforce", unix: true, policy: "enforce", script: plain, want: "bounced 5.7.10 none?/!requiretls:nocertmatch",
			log: "warning: TLS policy lookup error for client.test/SOCKET: " + asked + "my configured TLS security level 'none' disables certificate matching. The last attempted server was client.test"},
		{name: "Unix socket, enforce, level may is none there", unix: true, policy: "enforce", script: compliant, set: map[string]string{"lmtp_tls_security_level": "may"},
			want: "bounced 5.7.10 none?/!requiretls:nocertmatch"},
		{name: "Unix socket by $myhostname", unix: true, policy: "inline:{{client.test=disable}} enforce", script: plain, mail: "clear: <from@a.test> RET=FULL",
			want: "sent 2.0.0 none; bounced 5.1.1 none; deferred 4.2.2 none"},
		{name: "Unix socket, enforce, under TLS", unix: true, policy: "enforce", script: compliant, set: secure, mail: "tls: <from@a.test> RET=FULL REQUIRETLS",
			want: "sent 2.0.0 secure/requiretls; bounced 5.1.1 secure/requiretls; deferred 4.2.2 secure/requiretls"},
		{name: "fallback relay of a Unix socket", unix: true, script: plain, set: map[string]string{"lmtp_fallback_relay": "[127.0.0.1]:1"}, mail: "clear: <from@a.test> RET=HDRS",
			want: "sent 2.0.0 none/requiretls:none; bounced 5.1.1 none/requiretls:none; deferred 4.2.2 none/requiretls:none",
			log:  `warning: ignoring "lmtp_fallback_relay = [127.0.0.1]:1" setting for non-TCP connections`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.script.on = map[string]string{"RCPT TO:<no@b.test>": "550 5.1.1 no", "DOT": "250 2.0.0 ok|452 4.2.2 full"}
			network, where := "tcp", "127.0.0.1:0"
			if tc.unix {
				network, where = "unix", filepath.Join(dir, strconv.Itoa(i))
			}
			ln, err := net.Listen(network, where)
			if err != nil {
				t.Fatal(err)
			}
			s := serveOn(t, ln, tc.script)
			nexthop := "unix:" + where
			if !tc.unix {
				nexthop = "inet:" + s.nexthop()
			}
			set := map[string]string{"lmtp_tls_CAfile": x.file}
			for k, v := range tc.set {
				set[k] = v
			}
			if tc.policy != "" {
				set["lmtp_requiretls_policy"] = tc.policy
			}
			f := newFixture(t, "lmtp", set, nil)
			req := request(nexthop, "a@b.test", "no@b.test", "full@b.test")
			req.SendOpts, req.Ret = sendopts.RequireTLSESMTP, dsn.RetFull
			out := f.run(t, req)
			if tc.mail == "" { // the whole message has one outcome
				tc.want = strings.Join([]string{tc.want, tc.want, tc.want}, "; ")
			}
			got := map[string]string{}
			for i, line := range strings.Split(out.String(), "\n") {
				w := strings.Fields(line)
				got[w[0]] = w[1] + " " + w[2] + " " + out.full[i].TLS
			}
			if text := got["a@b.test"] + "; " + got["no@b.test"] + "; " + got["full@b.test"]; text != tc.want {
				t.Errorf("got  %s\nwant %s\n%s", text, tc.want, out)
			}
			if mail := s.mailSince(0); mail != tc.mail {
				t.Errorf("MAIL FROM %q, want %q", mail, tc.mail)
			}
			if log := strings.ReplaceAll(f.logged(), where, "SOCKET"); tc.log != "" && !strings.Contains("\n"+log+"\n", "\n"+tc.log+"\n") {
				t.Errorf("the log lacks %q:\n%s", tc.log, log)
			}
			if seen := s.seen(); seen != "" && !strings.HasPrefix(seen, "LHLO client.test") {
				t.Errorf("the server saw\n%s", seen)
			}
		})
	}
}
