package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sealpost/lib/record"
)

// file is a queue file of type letters and payloads.
func file(records ...string) []byte {
	var b []byte
	for _, r := range records {
		b = record.Append(b, record.Type(r[0]), r[1:])
	}
	return b
}

func size(v ...int) string {
	var words []string
	for _, n := range v {
		words = append(words, fmt.Sprintf("%15d", n))
	}
	return "C" + strings.Join(words, " ")
}

// queued is the message of requiretls.md §4.5.
func queued() []byte {
	return file(size(319, 267, 1, 0, 319, 32), "T1795374032 1", "Acreate_time=1795374032", "Arewrite_context=local", "Froot", "Ss@sender.example",
		"Adsn_orig_rcpt=rfc822;u@enf-fpr.px.test", "Ou@enf-fpr.px.test", "Ru@enf-fpr.px.test", "p              0", "M",
		"NReceived: by mx.lab.example (Postfix, from userid 0)", "N\tid 544E199A114; Sun, 22 Nov 2026 19:00:32 +0000 (UTC)", "NSubject: t",
		"NRequire-TLS-ESMTP: yes", "N", "Lbody ", "Nline", "w  ", "X", "Amessage_id=<x@mx.lab.example>", "E")
}

const (
	envelope = `message_size:             319             267               1               0             319              32
%smessage_arrival_time: Sun Nov 22 19:00:32 2026
create_time: Sun Nov 22 19:00:32 2026
named_attribute: rewrite_context=local
sender_fullname: root
sender: s@sender.example
named_attribute: dsn_orig_rcpt=rfc822;u@enf-fpr.px.test
original_recipient: u@enf-fpr.px.test
recipient: u@enf-fpr.px.test
`
	head = "Received: by mx.lab.example (Postfix, from userid 0)\n\tid 544E199A114; Sun, 22 Nov 2026 19:00:32 +0000 (UTC)\nSubject: t\nRequire-TLS-ESMTP: yes\n"
	body = "\nbody line\n"
	tail = "named_attribute: message_id=<x@mx.lab.example>\n"
)

// instance is a directory with a main.cf and the message in its deferred queue.
func instance(t *testing.T) (dir, path string) {
	t.Helper()
	t.Setenv("TZ", "UTC")
	time.Local = time.UTC
	dir = t.TempDir()
	path = filepath.Join(dir, "deferred/5/544E199A114")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{filepath.Join(dir, "main.cf"): "queue_directory = " + dir + "\n", path: string(queued())} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, path
}

func cat(t *testing.T, dir, stdin string, args ...string) (out, errout string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	w := bufio.NewWriter(&o)
	err = run(append([]string{"-c", dir}, args...), strings.NewReader(stdin), w, &e)
	if ferr := w.Flush(); ferr != nil {
		t.Fatal(ferr)
	}
	return o.String(), e.String(), err
}

// TestOutput has Postfix's output, and what decision 9 adds to it.
func TestOutput(t *testing.T) {
	dir, path := instance(t)
	whole := func(name, sendopts string) string {
		return "*** ENVELOPE RECORDS " + name + " ***\n" + fmt.Sprintf(envelope, sendopts) + "*** MESSAGE CONTENTS " + name + " ***\n" +
			head + body + "*** HEADER EXTRACTED " + name + " ***\n" + tail + "*** MESSAGE FILE END " + name + " ***\n"
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-q", "544E199A114"}, whole("deferred/5/544E199A114", "")},
		{[]string{path}, whole(path, "")},
		{nil, whole("stdin", "")},
		{[]string{"-r", path}, whole(path, "")},
		{[]string{"-s", "0", "-q", "544E199A114"}, whole("deferred/5/544E199A114", "sendopts: requiretls_esmtp\n")},
		{[]string{"-h", path}, head},
		{[]string{"-b", path}, body},
		{[]string{"-bh", path}, head + body},
		{[]string{"-e", "-q", "544E199A114"}, strings.Replace(whole("deferred/5/544E199A114", ""), head+body, "", 1)},
	} {
		out, errout, err := cat(t, dir, string(queued()), tt.args...)
		if err != nil || errout != "" || out != tt.want {
			t.Errorf("%q: %v %s\ngot\n%s\nwant\n%s", tt.args, err, errout, out, tt.want)
		}
	}
	out, _, _ := cat(t, dir, "", "-od", path)
	if !strings.Contains(out, "\n        0  67 message_size: ") || !strings.Contains(out, "\n       97  84 message_arrival_time: ") {
		t.Errorf("-od:\n%s", out)
	}
}

// TestPreliminarySize: sendmail's record in maildrop (requiretls.md §4.4).
func TestPreliminarySize(t *testing.T) {
	dir, _ := instance(t)
	text := file("T1795374032 1", size(-1, -1, -1, -1, -1, 33), "Ss", "Rr", "M", "X", "E")
	out, errout, err := cat(t, dir, string(text), "-s", "0")
	want := "message_size:              -1              -1              -1              -1              -1              33\nsendopts: smtputf8_requested requiretls_esmtp\n"
	if err != nil || errout != "" || !strings.Contains(out, want) {
		t.Errorf("%v %s\n%s", err, errout, out)
	}
}

func TestFailures(t *testing.T) {
	dir, _ := instance(t)
	q := queued()
	for n := range q {
		if _, errout, err := cat(t, dir, string(q[:n])); !errors.Is(err, errRead) || !strings.HasPrefix(errout, "postcat: warning: stdin: ") {
			t.Fatalf("%d bytes: %v, %s", n, err, errout)
		}
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"/nonexistent"}, "open /nonexistent: no such file or directory"},
		{[]string{"-q", "NOSUCH"}, "open queue file NOSUCH: no such file or directory"},
		{[]string{"-q", "../main.cf"}, "bad mail queue id: ../main.cf"},
		{[]string{"-q"}, "specify queue ids with -q"},
		{[]string{"-x"}, "invalid option -- 'x'"},
		{[]string{"-s", "x"}, "bad offset: x"},
	} {
		if _, _, err := cat(t, dir, "", tt.args...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %s", tt.args, err, tt.want)
		}
	}
	if _, errout, err := cat(t, dir, "garbage\n"); !errors.Is(err, errRead) || !strings.Contains(errout, "stdin: input is not a valid queue file") {
		t.Errorf("garbage: %v, %s", err, errout)
	}
}

// FuzzShow: whatever a file has, it is shown or refused.
func FuzzShow(f *testing.F) {
	f.Add(queued())
	f.Fuzz(func(t *testing.T, b []byte) {
		var out, errout bytes.Buffer
		o := &options{body: true, envelope: true, header: true, named: true, offsets: true}
		err := o.show("x", bytes.NewReader(b), bufio.NewWriter(&out), &errout)
		if err != nil && errout.Len() == 0 {
			t.Errorf("%v without a word", err)
		}
	})
}
