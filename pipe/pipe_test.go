package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"testing"
	"time"

	"sealpost/lib/agent"
	"sealpost/lib/config"
	"sealpost/lib/dsn"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/service"
)

// actEnv makes the test binary be the command.
const actEnv = "PIPE_TEST_ACT"

func TestMain(m *testing.M) {
	if os.Getenv(actEnv) == "" {
		os.Exit(m.Run())
	}
	text, _ := io.ReadAll(os.Stdin)
	status := 0
	switch os.Args[1] {
	case "exit": // status text
		fmt.Println(os.Args[3])
		status, _ = strconv.Atoi(os.Args[2])
	case "args":
		fmt.Print(strings.Join(os.Args[2:], "|"))
	case "size":
		fmt.Print(len(text))
	}
	os.Exit(status)
}

// piping is an agent whose command is the test binary.
func piping(t *testing.T, words ...string) *pipe {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range words {
		if w == "argv=" {
			words[i] += exe
		}
	}
	a, err := parseAttributes(append([]string{"user=u"}, words...))
	if err != nil {
		t.Fatal(err)
	}
	a.command = "/cmd"
	return &pipe{attributes: a, service: "filter", env: []string{actEnv + "=1"}, limit: time.Minute, now: time.Now, delimiters: "+"}
}

func TestAttempt(t *testing.T) {
	one := []string{"r@b.example"}
	sent := func(text string) dsn.Status {
		return dsn.Status{Code: "2.0.0", Action: "relayed", Reason: "delivered via filter service" + text}
	}
	failed := func(code, text, diag string) dsn.Status {
		return dsn.Status{Code: code, Reason: text, DiagType: "x-unix", DiagText: diag}
	}
	hundred := strings.Repeat("x", successOutput)
	cases := map[string]struct {
		words  []string
		rcpts  []string
		flags  mailproto.DeliveryFlags
		lines  []string
		want   dsn.Status
		warned string
	}{
		"sent":                        {words: []string{"argv=", "none"}, rcpts: one, want: sent("")},
		"sent, with output":           {words: []string{"argv=", "exit", "0", "queued as 5"}, rcpts: one, want: sent(" (queued as 5)")},
		"sent, with long output":      {words: []string{"argv=", "exit", "0", hundred + "yy"}, rcpts: one, want: sent(" (" + hundred + ")")},
		"sent, output is no status":   {words: []string{"argv=", "exit", "0", "5.7.1 no"}, rcpts: one, want: sent(" (5.7.1 no)")},
		"final delivery":              {words: []string{"flags=X", "argv=", "none"}, rcpts: one, want: dsn.Status{Code: "2.0.0", Action: "delivered", Reason: "delivered via filter service"}},
		"all recipients in one run":   {words: []string{"argv=", "args", "$recipient", "--", "$sender"}, rcpts: []string{"a@x", "b@x"}, want: sent(" (a@x|b@x|--|s@a.example)")},
		"gets the message":            {words: []string{"flags=R", "argv=", "size"}, rcpts: one, want: sent(" (44)")},
		"a known exit status":         {words: []string{"argv=", "exit", "67", "who?"}, rcpts: one, want: failed("5.1.1", "user unknown. Command output: who? ", "who? ")},
		"a temporary one":             {words: []string{"argv=", "exit", "75", ""}, rcpts: one, want: failed("4.3.0", "temporary failure. Command output:  ", " ")},
		"a status in the output":      {words: []string{"argv=", "exit", "1", "4.2.2 full"}, rcpts: one, want: failed("4.2.2", "full ", "full ")},
		"too large":                   {words: []string{"size=10", "argv=", "none"}, rcpts: one, want: dsn.Status{Code: "5.2.3", Reason: "message too large"}},
		"not too large":               {words: []string{"size=12", "argv=", "none"}, rcpts: one, want: sent("")},
		"a probe runs nothing":        {words: []string{"argv=", "exit", "67", ""}, rcpts: one, flags: mailproto.DeliverMTAVerify, want: dsn.Status{Code: "2.0.0", Reason: "delivers to command: /cmd"}},
		"a probe of a user":           {words: []string{"argv=", "exit", "67", ""}, rcpts: one, flags: mailproto.DeliverUserVerify, want: dsn.Status{Code: "2.0.0", Reason: "delivers to command: /cmd"}},
		"a probe that is too large":   {words: []string{"size=1", "argv=", "none"}, rcpts: one, flags: mailproto.DeliverUserVerify, want: dsn.Status{Code: "5.2.3", Reason: "message too large"}},
		"D and several recipients":    {words: []string{"flags=D", "argv=", "none"}, rcpts: []string{"a@x", "b@x"}, want: dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}, warned: "flag D of pipe requires filter_destination_recipient_limit = 1"},
		"O and several recipients":    {words: []string{"flags=O", "argv=", "none"}, rcpts: []string{"a@x", "b@x"}, want: dsn.Status{Code: "4.3.5", Reason: "mail system configuration error"}, warned: "flag O of pipe requires filter_destination_recipient_limit = 1"},
		"a loop":                      {words: []string{"flags=D", "argv=", "none"}, rcpts: one, lines: []string{"Delivered-To: R@B.EXAMPLE"}, want: dsn.Status{Code: "5.4.6", Reason: "mail forwarding loop for r@b.example"}},
		"no loop without D":           {words: []string{"argv=", "none"}, rcpts: one, lines: []string{"Delivered-To: R@B.EXAMPLE"}, want: sent("")},
		"no command":                  {words: []string{"argv=/nonexistent/cmd"}, rcpts: one, want: dsn.Status{Code: "4.3.0", Reason: "temporary failure. cannot execute command /nonexistent/cmd: no such file or directory"}, warned: "service filter: cannot execute command /nonexistent/cmd"},
		"no directory":                {words: []string{"directory=/nonexistent", "argv=", "none"}, rcpts: one, want: dsn.Status{Code: "4.3.0"}, warned: "change directory to /nonexistent: no such file"},
		"a message that has no end":   {words: []string{"argv=", "none"}, rcpts: one, lines: []string{"no end"}, want: dsn.Status{Code: "4.3.0", Reason: "queue file read error"}, warned: "corrupt queue file"},
		"an address with a NUL in it": {words: []string{"argv=", "args", "$recipient"}, rcpts: []string{"a\x00b@x"}, want: sent(" (a?b@x)")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			lines := append(c.lines, "Subject: x", "", "body")
			var log bytes.Buffer
			d := &agent.Delivery{
				File: queueFile(t, name != "a message that has no end", lines...), Log: maillog.New(maillog.Options{Writer: &log}),
				Req: &mailproto.DeliveryRequest{QueueID: "3ABC", Sender: "s@a.example", DataSize: 12, Flags: c.flags},
			}
			for _, r := range c.rcpts {
				d.Req.Recipients = append(d.Req.Recipients, mailproto.Recipient{Addr: r, OrigAddr: r})
			}
			got := piping(t, c.words...).attempt(t.Context(), d)
			if c.want.Reason == "" {
				c.want.Reason = got.Reason
			}
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			if text := log.String(); !strings.Contains(text, c.warned) || c.warned == "" && text != "" {
				t.Errorf("log %q, want %q", text, c.warned)
			}
		})
	}
}

