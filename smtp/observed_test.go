package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/sendopts"
	"sealpost/test/ca"
)

// mark is how far a server's record has come.
func (s *server) mark() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.commands)
}

// mailSince is what the server saw of MAIL FROM since a mark: the arguments and
// whether they came under TLS ("tls: <a@b> SIZE=1"), one line for each; "" when it
// saw none. A command is recorded before it is answered, so that nothing of a
// delivery whose outcome is known can still be missing.
func (s *server) mailSince(mark int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var seen []string
	how := s.mails
	for i := len(s.commands) - 1; i >= mark; i-- {
		if rest, ok := strings.CutPrefix(s.commands[i], "MAIL FROM:"); ok {
			seen = append([]string{how[len(how)-1] + ": " + rest}, seen...)
			how = how[:len(how)-1]
		}
	}
	return strings.Join(seen, "\n")
}

// TestObservedOnSockets delivers, for each of the 198 recorded rows, a message from
// this client to a server of that kind over a real connection, and compares outcome,
// code, relay, tls= field and text with what Postfix was seen to do; and what the
// server saw of MAIL FROM with what requiretls.md §6.4 h says. No decision of
// decisions.md changes a row: the destination of the recordings is an address literal,
// so that no lookup led to it (decision 1), and there is one message (5, 8).
func TestObservedOnSockets(t *testing.T) {
	text, err := os.ReadFile("../lib/reqtls/testdata/decisions.tsv")
	if err != nil {
		t.Fatal(err)
	}
	x := newSecure(t)
	kinds := map[string]*server{ // the extension DSN is there so that RET can be seen
		"STARTTLS,REQUIRETLS":    serve(t, x.script("right", "STARTTLS DSN", "DSN REQUIRETLS")),
		"STARTTLS,no-REQUIRETLS": serve(t, x.script("right", "STARTTLS DSN", "DSN")),
		"no-STARTTLS":            serve(t, x.script("right", "DSN", "")),
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue // the head
		}
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(f) != 8 || kinds[f[0]] == nil {
			t.Fatalf("a row that is not understood: %q", line)
		}
		rows++
		row := observedRow{x: x, server: kinds[f[0]], kind: f[0], level: f[1], policy: f[2]}
		want := fmt.Sprintf("%s %s relay=%s tls=%s (%s)", f[6], f[5], row.relay(f[3]), f[4], f[7])
		got, mail := row.run(t)
		if got != want {
			t.Errorf("%s, %s, %s:\n got %s\nwant %s", f[0], f[1], f[2], got, want)
		}
		if want := row.mail(f[6]); mail != want {
			t.Errorf("%s, %s, %s: the server saw MAIL FROM %q, want %q", f[0], f[1], f[2], mail, want)
		}
	}
	if rows != 198 {
		t.Errorf("%d rows, want 198", rows)
	}
}

// script is a server with a certificate that announces this in the clear and that
// inside TLS.
func (x *secure) script(cert, clear, secret string) script {
	sc := x.behaviour(cert)
	sc.ehlo, sc.secret = clear, secret
	return sc
}

type observedRow struct {
	x                   *secure
	server              *server
	kind, level, policy string
}

// relay is the recording's relay on the port of today.
func (r *observedRow) relay(recorded string) string {
	if host, _, ok := strings.Cut(recorded, "]:"); ok {
		return host + "]:" + r.server.port()
	}
	return recorded
}

// set is main.cf for the row. The names of the recordings' certificate are not
// known; ours is for mx.b.test.
func (r *observedRow) set() map[string]string {
	name, detail, _ := strings.Cut(strings.TrimSuffix(r.level, ")"), "(")
	set := map[string]string{"smtp_tls_security_level": name, "smtp_tls_CAfile": r.x.file}
	if !strings.HasPrefix(r.policy, "(default") {
		set["smtp_requiretls_policy"] = strings.TrimSuffix(r.policy, "(error)")
	}
	match := "mx.b.test"
	switch detail {
	case "mismatch":
		set["smtp_tls_fingerprint_cert_match"] = ca.Fingerprint(r.x.certs["other CA"].Leaf)
	case "name-mismatch":
		match = "mx.other.test"
	case "untrusted":
		delete(set, "smtp_tls_CAfile")
	case "match":
		set["smtp_tls_fingerprint_cert_match"] = ca.Fingerprint(r.x.certs["right"].Leaf)
	}
	if name == "verify" || name == "secure" {
		set["smtp_tls_policy_maps"] = fmt.Sprintf("inline:{{%s = %s match=%s}}", r.server.nexthop(), name, match)
	}
	return set
}

// run delivers one message with the request.
func (r *observedRow) run(t *testing.T) (outcome, mail string) {
	mark := r.server.mark()
	f := newFixture(t, "smtp", r.set(), nil)
	req := request(r.server.nexthop(), "a@b.test")
	req.SendOpts, req.Ret = sendopts.RequireTLSESMTP, dsn.RetFull
	out := f.run(t, req)
	word, _, _ := strings.Cut(strings.TrimPrefix(out.String(), "a@b.test "), " ")
	o := out.full[0]
	return fmt.Sprintf("%s %s relay=%s tls=%s (%s)", word, o.Status.Code, o.Relay, o.TLS, o.Status.Reason),
		r.server.mailSince(mark)
}

// mail is what the server must have seen of MAIL FROM: nothing unless the message
// was sent; under TLS where there is any and the level is not none; REQUIRETLS where
// it was asked for and announced under TLS; and RET=HDRS where it was asked for and not
// announced.
func (r *observedRow) mail(status string) string {
	if status != "sent" {
		return ""
	}
	tls := r.kind != "no-STARTTLS" && r.level != "none"
	how, ret := "clear", " RET=FULL"
	if tls {
		how = "tls"
	}
	switch asked := r.policy != "disable"; {
	case asked && tls && r.kind == "STARTTLS,REQUIRETLS":
		ret += " REQUIRETLS"
	case asked:
		ret = " RET=HDRS"
	}
	return how + ": <from@a.test>" + ret
}
