package main

import (
	"bufio"
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/record"
	"sealpost/lib/sendopts"
	"sealpost/test/capture"
)

func TestOptions(t *testing.T) {
	cases := map[string]struct {
		args string
		want options
	}{
		"recipients only":     {"a@b c@d", options{recipients: []string{"a@b", "c@d"}}},
		"joined flags":        {"-ti", options{fromHeader: true, dotOK: true}},
		"value in the word":   {"-fs@x r", options{sender: "s@x", senderSet: true, recipients: []string{"r"}}},
		"value in the next":   {"-f s@x -F Name r", options{sender: "s@x", senderSet: true, fullName: "Name", recipients: []string{"r"}}},
		"flag before a value": {"-ifs@x", options{dotOK: true, sender: "s@x", senderSet: true}},
		"dash dash":           {"-i -- -t", options{dotOK: true, recipients: []string{"-t"}}},
		"-oi and -oem":        {"-oi -oem -odb", options{dotOK: true}},
		"DSN":                 {"-N success,delay -R hdrs -V id1", options{notify: dsn.NotifySuccess | dsn.NotifyDelay, ret: dsn.RetHdrs, envID: "id1"}},
		"never":               {"-N never", options{notify: dsn.NotifyNever}},
		"body":                {"-B 8bitmime", options{encoding: "8bit"}},
		"report":              {"-v", options{record: true}},
		"verbose":             {"-v -v", options{record: true, verbose: 1}},
		"verify":              {"-bv r", options{mode: modeVerify, recipients: []string{"r"}}},
		"queue":               {"-bp", options{mode: modeQueue}},
		"SMTP":                {"-bs", options{mode: modeSMTP}},
		"flush":               {"-q", options{mode: modeFlush}},
		"flush with interval": {"-q15m", options{mode: modeFlush}},
		"flush one":           {"-qIABC", options{mode: modeFlushID, flushArg: "ABC"}},
		"VERP":                {"-XV", options{verp: "default"}},
		"VERP delimiters":     {"-XV+=", options{verp: "+="}},
		"sendmail's -X":       {"-X /tmp/log", options{}},
		"REQUIRETLS":          {"-O RequireTLS=Yes", options{sendOpts: sendopts.RequireTLSESMTP}},
		"last one wins":       {"-Orequiretls=yes -O requiretls=no -O smtputf8=yes", options{sendOpts: sendopts.SMTPUTF8Requested}},
		"other -O":            {"-O Timeout=3 -OQueueDirectory=/x", options{}},
		"old options":         {"-Am -h 5 -L tag -m -n -U", options{}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseOptions(append([]string{"/usr/sbin/sendmail"}, strings.Fields(c.args)...))
			if err != nil {
				t.Fatal(err)
			}
			if len(got.recipients) == 0 {
				got.recipients = nil
			}
			if !slices.Equal(got.recipients, c.want.recipients) {
				t.Errorf("recipients %q, want %q", got.recipients, c.want.recipients)
			}
			g, w := *got, c.want
			g.recipients, w.recipients = nil, nil
			if !equalOptions(g, w) {
				t.Errorf("got  %+v\nwant %+v", g, w)
			}
		})
	}
}

