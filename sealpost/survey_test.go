package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func surveyLine(domain, tls, dsn, status string) string {
	return fmt.Sprintf("Nov 22 18:35:34 mx postfix/smtp[1]: A1: to=<u@%s>, relay=h[127.0.0.1]:25, delay=0, delays=0/0/0/0, tls=%s, dsn=%s, status=%s (x)\n", domain, tls, dsn, status)
}

func surveyLog() string {
	var b strings.Builder
	for _, l := range [][4]string{
		{"a.test", "dane/requiretls", "2.0.0", "sent"}, {"a.test", "dane/requiretls", "2.0.0", "sent"},
		{"a.test", "verify/requiretls:nocertmatch", "2.0.0", "sent"}, {"a.test", "verify/requiretls:nosecuremx", "2.0.0", "sent"},
		{"a.test", "may/requiretls:none", "2.0.0", "sent"}, {"a.test", "may:none/requiretls:none", "2.0.0", "sent"},
		{"a.test", "dane/!requiretls:none", "5.7.30", "bounced"}, {"a.test", "dane?/requiretls?", "4.4.1", "deferred"}, {"a.test", "dane?/requiretls?", "4.4.1", "deferred"},
		{"b.test", "!may/!requiretls:nostarttls", "5.7.30", "bounced"}, {"c.test", "may", "2.0.0", "sent"},
		// of probes
		{"d.test", "secure/requiretls", "2.1.5", "deliverable"}, {"d.test", "secure/!requiretls:none", "5.7.30", "undeliverable"},
	} {
		b.WriteString(surveyLine(l[0], l[1], l[2], l[3]))
	}
	return b.String()
}

func TestSurvey(t *testing.T) {
	const want = `domain                         deliveries requiretls nocertmatch nosecuremx   none nostarttls  failed
a.test                                  9          2           1          1      1          1       3
    !requiretls:none bounced: 1
    requiretls? deferred: 2
d.test                                  2          1           0          0      0          0       1
    !requiretls:none undeliverable: 1
b.test                                  1          0           0          0      0          0       1
    !requiretls:nostarttls bounced: 1
`
	file := filepath.Join(t.TempDir(), "maillog")
	if err := os.WriteFile(file, []byte(surveyLog()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{nil, {"-"}, {file}} {
		var out, errout strings.Builder
		if status := survey(args, strings.NewReader(surveyLog()), &out, &errout); status != 0 || out.String() != want {
			t.Errorf("%v: status %d, %s\n%s\nwant\n%s", args, status, errout.String(), out.String(), want)
		}
	}
	var out, errout strings.Builder
	if status := survey([]string{"-j", file, file}, nil, &out, &errout); status != 0 {
		t.Fatal(errout.String())
	}
	var rows []surveyRow
	if err := json.Unmarshal([]byte(out.String()), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) != 3 || rows[0].Domain != "a.test" || rows[0].RequireTLS != 4 || rows[0].Failed["!requiretls:none bounced"] != 2 || rows[2].Failed["!requiretls:nostarttls bounced"] != 2 {
		t.Errorf("rows %+v", rows)
	}
}

func TestSurveyErrors(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"/nonexistent/log"}, "open /nonexistent/log: no such file or directory"},
		{[]string{"-x"}, "unknown option -x"},
	} {
		var out, errout strings.Builder
		if status := survey(tt.args, strings.NewReader(""), &out, &errout); status != 1 || !strings.Contains(errout.String(), tt.want) {
			t.Errorf("%v: status %d, %s", tt.args, status, errout.String())
		}
	}
	var out, errout strings.Builder
	if status := survey(nil, strings.NewReader("x\n"), &out, &errout); status != 0 || out.String() != "no delivery with a request for REQUIRETLS\n" {
		t.Errorf("empty log: %d, %q", status, out.String())
	}
}