func TestStart(t *testing.T) {
	who := "nobody" // as root; otherwise only the user of this process will do
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			t.Skip("SKIP: the user who runs this test has no name")
		}
		who = me.Username
	}
	owner := who
	if os.Geteuid() == 0 {
		owner = "daemon"
	}
	c, err := config.FromMap(map[string]string{"myhostname": "mx.example", "mail_owner": owner, "drain_timeout": "60s",
		"long_time_limit": "1h", "short_time_limit": "1s"})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]struct {
		args  []string
		drain time.Duration
		err   string
	}{
		"long":   {[]string{"user=" + who, "argv=/bin/true"}, time.Hour + afterCommand, ""},
		"short":  {[]string{"user=" + who, "argv=/bin/true"}, time.Minute, ""},
		"preset": {[]string{"user=" + who, "argv=/bin/true"}, 1000*time.Second + afterCommand, ""},
		"wrong":  {[]string{"user=" + who}, time.Minute, "master.cf: service wrong: missing argv="},
		"who":    {[]string{"user=no-such-user", "argv=/bin/true"}, time.Minute, "master.cf: service who: user=no-such-user: "},
	} {
		env := &service.Env{Config: c, ServiceName: name, Args: w.args, DrainTimeout: time.Minute, Log: maillog.New(maillog.Options{Writer: io.Discard})}
		if deliver, _, err := initPipe(env); err != nil || deliver == nil {
			t.Errorf("%s: the daemon does not start: %v", name, err)
		}
		_, err := newPipe(env)
		if (err == nil) != (w.err == "") || !strings.Contains(fmt.Sprint(err), w.err) && w.err != "" {
			t.Errorf("%s: %v, want %q", name, err, w.err)
		}
		if env.DrainTimeout != w.drain {
			t.Errorf("%s: may drain for %v, want %v", name, env.DrainTimeout, w.drain)
		}
	}
}

func TestTimeLimit(t *testing.T) {
	p := piping(t, "argv=", "none")
	p.limit = 0 // over before it begins
	d := &agent.Delivery{File: queueFile(t, true, "Subject: x"), Log: maillog.New(maillog.Options{Writer: io.Discard}),
		Req: &mailproto.DeliveryRequest{Recipients: make([]mailproto.Recipient, 1)}}
	got := p.attempt(t.Context(), d)
	if got.Code != "5.3.0" || !strings.HasPrefix(got.Reason, `Command time limit exceeded: "/cmd"`) {
		t.Errorf("%+v", got)
	}
}
