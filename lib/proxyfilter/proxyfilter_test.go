package proxyfilter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sealpost/lib/proxyfilter/filtertest"
	"sealpost/lib/xforward"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		spec, network, addr string
		ok                  bool
	}{
		{"127.0.0.1:10025", "tcp", "127.0.0.1:10025", true}, {"inet:filter.example:smtp", "tcp", "filter.example:smtp", true},
		{"10025", "tcp", ":10025", true}, {":10025", "tcp", ":10025", true}, {"inet:10025", "tcp", ":10025", true},
		{"localhost:10025", "tcp", ":10025", true}, {"[::1]:10025", "tcp", "[::1]:10025", true},
		{"unix:private/filter", "unix", "private/filter", true}, {"unix:/run/filter.sock", "unix", "/run/filter.sock", true},
		{"", "", "", false}, {"unix:", "", "", false}, {"host:", "", "", false}, {"::1:10025", "", "", false}, {"a b:25", "", "", false},
	} {
		f, err := Parse(tc.spec)
		if (err == nil) != tc.ok || tc.ok && (f.network != tc.network || f.addr != tc.addr || f.Text != tc.spec) {
			t.Errorf("%q: %+v, %v", tc.spec, f, err)
		}
	}
}

// at is a filter that was started for a test.
func at(t testing.TB, f *filtertest.Filter) *Filter {
	t.Helper()
	to, err := Parse(f.Spec())
	if err != nil {
		t.Fatal(err)
	}
	to.Hello, to.Timeout = "front.example", 20*time.Second
	return &to
}

var origin = &xforward.Values{Name: "c.example", Helo: "h.example"}

// pass sends one message.
func pass(ctx context.Context, to *Filter, content string) (Reply, error) {
	c, err := to.Dial(ctx, origin)
	if err != nil {
		return Reply{}, err
	}
	defer c.Close()
	for _, line := range []string{"MAIL FROM:<a@c.example> SIZE=10", "RCPT TO:<b@x.example>"} {
		if err := c.Command(line); err != nil {
			return Reply{}, err
		}
	}
	w, err := c.Data(false)
	if err != nil {
		return Reply{}, err
	}
	for line := range strings.Lines(content) {
		text, ended := strings.CutSuffix(line, "\n")
		w.Line([]byte(text), !ended)
	}
	return w.Finish()
}

func TestOneMessage(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		f := filtertest.Start(t, network, map[string]string{"DOT": "250-2.0.0 one|250 2.0.0 two"})
		reply, err := pass(t.Context(), at(t, f), "Subject: x\n\n.\n.dot\rand\n")
		if err != nil || reply.Text() != "250-2.0.0 one\r\n250 2.0.0 two" || reply.Log() != "250-2.0.0 one??250 2.0.0 two" {
			t.Errorf("%q, %v", reply.Text(), err)
		}
		want := "EHLO front.example\r\nXFORWARD NAME=c.example ADDR=[UNAVAILABLE]\r\nMAIL FROM:<a@c.example> SIZE=10\r\nRCPT TO:<b@x.example>\r\nDATA\r\n" +
			"Subject: x\r\n\r\n..\r\n..dot and\r\n.\r\nQUIT\r\n"
		if got := f.Seen(); got != want {
			t.Errorf("%s:\n%q\nwant\n%q", network, got, want)
		}
	}
}

