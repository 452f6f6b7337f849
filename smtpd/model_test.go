package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"sealpost/lib/service"
)

var (
	modelSeed = flag.Uint64("model.seed", 0, "seed of TestModel; 0 takes one from the clock")
	modelRuns = flag.Int("model.runs", 600, "sessions in TestModel")
)

// model is the reference for the order of commands (security-cases.md §2.M):
// what the reply code to a command must be, and how the state goes on.
type model struct {
	mail   bool
	rcpts  int
	chunks bool // a BDAT was accepted in this transaction
	queued int
}

func (m *model) reset() { m.mail, m.rcpts, m.chunks = false, 0, false }

// step is a command, with what follows it on the wire, and its effect.
type step struct {
	wire string
	code func(m *model) int
}

var steps = []step{
	{"EHLO c.example\r\n", func(m *model) int { m.reset(); return 250 }},
	{"HELO c.example\r\n", func(m *model) int { m.reset(); return 250 }},
	{"EHLO\r\n", fixed(501)},
	{"HELO a\x00b\r\n", fixed(501)},
	{"MAIL FROM:<a@c.example>\r\n", (*model).from},
	{"MAIL FROM:<> SIZE=100 BODY=8BITMIME\r\n", (*model).from},
	{"MAIL FROM:<a@c.example> FOO\r\n", whenMail(503, 555)},
	{"MAIL FROM:<a@c.example> SIZE=99999999\r\n", whenMail(503, 552)},
	{"MAIL FROM:<a b>\r\n", whenMail(503, 501)},
	{"MAIL\r\n", whenMail(503, 501)},
	{"RCPT TO:<bob@virt.example>\r\n", (*model).to},
	{"RCPT TO:<alice> NOTIFY=NEVER\r\n", (*model).to},
	{"RCPT TO:<nobody@virt.example>\r\n", badTo(550)},
	{"RCPT TO:<x@elsewhere.example>\r\n", badTo(454)},
	{"RCPT TO:<bob@virt.example> NOTIFY=NEVER,DELAY\r\n", badTo(501)},
	{"RCPT TO:<>\r\n", badTo(501)},
	{"DATA\r\n", func(m *model) int {
		switch {
		case m.chunks, !m.mail:
			return 503
		case m.rcpts == 0:
			return 554
		}
		return 354
	}},
	{"DATA x\r\n", func(m *model) int {
		switch {
		case m.chunks, !m.mail:
			return 503
		case m.rcpts == 0:
			return 554
		}
		return 501
	}},
	{"BDAT 6\r\nQUIT\r\n", func(m *model) int { return m.bdat(false) }},
	{"BDAT 6 LAST\r\nRSET\r\n", func(m *model) int { return m.bdat(true) }},
	{"BDAT 0 LAST\r\n", func(m *model) int { return m.bdat(true) }},
	{"BDAT 0\r\n", func(m *model) int {
		switch {
		case !m.mail:
			return 503
		case m.rcpts == 0:
			return 554
		}
		return 551
	}},
	{"RSET\r\n", func(m *model) int { m.reset(); return 250 }},
	{"RSET x\r\n", fixed(501)},
	{"NOOP\r\n", fixed(250)},
	{"VRFY bob@virt.example\r\n", fixed(252)},
	{"VRFY nobody@virt.example\r\n", fixed(550)},
	{"HELP\r\n", fixed(214)},
	{"ETRN x.example\r\n", whenMail(503, 458)},
	{"STARTTLS\r\n", fixed(502)},
	{"AUTH PLAIN\r\n", fixed(503)},
	{"XCLIENT NAME=a.example\r\n", whenMail(503, 550)},
	{"XFORWARD NAME=a.example\r\n", whenMail(503, 550)},
	{"XYZZY\r\n", fixed(500)},
	{"\r\n", fixed(500)},
}

func fixed(code int) func(*model) int { return func(*model) int { return code } }

func whenMail(in, out int) func(*model) int {
	return func(m *model) int {
		if m.mail {
			return in
		}
		return out
	}
}

func (m *model) from() int {
	if m.mail {
		return 503
	}
	m.mail = true
	return 250
}

func (m *model) to() int {
	if !m.mail || m.chunks {
		return 503
	}
	m.rcpts++
	return 250
}

func badTo(code int) func(*model) int {
	return func(m *model) int {
		if !m.mail || m.chunks {
			return 503
		}
		return code
	}
}

func (m *model) bdat(last bool) int {
	switch {
	case !m.mail:
		return 503
	case m.rcpts == 0:
		return 554
	}
	m.chunks = true
	if last {
		m.reset()
		m.queued++
	}
	return 250
}

// TestModel holds random sessions against the reference. A failure prints the
// seed that repeats it.
func TestModel(t *testing.T) {
	seed := *modelSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	r := newRig(t, "mynetworks=10.0.0.0/8", "smtpd_hard_error_limit=1000", "smtpd_junk_command_limit=1000", "smtpd_soft_error_limit=1000")
	for run := range *modelRuns {
		if problem := r.compare(t, rng); problem != "" {
			t.Fatalf("seed %d, session %d: %s", seed, run, problem)
		}
	}
}

func (r *rig) compare(t *testing.T, rng *rand.Rand) string {
	client, server := net.Pipe()
	d := &dialog{t: t, conn: client, in: bufio.NewReader(client), done: make(chan struct{})}
	before := len(r.cleanup.done)
	go func() {
		defer close(d.done)
		r.srv.serve(context.Background(), &service.Session{Log: r.srv.env.Log, Conn: masked{server,
			tcpAddr(t, "127.0.0.1", "25"), tcpAddr(t, "127.0.0.1", "50000")}})
		server.Close()
	}()
	defer func() { client.Close(); <-d.done }()
	d.reply()
	m := &model{}
	var history []string
	for range 1 + rng.IntN(25) {
		s := steps[rng.IntN(len(steps))]
		want := s.code(m)
		history = append(history, fmt.Sprintf("%q", s.wire))
		d.send(s.wire)
		got := d.reply()
		if !strings.HasPrefix(got, fmt.Sprint(want)) {
			return fmt.Sprintf("%s: reply %q, want %d", strings.Join(history, " "), got, want)
		}
		if want == 354 {
			d.send("line\r\n\n.\nMAIL FROM:<smuggled@x.example>\r\n.\r\n")
			if got := d.reply(); !strings.HasPrefix(got, "250 ") {
				return fmt.Sprintf("%s: end of data: %q", strings.Join(history, " "), got)
			}
			m.reset()
			m.queued++
		}
	}
	if got := len(r.cleanup.done) - before; got != m.queued {
		return fmt.Sprintf("%s: %d messages queued, want %d", strings.Join(history, " "), got, m.queued)
	}
	return ""
}
