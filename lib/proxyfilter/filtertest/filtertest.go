// Package filtertest is a scripted content filter for tests of what talks to one.
package filtertest

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Filter answers commands as its script says, and keeps what it was told. The script
// has replies to verbs, to "BANNER" and, for the end of the content, to "DOT"; those to
// "RCPT 1", "RCPT 2" and so on are for one RCPT of a connection alone. Lines of a reply
// are separated by "|"; "!" at the end closes the connection after it; "-" says nothing
// more. Other verbs are answered with 250 2.0.0 ok.
type Filter struct {
	ln net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	on    map[string]string
	conns []*strings.Builder // what each connection was told
	open  int
}

// Start listens on a loopback port, or with network unix on a socket.
func Start(t testing.TB, network string, script map[string]string) *Filter {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	f := New(ln, script)
	t.Cleanup(func() { f.Seen() })
	return f
}

// New answers on a listener; Seen ends it.
func New(ln net.Listener, script map[string]string) *Filter {
	f := &Filter{ln: ln}
	f.Restart(script)
	f.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			heard := &strings.Builder{}
			f.mu.Lock()
			f.conns = append(f.conns, heard)
			f.open++
			f.mu.Unlock()
			f.wg.Go(func() {
				f.talk(c, heard)
				c.Close()
				f.mu.Lock()
				defer f.mu.Unlock()
				f.open--
			})
		}
	})
	return f
}

// Restart takes another script, and forgets what was told before.
func (f *Filter) Restart(script map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = nil
	f.on = map[string]string{"BANNER": "220 filter ESMTP", "EHLO": "250-filter|250-XFORWARD NAME ADDR|250 8BITMIME", "DATA": "354 go"}
	for k, v := range script {
		f.on[k] = v
	}
}

// Spec is the filter as smtpd_proxy_filter names it.
func (f *Filter) Spec() string {
	if f.ln.Addr().Network() == "unix" {
		return "unix:" + f.ln.Addr().String()
	}
	return f.ln.Addr().String()
}

// Close stops listening; conversations go on.
func (f *Filter) Close() { f.ln.Close() }

// Conns is the number of connections so far.
func (f *Filter) Conns() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// Open is the number of connections that are open.
func (f *Filter) Open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// Told is what came so far, with line endings, one connection after the other; "EOF"
// with the rest of a line stands where one ended without QUIT.
func (f *Filter) Told() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all strings.Builder
	for _, heard := range f.conns {
		all.WriteString(heard.String())
	}
	return all.String()
}

// Seen stops listening and is Told once all connections are over.
func (f *Filter) Seen() string {
	f.ln.Close()
	f.wg.Wait()
	return f.Told()
}

// say sends a reply; false: the conversation is over.
func (f *Filter) say(c net.Conn, keys ...string) (reply string, goOn bool) {
	f.mu.Lock()
	reply = "250 2.0.0 ok"
	for _, key := range keys {
		if r, ok := f.on[key]; ok {
			reply = r
			break
		}
	}
	f.mu.Unlock()
	text, last := strings.CutSuffix(reply, "!")
	if text == "-" {
		io.Copy(io.Discard, c)
		return text, false
	}
	if text != "" {
		io.WriteString(c, strings.ReplaceAll(text, "|", "\r\n")+"\r\n")
	}
	return text, !last
}

func (f *Filter) talk(c net.Conn, heard *strings.Builder) {
	if _, ok := f.say(c, "BANNER"); !ok {
		return
	}
	in := bufio.NewReader(c)
	rcpts := 0
	for content := false; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			f.saw(heard, "EOF"+line)
			return
		}
		f.saw(heard, line)
		if content && line != ".\r\n" {
			continue
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(strings.ToUpper(line)), " ")
		keys := []string{verb}
		switch {
		case content:
			keys, content = []string{"DOT"}, false
		case verb == "RCPT":
			rcpts++
			keys = []string{"RCPT " + string(rune('0'+rcpts)), verb}
		}
		reply, ok := f.say(c, keys...)
		if !ok || verb == "QUIT" {
			return
		}
		content = keys[0] == "DATA" && strings.HasPrefix(reply, "354")
	}
}

func (f *Filter) saw(heard *strings.Builder, line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	heard.WriteString(line)
}