// TestFailures: what goes wrong at each stage, and what the filter is left with.
func TestFailures(t *testing.T) {
	for _, tc := range []struct {
		behaviour string
		on        map[string]string
		want      string // the error
		reply     string // for the client; empty: not for it
		left      string // what the filter saw last
	}{
		{"greeting refused", map[string]string{"BANNER": "554 go away"}, `rejected "connection request": "554 go away"`, "", "QUIT\r\n"},
		{"closed at once", map[string]string{"BANNER": "!"}, "lost connection with proxy", "", ""},
		{"EHLO refused", map[string]string{"EHLO": "500 what"}, `rejected "EHLO front.example": "500 what"`, "", "QUIT\r\n"},
		{"XFORWARD refused", map[string]string{"XFORWARD": "501 5.5.4 no"}, `rejected "XFORWARD NAME=c.example ADDR=[UNAVAILABLE]": "501 5.5.4 no"`, "", "QUIT\r\n"},
		{"MAIL refused", map[string]string{"MAIL": "550 5.7.1 no"}, `rejected "MAIL FROM:<a@c.example> SIZE=10": "550 5.7.1 no"`, "550 5.7.1 no", "QUIT\r\n"},
		{"RCPT refused", map[string]string{"RCPT": "450-4.1.1 a|450 4.1.1 b"}, `rejected "RCPT TO:<b@x.example>": "450-4.1.1 a??450 4.1.1 b"`, "450-4.1.1 a\r\n450 4.1.1 b", "QUIT\r\n"},
		{"421 at RCPT", map[string]string{"RCPT": "421 4.3.0 bye!"}, `"421 4.3.0 bye"`, "421 4.3.0 bye", "RCPT TO:<b@x.example>\r\n"},
		{"DATA refused", map[string]string{"DATA": "550 5.5.0 no"}, `rejected "DATA": "550 5.5.0 no"`, "550 5.5.0 no", "QUIT\r\n"},
		{"closed at DATA", map[string]string{"DATA": "!"}, "lost connection with proxy", "", "DATA\r\n"},
		{"closed after the content", map[string]string{"DOT": "!"}, "lost connection with proxy", "", ".\r\n"},
		{"garbage", map[string]string{"RCPT": "hello"}, "received garbage from proxy", "", "EOF"},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			f := filtertest.Start(t, "tcp", tc.on)
			_, err := pass(t.Context(), at(t, f), "Subject: x\n")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v", err)
			}
			var refused *Refused
			if ok := errors.As(err, &refused) && !refused.Own; ok != (tc.reply != "") || ok && refused.Reply.Text() != tc.reply {
				t.Errorf("for the client: %+v", refused)
			}
			if got := f.Seen(); !strings.HasSuffix(got, tc.left) {
				t.Errorf("the filter saw %q", got)
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	f := filtertest.Start(t, "tcp", nil)
	to := at(t, f)
	f.Close()
	if _, err := to.Dial(t.Context(), origin); err == nil || err.Error() != "connect to proxy filter "+to.Text+": Connection refused" {
		t.Errorf("error %v", err)
	}
	to.network, to.addr, to.Text = "unix", "/nonexistent/s", "unix:/nonexistent/s"
	if _, err := to.Dial(t.Context(), origin); err == nil || !strings.HasSuffix(err.Error(), ": No such file or directory") {
		t.Errorf("error %v", err)
	}
}

func TestAFilterThatHangs(t *testing.T) {
	for _, stage := range []string{"BANNER", "EHLO", "XFORWARD", "MAIL", "RCPT", "DATA", "DOT"} {
		t.Run(stage, func(t *testing.T) {
			f := filtertest.Start(t, "tcp", map[string]string{stage: "-"})
			to := at(t, f)
			to.Timeout = 50 * time.Millisecond
			if _, err := pass(t.Context(), to, "x\n"); err == nil || err.Error() != "timeout talking to proxy "+to.Text {
				t.Errorf("error %v", err)
			}
		})
	}
}

// dataFilter is a filter for one message that agrees to everything up to DATA, and
// leaves it to the test what happens then.
func dataFilter(t *testing.T, then func(c net.Conn, in *bufio.Reader)) *Filter {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		fmt.Fprint(c, "220 x\r\n")
		for range 3 { // EHLO, MAIL, RCPT
			in.ReadString('\n')
			fmt.Fprint(c, "250 ok\r\n")
		}
		in.ReadString('\n')
		fmt.Fprint(c, "354 go\r\n")
		then(c, in)
	}()
	to, err := Parse(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	to.Hello, to.Timeout = "front.example", 20*time.Second
	return &to
}

func TestAFilterThatTakesNoContent(t *testing.T) {
	done := make(chan struct{})
	defer close(done)
	to := dataFilter(t, func(net.Conn, *bufio.Reader) { <-done })
	to.Timeout = 100 * time.Millisecond
	if _, err := pass(t.Context(), to, strings.Repeat(strings.Repeat("x", 1000)+"\n", 50000)); err == nil || !strings.HasPrefix(err.Error(), "timeout talking to proxy") {
		t.Errorf("error %v", err)
	}
}

// TestEarlyReplies: a filter that answers before the end of the message does not have
// it, whatever it says; a refusal counts.
func TestEarlyReplies(t *testing.T) {
	for _, tc := range []struct{ behaviour, early, want, reply string }{
		{"a refusal", "552 5.3.4 too big", `rejected "message content": "552 5.3.4 too big"`, "552 5.3.4 too big"},
		{"a lie", "250 2.0.0 Ok: queued", "reply before the end of the message: 250 2.0.0 Ok: queued", ""},
		{"the end", "", "lost connection with proxy", ""},
	} {
		for _, size := range []int{1, 5000} { // lines: less than is gathered, and more than a socket takes
			seen := make(chan string, 1)
			to := dataFilter(t, func(c net.Conn, in *bufio.Reader) {
				if tc.early == "" {
					c.Close()
					seen <- ""
					return
				}
				fmt.Fprint(c, tc.early+"\r\n")
				rest, _ := io.ReadAll(in)
				seen <- string(rest)
			})
			c, err := to.Dial(t.Context(), origin)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(c.Command("MAIL FROM:<>"), c.Command("RCPT TO:<b@x.example>")); err != nil {
				t.Fatal(err)
			}
			w, err := c.Data(false)
			if err != nil {
				t.Fatal(err)
			}
			for !c.c.Pending() { // what the filter said is on its way
				runtime.Gosched()
			}
			for range size {
				w.Line([]byte(strings.Repeat("x", 1000)), false)
			}
			_, err = w.Finish()
			c.Close()
			var refused *Refused
			if ok := errors.As(err, &refused); err == nil || !strings.Contains(err.Error(), tc.want) || ok != (tc.reply != "") || ok && refused.Reply.Text() != tc.reply {
				t.Errorf("%s, %d lines: %v", tc.behaviour, size, err)
			}
			if rest := <-seen; strings.Contains(rest, "\r\n.\r\n") || strings.Contains(rest, "QUIT") {
				t.Errorf("%s, %d lines: the filter got an end: ...%q", tc.behaviour, size, rest[max(0, len(rest)-50):])
			}
		}
	}
}

// TestUnfinished: a message without its end is none for the filter, and nothing stands
// behind what came of it.
func TestUnfinished(t *testing.T) {
	f := filtertest.Start(t, "tcp", nil)
	c, err := at(t, f).Dial(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Command("MAIL FROM:<a@c.example>"), c.Command("RCPT TO:<b@x.example>")); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data(false)
	if err != nil {
		t.Fatal(err)
	}
	w.Line([]byte(strings.Repeat("x", 70<<10)), false) // more than is gathered
	c.Close()
	if got := f.Seen(); strings.Contains(got, "\r\n.\r\n") || strings.Contains(got, "QUIT") || !strings.HasSuffix(got, "EOF") {
		t.Errorf("the filter saw ...%q", got[max(0, len(got)-100):])
	}
}

// TestEndOfContext: a worker that leaves does not wait for its filter.
func TestEndOfContext(t *testing.T) {
	f := filtertest.Start(t, "tcp", map[string]string{"MAIL": "-"})
	ctx, cancel := context.WithCancel(t.Context())
	c, err := at(t, f).Dial(ctx, origin)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.Command("MAIL FROM:<>"); err == nil || !strings.HasPrefix(err.Error(), "lost connection with proxy") {
		t.Errorf("error %v", err)
	}
	c.Close()
}

func TestCommandsHaveNoLineEndings(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a command with a line ending was sent")
		}
	}()
	f := filtertest.Start(t, "tcp", nil)
	c, err := at(t, f).Dial(t.Context(), origin)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Command("MAIL FROM:<a>\r\nRCPT TO:<b>")
}

func TestReplyIsPrintable(t *testing.T) {
	f := filtertest.Start(t, "tcp", map[string]string{"DOT": "550-a\x1bb\x00|550 \xffc\rd"})
	reply, err := pass(t.Context(), at(t, f), "x\n")
	if err != nil || !slices.Equal(reply.Lines, []string{"a?b?", "?c?d"}) {
		t.Errorf("%q, %v", reply.Lines, err)
	}
}
