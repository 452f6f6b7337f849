package main

import (
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/sendopts"
)

// TestRequireTLSHeaders: what the two headers say, in whatever form; what is written
// of them; and what the log says of others (requiretls.md §3.1 to §3.3, §9.6;
// decision 10).
func TestRequireTLSHeaders(t *testing.T) {
	const added, yes = "Require-TLS-ESMTP: yes", "require-tls-ESMTP: yes"
	const replace, prepend = "header_checks=regexp:{{/^X-Secret/ REPLACE Require-TLS-ESMTP: yes}}", "header_checks=regexp:{{/^X-Secret/ PREPEND Require-TLS-ESMTP: yes}}"
	ignored := func(text string) string { return ": ignoring malformed header: '" + text + "'" }
	for _, tt := range []struct {
		name  string
		set   string // "name=value ..."
		size  string // of the size record of the input
		flags mailproto.CleanupFlags
		in    string // the message
		want  string // sendopts
		adds  bool   // the header is added
		drops bool   // a header is left out
		log   string
	}{
		{name: "no", in: "TLS-Required: no", want: "16"},
		{name: "NO and a blank", in: "TLS-Required: NO ", want: "16"},
		{name: "folded no", in: "TLS-Required:\n\tno", want: "16"},
		{name: "no twice", in: "TLS-Required: no\nTLS-Required: no", want: "16"},
		{name: "TLS-Required: yes", in: "TLS-Required: yes", want: "0", log: ignored("TLS-Required: yes")},
		{name: "TLS-Required without value", in: "TLS-Required:", want: "0", log: ignored("TLS-Required:")},
		{name: "long nonsense", in: "TLS-Required: " + strings.Repeat("x", 200), want: "0", log: ignored("TLS-Required: " + strings.Repeat("x", 86))},
		{name: "yes", in: added, want: "32"},
		{name: "any case", in: yes, want: "32"},
		{name: "YES", in: "Require-TLS-ESMTP: YES", want: "32"},
		{name: "many blanks", in: "Require-TLS-ESMTP:   \t yes \t", want: "32"},
		{name: "no blank", in: "Require-TLS-ESMTP:yes", want: "32"},
		{name: "blank before the colon", in: "Require-TLS-ESMTP : yes", want: "32"},
		{name: "folded", in: "Require-TLS-ESMTP:\n yes", want: "32"},
		{name: "twice", in: added + "\n" + added, want: "32"},
		{name: "Require-TLS-ESMTP: no", in: "Require-TLS-ESMTP: no", want: "0"},
		{name: "without value", in: "Require-TLS-ESMTP:", want: "0", log: ignored("Require-TLS-ESMTP:")},
		{name: "with more", in: "Require-TLS-ESMTP: yes please", want: "0", log: ignored("Require-TLS-ESMTP: yes please")},
		{name: "both headers", in: "TLS-Required: no\n" + added, want: "48"},
		{name: "no, and the client asked", size: "32", in: "Require-TLS-ESMTP: no", want: "32", adds: true},
		{name: "yes, and the client did not ask", size: "0", in: added, want: "32"},
		{name: "the client asked", size: "32", in: "Subject: x", want: "32", adds: true},
		{name: "the client asked by flag", flags: mailproto.CleanupReqTLS, in: "Subject: x", want: "32", adds: true},
		{name: "the client asked for all", size: "33", in: "TLS-Required: no", want: "49", adds: true},
		{name: "requeued: derived bits are made anew", size: "63", in: added, want: "33"},
		{name: "requeued: the request stays without its header", size: "63", in: "Subject: x", want: "33", adds: true},
		{name: "written by header_checks in place of another", set: replace, in: "X-Secret: 1", want: "32"},
		{name: "added by header_checks", set: prepend, in: "X-Secret: 1", want: "0"},
		{name: "removed by header_checks", set: "header_checks=regexp:{{/^Require-TLS/ IGNORE}}", in: added, want: "0", drops: true},
		{name: "in a part", in: "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" + added + "\nTLS-Required: no\n\nx\n--b--", want: "0"},
		{name: "in an attached message", in: "MIME-Version: 1.0\nContent-Type: message/rfc822\n\n" + added + "\nTLS-Required: no\n\nx", want: "0"},
		{name: "in the body", in: "Subject: x\n\n" + added + "\nTLS-Required: no", want: "0"},
		{name: "requiretls_enable = no", set: "requiretls_enable=no", in: added, want: "0"},
		{name: "requiretls_enable = no, and the client asked", set: "requiretls_enable=no", size: "32", in: "Subject: x", want: "32"},
		{name: "requiretls_esmtp_header = no", set: "requiretls_esmtp_header=no", in: added, want: "0"},
		{name: "requiretls_esmtp_header = no, and the client asked", set: "requiretls_esmtp_header=no", size: "32", in: "Subject: x", want: "32"},
		{name: "tls_required_enable = no", set: "tls_required_enable=no", in: "TLS-Required: no", want: "0"},
		{name: "tls_required_enable = no, malformed", set: "tls_required_enable=no", in: "TLS-Required: yes", want: "0"},
		{name: "dropped after it was heeded", set: "message_drop_headers=require-tls-esmtp", in: added, want: "32", drops: true},
		{name: "UTF-8", in: "Subject: \xc3\xa9", want: "0"},
		{name: "UTF-8, autodetected", flags: mailproto.CleanupAutoUTF8, in: "Subject: \xc3\xa9", want: "3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := map[string]string{}
			if name, value, ok := strings.Cut(tt.set, "="); ok {
				set[name] = value
			}
			h := &logged{house: newHouse(t, t.TempDir(), set)}
			h.w.log = maillog.New(maillog.Options{Program: "cleanup", Writer: &h.log})
			head := []string{}
			if tt.size != "" {
				head = append(head, "C-1 -1 -1 -1 -1 "+tt.size)
			}
			message, body, _ := strings.Cut(tt.in, "\n\n")
			in := []string{"NMessage-ID: <x@y>", "NDate: d", "NFrom: a@b"}
			for l := range strings.SplitSeq(message+"\n\n"+body, "\n") {
				in = append(in, "N"+l)
			}
			got := accept(t, h.house, external|tt.flags, with(head, one, in, "X", "E"))
			if f := strings.Fields(got[0].p); f[5] != tt.want {
				t.Errorf("sendopts %s, want %s", f[5], tt.want)
			}
			count := func(text string) int { return strings.Count(strings.ToLower(text), "require-tls-esmtp") }
			n := count(message)
			switch {
			case tt.adds:
				n++
			case tt.drops:
				n--
			case tt.set == replace, tt.set == prepend:
				n++
			}
			header := headers(got)
			if count(header) != n || strings.HasSuffix(header, "\nFrom: a@b\n"+message+"\n"+added+"\n") != tt.adds {
				t.Errorf("%d headers, want %d; the last one is ours: %t\n%s", count(header), n, tt.adds, header)
			}
			log := h.log.String()
			if tt.log == "" && strings.Contains(log, "malformed") || !strings.Contains(log, tt.log+"\n") && tt.log != "" ||
				tt.log != "" && !regexp.MustCompile(`warning: [0-9A-F]+: ignoring`).MatchString(log) {
				t.Errorf("log %q, want %q", log, tt.log)
			}
		})
	}
}

// TestReturnedByCleanup: a message that cleanup returns itself is returned with its
// request, wherever in the header that is (requiretls.md §3.6).
func TestReturnedByCleanup(t *testing.T) {
	const request = "Require-TLS-ESMTP: yes\n"
	for name, tt := range map[string]struct {
		set     map[string]string
		message string
	}{
		"too many hops":      {nil, strings.Repeat("Received: x\n", 51) + request + "\nx\n"},
		"header_checks":      {map[string]string{"header_checks": "regexp:{{/^X-Bad/ REJECT no}}"}, "X-Bad: 1\n" + request + "\nx\n"},
		"message_size_limit": {map[string]string{"message_size_limit": "2000"}, request + "\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 100)},
	} {
		h := newHouse(t, t.TempDir(), tt.set)
		h.submit(t, checkFlags|mailproto.CleanupBounce, tt.message)
		found := false
		for _, r := range h.sent {
			if r.Command == mailproto.BounceFlush {
				found = true
				if !r.SendOpts.Has(sendopts.RequireTLSESMTP) {
					t.Errorf("%s: returned with options %v", name, r.SendOpts)
				}
			}
		}
		if !found {
			t.Errorf("%s: not returned: %+v", name, h.sent)
		}
	}
}