func equalOptions(a, b options) bool {
	return a.mode == b.mode && a.flushArg == b.flushArg && a.sender == b.sender && a.senderSet == b.senderSet &&
		a.fullName == b.fullName && a.encoding == b.encoding && a.notify == b.notify && a.ret == b.ret &&
		a.envID == b.envID && a.verp == b.verp && a.dotOK == b.dotOK && a.fromHeader == b.fromHeader &&
		a.relay == b.relay && a.record == b.record && a.verbose == b.verbose && a.sendOpts == b.sendOpts
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for args, want := range map[string]string{
		"-N never,success": "-N never,success",
		"-N soon":          `unknown condition "soon"`,
		"-R all":           "-R all",
		"-B 9BIT":          "-B 9BIT",
		"-bz":              "-bz",
		"-Z":               "-Z",
		"-f":               "-f needs a value",
		"-XVx":             "-XVx",
		"-V a\u00fcb":      "-V \"a\u00fcb\"",
		"-qSsite":          "-qSsite",
	} {
		_, err := parseOptions(append([]string{"sendmail"}, strings.Fields(args)...))
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}

// Options of -O that have no effect are told, those of another program are not
// (requiretls.md §9.1).
func TestWarningsAboutOptions(t *testing.T) {
	const tls, utf8 = sendopts.RequireTLSESMTP, sendopts.SMTPUTF8Requested
	for _, tt := range []struct {
		args string
		set  settings
		opts sendopts.Options
		want string
	}{
		{"-O requiretls=yes -O SMTPUTF8=YES", settings{RequireTLS: true, SMTPUTF8: true}, tls | utf8, ""},
		{"-O requiretls=maybe", settings{RequireTLS: true}, 0, "bad -O option: 'requiretls=maybe' -- ignored"},
		{"-O RequireTLS", settings{RequireTLS: true}, 0, "bad -O option: 'RequireTLS' -- ignored"},
		{"-Or", settings{RequireTLS: true}, 0, "bad -O option: 'r' -- ignored"},
		{"-Osmtp", settings{}, 0, "bad -O option: 'smtp' -- ignored"},
		{"-O smtputf8=", settings{}, 0, "bad -O option: 'smtputf8=' -- ignored"},
		{"-O require=yes -O Timeout -O Timeout=3", settings{}, 0, ""},
		{"-O requiretls=yes", settings{}, 0, "Ignoring option '-O requiretls=yes', because the configuration is 'requiretls_enable = no'"},
		{"-O requiretls=yes -O requiretls=no", settings{}, 0, ""},
		{"-O smtputf8=yes", settings{RequireTLS: true}, utf8, "'-O smtputf8=yes' was requested, but the configuration is 'smtputf8_enable = no'"},
	} {
		o, err := parseOptions(append([]string{"sendmail"}, strings.Fields(tt.args)...))
		if err == nil {
			err = checkOptions(o, tt.set)
		}
		if err != nil || o.sendOpts != tt.opts || strings.Join(o.warnings, "\n") != tt.want {
			t.Errorf("%s: %v, options %v, warned %q, want %q", tt.args, err, o.sendOpts, o.warnings, tt.want)
		}
	}
}

func TestModeByName(t *testing.T) {
	for name, want := range map[string]mode{"/usr/bin/mailq": modeQueue, "newaliases": modeAliases, "sendmail": modeSubmit} {
		if o, err := parseOptions([]string{name}); err != nil || o.mode != want {
			t.Errorf("%s: mode %v, error %v", name, o.mode, err)
		}
	}
}

func TestContent(t *testing.T) {
	cases := map[string]struct {
		o    options
		fix  fixEndings
		in   string
		want string // type and payload of each record
	}{
		"dot ends":            {fix: "always", in: "a\n.\nb\n", want: "Na|"},
		"-i: dot does not":    {o: options{dotOK: true}, fix: "always", in: "a\n.\nb\n", want: "Na|N.|Nb|"},
		"dot with CR":         {fix: "always", in: "a\r\n.\r\nb\n", want: "Na|"},
		"two dots":            {fix: "always", in: "..\n", want: "N..|"},
		"no final newline":    {fix: "always", in: "a\nb", want: "Na|Nb|"},
		"CR LF":               {fix: "always", in: "a\r\nb\n", want: "Na|Nb|"},
		"CR LF kept":          {fix: "never", in: "a\r\n", want: "Na\r|"},
		"strict, first LF":    {fix: "strict", in: "a\nb\r\n", want: "Na|Nb\r|"},
		"strict, first CR LF": {fix: "strict", in: "a\r\nb\r\n", want: "Na|Nb|"},
		"long line":           {fix: "always", in: strings.Repeat("x", 2*maxText+1) + "\n", want: "L" + strings.Repeat("x", maxText) + "|L" + strings.Repeat("x", maxText) + "|Nx|"},
		"mailbox separator":   {fix: "always", in: "From a b\n>From c\nS: x\n\nFrom d\n", want: "NS: x|N|NFrom d|"},
		"empty":               {fix: "always", in: "", want: ""},
		"NUL":                 {fix: "always", in: "a\x00b\n", want: "Na\x00b|"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			w := &recordWriter{w: &out}
			if _, err := c.o.content(w, strings.NewReader(c.in), c.fix); err != nil {
				t.Fatal(err)
			}
			w.flush()
			if got := show(t, out.Bytes()); got != c.want {
				t.Errorf("got %.200q, want %.200q", got, c.want)
			}
		})
	}
}

func show(t *testing.T, b []byte) string {
	t.Helper()
	r := record.NewReader(bufio.NewReader(bytes.NewReader(b)), 0)
	var out strings.Builder
	for {
		typ, p, err := r.Read()
		if err != nil {
			return out.String()
		}
		out.WriteByte(byte(typ))
		out.Write(p)
		out.WriteByte('|')
	}
}

