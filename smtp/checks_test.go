package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/config"
	"sealpost/lib/maillog"
	"sealpost/lib/service"
)

// checkingClient is a client with tables; values with several lines are the text of a
// regexp table.
func checkingClient(t testing.TB, program string, values map[string]string) *fixture {
	t.Helper()
	all := map[string]string{"myhostname": "client.test"}
	for name, value := range values {
		if strings.Contains(value, "\n") {
			file := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
				t.Fatal(err)
			}
			value = "regexp:" + file
		}
		all[name] = value
	}
	cfg, err := config.FromMap(all)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{}
	if f.client, _, err = newClient(&service.Env{Config: cfg, Program: program, Log: maillog.Discard()}); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHeaderChecks(t *testing.T) {
	message := []string{"Received: from inside.test", "\tby here", "Subject: hello", "X-Secret: 1", "MIME-Version: 1.0",
		`Content-Type: multipart/mixed; boundary="b"`, "", "--b", "Content-Type: text/plain", "X-Secret: 2", "", "Subject: body line", "secret",
		"--b", "Content-Type: message/rfc822", "", "X-Secret: 3", "Subject: nested", "", "text", "--b--"}
	for _, tc := range []struct {
		behaviour string
		values    map[string]string
		replace   []string // pairs: what differs from the message
		log       string
	}{
		{"no match", map[string]string{"header_checks": "/^Nothing:/ IGNORE\n"}, nil, ""},
		{"a folded header is one", map[string]string{"header_checks": "/^Received:.*by here/ IGNORE\n"},
			[]string{"Received: from inside.test\r\n\tby here\r\n", ""}, ""},
		{"header_checks see the header of the message only", map[string]string{"header_checks": "/secret/ STRIP gone\n/^Content-Type/ IGNORE\n"},
			[]string{"X-Secret: 1\r\n", ""}, "4XYZ: strip: header X-Secret: 1: gone"},
		{"mime_header_checks see those of parts too", map[string]string{"mime_header_checks": "/secret/ IGNORE\n/^MIME-Version:/ REPLACE MIME-Version: 1.0 (x)\n"},
			[]string{"X-Secret: 2\r\n", "", "MIME-Version: 1.0\r\n", "MIME-Version: 1.0 (x)\r\n"}, "4XYZ: replace: header MIME-Version: 1.0: MIME-Version: 1.0 (x)"},
		{"nested_header_checks", map[string]string{"nested_header_checks": "/secret/ IGNORE\n"}, []string{"X-Secret: 3\r\n", ""}, ""},
		{"body_checks see all else", map[string]string{"body_checks": "/secret/ IGNORE\n/^Subject:/ WARN look\n"},
			[]string{"\r\nsecret\r\n", "\r\n"}, "4XYZ: warning: body Subject: body line: look"},
		{"PREPEND and INFO", map[string]string{"header_checks": "/^Subject:/ PREPEND X-Seen: yes\n/^X-Secret:/ INFO\n"},
			[]string{"Subject: hello\r\n", "X-Seen: yes\r\nSubject: hello\r\n"},
			"4XYZ: prepend: header Subject: hello: X-Seen: yes\n4XYZ: info: header X-Secret: 1"},
		{"what is no header does not become one", map[string]string{"header_checks": "/^Subject:/ REPLACE not a header\n/^X-Secret:/ PREPEND\n"}, nil,
			"warning: 4XYZ: bad REPLACE header text \"not a header\" in smtp_header_checks map -- need \"headername: headervalue\"\n" +
				"warning: 4XYZ: PREPEND action without text in smtp_header_checks map"},
		{"actions that come too late", map[string]string{"header_checks": "/^Subject:/ REJECT no\n/^X-Secret:/ FOO\n"}, nil,
			"warning: 4XYZ: the REJECT command in smtp_header_checks is only for mail that comes in\n" +
				"warning: 4XYZ: unknown command in smtp_header_checks map: \"FOO\""},
	} {
		for _, program := range []string{"smtp", "lmtp"} {
			t.Run(tc.behaviour+"/"+program, func(t *testing.T) {
				values := make(map[string]string)
				for ending, table := range tc.values {
					values[program+"_"+ending] = table
				}
				s := serve(t, script{ehlo: piped})
				f := checkingClient(t, program, values)
				out := f.run(t, request(s.nexthop(), "a@b.test"), message...)
				if !strings.HasPrefix(out.String(), "a@b.test sent 2.0.0") {
					t.Fatal(out)
				}
				want := strings.NewReplacer(append(tc.replace, "\x00", "")...).Replace(strings.Join(message, "\r\n") + "\r\n")
				if got := string(s.last(t)); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				if got, want := f.logged(), strings.ReplaceAll(tc.log, "smtp_", program+"_"); got != want {
					t.Errorf("log\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

// A header that a table lets through is rewritten by smtp_generic_maps after it.
func TestHeaderChecksComeBeforeGenericMaps(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := checkingClient(t, "smtp", map[string]string{
		"smtp_header_checks": "/^From: x@/ REPLACE From: me@local.test\n",
		"smtp_generic_maps":  "inline:{{me@local.test=you@out.test}}",
	})
	f.run(t, request(s.nexthop(), "a@b.test"), "From: x@y.test", "", "text")
	if got, want := string(s.last(t)), "From: you@out.test\r\n\r\ntext\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLongLinesAndBodyChecks(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := checkingClient(t, "smtp", map[string]string{"smtp_line_length_limit": "0", "body_checks_size_limit": "5000",
		"smtp_body_checks": "/^y*$/ IGNORE\n/^z/ PREPEND text\n"})
	f.run(t, request(s.nexthop(), "a@b.test"), "Subject: x", "", strings.Repeat("x", 2048)+"yyy", "next", strings.Repeat("x", 2048)+"zzz",
		strings.Repeat("w", 2000), "yyy")
	// The end of a line goes without its beginning; what a limit is for passes unseen.
	want := "Subject: x\r\n\r\n" + strings.Repeat("x", 2048) + "\r\nnext\r\n" + strings.Repeat("x", 2048) + "zzz\r\n" +
		strings.Repeat("w", 2000) + "\r\nyyy\r\n"
	if got := string(s.last(t)); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A table that cannot be asked leaves no half message at the server.
func TestHeaderChecksFail(t *testing.T) {
	s := serve(t, script{ehlo: piped})
	f := checkingClient(t, "smtp", map[string]string{"smtp_header_checks": "fail:x"})
	out := f.run(t, request(s.nexthop(), "a@b.test"), "Subject: x", "", "text")
	if !strings.HasPrefix(out.String(), "a@b.test deferred 4.3.0 ") {
		t.Error(out)
	}
	if n, _ := s.count(); n != 0 {
		t.Errorf("the server has %d messages", n)
	}
}

// Where nothing matches a message comes through to the byte.
func FuzzChecks(f *testing.F) {
	f.Add("To: a@b,\n c@d\nX: y\n\nTo: z", uint16(5))
	f.Add("Content-Type: multipart/x; boundary=b\n\n--b\nA: b\n\nc\n--b--", uint16(300))
	f.Add("no header\n:\n \n", uint16(1))
	client := checkingClient(f, "smtp", map[string]string{"smtp_header_checks": "inline:{{no line is this=IGNORE}}", "smtp_body_checks": "inline:{{no line is this=IGNORE}}"})
	f.Fuzz(func(t *testing.T, text string, size uint16) {
		lines := client.checks.apply(t.Context(), &pieces{rest: strings.Split(text, "\n"), size: max(int(size), 1)}, maillog.Discard(), "4XYZ")
		if got := textOf(lines); got != text+"\n" {
			t.Fatalf("got  %q\nwant %q", got, text+"\n")
		}
	})
}
