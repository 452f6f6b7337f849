package test

import (
	"context"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/test/harness"
)

// TestChangedTablesAreNoticed: smtpd answers by what a table's file says now, without a
// reload, for each type of table that is a file.
func TestChangedTablesAreNoticed(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		temp := file(name + ".new")
		if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, file(name)); err != nil {
			t.Fatal(err)
		}
	}
	types := []struct{ name, spec, source string }{
		{"texthash", "texthash:" + file("texthash"), "%s@b.test 550 5.7.1 %s\n"},
		{"hash", "hash:" + file("hash"), "%s@b.test 550 5.7.1 %s\n"},
		{"regexp", "regexp:" + file("regexp"), "/^%s@/ 550 5.7.1 %s\n"},
		{"pcre", "pcre:" + file("pcre"), "/^%s@(?=b)/ 550 5.7.1 %s\n"},
		{"union", "unionmap:{texthash:" + file("union") + "}", "%s@b.test 550 5.7.1 %s\n"},
	}
	var checks []string
	for _, tt := range types {
		checks = append(checks, "check_recipient_access "+tt.spec)
	}
	mta := harness.Prepare(t, harness.Options{Name: "tables", Domain: "b.test", Users: []string{"user"}, Params: map[string]string{
		"smtpd_recipient_restrictions": strings.Join(checks, " "),
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	say := func(name, text string) {
		t.Helper()
		for _, tt := range types {
			if tt.name != name {
				continue
			}
			write(name, fmt.Sprintf(tt.source, name, text))
			if name == "hash" {
				if out, err := mta.Command(ctx, nil, "postmap", tt.spec); err != nil {
					t.Fatalf("postmap: %v: %s", err, out)
				}
			}
		}
	}
	for _, tt := range types {
		say(tt.name, "first")
	}
	if err := mta.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"first", "second"} {
		for _, tt := range types {
			if text != "first" {
				say(tt.name, text)
			}
			var last string
			if err := harness.Poll(ctx, func() (bool, error) {
				last = rcptReply(mta.SMTP(), tt.name+"@b.test")
				return last == "550 5.7.1 <"+tt.name+"@b.test>: Recipient address rejected: "+text, nil
			}); err != nil {
				t.Fatalf("%s: %v; the last reply is %q", tt.name, err, last)
			}
		}
	}
	if n := mta.Log.Count(`table .* has changed -- restarting`); n < len(types) {
		t.Errorf("%d restarts in the log for %d changes", n, len(types))
	}
}

// rcptReply is the answer to RCPT TO in a session of its own, or why there is none.
func rcptReply(addr, rcpt string) string {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	for _, step := range []struct {
		say  string
		code int
	}{{"", 220}, {"EHLO c.test", 250}, {"MAIL FROM:<a@a.test>", 250}} {
		if step.say != "" {
			if err := c.PrintfLine("%s", step.say); err != nil {
				return err.Error()
			}
		}
		if _, _, err := c.ReadResponse(step.code); err != nil {
			return err.Error()
		}
	}
	if err := c.PrintfLine("RCPT TO:<%s>", rcpt); err != nil {
		return err.Error()
	}
	code, text, _ := c.ReadResponse(0)
	return fmt.Sprint(code, " ", text)
}