func TestRecipientsFromTheHeader(t *testing.T) {
	cases := map[string]struct {
		in   string
		want []string
	}{
		"all three":            {"To: a@x, B <b@x>\nCc: c@x\nBcc: d@x\n\nTo: no@x\n", []string{"a@x", "b@x", "c@x", "d@x"}},
		"folded":               {"To: a@x,\n\tb@x\nSubject: To: no@x\n\n", []string{"a@x", "b@x"}},
		"any case":             {"tO: a@x\n\n", []string{"a@x"}},
		"resent only":          {"To: a@x\nResent-From: f@x\nResent-To: r@x\n\n", []string{"r@x"}},
		"resent without to":    {"To: a@x\nResent-From: f@x\n\n", []string{"a@x"}}, // as with Postfix
		"resent to nobody":     {"To: a@x\nResent-To:\n\n", nil},
		"body without header":  {"hello\nTo: a@x\n", nil},
		"mailbox line first":   {"From a@x Sun Nov 22\nTo: b@x\n\n", []string{"b@x"}},
		"quoted and commented": {"To: \"a b\"@x (c@x), g: d@x, e@x;\n\n", []string{"a b@x", "d@x", "e@x"}},
		"no body":              {"To: a@x", []string{"a@x"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := options{fromHeader: true}
			got, err := o.content(&recordWriter{w: &bytes.Buffer{}}, strings.NewReader(c.in), "always")
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestSubmissionsAreThoseOfTheRecordings builds each recorded submission from
// options that mean the same.
func TestSubmissionsAreThoseOfTheRecordings(t *testing.T) {
	cases := map[int]struct {
		args, name, sender, body string
	}{
		1:  {"bob@virt.example", "Alice Example", "alice", "Subject: plain\nTo: bob@virt.example\n\nHello plain\n.dot\n"},
		2:  {"-O requiretls=yes -N success,failure -R hdrs -V envid42 bob@virt.example bjorn@tls.example", "Alice Example", "alice@example.com", "Subject: requiretls\nTo: bob@virt.example\n\nHello requiretls\n.dot\n"},
		4:  {"-t", "Alice Example", "alice", "Subject: t\nFrom: A <alice@example.com>\nTo: bob@virt.example, Carol <carol@virt.example>\nBcc: dave@virt.example\n\nbody\n"},
		5:  {"-XV+= nosuch@virt.example", "Alice Example", "owner@example.com", "Subject: verp\nTo: bob@virt.example\n\nHello verp\n.dot\n"},
		6:  {"-bv bob@virt.example", "Alice Example", "alice", ""},
		7:  {"-v -B 8BITMIME bob@virt.example", "Alice Example", "alice", "Subject: v\nTo: bob@virt.example\n\nHello v\n.dot\n"},
		10: {"-bv bob@virt.example nosuch@virt.example eve@refused.example", "Alice Example", "alice", ""},
	}
	conns := capture.Conns(t, "postdrop-from-sendmail")
	for _, c := range conns {
		k, ok := cases[c.Number]
		if !ok {
			continue
		}
		delete(cases, c.Number)
		o, err := parseOptions(append([]string{"sendmail"}, strings.Fields(k.args)...))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := &recordWriter{w: &out}
		if err := o.message(w, k.name, k.sender, o.recipients, strings.NewReader(k.body), "always"); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), c.Client) {
			t.Errorf("%s:\n got %q\nwant %q", c.Name(), out.Bytes(), c.Client)
		}
	}
	if len(cases) > 0 {
		t.Errorf("no recording for %d cases", len(cases))
	}
}

func FuzzHeaderRecipients(f *testing.F) {
	f.Add([]byte("To: a@x,\n b@x\nResent-Cc: c@x\n\nbody"))
	f.Add([]byte("To: \"a\" <b@x> (((, g:;\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := options{fromHeader: true, dotOK: true}
		var out bytes.Buffer
		w := &recordWriter{w: &out}
		if _, err := o.content(w, bytes.NewReader(b), "never"); err != nil {
			t.Fatal(err)
		}
		w.flush()
		// The content passes unchanged, whatever the header looks like.
		r := record.NewReader(bufio.NewReader(&out), 0)
		var text []byte
		for {
			typ, p, err := r.Read()
			if err != nil {
				break
			}
			text = append(text, p...)
			if typ == record.Norm {
				text = append(text, '\n')
			}
		}
		if want := bytes.TrimSuffix(b, []byte("\n")); !bytes.Equal(bytes.TrimSuffix(text, []byte("\n")), want) {
			t.Fatalf("content %q became %q", b, text)
		}
	})
}
